"""Recall: whether the answer to a request is there already, and what is done so that the next one finds it.

A cache never fails a request: what goes wrong with it is a miss. What the gateway asks for itself goes past it.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Awaitable, Callable, Sequence
from typing import Protocol

import msgspec

from penstock.caches.answers import Answers, served
from penstock.caches.canonical import Keys, key_of
from penstock.caches.control import NOTHING_SAID, CacheControl, control, tags_of
from penstock.caches.flight import Flights
from penstock.core.caching import CacheKey, CachePolicy, Entry
from penstock.core.chat import Call, Kind
from penstock.core.clock import Clock
from penstock.core.errors import BREAKER_OPEN, NOT_CACHED, SERVICE_REFUSED, PenstockError
from penstock.core.policy import Terms
from penstock.core.serving import Deployment, Service
from penstock.core.trail import Trail
from penstock.gateway.alarm import Alarm
from penstock.gateway.answered_by import release_of, served_by
from penstock.gateway.backlog import Backlog
from penstock.gateway.directory import narrowed
from penstock.gateway.inside import Ask, inner, read, size_of
from penstock.gateway.lot import FORCE
from penstock.gateway.moulds import Moulds
from penstock.gateway.recollection import Kept, Likely, Recollection
from penstock.gateway.record import subject
from penstock.gateway.snapshot import Admission
from penstock.gateway.vectors import Vectors

TAGS = b"x-penstock-cache-tags"

# Answers that are made anew behind, in one worker.
_AT_ONCE = 8
_WAITING = 256
_WAITING_BYTES = 32 * 1024 * 1024
_WITHIN_S = 600.0

MOST_GIVEN = 20_000
"""Answers from the cache of which is known, by the id of the request, what was given."""


class Likeness(Protocol):
    """What recall needs of whoever knows which questions mean the same."""

    def past(self, call: Call, service: Service, sent: Call) -> str:
        """Why the prepared call, which a client sent as ``sent``, is not compared with others, one word; empty: it
        may be."""

    async def seek(
        self, call: Call, service: Service, admission: Admission, release: str, key: CacheKey, sent: Call
    ) -> Likely | None:
        """What is known of the question nearest to the prepared call, which a client sent as ``sent``. None: nobody
        can tell. Waits for about two seconds at most, and never raises for want of an answer."""


class Recall:
    """One object per worker, used by all its tasks at once. ``prepare`` makes of a call what a service's model gets;
    ``likeness`` None: only equal requests are one; ``vectors`` None: embeddings are kept by whole requests only;
    ``flights`` are those of equal requests, None: this worker's alone."""

    def __init__(
        self,
        answers: Answers,
        clock: Clock,
        prepare: Callable[[Call, Service, Admission], Awaitable[Call]],
        likeness: Likeness | None = None,
        vectors: Vectors | None = None,
        flights: Flights[Entry] | None = None,
    ) -> None:
        self._answers = answers
        self._clock = clock
        self._prepare = prepare
        self._likeness = likeness
        self._vectors = vectors
        self._keys = Keys()
        self._moulds = Moulds()
        self._flights = Flights[Entry]() if flights is None else flights
        self._behind = Backlog(at_once=_AT_ONCE, waiting=_WAITING, size=_WAITING_BYTES, within_s=_WITHIN_S)
        self._gave: OrderedDict[tuple[str, str], bytes] = OrderedDict()

    async def __call__(
        self,
        sent: Call,
        call: Call,
        service: Service,
        admission: Admission,
        terms: Terms,
        alarm: Alarm,
        trail: Trail,
        ask: Ask,
    ) -> Recollection | None:
        """What caches have of the prepared ``call``, which a client sent as ``sent``. None: they are not asked.

        Waits for an equal request that is being answered, and for the tiers. Raises ``PenstockError``: NOT_CACHED
        where the client wants nothing else, and when the alarm rings.
        """
        policy = service.policy.cache
        if policy is None or sent.internal or admission.principal.purpose == "internal":
            return None
        header = terms.headers.get(b"cache-control")
        said = NOTHING_SAID if header is None else control(header.decode("latin-1"))
        of = self._begun(sent, call, service, admission, terms, said)
        if of.verdict == "bypass":
            if said.only_cached:
                raise _not_cached()
            return of
        if of.exact and (found := self._answers.look(of.key, said)) is not None:
            of.give(Kept(found.entry, "stale" if found.stale else "hit", found.age_s))
            if found.stale:
                self._refresh(of, sent, service, admission, ask)
            return of
        try:
            with alarm.begin():
                await self._look(of, sent, service, admission, said, trail, ask)
        except BaseException:
            of.lost()
            raise
        if of.given is None and said.only_cached:
            of.lost()
            raise _not_cached()
        return of

    async def similar(
        self, of: Recollection, sent: Call, service: Service, admission: Admission, alarm: Alarm
    ) -> bool:
        """Whether the answer to another question is given. Limits have let the request through: to find out costs,
        and so may a hit. Raises ``PenstockError`` when the alarm rings."""
        if self._likeness is None:
            return False
        with alarm.begin():
            of.likely = await self._likeness.seek(of.call, service, admission, of.release, of.key, sent)
        if of.likely is None or (entry := of.likely.entry) is None:
            return False
        of.give(Kept(entry, "similar", max(0.0, self._clock.wall() - entry.created_at), "semantic"))
        # Whoever waits asks for itself: it is counted by itself.
        if of.seat is not None:
            of.seat.disband()
        return True

    def still(self, of: Recollection, call: Call, service: Service, deployment: Deployment) -> Recollection | None:
        """``of``, for the request that makes its answer anew; None where that has become another one, since its
        service has changed."""
        by = served_by(service, deployment)
        if (
            release_of(service, deployment) != of.release
            or key_of(call, project=of.project, release=by, caller=of.caller) != of.key
        ):
            of.lost()
            return None
        of.begins()
        return of

    async def instead(
        self, of: Recollection, error: PenstockError, sent: Call, service: Service, admission: Admission
    ) -> bool:
        """Whether, as every attempt has failed, an old answer of a release that is being served is given."""
        fault = error.fault
        if (
            of.policy.fallback is None
            or not of.exact
            or not (fault.retry or fault in (BREAKER_OPEN, SERVICE_REFUSED))
        ):
            return False
        entry = await self._answers.fallback(of.key)
        if entry is None:
            entry = await self._of_others(of, sent, service, admission)
        if entry is None or entry.kind is not sent.kind or not self._answers.may(entry, of.said):
            return False
        of.give(Kept(entry, "fallback", max(0.0, self._clock.wall() - entry.created_at)))
        return True

    def chunks(self, of: Recollection, service: Service) -> Sequence[bytes]:
        """What the client is told of the answer that is given, at least one chunk."""
        given, charge, call = of.given, of.charge(), of.call
        assert given is not None
        assert charge is not None
        entry = given.entry
        self._gave[of.project, call.request_id] = entry.key
        if len(self._gave) > MOST_GIVEN:
            self._gave.popitem(last=False)
        return self._moulds.chunks(entry, call, service, charge.cost_nano)

    def gave(self, request_id: str, project: str) -> str | None:
        """The key, in hexadecimal, of the answer that a request got from the cache; None: none that is known. The
        newest ``MOST_GIVEN`` are."""
        key = self._gave.get((project, request_id))
        return None if key is None else key.hex()

    async def idle(self) -> None:
        """Returns once nothing is being made anew."""
        await self._behind.idle()

    async def aclose(self) -> None:
        """Breaks off what is being made anew."""
        await self._behind.aclose()

    # -- looking -----------------------------------------------------------------------------------------------------

    def _begun(
        self, sent: Call, call: Call, service: Service, admission: Admission, terms: Terms, said: CacheControl
    ) -> Recollection:
        """Where it begins."""
        policy, principal = service.policy.cache, admission.principal
        assert policy is not None
        deployment = admission.snapshot.deployment
        release = by = release_of(service, deployment)
        if service.release:
            by = served_by(service, deployment)
        # Of questions only the release is told.
        past = "off" if policy.semantic is None or by != release else self._past(sent, call, service, said)
        caller = caller_of(policy, admission, call)
        key, unfit = self._keys.of(call, policy.exact, project=principal.project, release=by, caller=caller)
        why: str = unfit or ""
        tags = tags_of(terms.headers[TAGS]) if TAGS in terms.headers else ()
        of = Recollection(
            self._answers,
            self._clock,
            call,
            policy,
            project=principal.project,
            release=release,
            model=service.models[0],
            caller=caller,
            key=key or CacheKey(b""),
            exact=not why,
            said=said,
            tags=tags or (),
        )
        if key is None or tags is None or not said.store or (why and past):
            of.verdict, of.exact = "bypass", False
            of.why = why if past == "off" else past
            if key is None or tags is None or not said.store:
                of.why = "incomparable" if key is None else "tags" if tags is None else "no-store"
        else:
            of.alike = not past
        return of

    def _past(self, sent: Call, call: Call, service: Service, said: CacheControl) -> str:
        if self._likeness is None:
            return "off"
        if said != NOTHING_SAID:
            # What it asks for is said of equal requests.
            return "control"
        return self._likeness.past(call, service, sent)

    async def _look(
        self,
        of: Recollection,
        sent: Call,
        service: Service,
        admission: Admission,
        said: CacheControl,
        trail: Trail,
        ask: Ask,
    ) -> None:
        if of.exact and await self._waited(of, said, trail):
            if of.verdict == "stale":
                self._refresh(of, sent, service, admission, ask)
            return
        if of.exact and self._vectors is not None and of.call.kind is Kind.EMBEDDING:
            await self._vectors.into(of, service, admission.snapshot.deployment, said)

    async def _waited(self, of: Recollection, said: CacheControl, trail: Trail) -> bool:
        """Whether an equal request's answer is given that is not in memory yet; else this one has a seat, unless the
        client wants a new answer."""
        exact = of.policy.exact
        assert exact is not None
        if not said.read or said.max_age_s == 0.0 or said.min_fresh_s > exact.ttl_s:
            of.verdict = "refresh"
            return False
        if not said.only_cached:
            began = self._clock.now()
            of.seat = await self._flights.seat(of.key.digest, exact.wait_s)
            trail.away += self._clock.now() - began
            of.begins()
            if of.seat.value is not None:
                return self._shared(of, of.seat.value, said)
        if not self._answers.deep or (found := await self._answers.find(of.key, said)) is None:
            return False
        if of.seat is not None:
            of.seat.land(found.entry)
        of.give(Kept(found.entry, "stale" if found.stale else "hit", found.age_s))
        return True

    def _shared(self, of: Recollection, entry: Entry, said: CacheControl) -> bool:
        """Whether what an equal request has brought is given; it may have found it in a tier."""
        if not self._answers.may(entry, said):
            return False
        wall = self._clock.wall()
        found = served(entry, said, wall)
        stale = found is not None and found.stale
        of.give(Kept(entry, "stale" if stale else "shared", max(0.0, wall - entry.created_at)))
        return True

    def _refresh(self, of: Recollection, sent: Call, service: Service, admission: Admission, ask: Ask) -> None:
        """Has the answer made anew, unless that is being done."""
        seat = self._flights.lead(of.key.digest)
        if seat is None:
            return
        assert of.given is not None
        kept = tuple(tag for tag in of.given.entry.tags if tag not in of.policy.tags)
        fresh = Recollection(
            self._answers,
            self._clock,
            of.call,
            of.policy,
            project=of.project,
            release=of.release,
            model=of.model,
            caller=of.caller,
            key=of.key,
            exact=True,
            said=_ANEW,
            tags=kept,
        )
        fresh.seat = seat
        copy = msgspec.structs.replace(sent, request_id=f"{sent.request_id}:fresh", dialect="")
        headers = {FORCE: service.release.encode()} if service.release else {}
        models = admission.principal.models
        wait_s = 0.0 if of.policy.exact is None else of.policy.exact.wait_s

        async def make() -> None:
            try:
                fresh.seat = await seat.reach(wait_s)
                if fresh.seat.value is not None:
                    # Another worker has made it.
                    return
                await read(await ask(copy, inner(models), Terms(headers=headers), None, fresh))
            except PenstockError:
                # It was no client's: the stale one serves on until its time is over.
                return
            finally:
                fresh.lost()

        if not self._behind.offer(make, size_of(copy)):
            fresh.lost()

    async def _of_others(self, of: Recollection, sent: Call, service: Service, admission: Admission) -> Entry | None:
        """What another release that has a share of the service's requests has answered."""
        deployment = admission.snapshot.deployment
        whole = deployment.services.get(service.name)
        if whole is None or whole.assignment is None:
            return None
        shared = {each.release for each in (*whole.assignment.ranges, *whole.assignment.inside)}
        for release in sorted(shared - {service.release}):
            variant = whole.assignment.variants.get(release)
            models = admission.principal.models
            if variant is not None and models is not None:
                variant = narrowed(variant, models)
            if variant is None:
                continue
            try:
                call = await self._prepare(sent, variant, admission)
            except PenstockError:
                continue
            by = served_by(variant, deployment)
            key = key_of(call, project=of.project, release=by, caller=of.caller)
            if key is not None and (entry := await self._answers.fallback(key)) is not None:
                return entry
        return None


_ANEW = control("no-cache")


def caller_of(policy: CachePolicy, admission: Admission, call: Call) -> str:
    """Whose answers a request may get; empty: its whole project's."""
    if not policy.per_caller:
        return ""
    principal, who = admission.principal, subject(call)
    # A key may be that of a backend, which says for whom it asks. A name of a user or a key has no zero byte.
    return f"{principal.user or principal.key_id}\0{who}" if who else principal.user or principal.key_id


def _not_cached() -> PenstockError:
    return PenstockError(
        NOT_CACHED,
        "The request says `cache-control: only-if-cached`, and no answer is kept that may serve it. Leave that out "
        "to have one made.",
    )
