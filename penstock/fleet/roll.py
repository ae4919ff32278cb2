"""Which copies of a model to start and which to let go: a pure decision from how they stand."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from penstock.core.serving import ReplicaState


class Standing(msgspec.Struct, frozen=True):
    """One copy. ``fresh``: it was started as copies are wanted now. ``served``: it has been ready at least once."""

    id: str
    fresh: bool
    state: ReplicaState
    served: bool = False


class Steps(msgspec.Struct, frozen=True):
    """What to do now: start so many fresh copies, let these go."""

    start: int = 0
    retire: tuple[str, ...] = ()


def steps(copies: int, have: Sequence[Standing], leaving: int) -> Steps:
    """The next steps towards ``copies`` fresh copies. ``leaving`` are copies that were let go and are not gone yet.

    A copy that serves is let go only when a fresh one is ready in its place, and one at a time is replaced, so that
    there are never fewer ready than before, nor more than one copy too many. Where a fresh copy does not become ready
    nothing is done: what has served goes on. A copy as it is no longer wanted that never served is let go at once.
    """
    fresh = [copy for copy in have if copy.fresh]
    gone = [copy.id for copy in have if not copy.fresh and not copy.served]
    gone += _first(len(fresh) - copies, fresh)
    ready = sum(copy.state is ReplicaState.READY for copy in fresh if copy.id not in gone)
    proven = [copy for copy in have if not copy.fresh and copy.served]
    gone += _first(len(proven) - max(0, copies - ready), proven)
    missing = max(0, copies - len(fresh))
    if any(copy.id not in gone for copy in proven):
        settled = not leaving and not gone and ready == len(fresh)
        missing = min(missing, 1) if settled else 0
    return Steps(missing, tuple(gone))


def _first(count: int, copies: Sequence[Standing]) -> list[str]:
    """The ids of those to let go first: who is not ready, then who came last."""
    if count <= 0:
        return []
    order = sorted(range(len(copies)), key=lambda place: (copies[place].state is ReplicaState.READY, -place))
    return [copies[place].id for place in order[:count]]
