"""What is known of objectives, minute by minute and hour by hour, kept up with the series store.

The last day is kept by minutes, what is older by hours. At first all of it is read, in pieces; then only what a
gateway has told since.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Protocol

from penstock.control.objectives.counting import NOTHING, Count, counted
from penstock.core.series import Fed, SeriesQuery, SeriesRow
from penstock.observe.config import Objective
from penstock.observe.windows import DAY_S

MINUTE_S, HOUR_S = 60.0, 3600.0
FINE_S = DAY_S
"""For how long there are minutes, of a book that is kept up."""

Promises = Mapping[str, Sequence[Objective]]
"""Objectives by service."""
Whose = tuple[str, str]
"""Service, and the objective's title."""
Layer = dict[Whose, dict[float, Count]]
"""Counts by when their step began, in the order of time."""


class Series(Protocol):
    """What this needs of ``penstock.store.SeriesStore``."""

    def series(self, query: SeriesQuery) -> Sequence[SeriesRow]: ...

    def fed(self) -> Sequence[Fed]: ...


class Book:
    """Not to be used from several threads at once. ``project`` None: all projects'. ``fine_s``: for how long there
    are minutes; a window that is longer begins with an hour."""

    def __init__(self, promises: Promises, project: str | None = None, fine_s: float = FINE_S) -> None:
        self.promises = promises
        self._project = project
        self._fine_s = fine_s
        self._fed: dict[str, float] = {}
        self._edge = 0.0
        self._minutes: Layer = {}
        self._hours: Layer = {}
        self._read = {service: [o for o in each if o.kind != "quality"] for service, each in promises.items()}

    @property
    def told(self) -> float | None:
        """Until when somebody has told of everything; None: nobody has told of anything."""
        return max(self._fed.values(), default=None)

    def read(self, series: Series, now: float) -> None:
        """Catches up. Blocks. Raises ``PenstockError`` while the store is away; what is known then stays."""
        fed = {each.gateway: each.until for each in series.fed()}
        if not any(self._read.values()):
            self._fed = fed
            return
        moved = [self._fed.get(gateway, 0.0) for gateway, until in fed.items() if self._fed.get(gateway) != until]
        if not moved:
            return
        since, until = _floor(min(moved), MINUTE_S), _floor(now, MINUTE_S) + MINUTE_S
        if since < self._edge or not self._edge:
            self._load(series, now, until)
        else:
            self._replace(self._minutes, series, since, until, MINUTE_S, HOUR_S)
            self._fold(_floor(now, HOUR_S) - self._fine_s)
        self._fed = fed

    def windows(self, service: str, title: str, now: float, lengths: Iterable[float]) -> dict[float, Count]:
        """What ended in each window up to now, by its length in seconds. Where there are only hours, from the
        beginning of the hour."""
        left, found = sorted(lengths, reverse=True), {}
        total = bad = 0.0
        # The newest are the last, so each window has what the next shorter one has.
        for layer, step_s in ((self._minutes, MINUTE_S), (self._hours, HOUR_S)):
            counts = layer.get((service, title), {})
            for at in reversed(counts):
                while left and at + step_s <= now - left[-1]:
                    found[left.pop()] = Count(total, bad)
                if not left:
                    return found
                count = counts[at]
                total, bad = total + count.total, bad + count.bad
        return found | dict.fromkeys(left, Count(total, bad))

    # -- reading -----------------------------------------------------------------------------------------------------

    def _load(self, series: Series, now: float, until: float) -> None:
        edge = _floor(now, HOUR_S) - self._fine_s
        longest = max(each.window_days for of in self._read.values() for each in of) * DAY_S
        hours: Layer = {}
        minutes: Layer = {}
        self._replace(hours, series, _floor(now - longest, HOUR_S), edge, HOUR_S, DAY_S)
        self._replace(minutes, series, edge, until, MINUTE_S, HOUR_S)
        self._hours, self._minutes, self._edge = hours, minutes, edge

    def _replace(
        self, layer: Layer, series: Series, since: float, until: float, step_s: float, piece_s: float
    ) -> None:
        """Reads these times anew: the last of the layer, and what follows them."""
        fresh: Layer = {}
        for begin, end in _pieces(since, until, piece_s):
            for service in self._asked():
                query = SeriesQuery(
                    since=begin, until=end, step_s=step_s, by=("service",), service=service, project=self._project
                )
                for row in sorted(series.series(query), key=lambda each: each.at):
                    for objective in self._read.get(row.key.service, ()):
                        count = counted(objective, row)
                        if count.total or count.bad:
                            fresh.setdefault((row.key.service, objective.title), {})[row.at] = count
        for counts in layer.values():
            for at in list(itertools.takewhile(lambda at: at >= since, reversed(counts))):
                del counts[at]
        for whose, counts in fresh.items():
            layer.setdefault(whose, {}).update(counts)

    def _asked(self) -> Sequence[str | None]:
        services = [service for service, objectives in self._read.items() if objectives]
        return services if len(services) < 4 else [None]

    def _fold(self, edge: float) -> None:
        """Minutes before then become hours."""
        longest = max(each.window_days for of in self._read.values() for each in of) * DAY_S
        for whose, minutes in self._minutes.items():
            hours = self._hours.setdefault(whose, {})
            for at in list(itertools.takewhile(lambda at: at < edge, minutes)):
                hour = _floor(at, HOUR_S)
                hours[hour] = hours.get(hour, NOTHING).plus(minutes.pop(at))
            for at in list(itertools.takewhile(lambda at: at < edge + self._fine_s - longest - HOUR_S, hours)):
                del hours[at]
        self._edge = edge


def _pieces(since: float, until: float, piece_s: float) -> Iterator[tuple[float, float]]:
    while since < until:
        yield since, min(since + piece_s, until)
        since += piece_s


def _floor(at: float, step_s: float) -> float:
    return at // step_s * step_s
