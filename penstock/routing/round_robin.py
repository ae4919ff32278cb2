"""Round robin: each replica in its turn."""

from __future__ import annotations

from collections.abc import Sequence

from penstock.core.serving import Replica


def rotated(ready: Sequence[Replica], turn: int, most: int) -> tuple[Replica, ...]:
    """The ``most`` replicas whose turn it is, beginning with number ``turn`` modulo how many are ready."""
    start = turn % len(ready)
    return (*ready[start:], *ready[:start])[:most]


class RoundRobin:
    """Counts turns per model. Turns are this worker's own: between workers they are not shared, nor need be.

    ``most`` is how many replicas of one model a request may try.
    """

    __slots__ = ("_most", "_turns")

    def __init__(self, most: int = 2) -> None:
        self._most = most
        self._turns: dict[str, int] = {}

    def order(self, model: str, ready: Sequence[Replica]) -> Sequence[Replica]:
        turn = self._turns.get(model, 0)
        self._turns[model] = turn + 1
        return rotated(ready, turn, self._most)
