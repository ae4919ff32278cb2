"""The picture of a gate: what is known of the difference, sample by sample, and when what was decided. Pure; the
template writes it as SVG."""

from __future__ import annotations

import bisect
import math
from collections.abc import Sequence

import msgspec

from penstock.control.accounts.rollout_seen import CoursePoint, GateCourse
from penstock.control.accounts.rollout_shown import DecisionView, RolloutView
from penstock.control.rollouts.known import Known
from penstock.core.releases import ENDED
from penstock.quality.verdict import Standing
from penstock.quality.wording import listed

WIDTH, HEIGHT = 760, 300
LEFT, RIGHT, TOP, BOTTOM = 58, 646, 16, 206
STRIP, STRIP_HEIGHT = 250, 16
_LEAST_BETWEEN = 40.0
"""Between two marks that are told apart."""
_BEYOND = 3.0
"""What is to be expected is drawn while it is at most so many times what there is."""


class Tick(msgspec.Struct, frozen=True):
    """A line of an axis: where, and what it says."""

    at: float
    text: str


class Mark(msgspec.Struct, frozen=True, kw_only=True):
    """A decision: ``x`` in the plot (None: nothing was known of this gate then), ``time_x`` on the strip. Marks that
    lie close share the label of the first."""

    x: float | None
    time_x: float
    number: int
    what: str
    tone: str
    title: str
    labelled: bool


class Share(msgspec.Struct, frozen=True, kw_only=True):
    """What the candidate had for a while, on the strip; ``level`` from 0 to 1, the root of the share, so that the
    first steps are seen."""

    x: float
    width: float
    level: float
    text: str


class Picture(msgspec.Struct, frozen=True, kw_only=True):
    """``band`` and ``line`` are points as SVG has them, empty where nothing is known. ``expected_x``: where it is
    likely to be settled, None: beyond the picture, or it cannot be told."""

    metric: str
    standing: Standing | None
    sentence: str
    tone: str
    band: str
    line: str
    now_x: float | None
    now_y: float
    zero_y: float
    margin_y: float
    margin_text_y: float
    x_ticks: tuple[Tick, ...]
    y_ticks: tuple[Tick, ...]
    least_x: float | None
    expected_x: float | None
    expected: str
    marks: tuple[Mark, ...]
    shares: tuple[Share, ...]
    time_ticks: tuple[Tick, ...]
    about: str


class _Scale(msgspec.Struct, frozen=True):
    low: float
    high: float
    begin: float
    end: float

    def __call__(self, value: float) -> float:
        span = (self.high - self.low) or 1.0
        return round(self.begin + (value - self.low) / span * (self.end - self.begin), 1)

    def held(self, value: float) -> float:
        """The same, of the nearest value in the scale."""
        return self(min(max(value, self.low), self.high))


def pictures(view: RolloutView, courses: Sequence[GateCourse], now: float) -> tuple[Picture, ...]:
    """One for each gate, in the plan's order."""
    by_metric = {each.metric: each for each in courses}
    standings = {each.metric: each for each in view.standings}
    found = []
    for gate in view.gates:
        course = by_metric.get(gate.metric)
        points = course.points if course is not None else ()
        found.append(_picture(view, gate.metric, gate.margin, points, standings.get(gate.metric), now))
    return tuple(found)


def _picture(
    view: RolloutView,
    metric: str,
    margin: float,
    points: Sequence[CoursePoint],
    standing: Standing | None,
    now: float,
) -> Picture:
    known = _with_present(points, standing, view.ended_at or now)
    units = known[-1].units if known else 0
    more = standing.more_units if standing is not None and _open(view, standing) else None
    shown_more = more if more is not None and units and more <= _BEYOND * units else None
    x = _Scale(0.0, max(1.0, (units + (shown_more or 0)) * 1.03, view.min_samples * 1.1), LEFT, RIGHT)
    y = _heights(known, margin)
    time = _Scale(view.started_at, max(view.ended_at or now, view.started_at + 1.0), LEFT, RIGHT)
    sentence, tone = said(view, metric, standing)
    return Picture(
        metric=metric,
        standing=standing,
        sentence=sentence,
        tone=tone,
        band=_band(known, x, y),
        line=" ".join(f"{x(each.units)},{y.held(each.difference)}" for each in known),
        now_x=x(units) if known else None,
        now_y=y.held(known[-1].difference) if known else y(0.0),
        zero_y=y(0.0),
        margin_y=y(-margin),
        margin_text_y=max(y(-margin), y(0.0) + 14),
        x_ticks=tuple(Tick(x(each), f"{each:,.0f}") for each in _round_steps(x.high)),
        y_ticks=_y_ticks(y),
        least_x=x(view.min_samples) if units < view.min_samples or x(view.min_samples) - LEFT > 40 else None,
        expected_x=x(units + shown_more) if shown_more else None,
        expected=f"about {more:,} more samples" if more else "",
        marks=_marks(view.decisions, metric, known, x, time),
        shares=_shares(view, time),
        time_ticks=_time_ticks(time),
        about=_about(metric, margin, known),
    )


