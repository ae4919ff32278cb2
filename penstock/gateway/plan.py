"""Plan: where the next attempt goes. Which replica of a model goes first is routing's decision.

``Course`` walks a service's models in order: replicas of one, best first, as often as its retry policy has it, then
the next model. It holds what has happened so far and does no I/O.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol

import msgspec

from penstock.core.errors import (
    BREAKER_OPEN,
    NO_REPLICA,
    SERVICE_REFUSED,
    UPSTREAM_RATE_LIMITED,
    Fault,
    PenstockError,
)
from penstock.core.policy import Ask
from penstock.core.serving import Deployment, Replica, ReplicaState, Service
from penstock.routing.retry import Again, GiveUp, after_failure


class Running(Protocol):
    """What routing holds for one attempt. All of it is idempotent."""

    def first(self, latency_s: float) -> None:
        """The first chunk came, so long after the attempt's start."""

    def failed(self, fault: Fault, retry_after: float | None) -> None:
        """It failed, before or after its first chunk."""

    def closed(self) -> None:
        """It is over; without ``first`` or ``failed`` that says nothing about the replica."""


class Traffic(Protocol):
    """What the gateway needs of the routing room."""

    def order(self, service: Service, model: str, ready: Sequence[Replica], ask: Ask) -> Sequence[Replica]:
        """The replicas that may be tried now, best first; a subset of ``ready``, empty if every breaker is open."""

    def reopens_in(self, replicas: Sequence[Replica]) -> float:
        """Seconds until the first of them may be tried again."""

    def throttled(self, replicas: Sequence[Replica]) -> bool:
        """Whether each of them rests because it said 429, and none because it failed."""

    def begin(self, service: Service, replica: Replica, ask: Ask) -> Running | None:
        """Reserves the work of one attempt; None when the replica's breaker has closed the way meanwhile."""

    def may_retry(self, service: Service) -> bool:
        """Whether the service's retry budget has room for one more; it is counted then."""


class Attempt(msgspec.Struct, frozen=True):
    """One try at one replica. ``number`` counts from 1 over all models, ``fallbacks`` the models given up before."""

    model: str
    replica: Replica
    number: int
    fallbacks: int
    running: Running


class Course:
    """The attempts of one request, one after the other. ``draw`` gives random numbers in [0, 1)."""

    __slots__ = ("_ask", "_deployment", "_draw", "_failure", "_fallbacks", "_made", "_next", "_number", "_ordered",
                 "_service", "_traffic", "last")  # fmt: skip

    def __init__(
        self, service: Service, deployment: Deployment, traffic: Traffic, ask: Ask, draw: Callable[[], float]
    ) -> None:
        self._service = service
        self._deployment = deployment
        self._traffic = traffic
        self._ask = ask
        self._draw = draw
        self._fallbacks = 0
        self._number = self._made = 0
        self._ordered: list[Replica] | None = None
        self._next: Replica | None = None
        self._failure: PenstockError | None = None
        self.last: Attempt | None = None
        """The newest attempt."""

    def attempt(self) -> Attempt:
        """The next one, its work reserved; whoever has it closes ``running``.

        Raises ``PenstockError`` when there is none: the last failure, or why none could be made (NO_REPLICA,
        BREAKER_OPEN), or the service's own words for it (SERVICE_REFUSED).
        """
        while self._fallbacks < len(self._service.models):
            model = self._service.models[self._fallbacks]
            while replica := self._replica(model):
                running = self._traffic.begin(self._service, replica, self._ask)
                if running is not None:
                    self._number += 1
                    self._made += 1
                    self.last = Attempt(model, replica, self._number, self._fallbacks, running)
                    return self.last
            self._give_up_model()
        raise self._exhausted()

    def more(self) -> bool:
        """Whether an attempt is left that has not been made, at another replica or model than the last."""
        return bool(self._ordered) or self._fallbacks + 1 < len(self._service.models)

    def failed(self, attempt: Attempt, error: PenstockError, left_s: float) -> float:
        """Notes it and closes its ``running``; gives back the seconds to wait before the next attempt.

        Raises ``error`` when none may follow.
        """
        attempt.running.failed(error.fault, error.retry_after)
        attempt.running.closed()
        decision = after_failure(
            self._service.policy.retry,
            number=self._made,
            fault=error.fault,
            retry_after=error.retry_after,
            others=bool(self._ordered),
            fallback=self._fallbacks + 1 < len(self._service.models),
            left_s=left_s,
            draw=self._draw(),
        )
        self._failure = error
        if isinstance(decision, GiveUp):
            raise error
        if isinstance(decision, Again) and self._traffic.may_retry(self._service):
            if decision.same:
                self._next = attempt.replica
            return decision.after_s
        self._give_up_model()
        return 0.0

    def _replica(self, model: str) -> Replica | None:
        again, self._next = self._next, None
        if again is not None:
            return again
        if self._ordered is None:
            replicas = self._deployment.replicas.get(model, ())
            ready = [r for r in replicas if r.state is ReplicaState.READY]
            self._ordered = list(self._traffic.order(self._service, model, ready, self._ask)) if ready else []
        return self._ordered.pop(0) if self._ordered else None

    def _give_up_model(self) -> None:
        self._fallbacks += 1
        self._made = 0
        self._ordered = self._next = None

    def _exhausted(self) -> PenstockError:
        error = self._failure or _none(self._service, self._deployment, self._traffic)
        refusal = self._service.policy.refusal
        if refusal is None:
            return error
        told = PenstockError(SERVICE_REFUSED, refusal, retry_after=error.retry_after or 1.0)
        told.__cause__ = error
        return told


