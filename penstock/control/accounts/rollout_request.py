"""What is asked of a rollout, and the plan that it makes. Everything that could be wrong is found here, before
anything moves. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from decimal import Decimal
from typing import Annotated, Final, Literal, get_args

import msgspec

from penstock.control.accounts.traffic import Recent
from penstock.control.accounts.turn import Name, Text, Turn, invalid, near
from penstock.control.rollouts.presets import Asked, Options, planned, usual_gates
from penstock.core.errors import PenstockError
from penstock.core.money import NANO
from penstock.core.releases import WHOLE, Gate, Measure, Plan, Release, Scorer, Segment, Step
from penstock.prompts.config import Member
from penstock.quality.config import JudgeSettings, Metric, SimilaritySettings, measure, settings_of
from penstock.quality.verdict import PAIRED

Percent = Annotated[float, msgspec.Meta(ge=0, le=100)]
Seconds = Annotated[float, msgspec.Meta(ge=0, le=1e9)]
Samples = Annotated[int, msgspec.Meta(ge=0, le=1_000_000)]

_SCORERS: tuple[Scorer, ...] = get_args(Scorer)
_SUCCESS: Final = "success"
_REPORTED: Final = "feedback."
"""How names of outcomes, tags and corrections begin in the answer of `/v1/feedback`."""
_SAID: Final = frozenset(("thumb", "rating", "score"))


class GateForm(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The candidate may be worse than the champion in the mean of `metric`, which is from 0 to 1, by less than
    `margin`. `scorer` makes the metric; default: the one of its name, and `feedback` of `feedback.NAME`. `bound`:
    seconds for `latency`, tokens a second for `speed`, dollars for `cost`; default: by what the service did in the
    last day. `settings` are the scorer's."""

    metric: Metric
    margin: Annotated[float, msgspec.Meta(gt=0, lt=1)] = 0.05
    scorer: Scorer | None = None
    bound: Annotated[float, msgspec.Meta(gt=0)] | None = None
    settings: dict[str, Member] = {}


