"""The way of one request, on one screen: every dialect goes through ``Gateway.chat``.

| room | what leaves it |
| --- | --- |
| ``admit`` | ``Admission``: who calls, and the snapshot the request holds to the end |
| ``assign`` | ``Service``: what the name the client sent stands for; where releases share it, the one that it drew |
| ``prepare`` | ``Call``: with the prompt, the defaults and the history that the service has |
| ``recall`` | ``Recollection``: what caches have of it; an answer that is there already is all, and ends here |
| ``reserve`` | ``Lease``: what the request may use of limits and budgets, held until it is known what it did use |
| ``place`` | ``Place``: one of the requests that the service works on at once, waited for in its queue |
| ``plan`` | ``Course``: the attempts to make, one after the other |
| ``dispatch`` | ``Won``: the first attempt whose first chunk may be released |
| ``reply`` | ``Reply``: owns the place, the upstream and the trail, closes each exactly once |
| ``settle`` | when the reply closes, however it closes: trail -> journal, metrics, log |
| ``recording`` | and then, where there is a log of requests: what is kept of it -> spool |
"""

from __future__ import annotations

import random
from collections.abc import Awaitable, Callable, Sequence

from penstock.access.keyring import UnknownKid
from penstock.core.chat import Call
from penstock.core.clock import Clock
from penstock.core.errors import PenstockError
from penstock.core.identity import Principal
from penstock.core.policy import Ask, Terms, TraceParent
from penstock.core.releases import Score
from penstock.core.serving import Service
from penstock.core.trail import Arrived, Ending, Prepared, Reserved, Trail
from penstock.gateway import directory
from penstock.gateway.admit import admit
from penstock.gateway.alarm import Alarm, Alarms
from penstock.gateway.assign import assign
from penstock.gateway.cached_reply import CachedReply
from penstock.gateway.dispatch import Race, dispatch
from penstock.gateway.lease import Lease
from penstock.gateway.place import Place, Places, claimed, placed
from penstock.gateway.plan import Course, Traffic
from penstock.gateway.prepare import Preparing
from penstock.gateway.recall import Recall
from penstock.gateway.recollection import Recollection
from penstock.gateway.recording import Recording
from penstock.gateway.reply import Hearing, Reply, UpstreamReply
from penstock.gateway.reserve import Reserving, leased
from penstock.gateway.settle import Settle, Summary, telling
from penstock.gateway.snapshot import Admission, Snapshot
from penstock.gateway.told import told
from penstock.gateway.trial import Trials
from penstock.gateway.watch import watchers
from penstock.routing.work import estimate, prompt_bytes

_PLAIN = Terms()


