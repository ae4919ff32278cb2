"""The deployment of this moment: loops write how their replicas stand, listeners get a new snapshot."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping

import msgspec

from penstock.core.serving import Deployment, Model, Replica, ReplicaState, Service

_FALLEN = (ReplicaState.DOWN, ReplicaState.FAILED)
ENDING = "requests in progress end"


class Board:
    """Every change makes a new ``Deployment``, one version up, and hands it to ``hear``, which must not block.

    ``launched`` names the models that are started here; the deployment settles once each of them has a replica that
    is ready, or none that has not failed, and stays so. What is on ``deployment`` at first is reached by URL. Not to
    be used from several threads.
    """

    def __init__(self, deployment: Deployment, launched: Iterable[str], hear: Callable[[Deployment], None]) -> None:
        self._unsettled = set(launched)
        self._hear = hear
        self._reached = _ids(deployment.replicas)
        self.deployment = msgspec.structs.replace(deployment, settled=not self._unsettled)

    def put(self, replica: Replica, model: Model | None = None, *, alone: bool = False) -> None:
        """Takes the replica in place of the one with its id, or as a new one. The same again changes nothing.

        With ``model`` that is what its name stands for from now on, and no replica that is reached by URL serves it
        any more; with ``alone`` neither does any other that was started here: they drain.
        """
        ours = self.deployment.replicas.get(replica.model, ())
        models = self.deployment.models
        if model is not None and models.get(model.name) != model:
            models = {**models, model.name: model}
            reached = self._reached.pop(model.name, frozenset())
            ours = tuple(each for each in ours if each.id not in reached)
            if alone:
                ours = _draining(ours)
        elif replica in ours:
            return
        if any(other.id == replica.id for other in ours):
            ours = tuple(replica if other.id == replica.id else other for other in ours)
        else:
            ours = (*ours, replica)
        if any(each.state is ReplicaState.READY for each in ours) or all(each.state in _FALLEN for each in ours):
            self._unsettled.discard(replica.model)
        self._turn(self.deployment.services, models, {**self.deployment.replicas, replica.model: ours})

    def mark(self, replica: Replica, state: ReplicaState, reason: str) -> None:
        """How a replica that is reached by URL stands. One that is not on the board any more is left out."""
        if replica.id not in self._reached.get(replica.model, ()):
            return
        for there in self.deployment.replicas.get(replica.model, ()):
            if (there.id, there.base_url) == (replica.id, replica.base_url):
                self.put(msgspec.structs.replace(there, state=state, reason=reason))

    def remove(self, model: str, replica_id: str) -> None:
        """The replica is gone. Nothing changes where there is none."""
        ours = self.deployment.replicas.get(model, ())
        left = tuple(each for each in ours if each.id != replica_id)
        if len(left) == len(ours):
            return
        replicas = {**self.deployment.replicas, model: left}
        if not left:
            del replicas[model]
        self._turn(self.deployment.services, self.deployment.models, replicas)

    def change(
        self,
        models: Mapping[str, Model],
        services: Mapping[str, Service],
        reached: Mapping[str, tuple[Replica, ...]],
    ) -> None:
        """These models and services from now on, in one step. ``reached`` are the replicas of every model that is
        reached by URL; of them those that stay keep their state.

        A model that is started here and was there before stays what it was until ``put`` says that it has become
        what it is now. Replicas that were started here for a name that is reached by URL now drain.
        """
        before = self.deployment
        kept = {name: before.models[name] for name in models if name not in reached and name in before.models}
        replicas: dict[str, tuple[Replica, ...]] = {}
        for name in [*before.replicas, *(name for name in reached if name not in before.replicas)]:
            there = before.replicas.get(name, ())
            by_url = self._reached.get(name, frozenset())
            started = tuple(each for each in there if each.id not in by_url)
            if name in reached:
                replicas[name] = tuple(_as_it_stands(each, there) for each in reached[name]) + _draining(started)
            elif name in models:
                replicas[name] = there
            elif started:
                replicas[name] = started
        self._reached = _ids(reached) | {name: ids for name, ids in self._reached.items() if name in kept}
        self._unsettled -= {name for name in self._unsettled if name not in models or name in reached}
        self._turn(services, {**models, **kept}, replicas)

    def _turn(
        self,
        services: Mapping[str, Service],
        models: Mapping[str, Model],
        replicas: Mapping[str, tuple[Replica, ...]],
    ) -> None:
        self.deployment = msgspec.structs.replace(
            self.deployment,
            version=self.deployment.version + 1,
            services=services,
            models=models,
            replicas=replicas,
            settled=not self._unsettled,
        )
        self._hear(self.deployment)


def _ids(replicas: Mapping[str, tuple[Replica, ...]]) -> dict[str, frozenset[str]]:
    return {model: frozenset(each.id for each in ours) for model, ours in replicas.items()}


def _draining(replicas: tuple[Replica, ...]) -> tuple[Replica, ...]:
    return tuple(
        msgspec.structs.replace(each, state=ReplicaState.DRAINING, reason=ENDING)
        if each.state is ReplicaState.READY
        else each
        for each in replicas
    )


def _as_it_stands(replica: Replica, there: tuple[Replica, ...]) -> Replica:
    for each in there:
        if (each.id, each.base_url) == (replica.id, replica.base_url):
            return msgspec.structs.replace(replica, state=each.state, reason=each.reason)
    return replica