def room(service: Service, deployment: Deployment) -> tuple[str, int | None]:
    """Where the request waits for a place, by name, and how many of that room are worked on at once; None: without
    bound.

    What the service's policy says holds for all its requests together, whichever release they have drawn. Where it
    says nothing, it is the slots of the ready replicas of the first model that has any, and each model that a release
    brings along has a room of its own: places of one are of no use to another.
    """
    said = service.policy.queue.concurrency
    if said is not None:
        return service.name, said
    for model in service.models:
        slots = 0
        for replica in deployment.replicas.get(model, ()):
            if replica.state is ReplicaState.READY:
                if replica.slots is None:
                    return service.name, None
                slots += replica.slots
        if slots:
            named = deployment.services.get(service.name)
            own = service.release and (named is None or model != named.models[0])
            return (f"{service.name}@{model}" if own else service.name), slots
    return service.name, None


def _none(service: Service, deployment: Deployment, traffic: Traffic) -> PenstockError:
    for model in service.models:
        ready = [r for r in deployment.replicas.get(model, ()) if r.state is ReplicaState.READY]
        if ready and traffic.throttled(ready):
            return PenstockError(
                UPSTREAM_RATE_LIMITED,
                f"Every copy of the model '{model}' of service '{service.name}' has reached its upstream's limit. "
                "Try again later, or give the model another key or server.",
                retry_after=traffic.reopens_in(ready),
            )
        if ready:
            return PenstockError(
                BREAKER_OPEN,
                f"Every copy of the model '{model}' of service '{service.name}' has failed too often lately and is "
                "left alone for a while. Try again in a moment; the gateway's log says what failed.",
                retry_after=traffic.reopens_in(ready),
            )
    model = service.models[0]
    replicas = deployment.replicas.get(model, ())
    state = replicas[0].state if replicas else ReplicaState.STARTING
    reason = f" ({replicas[0].reason})" if replicas and replicas[0].reason else ""
    mend = "See the gateway's log for what to mend." if state is ReplicaState.FAILED else "Try again in a moment."
    return PenstockError(
        NO_REPLICA,
        f"The model '{model}' of service '{service.name}' is {state.value}{reason}. {mend}",
        retry_after=1.0,
    )
