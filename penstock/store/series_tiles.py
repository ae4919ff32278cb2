"""Which rows of the series add up to a time, each thing counted once. Pure; all times are whole seconds."""

from __future__ import annotations

from collections.abc import Iterator

import msgspec

from penstock.core.series import STEPS

FINE, MIDDLE, COARSE = map(int, STEPS)


class Kept(msgspec.Struct, frozen=True):
    """What there is of a gateway: rows of the middle and the coarsest step of what ended before ``rolled``; of the
    finest and the middle from ``fine_from`` and ``middle_from`` on. ``middle_from <= fine_from <= rolled``."""

    rolled: int
    fine_from: int
    middle_from: int

    def steps(self, at: int) -> tuple[int, ...]:
        """The steps that have a row of a request that ended then."""
        coarser = () if at >= self.rolled else (COARSE,) if at < self.middle_from else (MIDDLE, COARSE)
        return (FINE, *coarser) if at >= self.fine_from else coarser


def floor(at: float, step: int) -> int:
    """The begin of the step that has ``at``."""
    return int(at // step) * step


def ceiling(at: float, step: int) -> int:
    """The first begin of a step from ``at`` on."""
    return -int(-at // step) * step


def tiles(since: float, until: float, step: int, kept: Kept) -> Iterator[tuple[int, int, int]]:
    """The step, begin and end of rows that are everything in ``[since, until)``, with the fewest rows that a sum by
    ``step`` can be made of. Where only coarse rows are left, those that begin in it."""
    begin, end = ceiling(since, FINE), ceiling(until, FINE)
    # Of the coarsest step's last row only what ended before ``rolled`` is in it: it goes with all that came after.
    middle, last = max(begin, kept.middle_from), min(end, kept.rolled)
    yield from _some(COARSE, begin, min(end, kept.middle_from))
    if middle < last and not step % COARSE:
        first = ceiling(middle, COARSE)
        past = ceiling(last, COARSE) if end >= kept.rolled else floor(last, COARSE)
        if first < past:
            yield from _minutes(middle, first, step, kept)
            yield from _some(COARSE, first, past)
            middle = min(past, last)
    yield from _minutes(middle, last, step, kept)
    yield from _some(FINE, max(begin, kept.rolled), end)


def _minutes(begin: int, end: int, step: int, kept: Kept) -> Iterator[tuple[int, int, int]]:
    """Of what is rolled and not older than ``middle_from``, without the coarsest step."""
    old = min(end, kept.fine_from)
    yield from _some(MIDDLE, begin, old)
    begin = max(begin, old)
    if step % MIDDLE:
        yield from _some(FINE, begin, end)
        return
    first, past = ceiling(begin, MIDDLE), floor(end, MIDDLE)
    if first >= past:
        yield from _some(FINE, begin, end)
        return
    yield from _some(FINE, begin, first)
    yield from _some(MIDDLE, first, past)
    yield from _some(FINE, past, end)


def _some(step: int, begin: int, end: int) -> Iterator[tuple[int, int, int]]:
    if begin < end:
        yield step, begin, end
