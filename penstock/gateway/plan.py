"""Plan: the attempts to make for a service, in order. Which replica goes first is routing's decision."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import msgspec

from penstock.core.errors import NO_REPLICA, PenstockError
from penstock.core.serving import Deployment, Replica, ReplicaState, Service


class Attempt(msgspec.Struct, frozen=True):
    """One try at one replica."""

    model: str
    replica: Replica


class Planner(Protocol):
    """What the gateway needs of the routing room."""

    def order(self, model: str, ready: Sequence[Replica]) -> Sequence[Replica]:
        """The replicas of one model to try, best first; a subset of ``ready``, which is never empty."""


def plan(service: Service, deployment: Deployment, planner: Planner) -> tuple[Attempt, ...]:
    """The service's first model, then its fallbacks. Raises ``PenstockError(NO_REPLICA)`` when none is ready."""
    attempts: list[Attempt] = []
    for model in service.models:
        ready = [r for r in deployment.replicas.get(model, ()) if r.state is ReplicaState.READY]
        if ready:
            attempts.extend(Attempt(model, replica) for replica in planner.order(model, ready))
    if not attempts:
        raise PenstockError(NO_REPLICA, _why(service, deployment), retry_after=1.0)
    return tuple(attempts)


def _why(service: Service, deployment: Deployment) -> str:
    model = service.models[0]
    replicas = deployment.replicas.get(model, ())
    state = replicas[0].state if replicas else ReplicaState.STARTING
    reason = f" ({replicas[0].reason})" if replicas and replicas[0].reason else ""
    mend = "See the gateway's log for what to mend." if state is ReplicaState.FAILED else "Try again in a moment."
    return f"The model '{model}' of service '{service.name}' is {state.value}{reason}. {mend}"
