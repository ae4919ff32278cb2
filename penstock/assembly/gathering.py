"""What all workers have measured, and what is under way in them, as one."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Coroutine, Iterable, Mapping
from typing import Protocol, TypeVar

import msgspec

from penstock.core.errors import PenstockError
from penstock.core.metrics import Metric
from penstock.edge.http.admin import Live, ReplicaLive, WorkerLive, summed
from penstock.observe.totals import Report, Sums

# A scraper waits for ten seconds; a worker that takes longer than this is told of as it was a second ago.
_WITHIN_S = 2.0
# Beside the indexes of workers.
_OWN = -1

T = TypeVar("T")


class Sum(msgspec.Struct, frozen=True):
    """What all workers have measured. ``processes`` are process ids by name."""

    report: Report
    processes: Mapping[str, int]


class Stand(msgspec.Struct, frozen=True):
    """What is under way in one worker, as it knows it. ``places`` are those held beside the supervisor's, ``queued``
    the requests that wait for one."""

    tasks: int = 0
    sockets: int = 0
    idle_sockets: int = 0
    places: int = 0
    queued: int = 0
    replicas: Mapping[str, ReplicaLive] = {}


class Member(Protocol):
    """A worker that serves, as the supervisor talks with it."""

    index: int
    pid: int

    @property
    def held(self) -> int:
        """Places that it holds of the supervisor's."""

    @property
    def waiting(self) -> int:
        """Requests of it that wait for one."""

    async def report(self, within_s: float) -> Report:
        """What it has measured. Raises ``TimeoutError``, and ``PenstockError`` once it is gone."""

    async def stand(self, within_s: float) -> Stand:
        """What is under way in it. Raises as ``report`` does."""


class Gathering:
    """Asks every worker there is. ``own`` names further processes of the gateway, ``measured`` tells what they
    measure."""

    def __init__(
        self, rows: Iterable[Metric], own: Mapping[str, int], measured: Callable[[], Report] = Report
    ) -> None:
        self._sums = Sums(rows)
        self._own = own
        self._measured = measured
        self._members: dict[int, Member] = {}

    def joined(self, member: Member) -> None:
        """It serves."""
        self._members[member.index] = member

    def take(self, index: int, report: Report) -> None:
        """What the worker of this index has measured so far."""
        self._sums.take(index, report)

    def left(self, index: int) -> None:
        """It has ended, and what it reported last stays."""
        self._members.pop(index, None)
        self._sums.end(index)

    async def metrics(self) -> Sum:
        """Asks now; of one that does not answer what it said last counts."""
        members = tuple(self._members.values())
        reports = await _all(member.report(_WITHIN_S) for member in members)
        for member, report in zip(members, reports, strict=True):
            if report is not None and self._members.get(member.index) is member:
                self._sums.take(member.index, report)
        self._sums.take(_OWN, self._measured())
        processes = dict(self._own) | {f"worker-{member.index}": member.pid for member in self._members.values()}
        return Sum(self._sums.report(), processes)

    async def live(self) -> Live:
        """Asks now; one that does not answer is told of by its silence."""
        members = tuple(self._members.values())
        stands = await _all(member.stand(_WITHIN_S) for member in members)
        return summed(
            tuple(
                WorkerLive(
                    worker=member.index,
                    pid=member.pid,
                    answers=stand is not None,
                    tasks=known.tasks,
                    sockets=known.sockets,
                    idle_sockets=known.idle_sockets,
                    leases=known.places + member.held + sum(each.attempts for each in known.replicas.values()),
                    queued=known.queued + member.waiting,
                    replicas=known.replicas,
                )
                for member, stand in zip(members, stands, strict=True)
                for known in (stand or Stand(),)
            )
        )


async def _all(answers: Iterable[Coroutine[object, object, T]]) -> list[T | None]:
    """Each answer; None for a worker that gives none."""
    return await asyncio.gather(*map(_or_none, answers))


async def _or_none(answer: Coroutine[object, object, T]) -> T | None:
    with contextlib.suppress(TimeoutError, PenstockError):
        return await answer
    return None