def _with_present(points: Sequence[CoursePoint], standing: Standing | None, at: float) -> Sequence[CoursePoint]:
    """The course ends with what is known now, where that goes further."""
    if standing is None or not (standing.candidate_units and standing.champion_units):
        return points
    present = CoursePoint(
        units=standing.candidate_units,
        at=at,
        difference=standing.difference,
        low=standing.low,
        high=standing.high,
    )
    return (*(each for each in points if each.units < present.units), present)


def _heights(known: Sequence[CoursePoint], margin: float) -> _Scale:
    """So much of the difference that the margin is seen and what the band has come to fills the picture; its wide
    beginning is cut off."""
    late = known[len(known) // 3 :] or known
    reach = max((max(abs(each.low), abs(each.high)) for each in late), default=0.0)
    last = max((abs(each.low), abs(each.high)) for each in known[-1:])[0] if known else 0.0
    most = min(1.0, max(2.2 * margin, 1.15 * last, 0.7 * reach))
    return _Scale(-most, most, BOTTOM, TOP)


def _band(known: Sequence[CoursePoint], x: _Scale, y: _Scale) -> str:
    upper = [f"{x(each.units)},{y.held(each.high)}" for each in known]
    lower = [f"{x(each.units)},{y.held(each.low)}" for each in reversed(known)]
    return " ".join((*upper, *lower))


# -- decisions and steps -----------------------------------------------------------------------------------------

_TONES = {
    "promote": "good",
    "approve": "good",
    "rollback": "bad",
    "abort": "bad",
    "fail": "bad",
    "hold": "warn",
    "ask": "warn",
    "pause": "warn",
}


def _marks(
    decisions: Sequence[DecisionView], metric: str, known: Sequence[CoursePoint], x: _Scale, time: _Scale
) -> tuple[Mark, ...]:
    found: list[Mark] = []
    labelled_at = -math.inf
    for each in decisions:
        units: float | None = _units_then(each, metric)
        if units is None and known:
            units = _units_at(known, each.at)
        at = time.held(each.at)
        labelled = at - labelled_at >= _LEAST_BETWEEN
        labelled_at = at if labelled else labelled_at
        found.append(
            Mark(
                x=None if units is None else x.held(units),
                time_x=at,
                number=each.number,
                what=each.what,
                tone=_TONES.get(each.what, "plain"),
                title=f"{each.number}. {each.what}: {each.reason}",
                labelled=labelled,
            )
        )
    return tuple(found)


def _units_then(decision: DecisionView, metric: str) -> int | None:
    """By what the decision knew."""
    if bytes(decision.evidence) == b"{}":
        return None
    standings = msgspec.json.decode(decision.evidence, type=Known).standings
    return next((each.candidate_units for each in standings if each.metric == metric), None)


def _units_at(known: Sequence[CoursePoint], at: float) -> float:
    place = bisect.bisect_right([each.at for each in known], at)
    return known[place - 1].units if place else 0.0


def _shares(view: RolloutView, time: _Scale) -> tuple[Share, ...]:
    """What the candidate had between the decisions that moved it."""
    begun: list[tuple[float, float | None]] = []
    step = 0
    for each in view.decisions:
        if each.what in ("load", "step") and step < len(view.steps):
            begun.append((each.at, view.steps[step].share))
            step += 1
        elif each.what in ("promote", "approve"):
            begun.append((each.at, 100.0))
    ends = (*(at for at, _ in begun[1:]), view.ended_at if view.ended_at is not None else time.high)
    found = []
    for (at, share), end in zip(begun, ends, strict=False):
        left, right = time.held(at), time.held(end)
        if share is not None and right - left >= 1.0:
            text = f"{share:g} %" if share else "copies"
            found.append(
                Share(
                    x=left,
                    width=round(right - left, 1),
                    level=round(max(math.sqrt(share / 100), 0.06), 3),
                    text=text if right - left > 7.5 * len(text) else "",
                )
            )
    return tuple(found)


# -- axes --------------------------------------------------------------------------------------------------------


def _round_steps(most: float, about: int = 6) -> Sequence[float]:
    raw = most / about
    size = 10.0 ** math.floor(math.log10(raw)) if raw > 0 else 1.0
    step = max(1.0, next(size * each for each in (1, 2, 5, 10) if size * each >= raw))
    return [each * step for each in range(int(most // step) + 1)]


def _y_ticks(y: _Scale) -> tuple[Tick, ...]:
    raw = y.high / 2
    size = 10.0 ** math.floor(math.log10(raw))
    step = max(size * each for each in (1, 2, 5) if size * each <= raw)
    steps = int(y.high // step)
    return tuple(Tick(y(each * step), _signed(each * step)) for each in range(-steps, steps + 1))


def _signed(value: float) -> str:
    if abs(value) < 1e-9:
        return "0"
    return f"{value:+.4g}".replace("-", "−")


def _time_ticks(time: _Scale) -> tuple[Tick, ...]:
    span = time.high - time.low
    sizes = (10.0, 30.0, 60.0, 300.0, 600.0, 1800.0, 3600.0, 4 * 3600.0, 12 * 3600.0, 86400.0, 7 * 86400.0)
    step = next((each for each in sizes if span / each <= 6), 30 * 86400.0)
    return tuple(Tick(time(time.low + each * step), _passed(each * step)) for each in range(int(span // step) + 1))


def _passed(seconds: float) -> str:
    if seconds == 0:
        return "start"
    for size, word in ((86400.0, "d"), (3600.0, "h"), (60.0, "min")):
        if seconds >= size:
            return f"{seconds / size:g} {word}"
    return f"{seconds:g} s"


# -- words -------------------------------------------------------------------------------------------------------


def _open(view: RolloutView, standing: Standing) -> bool:
    """Whether its gate has decided nothing yet."""
    decided = standing.e_worse >= standing.needed_worse or standing.e_better >= standing.needed_better
    return view.state not in ENDED and not decided


def stands(view: RolloutView) -> str:
    """How the rollout stands, in one sentence."""
    measured = [each for each in view.standings if each.candidate_units]
    if view.state != "running" or not measured:
        return view.reason
    undecided = [each for each in view.standings if _open(view, each)]
    settled = [each.metric for each in view.standings if each not in undecided]
    where = f"Step {view.step} of {len(view.steps)}, {view.share:g} %: " if len(view.steps) > 1 else ""
    parts = [f"{listed(settled)} {'is' if len(settled) == 1 else 'are'} good enough"] if settled else []
    if undecided:
        parts.append(f"{listed(each.metric for each in undecided)} may still go either way")
    more = [each.more_units for each in undecided]
    if more and all(more):
        parts.append(f"and about {max(filter(None, more)):,} more samples are likely to settle it")
    return f"{where}{', '.join(parts)}."


def said(view: RolloutView, metric: str, standing: Standing | None) -> tuple[str, str]:
    """One sentence on how it stands with a gate, and its tone."""
    if standing is None or not standing.candidate_units:
        why = "the candidate is still being loaded" if view.state == "loading" else "no sample of it has come"
        return f"Nothing is known of {metric} yet: {why}.", "plain"
    units = f"{standing.candidate_units:,} {'sample' if standing.candidate_units == 1 else 'samples'}"
    means = f"{standing.candidate_mean:.3f} against {standing.champion_mean:.3f}"
    if standing.e_worse >= standing.needed_worse:
        return f"{metric} is worse: {means} over {units}, which is certain enough to roll back.", "bad"
    if standing.e_better >= standing.needed_better:
        margin = f"{standing.margin:g}"
        return f"{metric} is not worse by the margin of {margin}: {means} over {units}, which is certain.", "good"
    if standing.candidate_units < view.min_samples:
        return f"{metric} has {standing.candidate_units} of the {view.min_samples} samples that it needs.", "plain"
    between = f"between {_signed(round(standing.low, 3))} and {_signed(round(standing.high, 3))}"
    if view.state in ENDED:
        return f"{metric} was not settled: the difference lies {between} after {units}.", "warn"
    likely = f"; about {standing.more_units:,} more are likely to settle it" if standing.more_units else ""
    return f"{metric} may still go either way: the difference lies {between} after {units}{likely}.", "warn"


def _about(metric: str, margin: float, known: Sequence[CoursePoint]) -> str:
    """What the picture shows, for who does not see it."""
    if not known:
        return f"{metric}: nothing is known yet."
    last = known[-1]
    return (
        f"{metric}, candidate less champion: {_signed(round(last.difference, 4))} after {last.units} samples, "
        f"between {_signed(round(last.low, 4))} and {_signed(round(last.high, 4))}; the margin is {_signed(-margin)}."
    )