class Gateway:
    """What an edge calls. One object per worker, used by all its tasks at once.

    ``snapshots`` gives the snapshot of this moment; ``traffic`` says which replica is best; ``places`` is the
    admission queue; ``reserving`` holds limits and budgets; ``settle`` hears every trail once; ``doors`` says why
    nobody is let in, if so; ``learn`` returns when an issuer's signing keys have been asked for again; ``prepare``
    adds what services have of their own; ``recall`` knows what has been answered, None: nothing is kept; ``trials``
    scores and copies requests for rollouts; ``recording`` has each in the log and the charts, None: there are none;
    ``draw`` gives random numbers in [0, 1).
    """

    __slots__ = (
        "_alarms",
        "_clock",
        "_doors",
        "_draw",
        "_learn",
        "_places",
        "_prepare",
        "_recall",
        "_recording",
        "_reserving",
        "_settle",
        "_snapshots",
        "_traffic",
        "_trials",
    )

    def __init__(
        self,
        *,
        snapshots: Callable[[], Snapshot],
        traffic: Traffic,
        places: Places,
        reserving: Reserving,
        settle: Settle,
        doors: Callable[[], PenstockError | None],
        learn: Callable[[str], Awaitable[None]],
        clock: Clock,
        prepare: Preparing,
        trials: Trials,
        recording: Recording | None = None,
        recall: Recall | None = None,
        draw: Callable[[], float] = random.random,
    ) -> None:
        self._snapshots = snapshots
        self._traffic = traffic
        self._places = places
        self._reserving = reserving
        self._doors = doors
        self._learn = learn
        self._settle = settle
        self._clock = clock
        self._prepare = prepare
        self._trials = trials
        self._recording = recording
        self._recall = recall
        self._draw = draw
        self._alarms: Alarms | None = None

    async def admitted(self, presented: str | None, address: str = "") -> Admission:
        """The same; where a token is signed by a key that is not known yet, the issuer's keys are asked for first."""
        try:
            return self.admit(presented, address)
        except UnknownKid as unknown:
            await self._learn(unknown.issuer)
            return self.admit(presented, address)

    def admit(self, presented: str | None, address: str = "") -> Admission:
        """Lets a caller in by its key or token, before its body is read; ``address`` is the client's, empty where it
        has none. Raises ``PenstockError`` (INVALID_API_KEY and its kin, NETWORK_FORBIDDEN, IDENTITIES_STALE)."""
        return admit(presented, address, self._snapshots())

    async def chat(
        self,
        call: Call,
        admission: Admission,
        terms: Terms = _PLAIN,
        over: Callable[[Summary], None] | None = None,
        keeping: Recollection | None = None,
    ) -> Reply:
        """Answers one call on the client's ``terms``; returns once the first chunk may be released.

        The reply is read by the task that calls this. Raises ``PenstockError`` when no attempt got that far; nothing
        is open then, nor when cancelled. ``over`` hears what it came to, however it ends. ``keeping``: it makes this
        answer anew, as an ``Ask``.
        """
        clock, trail, deployment = self._clock, Trail(), admission.snapshot.deployment
        arrived = clock.now()
        trail.add(Arrived(arrived, clock.wall(), call.request_id, call.kind, call.service, call.stream))
        place: Place | None = None
        alarm: Alarm | None = None
        lease: Lease | None = None
        course: Course | None = None
        recalled: Recollection | None = None
        sent = call
        recorded = None if self._recording is None else self._recording.begin(call, admission, terms)
        settle = self._settle if recorded is None else recorded.settling(self._settle)
        settle = settle if over is None else telling(settle, over)
        hearing: tuple[Hearing, ...] = ()
        release = ""
        try:
            if (shut := self._doors()) is not None:
                raise shut
            service, lot = assign(call, admission, terms, trail, clock)
            release, policy = service.release, service.policy
            heard = () if recorded is None else recorded.hearing(service)
            total_s = _total(policy.deadlines.total_s, terms.timeout_s)
            alarm = Alarm(total_s, self._ticking())
            if lot is not None and lot.concerned:
                trial = self._trials.begin(lot, call, terms, admission, self.ask)
                settle, hearing = trial.settling(settle), trial.hearing
            with alarm.begin():
                whole = call = await self._prepare(call, service, admission)
            trail.add(Prepared(clock.now()))
            recalled = await self._recalled(keeping, sent, call, service, admission, terms, alarm, trail)
            given = None
            if recalled is not None:
                settle, given = recalled.settling(settle), recalled.charge()
                call = recalled.wanted(call)
            lease = await leased(self._reserving, call, admission, service, total_s, alarm, given)
            lease.prepared = whole
            trail.add(Reserved(clock.now()))
            if recalled is not None:
                # Whom a limit refuses was given nothing, and asks for nothing that costs.
                if recalled.alike and await self._similar(recalled, sent, service, admission, alarm):
                    lease.give(recalled.charge())
                trail.add(recalled.fact())
            if recalled is not None and recalled.given is not None:
                alarm.close()
                return self._given(recalled, service, lease, trail, settle, (*hearing, *heard))
            prepared, call = call, lease.held_to(call)
            if recalled is not None:
                recalled.capped = call is not prepared
            priority = claimed(terms.priority, admission.principal)
            place = await placed(self._places, service, admission, priority, alarm, trail, clock)
            course = Course(service, deployment, self._traffic, _ask(call, service, terms), self._draw)
            holding = lease
            race = Race(
                call=call,
                course=course,
                engines=admission.snapshot.engines,
                deadlines=policy.deadlines,
                watching=lambda tried: watchers(
                    call,
                    service,
                    tried,
                    lambda: holding.cost(tried),
                    holding.cap(tried.model),
                    None if recalled is None else recalled.recorder(tried),
                ),
                lease=lease,
                trail=trail,
                clock=clock,
                tracing=None if recorded is None else recorded.tracing,
            )
            try:
                won = await dispatch(race, alarm, policy.hedge.after_s if policy.hedge else None)
            except PenstockError as error:
                if recalled is None or not await self._instead(recalled, error, sent, service, admission):
                    raise
                lease.give(recalled.charge())
                trail.add(recalled.fact())
                if place is not None:
                    place.release()
                alarm.close()
                return self._given(recalled, service, lease, trail, settle, (*hearing, *heard))
        except BaseException as error:
            if alarm is not None:
                alarm.close()
            if place is not None:
                place.release()
            if not isinstance(error, PenstockError):
                settle(trail, Ending.CLIENT_GONE, None, lease, None)
                raise
            if course is not None:
                error.headers = {**error.headers, **told(course.last, clock.now() - arrived - trail.away, release)}
            settle(trail, Ending.FAILED, error, lease, None)
            raise
        return UpstreamReply(
            won,
            whole=not call.stream,
            alarm=alarm,
            between_s=policy.deadlines.between_tokens_s,
            place=place,
            lease=lease,
            trail=trail,
            settle=settle,
            headers=told(won.attempt, clock.now() - arrived - trail.away, release)
            | lease.headers()
            | ({} if recalled is None else recalled.headers()),
            hearing=(*hearing, *heard) if lease.transcript is None else (*hearing, *heard, lease.transcript),
        )

    async def _recalled(
        self,
        keeping: Recollection | None,
        sent: Call,
        call: Call,
        service: Service,
        admission: Admission,
        terms: Terms,
        alarm: Alarm,
        trail: Trail,
    ) -> Recollection | None:
        recall = self._recall
        if recall is None or service.policy.cache is None:
            return None
        if keeping is not None:
            return recall.still(keeping, call, service, admission.snapshot.deployment)
        return await recall(sent, call, service, admission, terms, alarm, trail, self.ask)

    async def _similar(
        self, recalled: Recollection, sent: Call, service: Service, admission: Admission, alarm: Alarm
    ) -> bool:
        return self._recall is not None and await self._recall.similar(recalled, sent, service, admission, alarm)

    async def _instead(
        self, recalled: Recollection, error: PenstockError, sent: Call, service: Service, admission: Admission
    ) -> bool:
        return self._recall is not None and await self._recall.instead(recalled, error, sent, service, admission)

    def _given(
        self,
        recalled: Recollection,
        service: Service,
        lease: Lease,
        trail: Trail,
        settle: Settle,
        hearing: tuple[Hearing, ...],
    ) -> Reply:
        """The answer that caches have."""
        assert self._recall is not None
        arrived = trail.facts[0]
        assert isinstance(arrived, Arrived)
        overhead_s = self._clock.now() - arrived.at - trail.away
        return CachedReply(
            self._recall.chunks(recalled, service),
            lease=lease,
            trail=trail,
            settle=settle,
            headers=told(None, overhead_s, service.release) | lease.headers() | recalled.headers(),
            hearing=hearing if lease.transcript is None else (*hearing, lease.transcript),
        )

    async def ask(
        self,
        call: Call,
        principal: Principal,
        terms: Terms = _PLAIN,
        over: Callable[[Summary], None] | None = None,
        keeping: Recollection | None = None,
    ) -> Reply:
        """``chat`` for whom the gateway itself lets in, on the snapshot of this moment."""
        return await self.chat(call, Admission(self._snapshots(), principal), terms, over, keeping)

    def refused(
        self,
        request_id: str,
        admission: Admission,
        error: PenstockError,
        *,
        took_s: float,
        dialect: str = "",
        trace: TraceParent | None = None,
    ) -> None:
        """Has in the log and the charts what was asked by a caller who was let in, and could not be read. Never
        raises."""
        if self._recording is not None:
            self._recording.refused(request_id, admission, error, took_s=took_s, dialect=dialect, trace=trace)

    def note(self, scores: tuple[Score, ...]) -> None:
        """Has what a client says of answers in the journal. Raises ``PenstockError(JOURNAL_FULL)``."""
        self._trials.note(scores)

    def _ticking(self) -> Alarms:
        if self._alarms is None:
            self._alarms = Alarms()
        return self._alarms

    def service(self, name: str, admission: Admission) -> Service:
        """What ``name`` stands for. Raises ``PenstockError`` (MODEL_NOT_FOUND, MODEL_FORBIDDEN)."""
        return directory.resolve(name, admission)

    def services(self, admission: Admission) -> Sequence[Service]:
        """The services that this caller may use, in the order of the deployment; ``"*"`` is not among them."""
        return directory.listed(admission)

    def readiness(self) -> directory.Readiness:
        """Whether this gateway should be sent requests, and how each service stands."""
        return directory.readiness(self._snapshots().deployment)


def _total(said: float, asked: float | None) -> float:
    return said if asked is None or asked > said else asked


def _ask(call: Call, service: Service, terms: Terms) -> Ask:
    balance = service.policy.balance
    match balance.policy:
        case "affinity":
            named = terms.headers.get(balance.session.lower().encode(), b"").decode("latin-1")
            return Ask(estimate(call), session=(call.user or "") if balance.session == "user" else named)
        case "prefix":
            return Ask(estimate(call), prompt=prompt_bytes(call))
    return Ask(estimate(call))
