"""Traffic: what one worker knows of its replicas, and the decisions it takes by it.

All of it is this worker's own: what other workers have sent is not in it. Balancing by that is as good as it needs to
be, and nothing that must be right rests on it.
"""

from __future__ import annotations

from collections.abc import Sequence
from random import Random

import msgspec

from penstock.core.clock import Clock
from penstock.core.errors import UPSTREAM_RATE_LIMITED, Fault
from penstock.core.policy import Ask, Breaker
from penstock.core.serving import Deployment, Replica, Service
from penstock.routing import balance
from penstock.routing.balance import Candidate
from penstock.routing.breaker import Circuit, State
from penstock.routing.pace import Latency, far_slower
from penstock.routing.prefix import BLOCK_TOKENS, PrefixMap, blocks
from penstock.routing.retry import REST_S, RetryBudget

_LONGEST_REST_S = 60.0


class ReplicaState(msgspec.Struct, frozen=True):
    """How one replica stands with this worker. ``work`` is in tokens."""

    replica: str
    breaker: str
    requests: int
    work: int
    share: float


class Known:
    """What is known of one replica."""

    __slots__ = ("circuit", "latency", "model", "requests", "return_s", "work")

    def __init__(self, model: str) -> None:
        self.model = model
        self.circuit = Circuit()
        self.latency = Latency()
        self.requests = 0
        self.work = 0
        self.return_s = 0.0


class Running:
    """One attempt. ``closed`` comes last; all of it is idempotent.

    Each counts once: as a failure whenever it fails, else as a success when it is over. Only a probe's first chunk is
    a success at once, so that the replica need not wait for the end of a long answer.
    """

    __slots__ = ("_breaker", "_known", "_open", "_probe", "_said", "_spoke", "_traffic", "_work")

    def __init__(self, traffic: Traffic, known: Known, work: int, breaker: Breaker, probe: bool) -> None:
        self._traffic = traffic
        self._known = known
        self._work = work
        self._breaker = breaker
        self._probe = probe
        self._said = self._spoke = False
        self._open = True

    def first(self, latency_s: float) -> None:
        """The first chunk came, so long after the attempt's start."""
        self._spoke = True
        if self._probe:
            self._succeeded()
        self._known.latency.add(latency_s)
        if self._breaker.slow_factor is not None:
            self._traffic.keep_pace(self._known, self._breaker)

    def failed(self, fault: Fault, retry_after: float | None) -> None:
        """It failed, before its first chunk or after. A client's fault says nothing about the replica, and a 429 only
        that it wants to rest."""
        circuit, now = self._known.circuit, self._traffic.now()
        if fault is UPSTREAM_RATE_LIMITED:
            circuit.rest(now, min(retry_after if retry_after is not None else REST_S, _LONGEST_REST_S))
        elif fault.retry:
            circuit.failed(now, self._breaker, self._probe and not self._said)
            self._said = True

    def closed(self) -> None:
        """It is over."""
        if self._open:
            self._open = False
            self._known.requests -= 1
            self._known.work -= self._work
            if self._spoke:
                self._succeeded()
            elif not self._said:
                self._said = True
                self._known.circuit.neither(self._probe)

    def _succeeded(self) -> None:
        if not self._said:
            self._said = True
            self._known.circuit.succeeded(self._traffic.now(), self._probe)


