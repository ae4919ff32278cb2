"""Alerts and silences in a database."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TypeVar

import msgspec
import sqlalchemy as sql

from penstock.core.series import Alert, Silence
from penstock.store.database import Database
from penstock.store.observed_tables import ALERTS, SILENCES
from penstock.store.words import storable

_T = TypeVar("_T", Alert, Silence)
_LOCK = int.from_bytes(b"PENALERT", "big")
_OPEN = ALERTS.c.resolved_at.is_(None)
_alert = msgspec.json.Decoder(Alert).decode
_silence = msgspec.json.Decoder(Silence).decode


class SqlAlerts:
    """``AlertStore`` in a database whose migrations have run."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def alerts(self, since: float) -> Sequence[Alert]:
        asked = sql.select(ALERTS.c.alert).where(sql.or_(_OPEN, ALERTS.c.resolved_at >= since))
        with self._database.read() as connection:
            rows = connection.execute(asked.order_by(ALERTS.c.since.desc(), ALERTS.c.id)).scalars().all()
            return list(map(_alert, rows))

    def put_alerts(self, alerts: Sequence[Alert], expected: Mapping[str, float]) -> bool:
        kept = [_kept(each) for each in alerts]
        wanted = {storable(id): at for id, at in expected.items()}
        ids = {*wanted, *(each.id for each in kept)}
        with self._database.begin() as connection:
            if self._database.kind == "postgresql":
                connection.execute(sql.text("SELECT pg_advisory_xact_lock(:lock)"), {"lock": _LOCK})
            asked = sql.select(ALERTS.c.id, ALERTS.c.changed_at).where(_OPEN, ALERTS.c.id.in_(ids))
            there = {row.id: row.changed_at for row in connection.execute(asked)}
            if any(there.get(id, 0.0) != wanted.get(id, 0.0) for id in ids):
                return False
            for each in kept:
                named = (ALERTS.c.id == each.id, ALERTS.c.since == each.since)
                values = {"changed_at": each.changed_at, "resolved_at": each.resolved_at, "alert": _text(each)}
                if not connection.execute(sql.update(ALERTS).where(*named).values(**values)).rowcount:
                    connection.execute(sql.insert(ALERTS).values(id=each.id, since=each.since, **values))
            return True

    def silences(self, now: float) -> Sequence[Silence]:
        asked = sql.select(SILENCES.c.silence).where(SILENCES.c.until > now)
        with self._database.read() as connection:
            found = map(_silence, connection.execute(asked).scalars().all())
            return sorted(found, key=lambda each: (each.created_at, each.id))

    def put_silence(self, silence: Silence) -> None:
        kept = _kept(silence)
        values = {"until": kept.until, "silence": _text(kept)}
        with self._database.begin() as connection:
            if not connection.execute(sql.update(SILENCES).where(SILENCES.c.id == kept.id).values(**values)).rowcount:
                connection.execute(sql.insert(SILENCES).values(id=kept.id, **values))

    def forget_alerts(self, before: float) -> int:
        with self._database.begin() as connection:
            over = connection.execute(sql.delete(ALERTS).where(ALERTS.c.resolved_at < before)).rowcount
            return over + connection.execute(sql.delete(SILENCES).where(SILENCES.c.until < before)).rowcount


def _text(record: Alert | Silence) -> str:
    return msgspec.json.encode(record).decode()


def _kept(record: _T) -> _T:
    texts = {name: value for name, value in msgspec.structs.asdict(record).items() if isinstance(value, str)}
    return msgspec.structs.replace(record, **{name: storable(value) for name, value in texts.items()})
