"""Place: one of the requests that a service works on at once. Who waits for one is routing's decision."""

from __future__ import annotations

from typing import Protocol

from penstock.core.clock import Clock
from penstock.core.identity import Principal
from penstock.core.policy import Priority, Queue
from penstock.core.serving import Service
from penstock.core.trail import Queued, Trail
from penstock.gateway.alarm import Alarm
from penstock.gateway.plan import room
from penstock.gateway.snapshot import Admission

_LAST = max(Priority) + 1


class Place(Protocol):
    """A place that is held until ``release``, which is idempotent."""

    def release(self) -> None: ...


class Places(Protocol):
    """What the gateway needs of the admission queue."""

    async def acquire(
        self, service: str, project: str, priority: int, queue: Queue, concurrency: int | None
    ) -> Place:
        """A place, waited for if need be. Raises ``PenstockError`` (QUEUE_FULL, SHED, QUEUE_TIMEOUT)."""


def claimed(asked: Priority | None, principal: Principal) -> int:
    """The priority of a request: that of its key, unless the client asks for a lower one; what the gateway asks for
    itself comes after all of them."""
    if principal.purpose == "internal":
        return _LAST
    return principal.priority if asked is None or asked < principal.priority else asked


async def placed(
    places: Places,
    service: Service,
    admission: Admission,
    priority: int,
    alarm: Alarm,
    trail: Trail,
    clock: Clock,
) -> Place | None:
    """A place in the service; None where it has no bound. Raises as ``Places`` does, and when the alarm rings."""
    name, most = room(service, admission.snapshot.deployment)
    if most is None:
        return None
    began = clock.now()
    project, queue = admission.principal.project, service.policy.queue
    try:
        with alarm.begin():
            return await places.acquire(name, project, priority, queue, most)
    finally:
        ended = clock.now()
        trail.away += ended - began
        trail.add(Queued(ended, ended - began))
