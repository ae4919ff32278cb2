"""Series and alerts that are forgotten: the fakes of the room."""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence
from typing import get_args

import msgspec

from penstock.core.series import STEPS, Alert, Fed, Measure, SeriesKey, SeriesQuery, SeriesRow, Silence, Sketch
from penstock.core.series_sums import RowSum

_FINE, _MIDDLE, _COARSE = STEPS
_NOTHING = SeriesKey("", "", "", "", "", "")


class ForgetfulSeries:
    """``SeriesStore`` that lives as long as the object."""

    def __init__(self) -> None:
        self._lock = threading.RLock()
        self._rows: dict[tuple[float, float, SeriesKey], RowSum] = {}
        self._fed: dict[str, Fed] = {}
        self._fine_from = self._middle_from = 0.0

    def append_series(self, rows: Sequence[SeriesRow], fed: Fed) -> None:
        with self._lock:
            noted = self._fed.get(fed.gateway)
            if noted is not None and fed.mark and noted.mark == fed.mark:
                rows = ()
            self._fed[fed.gateway] = fed
            for row in rows:
                self._add(self._step(row.at), row)

    def series(self, query: SeriesQuery) -> Sequence[SeriesRow]:
        found: dict[tuple[float, SeriesKey], RowSum] = {}
        with self._lock:
            for (at, step_s, key), kept in self._rows.items():
                if not query.since <= at < query.until or not _wanted(query, key):
                    continue
                group = (at // query.step_s * query.step_s, group_of(query, key))
                found.setdefault(group, RowSum()).add(kept.row(at, step_s, key))
        ordered = sorted(found, key=lambda each: (each[0], msgspec.structs.astuple(each[1])))
        rows = [found[at, key].row(at, query.step_s, key) for at, key in ordered]
        if query.sketches is None:
            return rows
        unwanted: dict[str, Sketch] = {name: () for name in get_args(Measure) if name not in query.sketches}
        return [msgspec.structs.replace(row, **unwanted) for row in rows]

    def fed(self) -> Sequence[Fed]:
        with self._lock:
            return [self._fed[name] for name in sorted(self._fed)]

    def coarsen(self, fine_before: float, middle_before: float, forget_before: float) -> None:
        with self._lock:
            self._middle_from = max(self._middle_from, middle_before // _COARSE * _COARSE)
            self._fine_from = max(self._fine_from, fine_before // _MIDDLE * _MIDDLE, self._middle_from)
            forget_before = forget_before // _COARSE * _COARSE
            kept, self._rows = self._rows, {}
            for (at, step_s, key), sums in kept.items():
                if at >= forget_before:
                    self._add(max(step_s, self._step(at)), sums.row(at, step_s, key))

    def _add(self, step_s: float, row: SeriesRow) -> None:
        self._rows.setdefault((row.at // step_s * step_s, step_s, row.key), RowSum()).add(row)

    def _step(self, at: float) -> float:
        if at < self._middle_from:
            return _COARSE
        return _MIDDLE if at < self._fine_from else _FINE


def _wanted(query: SeriesQuery, key: SeriesKey) -> bool:
    asked = (query.gateway, query.service, query.model, query.release, query.project, query.key_id)
    return all(wanted in (None, has) for wanted, has in zip(asked, msgspec.structs.astuple(key), strict=True))


def group_of(query: SeriesQuery, key: SeriesKey) -> SeriesKey:
    """The key's values that the query tells apart, the rest empty."""
    if not query.by:
        return _NOTHING
    by = query.by
    return SeriesKey(
        gateway=key.gateway if "gateway" in by else "",
        service=key.service if "service" in by else "",
        model=key.model if "model" in by else "",
        release=key.release if "release" in by else "",
        project=key.project if "project" in by else "",
        key_id=key.key_id if "key" in by else "",
    )


class ForgetfulAlerts:
    """``AlertStore`` that lives as long as the object."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._alerts: dict[tuple[str, float], Alert] = {}
        self._silences: dict[str, Silence] = {}

    def alerts(self, since: float) -> Sequence[Alert]:
        with self._lock:
            found = [one for one in self._alerts.values() if one.resolved_at is None or one.resolved_at >= since]
        return sorted(found, key=lambda one: (-one.since, one.id))

    def put_alerts(self, alerts: Sequence[Alert], expected: Mapping[str, float]) -> bool:
        with self._lock:
            there = {one.id: one.changed_at for one in self._alerts.values() if one.resolved_at is None}
            ids = {*expected, *(one.id for one in alerts)}
            if any(there.get(id, 0.0) != expected.get(id, 0.0) for id in ids):
                return False
            self._alerts.update(((one.id, one.since), one) for one in alerts)
            return True

    def silences(self, now: float) -> Sequence[Silence]:
        with self._lock:
            found = [one for one in self._silences.values() if one.until > now]
        return sorted(found, key=lambda one: (one.created_at, one.id))

    def put_silence(self, silence: Silence) -> None:
        with self._lock:
            self._silences[silence.id] = silence

    def forget_alerts(self, before: float) -> int:
        with self._lock:
            old = [
                name for name, one in self._alerts.items() if one.resolved_at is not None and one.resolved_at < before
            ]
            over = [id for id, one in self._silences.items() if one.until < before]
            for name in old:
                del self._alerts[name]
            for id in over:
                del self._silences[id]
            return len(old) + len(over)
