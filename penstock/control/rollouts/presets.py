"""The usual ways from one release to another, as plans. Pure.

``canary``: the candidate gets more and more of the traffic, and all of it when its gates say so. ``blue_green``: it
is loaded, may be tried on copies, then has all at once; the one before stays loaded. ``shadow``: it gets copies only,
and what comes of it is a report. ``ab``: two releases side by side until a person decides. ``champion_challenger``:
both answer the same requests, pair by pair; the champion's answers are served until the challenger has proven itself.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Literal, TypeVar

import msgspec

from penstock.control.rollouts.shares import percent
from penstock.core.errors import INVALID_VALUE, PenstockError
from penstock.core.releases import WHOLE, Gate, Measure, Plan, Preset, Segment, Step
from penstock.quality.verdict import PAIRED

Asked = Literal["canary", "blue_green", "shadow", "ab", "champion_challenger"]
"""The presets that are started by their names."""

T = TypeVar("T")

_CANARY = (
    Step(share=10_000, hold_s=600.0),
    Step(share=100_000, hold_s=1800.0, samples=50),
    Step(share=500_000, hold_s=1800.0, samples=50),
)
_COPIES = (Step(share=0),)
_COPIED = 100_000
_DAY = 86400.0
_SECRET = frozenset(("authorization", "proxy-authorization", "x-api-key", "api-key", "cookie"))
"""Headers that no segment goes by: a segment is kept, shown and audited as it is."""
_MOST_STEPS = 50
_MOST_SAMPLES = 1_000_000


class Options(msgspec.Struct, frozen=True, kw_only=True):
    """What may be chosen of a plan; None: as the preset has it. The fields are those of ``Plan``; ``share`` is the
    candidate's in ``ab``, in millionths."""

    steps: tuple[Step, ...] | None = None
    share: int | None = None
    alpha: float | None = None
    min_samples: int | None = None
    max_samples: int | None = None
    window_s: float | None = None
    deadline_s: float | None = None
    on_deadline: Literal["rollback", "ask"] | None = None
    promote: Literal["automatic", "ask"] | None = None
    sticky: Literal["user", "conversation", "request"] | None = None
    segment: Segment | None = None
    keep_warm_s: float | None = None
    mirror_share: int | None = None
    mirror_budget_nano: int | None = None


class _Ways(msgspec.Struct, frozen=True, kw_only=True):
    gates: tuple[str, ...]
    steps: tuple[Step, ...] = _COPIES
    mirror_share: int = 0
    deadline_s: float = 7 * _DAY
    max_samples: int = 3000
    on_deadline: Literal["rollback", "ask"] = "rollback"
    promote: Literal["automatic", "ask"] = "automatic"


_WAYS: Mapping[Preset, _Ways] = MappingProxyType(
    {
        "canary": _Ways(gates=("success", "latency"), steps=_CANARY),
        "blue_green": _Ways(gates=(), steps=(), deadline_s=_DAY),
        # A copy is worked on last, so how long it takes says little.
        "shadow": _Ways(gates=("success",), mirror_share=_COPIED, deadline_s=_DAY),
        "ab": _Ways(
            gates=("success",), steps=(Step(share=500_000),), max_samples=20_000, on_deadline="ask", promote="ask"
        ),
        "champion_challenger": _Ways(gates=("success",), mirror_share=_COPIED),
    }
)


def usual_gates(preset: Asked) -> tuple[str, ...]:
    """The metrics that a plan has gates on where none are asked for."""
    return _WAYS[preset].gates


def planned(
    preset: Asked,
    *,
    candidate: str,
    champion: str,
    gates: Sequence[Gate],
    measures: Sequence[Measure],
    options: Options = Options(),  # noqa: B008 - frozen
) -> Plan:
    """The plan, with all that was left open filled in. Raises ``PenstockError(INVALID_VALUE)``."""
    ways = _WAYS[preset]
    _check_gates(gates, measures)
    steps = _steps(preset, ways, options, gates)
    mirrored = bool(gates) if preset == "blue_green" else preset in PAIRED
    if not mirrored and options.mirror_share is not None:
        raise _invalid("mirror_share", f"'{preset}' makes no copies. Leave it out, or choose 'champion_challenger'.")
    if not mirrored and options.mirror_budget_nano is not None:
        raise _invalid("mirror_budget", f"'{preset}' makes no copies. Leave it out, or choose 'champion_challenger'.")
    copied = options.mirror_share if options.mirror_share is not None else ways.mirror_share or _COPIED
    if mirrored and not 0 < copied <= WHOLE:
        raise _invalid("mirror_share", "The share of copies must be above 0 and at most 100 %.")
    min_samples = _given(options.min_samples, 50)
    max_samples = _given(options.max_samples, max(ways.max_samples, min_samples))
    if not 1 <= min_samples <= max_samples <= _MOST_SAMPLES:
        raise _invalid(
            "max_samples", f"There must be 1 <= min_samples <= max_samples <= {_MOST_SAMPLES}. Mend the two."
        )
    alpha = _given(options.alpha, 0.05)
    if not 0.0001 <= alpha <= 0.5:
        raise _invalid("alpha", "'alpha' must be from 0.0001 to 0.5: the chance of a wrong decision that is taken.")
    return Plan(
        preset=preset,
        candidate=candidate,
        champion=champion,
        steps=steps,
        gates=tuple(gates),
        measures=tuple(measures),
        alpha=alpha,
        min_samples=min_samples,
        max_samples=max_samples,
        window_s=_seconds("window_s", _given(options.window_s, _DAY), least=1.0),
        deadline_s=_seconds("deadline_s", _given(options.deadline_s, ways.deadline_s), least=1.0),
        on_deadline=_given(options.on_deadline, ways.on_deadline),
        promote=_given(options.promote, ways.promote),
        sticky=_given(options.sticky, "user"),
        segment=_segment(options.segment),
        keep_warm_s=_seconds("keep_warm_s", _given(options.keep_warm_s, _DAY), least=0.0),
        mirror_share=copied if mirrored else 0,
        mirror_budget_nano=options.mirror_budget_nano,
    )