class Traffic:
    """One per worker, used by all its requests. No method waits, or costs more than the replicas it looks at."""

    def __init__(self, clock: Clock, rng: Random) -> None:
        self._clock = clock
        self._rng = rng
        self._known: dict[str, Known] = {}
        self._turns: dict[str, int] = {}
        self._credits: dict[str, dict[str, float]] = {}
        self._prefixes: dict[str, PrefixMap] = {}
        self._budgets: dict[str, RetryBudget] = {}
        self.now = clock.now

    def order(self, service: Service, model: str, ready: Sequence[Replica], ask: Ask) -> Sequence[Replica]:
        """The replicas that may be tried now, best first; a subset of ``ready``, empty if every breaker is open."""
        self._budget(service).request(self.now())
        if len(ready) == 1:
            known = self._known.get(ready[0].id)
            return ready if known is None or known.circuit.lets(self.now()) else ()
        now = self.now()
        return_s = service.policy.breaker.return_s
        able: list[Replica] = []
        candidates: list[Candidate] = []
        for replica in ready:
            known = self._about(replica)
            if known.circuit.lets(now):
                able.append(replica)
                share = known.circuit.share(now, return_s)
                candidates.append(Candidate(replica.id, known.work, replica.weight, share))
        return [able[place] for place in self._places(service, model, candidates, ask)] if able else ()

    def reopens_in(self, replicas: Sequence[Replica]) -> float:
        """Seconds until the first of them may be tried again, at least .1."""
        now = self.now()
        return max(0.1, min((self._about(replica).circuit.opens_in(now) for replica in replicas), default=1.0))

    def throttled(self, replicas: Sequence[Replica]) -> bool:
        """Whether each of them rests because it said 429, and none because it failed."""
        now = self.now()
        return all(self._about(replica).circuit.state(now) is State.RESTING for replica in replicas)

    def begin(self, service: Service, replica: Replica, ask: Ask) -> Running | None:
        """Reserves the work of one attempt; None when the replica's breaker has closed the way meanwhile."""
        known = self._about(replica)
        known.return_s = service.policy.breaker.return_s
        probe = known.circuit.begin(self.now())
        if probe is None:
            return None
        known.requests += 1
        known.work += ask.work
        if ask.prompt:
            seen = blocks(ask.prompt)
            prefixes = self._prefix(service, replica.model)
            new = max(0, ask.work - prefixes.overlap(replica.id, seen))
            prefixes.sent(replica.id, seen, new, self.now())
        return Running(self, known, ask.work, service.policy.breaker, probe)

    def may_retry(self, service: Service) -> bool:
        """Whether the service's retry budget has room for one more; it is counted then."""
        return self._budget(service).spend(self.now(), service.policy.retry.budget)

    def keep_pace(self, known: Known, breaker: Breaker) -> None:
        """Leaves a replica alone that is far slower than its peers, unless half of them are left alone already."""
        peers = [other for other in self._known.values() if other.model == known.model and other is not known]
        now = self.now()
        out = sum(not peer.circuit.lets(now) for peer in peers)
        if breaker.slow_factor is None or 2 * (out + 1) > len(peers) + 1:
            return
        if far_slower(known.latency, [peer.latency for peer in peers], breaker.slow_factor):
            known.latency = Latency()
            known.circuit.eject(now, breaker)

    def keep(self, deployment: Deployment) -> None:
        """Forgets what the deployment no longer has, but for what still runs."""
        ids = {replica.id for replicas in deployment.replicas.values() for replica in replicas}
        for gone in [id for id, known in self._known.items() if id not in ids and not known.requests]:
            del self._known[gone]
        for by_model in (self._turns, self._credits, self._prefixes):
            for model in [model for model in by_model if model not in deployment.models]:
                del by_model[model]
        for model, prefixes in self._prefixes.items():
            prefixes.keep(replica.id for replica in deployment.replicas.get(model, ()))
        for name in [name for name in self._budgets if name not in deployment.services]:
            del self._budgets[name]

    def states(self) -> tuple[ReplicaState, ...]:
        """How every replica that was ever tried stands."""
        now = self.now()
        return tuple(
            ReplicaState(
                replica=id,
                breaker=known.circuit.state(now).value,
                requests=known.requests,
                work=known.work,
                share=round(known.circuit.share(now, known.return_s), 3),
            )
            for id, known in self._known.items()
        )

    def _places(self, service: Service, model: str, candidates: Sequence[Candidate], ask: Ask) -> balance.Order:
        policy = service.policy.balance
        turn = self._turns.get(model, 0)
        self._turns[model] = turn + 1
        match policy.policy:
            case "round_robin":
                return balance.in_turn(candidates, turn)
            case "weighted":
                return balance.weighted(candidates, self._credits.setdefault(model, {}))
            case "two_choices":
                return balance.two_choices(candidates, self._rng)
            case "affinity":
                return balance.affine(candidates, ask.session, policy.bound, ask.work, turn)
            case "prefix":
                scores = self._prefix(service, model).scores([c.id for c in candidates], blocks(ask.prompt))
                return balance.scored(candidates, scores, policy.bound, ask.work, turn)
        return balance.least_work(candidates, turn)

    def _about(self, replica: Replica) -> Known:
        known = self._known.get(replica.id)
        if known is None:
            known = self._known[replica.id] = Known(replica.model)
        return known

    def _budget(self, service: Service) -> RetryBudget:
        budget = self._budgets.get(service.name)
        if budget is None:
            budget = self._budgets[service.name] = RetryBudget()
        return budget

    def _prefix(self, service: Service, model: str) -> PrefixMap:
        prefixes = self._prefixes.get(model)
        if prefixes is None:
            capacity = service.policy.balance.cache_tokens // BLOCK_TOKENS
            prefixes = self._prefixes[model] = PrefixMap(max(1, capacity))
        return prefixes
