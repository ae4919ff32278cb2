"""Recollection: what caches have of one request, from the look-up until its answer is kept or given up."""

from __future__ import annotations

from typing import Protocol

import msgspec

from penstock.access.charge import tokens_of
from penstock.caches.answers import Answers
from penstock.caches.control import CacheControl
from penstock.caches.flight import Seat
from penstock.caches.recorded import Recording
from penstock.core.caching import CacheKey, CachePolicy, Entry, Verdict, subject_digest
from penstock.core.chat import Call, chunk_view
from penstock.core.clock import Clock
from penstock.core.errors import PenstockError
from penstock.core.trail import Ending, Recalled, Trail
from penstock.core.usage import Tokens
from penstock.gateway.lease import Given, Lease
from penstock.gateway.record import subject
from penstock.gateway.settle import Settle, Summary
from penstock.gateway.tries import Try
from penstock.gateway.vectors_split import Split
from penstock.gateway.watch import Watcher

_PERCENT = 100


class Likely(Protocol):
    """What is known of the question nearest to a request. Exactly one of the three is called, when the request is
    over; none of them waits or raises."""

    entry: Entry | None
    """Serves the request; None: it is a miss."""
    distance: float | None
    confidence: float | None
    reason: str

    def given(self) -> None:
        """The client got ``entry``."""

    def made(self, entry: Entry) -> None:
        """The client got an answer of its own, which is this."""

    def lost(self) -> None:
        """Nothing came of it."""


class Kept(msgspec.Struct, frozen=True):
    """An answer that is given; ``age_s`` is how old it is."""

    entry: Entry
    verdict: Verdict
    age_s: float
    source: str = "exact"