def _steps(preset: Asked, ways: _Ways, options: Options, gates: Sequence[Gate]) -> tuple[Step, ...]:
    if options.share is not None:
        if preset != "ab":
            raise _invalid("share", "Only 'ab' has one share for all of its time. Give 'steps' instead.")
        if not 0 < options.share < WHOLE:
            raise _invalid(
                "share", "The candidate's share must be above 0 and below 100 %: the champion has the rest."
            )
        return (Step(share=options.share),)
    if options.steps is None:
        if gates:
            return _COPIES if preset == "blue_green" else ways.steps
        return tuple(msgspec.structs.replace(each, samples=0) for each in ways.steps)
    if preset != "canary":
        raise _invalid("steps", f"'{preset}' has no steps of its own to choose. Leave them out, or choose 'canary'.")
    steps = options.steps
    if not 1 <= len(steps) <= _MOST_STEPS:
        raise _invalid("steps", f"There must be 1 to {_MOST_STEPS} steps.")
    last = 0
    for place, step in enumerate(steps):
        if not last < step.share <= WHOLE:
            raise _invalid(
                f"steps[{place}].share",
                f"Shares must ascend, from above 0 to at most 100 %: {percent(step.share)} does not follow "
                f"{percent(last)}.",
            )
        if step.share == WHOLE and gates:
            raise _invalid(
                f"steps[{place}].share",
                "At 100 % the champion gives no samples any more, so no gate could decide. End with less; the "
                "candidate has all when it is promoted.",
            )
        _seconds(f"steps[{place}].hold_s", step.hold_s, least=0.0)
        if step.samples < 0:
            raise _invalid(f"steps[{place}].samples", "'samples' must not be negative.")
        if step.samples and not gates:
            raise _invalid(f"steps[{place}].samples", "Without a gate nothing is sampled. Add one, or give 'hold_s'.")
        last = step.share
    return steps


def _check_gates(gates: Sequence[Gate], measures: Sequence[Measure]) -> None:
    measured = {each.metric for each in measures}
    seen: set[str] = set()
    for place, gate in enumerate(gates):
        if gate.metric not in measured:
            raise _invalid(
                f"gates[{place}].metric",
                f"Nothing measures '{gate.metric}', so its gate would wait for ever. Say which scorer does, or take "
                "the gate out.",
            )
        if gate.metric in seen:
            raise _invalid(f"gates[{place}].metric", f"There are two gates on '{gate.metric}'. Keep one.")
        if not 0.0 < gate.margin < 1.0:
            raise _invalid(f"gates[{place}].margin", "A margin must be above 0 and below 1.")
        seen.add(gate.metric)


def _segment(segment: Segment | None) -> Segment | None:
    if segment is not None and not (segment.headers or segment.keys or segment.projects):
        raise _invalid("segment", "A segment must name a header, a key or a project. Leave it out for everybody.")
    for name, _ in segment.headers if segment is not None else ():
        if name in _SECRET:
            raise _invalid(
                "segment.headers",
                f"The header '{name}' holds a secret, which would be kept and shown. Name a key with 'keys'.",
            )
    return segment


def _seconds(name: str, value: float, *, least: float) -> float:
    if not (math.isfinite(value) and least <= value <= 3660 * _DAY):
        raise _invalid(name, f"'{name}' must be at least {least:g} seconds, and at most ten years.")
    return value


def _given(value: T | None, otherwise: T) -> T:
    return otherwise if value is None else value


def _invalid(param: str, message: str) -> PenstockError:
    return PenstockError(INVALID_VALUE, message, param=param)
