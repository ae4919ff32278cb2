"""What scorers are set to, and the measures that come of it."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from typing import Annotated, Final, Literal

import msgspec

from penstock.core.errors import INVALID_VALUE, PenstockError
from penstock.core.policy import Settings
from penstock.core.releases import Measure, Scorer, digest
from penstock.quality.schema import Schema

Metric = Annotated[
    str,
    msgspec.Meta(
        pattern="^[a-z][a-z0-9_.-]{0,63}$",
        description="1 to 64 lower-case letters, digits, _, . and - that begin with a letter",
    ),
]
Service = Annotated[str, msgspec.Meta(min_length=1, max_length=128)]
Characters = Annotated[int, msgspec.Meta(ge=0, le=10_000_000)]
Text = Annotated[str, msgspec.Meta(max_length=20_000)]


class NoSettings(Settings, frozen=True, kw_only=True):
    """Of a scorer that needs none: `success`, and `latency`, `speed` and `cost`, which have a bound."""


class FormatSettings(Settings, frozen=True, kw_only=True, omit_defaults=True):
    """The form that a reply must have; each condition that is given must hold."""

    json: bool = False
    """Whether the whole reply must be one JSON value."""
    json_schema: Mapping[str, object] | None = None
    """A JSON Schema that the value must satisfy, which implies `json`. The keywords of 2020-12 are known but for
    those that look beside the value: a keyword that is not known is refused."""
    regex: Text = ""
    """A regular expression of Python that must be found in the reply; `^` and `$` bind it to its ends."""
    min_chars: Characters = 0
    """Characters that it must have at least, white space at its ends aside."""
    max_chars: Characters | None = None
    """Characters that it may have at most, white space at its ends aside."""


class SimilaritySettings(Settings, frozen=True, kw_only=True, omit_defaults=True):
    """What a reply should be close to in meaning, by the cosine of two embeddings."""

    service: Service
    """The service that makes embeddings."""
    to: Literal["prompt", "champion", "text"] = "text"
    """`prompt`: the request's last message of a user. `champion`: the champion's reply to the same request, where
    copies are compared. `text`: `text`."""
    text: Text = ""
    """What `to: text` is about."""


class JudgeSettings(Settings, frozen=True, kw_only=True, omit_defaults=True):
    """A model that judges replies."""

    service: Service
    """The service that judges. It should be none of the releases that are compared."""
    rubric: Annotated[str, msgspec.Meta(min_length=1, max_length=20_000)]
    """What makes a good reply, in words for the judge."""
    scale: Annotated[int, msgspec.Meta(ge=2, le=100)] = 5
    """The judge says a whole number from 1 to this."""
    share: Annotated[float, msgspec.Meta(gt=0, le=1)] = 1.0
    """Of the requests of the rollout, how many are judged, by chance; the same in both arms."""
    max_chars: Annotated[int, msgspec.Meta(ge=100, le=1_000_000)] = 8000
    """Characters of the request, and of the reply, that the judge sees at most; the middle is left out."""


class FeedbackSettings(Settings, frozen=True, kw_only=True, omit_defaults=True):
    """What clients and people say of a reply afterwards."""

    name: Metric
    """The name that they give it: that of an outcome, `correction` or `tag.TAG`; `feedback` for thumbs, ratings and
    scores."""
    low: float = 0.0
    """The value that scores 0."""
    high: float = 1.0
    """The value that scores 1; below `low` where less is better."""


def reported(name: str) -> str:
    """The metric of the scores that `/v1/feedback` makes of what goes by this name: `feedback` for thumbs, ratings
    and scores, anything else for outcomes."""
    return name if name == "feedback" else f"feedback.{name}"


ScorerSettings = NoSettings | FormatSettings | SimilaritySettings | JudgeSettings | FeedbackSettings

_FORMS: Final[Mapping[Scorer, type[ScorerSettings]]] = {
    "success": NoSettings,
    "latency": NoSettings,
    "speed": NoSettings,
    "cost": NoSettings,
    "format": FormatSettings,
    "similarity": SimilaritySettings,
    "judge": JudgeSettings,
    "feedback": FeedbackSettings,
}

BOUNDED: Final[frozenset[Scorer]] = frozenset(("latency", "speed", "cost"))
"""Scorers that need a bound: seconds, tokens a second, dollars."""

_CODE: Final[Mapping[Scorer, int]] = {
    "success": 1,
    "latency": 1,
    "speed": 1,
    "cost": 1,
    "format": 1,
    "similarity": 1,
    "judge": 1,
    "feedback": 1,
}
"""Raised with every change of a scorer that gives any answer another score."""


def settings_of(scorer: Scorer, settings: bytes) -> ScorerSettings:
    """The settings that JSON says. Raises ``PenstockError`` (``INVALID_VALUE``) where it does not fit the scorer."""
    try:
        return msgspec.json.decode(settings, type=_FORMS[scorer])
    except msgspec.MsgspecError as error:
        raise PenstockError(INVALID_VALUE, f"The settings of a scorer {scorer} do not fit it: {error}.") from None


def measure(
    metric: str, scorer: Scorer, settings: ScorerSettings | None = None, bound: float | None = None
) -> Measure:
    """A metric as a plan holds it. Its ``version`` is of the scorer's code, its settings and its bound: two measures
    of one version give every answer the same score.

    Raises ``PenstockError`` (``INVALID_VALUE``) where settings or bound do not fit the scorer, or cannot be used: a
    regular expression that is none, a keyword of JSON Schema that is not known.
    """
    settings = NoSettings() if settings is None else settings
    if not isinstance(settings, _FORMS[scorer]):
        raise PenstockError(INVALID_VALUE, f"The metric {metric} by {scorer} needs settings of its scorer.")
    if (scorer in BOUNDED) != (bound is not None) or (bound is not None and not bound > 0):
        what = "needs a bound above 0" if scorer in BOUNDED else "takes no bound"
        raise PenstockError(INVALID_VALUE, f"The metric {metric} by {scorer} {what}.")
    _check(metric, settings)
    text = msgspec.json.encode(settings, order="deterministic")
    version = f"{scorer}-{_CODE[scorer]}-" + digest(msgspec.json.encode([scorer, _CODE[scorer], bound]) + text)
    return Measure(metric=metric, scorer=scorer, version=version, bound=bound, settings=text)


def regex(pattern: str) -> re.Pattern[str]:
    """Raises ``PenstockError`` (``INVALID_VALUE``) where it is none."""
    try:
        return re.compile(pattern)
    except (re.error, OverflowError, RecursionError) as error:
        raise PenstockError(INVALID_VALUE, f"The regular expression {pattern!r} cannot be used: {error}.") from None


def _check(metric: str, settings: ScorerSettings) -> None:
    match settings:
        case FormatSettings():
            regex(settings.regex)
            if settings.json_schema is not None:
                Schema(settings.json_schema)
        case FeedbackSettings(low=low, high=high) if low == high or not math.isfinite(high - low):
            raise PenstockError(INVALID_VALUE, f"The metric {metric} needs a finite `low` and `high` that differ.")
        case SimilaritySettings(to="text", text=""):
            raise PenstockError(INVALID_VALUE, f"The metric {metric} needs a `text` to be close to.")