class Recollection:
    """One request's. ``release`` is what serves it, ``model`` the one whose answers are kept, ``caller`` whose it may
    get; ``exact``: the answer may be kept for equal requests; ``said`` is what its client says of caches; ``verdict``
    what has come of it; ``capped``: the answer is held to a length that the client did not ask for; ``alike``: other
    questions are to be looked for; ``tags`` are its client's. Used by the tasks of its request;
    ``settling`` sees to its end."""

    __slots__ = (
        "_answers",
        "_began",
        "_charge",
        "_clock",
        "_recordings",
        "alike",
        "call",
        "caller",
        "capped",
        "exact",
        "given",
        "key",
        "likely",
        "model",
        "policy",
        "project",
        "release",
        "said",
        "seat",
        "split",
        "tags",
        "verdict",
        "why",
    )

    def __init__(
        self,
        answers: Answers,
        clock: Clock,
        call: Call,
        policy: CachePolicy,
        *,
        project: str,
        release: str,
        model: str,
        caller: str,
        key: CacheKey,
        exact: bool,
        said: CacheControl,
        tags: tuple[str, ...] = (),
    ) -> None:
        self._answers = answers
        self._clock = clock
        self._began = clock.wall()
        self._recordings: dict[int, Recording] | None = None
        self.tags = tags
        self.call = call
        self.policy = policy
        self.project = project
        self.release = release
        self.model = model
        self.caller = caller
        self.key = key
        self.exact = exact
        self.said = said
        self.verdict: Verdict = "miss"
        self.why = ""
        self.given: Kept | None = None
        self._charge: Given | None = None
        self.seat: Seat[Entry] | None = None
        self.likely: Likely | None = None
        self.split: Split | None = None
        self.capped = self.alike = False

    def begins(self) -> None:
        """Its answer begins to be made now, not before."""
        self._began = self._clock.wall()

    def give(self, kept: Kept) -> None:
        """This is what the client gets."""
        self.given, self.verdict, self.alike = kept, kept.verdict, False
        entry = kept.entry
        cost = entry.cost_nano or 0
        charged = -(-cost * self.policy.price_percent // _PERCENT)
        tokens = Tokens() if entry.usage is None else tokens_of(entry.usage)
        self._charge = Given(kept.verdict, entry.model, entry.price, tokens, charged, cost - charged)

    def wanted(self, call: Call) -> Call:
        """What the model is asked for the prepared ``call``."""
        return call if self.split is None or self.split.call is None else self.split.call

    def charge(self) -> Given | None:
        """What the answer that is given costs; None: none is."""
        return self._charge

    def fact(self) -> Recalled:
        """For the trail."""
        likely, charge = self.likely, self.charge()
        return Recalled(
            self._clock.now(),
            self.verdict,
            self._source(),
            self.why or ("" if likely is None else likely.reason),
            None if likely is None else likely.distance,
            None if likely is None else likely.confidence,
            0 if charge is None else charge.saved_nano,
        )

    def headers(self) -> dict[str, str]:
        """What the client is told."""
        said: list[str] = [self.verdict]
        if self.given is not None:
            said.append(f"source={self._source()}")
            said.append(f"age={self.given.age_s:.0f}")
        if (likely := self.likely) is not None and (self.given is None or self.verdict == "similar"):
            if likely.distance is not None:
                said.append(f"distance={likely.distance:.3f}")
            if likely.confidence is not None:
                said.append(f"confidence={likely.confidence:.3f}")
        if self.split is not None and self.split.known:
            said.append(f"known={self.split.known}")
        why = self.why or (likely.reason if likely is not None and self.given is None else "")
        if why:
            said.append(f"why={why}")
        found = {"x-penstock-cache": "; ".join(said)}
        if self.given is not None:
            found["x-penstock-cache-key"] = self.given.entry.key.hex()
        return found

    def recorder(self, tried: Try) -> Watcher:
        """Takes down what an attempt says, as its engine says it; to an answer for the texts of a request that are
        not known it first adds those that are."""
        exact = self.policy.exact
        recording = Recording(_MOST_BYTES if exact is None else exact.max_entry_bytes)
        if self._recordings is None:
            self._recordings = {}
        self._recordings[tried.number] = recording

        def take(chunk: bytes) -> bytes:
            recording.take((chunk,))
            return chunk

        split = self.split
        return take if split is None else lambda chunk: take(split.merged(chunk))

    def settling(self, settle: Settle) -> Settle:
        """``settle``, and then the answer is kept, or whoever waits for it is told that there is none."""

        def settled(
            trail: Trail, ending: Ending, error: PenstockError | None, lease: Lease | None, won: Try | None
        ) -> Summary:
            try:
                summary = settle(trail, ending, error, lease, won)
            except BaseException:
                self.lost()
                raise
            if self.given is not None:
                self._was_given()
            elif ending is Ending.COMPLETE and won is not None:
                self._was_made(won, summary)
            else:
                self.lost(failed=ending is Ending.FAILED)
            return summary

        return settled

    def lost(self, *, failed: bool = False) -> None:
        """It came to nothing: the next equal request that waits makes the answer; where it ``failed`` twice, each
        makes its own. Idempotent."""
        seat, self.seat = self.seat, None
        if seat is not None:
            seat.fail() if failed else seat.leave()
        likely, self.likely = self.likely, None
        if likely is not None:
            likely.lost()

    def _was_given(self) -> None:
        likely, self.likely = self.likely, None
        if likely is not None:
            # An old answer in the place of one that failed is none of the desk's.
            likely.given() if self.verdict == "similar" else likely.lost()
        self.lost(failed=self.verdict == "fallback")

    def _was_made(self, won: Try, summary: Summary) -> None:
        entry = self._entry(won, summary)
        seat, self.seat = self.seat, None
        if entry is None:
            if seat is not None:
                seat.disband()
            self.lost()
            return
        if self.exact:
            self._answers.keep(entry)
        if seat is not None:
            # What was invalidated meanwhile is for nobody else: the next one who waits makes another.
            seat.leave() if self._answers.covers(entry) else seat.land(entry)
        likely, self.likely = self.likely, None
        if likely is not None:
            likely.made(entry)

    def _entry(self, won: Try, summary: Summary) -> Entry | None:
        """The answer, as it is kept; None where it is not to be: it is not whole, or another request would get
        another one."""
        call, policy = self.call, self.policy
        recording = None if self._recordings is None else self._recordings.get(won.number)
        chunks = None if recording is None else recording.chunks(call.kind, stream=call.stream, usage=won.usage)
        if chunks is None or won.model != self.model or (self.capped and _cut(chunks)):
            return None
        exact, charge = policy.exact, won.charge(True, self._clock.now())
        fallback_s = 0.0 if policy.fallback is None else policy.fallback.within_s
        return Entry(
            key=self.key.digest,
            kind=call.kind,
            chunks=chunks,
            streamed=call.stream,
            usage=won.usage,
            created_at=self._began,
            fresh_for_s=exact.ttl_s if self.exact and exact is not None else _semantic_s(policy),
            stale_for_s=exact.stale_s if self.exact and exact is not None else 0.0,
            fallback_for_s=fallback_s if self.exact else 0.0,
            service=summary.service,
            release=self.release,
            project=self.project,
            subject=subject_digest(subject(call)),
            tags=(*policy.tags, *self.tags),
            model=won.model,
            price=won.priced,
            cost_nano=None if won.price is None or charge is None else charge.cost_nano,
            took_s=summary.duration_s,
        )

    def _source(self) -> str:
        if self.given is not None:
            return self.given.source
        return "" if self.verdict == "bypass" else "exact" if self.likely is None else "semantic"


_MOST_BYTES = 1 << 20


def _semantic_s(policy: CachePolicy) -> float:
    return 0.0 if policy.semantic is None else policy.semantic.ttl_s


def _cut(chunks: tuple[bytes, ...]) -> bool:
    """Whether the answer ended because there was no more room for it."""
    try:
        return any(choice.finish_reason == "length" for chunk in chunks for choice in chunk_view(chunk).choices)
    except msgspec.DecodeError:
        return True
