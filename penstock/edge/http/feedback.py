"""POST /v1/feedback: what a client, or whoever uses it, says of an answer, by the id of its request."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, Literal

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


class FeedbackTaken(msgspec.Struct, frozen=True):
    """``metrics`` are the names that its scores go by."""

    request_id: str
    metrics: list[str]


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
    if not said and asked.outcome is None and asked.correction is None and asked.tag is None:
        raise PenstockError(
            MISSING_PARAMETER,
            "Nothing is said of the answer. Add one of 'thumb', 'rating', 'score', 'outcome', 'correction' or 'tag'.",
        )
    if asked.outcome is not None and asked.outcome.name in _OUR_OWN:
        raise PenstockError(
            INVALID_VALUE,
            f"'outcome.name' may not be '{asked.outcome.name}', which is a field of its own. Choose another name.",
            param="outcome.name",
        )
    return asked


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
