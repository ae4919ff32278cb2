"""The deployment of this moment: loops write how their replicas stand, listeners get a new snapshot."""

from __future__ import annotations

from collections.abc import Callable, Iterable

import msgspec

from penstock.core.serving import Deployment, Replica, ReplicaState

_FALLEN = (ReplicaState.DOWN, ReplicaState.FAILED)


class Board:
    """Every change makes a new ``Deployment``, one version up, and hands it to ``hear``, which must not block.

    ``launched`` names the models that are started here; the deployment settles once each of them has a replica that
    is ready, or none that has not failed. Not to be used from several threads.
    """

    def __init__(self, deployment: Deployment, launched: Iterable[str], hear: Callable[[Deployment], None]) -> None:
        self._unsettled = set(launched)
        self._hear = hear
        self.deployment = msgspec.structs.replace(deployment, settled=not self._unsettled)

    def put(self, replica: Replica) -> None:
        """Takes the replica in place of the one with its id, or as a new one. The same again changes nothing."""
        ours = self.deployment.replicas.get(replica.model, ())
        if replica in ours:
            return
        if any(other.id == replica.id for other in ours):
            ours = tuple(replica if other.id == replica.id else other for other in ours)
        else:
            ours = (*ours, replica)
        if any(each.state is ReplicaState.READY for each in ours) or all(each.state in _FALLEN for each in ours):
            self._unsettled.discard(replica.model)
        self.deployment = msgspec.structs.replace(
            self.deployment,
            version=self.deployment.version + 1,
            replicas={**self.deployment.replicas, replica.model: ours},
            settled=not self._unsettled,
        )
        self._hear(self.deployment)
