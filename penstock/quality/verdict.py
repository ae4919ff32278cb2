"""What the scores of a rollout come to, with figures for people. Values; whoever shows them needs no arithmetic."""

from __future__ import annotations

from typing import Final, Literal

import msgspec

PAIRED: Final = frozenset(("shadow", "champion_challenger", "blue_green"))
"""Presets whose candidate answers copies, each compared with the champion's answer to the same request."""


class Standing(msgspec.Struct, frozen=True, kw_only=True):
    """How it stands with one gate. ``difference`` is candidate less champion over what was compared, and lies between
    ``low`` and ``high`` with the chances that the plan's ``alpha`` leaves. ``e_worse`` is the greatest evidence yet
    that the candidate is worse than the champion (``needed_worse`` rolls back), ``e_better`` that it is worse by less
    than the margin (``needed_better`` promotes, once every gate has it). ``design``: so many samples tell as much as
    one of a unit of its own. ``more_units`` of the candidate are likely to decide, None: it cannot be told."""

    metric: str
    margin: float
    candidate_mean: float
    champion_mean: float
    difference: float
    low: float
    high: float
    candidate_units: int
    champion_units: int
    e_worse: float
    e_better: float
    needed_worse: float
    needed_better: float
    design: float
    more_units: int | None


class Verdict(msgspec.Struct, frozen=True, kw_only=True):
    """What should become of a rollout. ``stop``: what is compared cannot be trusted. ``because`` says by what it was
    decided, ``reason`` is one sentence for people."""

    kind: Literal["hold", "promote", "rollback", "ask", "stop"]
    because: Literal["gates", "samples", "deadline", "ratio", "missing", "silent", "open"]
    reason: str
    standings: tuple[Standing, ...] = ()
