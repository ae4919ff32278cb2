"""Names: what a client's ``model`` stands for, what a caller may list, and how each service stands."""

from __future__ import annotations

import difflib
from collections.abc import Mapping, Sequence

import msgspec

from penstock.core.errors import MODEL_FORBIDDEN, MODEL_NOT_FOUND, PenstockError
from penstock.core.serving import Deployment, Replica, ReplicaState, Service
from penstock.gateway.snapshot import Admission

WILDCARD = "*"


class Readiness(msgspec.Struct, frozen=True):
    """``services`` maps each name to a word: ``ready``, ``fallback`` (only a fallback is ready), ``partly`` (of the
    releases that share its requests, some cannot answer), or the state of its first model's first replica."""

    ready: bool
    services: Mapping[str, str]


def resolve(name: str, admission: Admission) -> Service:
    """The service called ``name``, or aliased so, or ``"*"``. Raises MODEL_NOT_FOUND, MODEL_FORBIDDEN."""
    services = admission.snapshot.deployment.services
    service = services.get(name) or _aliased(name, services) or services.get(WILDCARD)
    if service is None:
        raise PenstockError(MODEL_NOT_FOUND, _unknown(name, admission), param="model")
    if not admission.principal.may_use(service.name):
        raise PenstockError(
            MODEL_FORBIDDEN,
            f"This API key may not use the model '{_shown(name)}'. Ask the owner of the key to allow it, "
            "or choose one that GET /v1/models lists.",
            param="model",
        )
    models = admission.principal.models
    if models is None:
        return service
    if service.assignment is not None:
        # Which of its releases a request gets, and so which models, is drawn later.
        if any(narrowed(each, models) is not None for each in _live(service)):
            return service
        raise forbidden(service)
    allowed = narrowed(service, models)
    if allowed is None:
        raise forbidden(service)
    return allowed


def narrowed(service: Service, models: frozenset[str]) -> Service | None:
    """The service with those of its models that a key for ``models`` may use; None: with none."""
    left = tuple(model for model in service.models if model in models)
    return msgspec.structs.replace(service, models=left) if left else None


def forbidden(service: Service) -> PenstockError:
    """What a key is told that may use none of the models behind a service."""
    return PenstockError(
        MODEL_FORBIDDEN,
        f"This API key may use none of the models behind '{_shown(service.name)}'. Ask the owner of the key to "
        "allow one, or choose a service that GET /v1/models lists.",
        param="model",
    )


def listed(admission: Admission) -> Sequence[Service]:
    services = admission.snapshot.deployment.services.values()
    principal = admission.principal
    return [
        s
        for s in services
        if s.name != WILDCARD
        and principal.may_use(s.name)
        and (principal.models is None or any(not principal.models.isdisjoint(each.models) for each in _live(s)))
    ]


def readiness(deployment: Deployment) -> Readiness:
    """Ready once every launched model has come up or failed for the first time, and some service can answer."""
    states = {name: _standing(service, deployment) for name, service in deployment.services.items()}
    able = any(state in ("ready", "fallback", "partly") for state in states.values())
    return Readiness(deployment.settled and able, states)


def _aliased(name: str, services: Mapping[str, Service]) -> Service | None:
    return next((s for s in services.values() if name in s.aliases), None)


def _live(service: Service) -> Sequence[Service]:
    """What answers for it: the variants of the releases that share its requests, or the service itself."""
    assignment = service.assignment
    if assignment is None:
        return (service,)
    releases = dict.fromkeys(each.release for each in (*assignment.ranges, *assignment.inside))
    return [assignment.variants[each] for each in releases if each in assignment.variants]


def _standing(service: Service, deployment: Deployment) -> str:
    """The word for it: ready when every release that has a share of its requests can answer. One that cannot is no
    reason to send none here: those of the others are answered, and its own fall back or are told."""
    live = _live(service)
    words = [_state(each, deployment) for each in live]
    able = [word for word in words if word in ("ready", "fallback")]
    if not able:
        return words[0] if words else ReplicaState.FAILED.value
    assignment = service.assignment
    missing = assignment is not None and any(
        each.release not in assignment.variants for each in (*assignment.ranges, *assignment.inside)
    )
    if missing or len(able) < len(words):
        return "partly"
    return "fallback" if "fallback" in able else "ready"


def _state(service: Service, deployment: Deployment) -> str:
    for place, model in enumerate(service.models):
        if _ready(deployment.replicas.get(model, ())):
            return "fallback" if place else "ready"
    replicas = deployment.replicas.get(service.models[0], ())
    return replicas[0].state.value if replicas else ReplicaState.STARTING.value


def _ready(replicas: Sequence[Replica]) -> bool:
    return any(replica.state is ReplicaState.READY for replica in replicas)


def _unknown(name: str, admission: Admission) -> str:
    known = [known for s in listed(admission) for known in (s.name, *s.aliases)]
    near = difflib.get_close_matches(name[:200], known, n=1)
    if near:
        return f"There is no model '{_shown(name)}' here. Did you mean '{near[0]}'? GET /v1/models lists them all."
    some = ", ".join(f"'{k}'" for k in known[:8]) or "none yet"
    return f"There is no model '{_shown(name)}' here. This gateway serves: {some}."


def _shown(name: str) -> str:
    return name if len(name) <= 80 else name[:80] + "..."