class StepForm(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """`share` percent of the traffic until `hold_s` seconds have passed and the candidate has `samples`."""

    share: Percent
    hold_s: Seconds = 0.0
    samples: Samples = 0


class SegmentForm(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Whom it is about: each kind that is named must match, by any of its values."""

    headers: dict[str, tuple[Text, ...]] = {}
    keys: tuple[Name, ...] = ()
    projects: tuple[Name, ...] = ()


class StartRollout(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """`release` takes the place of the one that `service` has now. What is left out is as usual for the `preset`;
    shares are in percent. `share` is that of `ab`. `alpha`: the chance of a wrong decision that is taken. `window_s`:
    a user counts once in so many seconds. `mirror_share` and `mirror_budget` (US dollars a day, as a decimal text)
    are of copied requests."""

    service: Name
    release: Name
    preset: Asked = "canary"
    gates: Annotated[tuple[GateForm, ...], msgspec.Meta(max_length=20)] | None = None
    steps: Annotated[tuple[StepForm, ...], msgspec.Meta(max_length=50)] | None = None
    share: Percent | None = None
    alpha: float | None = None
    min_samples: Samples | None = None
    max_samples: Samples | None = None
    window_s: Seconds | None = None
    deadline_s: Seconds | None = None
    on_deadline: Literal["rollback", "ask"] | None = None
    promote: Literal["automatic", "ask"] | None = None
    sticky: Literal["user", "conversation", "request"] | None = None
    segment: SegmentForm | None = None
    keep_warm_s: Seconds | None = None
    mirror_share: Percent | None = None
    mirror_budget: Decimal | None = None


def plan_of(turn: Turn, asked: StartRollout, candidate: Release, champion: str, recent: Recent) -> Plan:
    """Raises ``PenstockError(INVALID_VALUE)`` that names the field."""
    gates, measures = _measured(turn, asked, recent)
    options = Options(
        steps=None if asked.steps is None else tuple(map(_step, asked.steps)),
        share=_millionths(asked.share),
        alpha=asked.alpha,
        min_samples=asked.min_samples,
        max_samples=asked.max_samples,
        window_s=asked.window_s,
        deadline_s=asked.deadline_s,
        on_deadline=asked.on_deadline,
        promote=asked.promote,
        sticky=asked.sticky,
        segment=segment_of(asked.segment),
        keep_warm_s=asked.keep_warm_s,
        mirror_share=_millionths(asked.mirror_share),
        mirror_budget_nano=_nano(asked.mirror_budget),
    )
    return planned(
        asked.preset, candidate=candidate.id, champion=champion, gates=gates, measures=measures, options=options
    )


def _measured(turn: Turn, asked: StartRollout, recent: Recent) -> tuple[Sequence[Gate], Sequence[Measure]]:
    usual = asked.gates is None
    forms = tuple(GateForm(metric=each) for each in usual_gates(asked.preset)) if usual else asked.gates or ()
    gates: list[Gate] = []
    measures: list[Measure] = []
    for place, form in enumerate(forms):
        param = f"gates[{place}]"
        made = measure_of(form, recent, param)
        if made is None:
            if usual:
                # Nothing was answered lately that a bound could be taken from; the plan says which gates it has.
                continue
            raise invalid(
                f"{param}.bound",
                f"Nothing was measured at '{asked.service}' lately that a bound of '{form.metric}' could be taken "
                "from. Give 'bound'.",
            )
        _check_called(turn, asked, made, param)
        gates.append(Gate(metric=form.metric, margin=form.margin))
        measures.append(made)
    if gates and all(each.scorer != _SUCCESS for each in measures):
        # Without a gate of its own it still says whether requests were split as they should be, and were scored.
        measures.append(measure(_SUCCESS, _SUCCESS))
    return gates, measures


def measure_of(form: GateForm, recent: Recent, param: str) -> Measure | None:
    """What a gate is on; None: it needs a bound, and there is none. Raises ``PenstockError(INVALID_VALUE)``."""
    scorer = form.scorer or next((each for each in _SCORERS if each == form.metric), None)
    outcome = form.metric.removeprefix(_REPORTED)
    if scorer is None and outcome != form.metric:
        scorer = "feedback"
    if scorer is None:
        raise invalid(
            f"{param}.metric",
            f"Nobody reports '{form.metric}'. {near(form.metric, _SCORERS)} For an outcome that clients report to "
            f"/v1/feedback by this name, write '{_REPORTED}{form.metric}'.",
        )
    if form.metric == _SUCCESS and scorer != _SUCCESS:
        raise invalid(f"{param}.metric", f"'{_SUCCESS}' is the metric of the scorer of this name. Choose another.")
    bound = form.bound
    if bound is None and scorer in ("latency", "speed", "cost"):
        bound = {
            "latency": recent.p95_s,
            "speed": recent.p5_tokens_per_s,
            # Twice what the dearest cost: a candidate that is dearer still scores less, and none scores 0 at once.
            "cost": recent.p95_dollars and 2 * recent.p95_dollars,
        }[scorer]
        if bound is None:
            return None
    settings = dict(form.settings)
    if scorer == "feedback":
        if form.metric in _SAID and "name" not in settings:
            raise invalid(
                f"{param}.metric",
                f"Thumbs, ratings and scores of clients go by one name: write 'feedback' in the place of "
                f"'{form.metric}', or \"name\" for an outcome that is called so.",
            )
        settings.setdefault("name", outcome)
    try:
        found = settings_of(scorer, msgspec.json.encode(settings))
        return measure(form.metric, scorer, found, bound)
    except PenstockError as error:
        raise invalid(f"{param}.settings", f"{error.message} Mend the gate on '{form.metric}'.") from None


def _check_called(turn: Turn, asked: StartRollout, made: Measure, param: str) -> None:
    """Whether the service that scores is there, and is not what is scored."""
    settings = settings_of(made.scorer, made.settings)
    if not isinstance(settings, JudgeSettings | SimilaritySettings):
        return
    if settings.service not in turn.served.services:
        raise invalid(
            f"{param}.settings.service",
            f"There is no service '{settings.service}' that could score '{made.metric}'. "
            f"{near(settings.service, turn.served.services)}",
        )
    if isinstance(settings, JudgeSettings) and settings.service == asked.service:
        raise invalid(
            f"{param}.settings.service",
            f"'{asked.service}' cannot judge itself. Name a service of its own for '{made.metric}'.",
        )
    if isinstance(settings, SimilaritySettings) and settings.to == "champion" and asked.preset not in PAIRED:
        raise invalid(
            f"{param}.settings.to",
            f"Under '{asked.preset}' no request is answered by both releases. Choose 'champion_challenger', or "
            "another 'to'.",
        )


def _step(form: StepForm) -> Step:
    return Step(share=round(form.share * WHOLE / 100), hold_s=form.hold_s, samples=form.samples)


def _millionths(percent: float | None) -> int | None:
    return None if percent is None else round(percent * WHOLE / 100)


def _nano(dollars: Decimal | None) -> int | None:
    if dollars is None:
        return None
    if not (dollars.is_finite() and 0 <= dollars <= 1_000_000):
        raise invalid("mirror_budget", "'mirror_budget' must be from 0 to 1,000,000 US dollars a day.")
    return int(dollars * NANO)


def segment_of(form: SegmentForm | None) -> Segment | None:
    """As a plan has it; None: everybody."""
    if form is None:
        return None
    headers = tuple((name.lower(), value) for name, values in form.headers.items() for value in values)
    return Segment(headers=headers, keys=form.keys, projects=form.projects)
