"""POST /v1/feedback: what a client, or whoever uses it, says of an answer, by the id of its request."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, Literal, Protocol

import msgspec

from penstock.core.errors import INVALID_VALUE, MISSING_PARAMETER, RATE_LIMITED, PenstockError
from penstock.core.identity import Principal
from penstock.core.releases import Score
from penstock.edge.http.dialects.checked import Head

MOST_TEXT = 16_384
"""Characters of a correction or a comment."""

_OUR_OWN = ("correction", "tag")

Share = Annotated[float, msgspec.Meta(ge=0, le=1)]
Word = Annotated[str, msgspec.Meta(pattern=r"^[a-z][a-z0-9_-]{0,63}\Z")]
Text = Annotated[str, msgspec.Meta(min_length=1, max_length=MOST_TEXT)]


class Result(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What came of the answer, by a name of the client's own (``resolved``): how well it went, from 0 to 1."""

    name: Word
    value: Share | bool


class FeedbackRequest(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """At most one of ``thumb``, ``rating`` and ``score``, which say the same; at least one thing in all."""

    request_id: Annotated[str, msgspec.Meta(pattern=r"^[\x21-\x7e]{1,128}\Z")]
    thumb: Literal["up", "down"] | None = None
    rating: Annotated[int, msgspec.Meta(ge=1, le=5)] | None = None
    score: Share | None = None
    outcome: Result | None = None
    correction: Text | None = None
    tag: Word | None = None
    comment: Text | None = None
    cached: Literal["wrong"] | None = None
    """The answer came from the cache, and is not the one to this request: nobody is to get it from there again."""


class FeedbackTaken(msgspec.Struct, frozen=True, omit_defaults=True):
    """``metrics`` are the names that its scores go by. ``cached``, where something was said of that: ``removed``, or
    ``unknown`` as the gateway knows of no answer from the cache to such a request, or not any more."""

    request_id: str
    metrics: list[str]
    cached: Literal["removed", "unknown"] | None = None


class Disown(Protocol):
    """Takes back an answer from the cache."""

    async def __call__(self, request_id: str, project: str, key_id: str) -> bool:
        """The answer that this request of the project got from the cache is wrong, the key says: nobody gets it from
        there again. False: it is not known to have got one. Raises ``PenstockError`` when nobody can tell now."""


class Note(msgspec.Struct, frozen=True, omit_defaults=True):
    """What goes along with a score that a client gives, as JSON. ``project`` is that of its key: feedback on a
    request of another project is dropped where the request is looked up."""

    project: str
    key: str
    comment: str = ""
    correction: str = ""


class Pace:
    """How much each key may say, at one worker: so much that no application is stopped, and not so much that one key
    fills the journal for all. ``now`` is in seconds; where it goes back, nothing is gained."""

    EACH_S = 0.05
    """One body in so many seconds, in the long run."""
    AT_ONCE = 400
    """Bodies beside that."""
    _MOST_KEYS = 10_000

    def __init__(self) -> None:
        # Until when what a key has said is paid for, at one each EACH_S.
        self._until: dict[str, float] = {}

    def check(self, key: str, now: float) -> None:
        """One more body. Raises ``PenstockError(RATE_LIMITED)`` with when to come again."""
        until = max(self._until.pop(key, now), now) + self.EACH_S
        wait_s = until - now - self.AT_ONCE * self.EACH_S
        if wait_s > 0:
            self._until[key] = until - self.EACH_S
            raise PenstockError(
                RATE_LIMITED,
                f"This key gives more feedback than {1 / self.EACH_S:.0f} a second. Try again in a moment.",
                retry_after=wait_s,
            )
        # The keys that have said nothing for the longest stand first.
        self._until[key] = until
        if len(self._until) > self._MOST_KEYS:
            del self._until[next(iter(self._until))]


_head = Head(FeedbackRequest)


def read(body: bytes) -> FeedbackRequest:
    """Raises ``PenstockError``: a 400 that names the field at fault."""
    asked, _ = _head.read(body)
    said = [name for name in ("thumb", "rating", "score") if getattr(asked, name) is not None]
    if len(said) > 1:
        raise PenstockError(
            INVALID_VALUE, f"'{said[0]}' and '{said[1]}' say the same thing. Send one of them.", param=said[1]
        )
    if not said and asked.outcome is None and asked.correction is None and asked.tag is None and asked.cached is None:
        raise PenstockError(
            MISSING_PARAMETER,
            "Nothing is said of the answer. Add one of 'thumb', 'rating', 'score', 'outcome', 'correction', 'tag' or "
            "'cached'.",
        )
    if asked.outcome is not None and asked.outcome.name in _OUR_OWN:
        raise PenstockError(
            INVALID_VALUE,
            f"'outcome.name' may not be '{asked.outcome.name}', which is a field of its own. Choose another name.",
            param="outcome.name",
        )
    return asked


async def taken(
    asked: FeedbackRequest, told: tuple[Score, ...], principal: Principal, disown: Disown | None
) -> FeedbackTaken:
    """What the client hears, once an answer that it says is wrong is gone from the cache. Raises ``PenstockError`` as
    ``Disown`` does."""
    metrics = [score.metric for score in told]
    if asked.cached is None:
        return FeedbackTaken(asked.request_id, metrics)
    gone = disown is not None and await disown(asked.request_id, principal.project, principal.key_id)
    return FeedbackTaken(asked.request_id, metrics, "removed" if gone else "unknown")


def scores(asked: FeedbackRequest, principal: Principal, now: float) -> tuple[Score, ...]:
    """What is said, as scores of a request that the store is to look up; ``now`` in seconds since the epoch."""
    note = Note(principal.project, principal.key_id, asked.comment or "", asked.correction or "")
    told = msgspec.json.encode(note).decode()
    return tuple(
        Score(
            request_id=asked.request_id,
            at=now,
            arrived_at=now,
            service="",
            release="",
            rollout="",
            metric=metric,
            version="",
            value=value,
            unit="",
            note=told,
        )
        for metric, value in _said(asked)
    )


def _said(asked: FeedbackRequest) -> Iterator[tuple[str, float]]:
    if asked.thumb is not None:
        yield "feedback", 1.0 if asked.thumb == "up" else 0.0
    if asked.rating is not None:
        yield "feedback", (asked.rating - 1) / 4
    if asked.score is not None:
        yield "feedback", asked.score
    if asked.outcome is not None:
        yield f"feedback.{asked.outcome.name}", float(asked.outcome.value)
    if asked.correction is not None:
        yield "feedback.correction", 0.0
    if asked.tag is not None:
        yield f"feedback.tag.{asked.tag}", 1.0
