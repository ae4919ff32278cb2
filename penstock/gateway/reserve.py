"""Reserve: a lease for each request, before it waits for a place."""

from __future__ import annotations

import itertools
from collections.abc import Iterator

from penstock.core.chat import Call
from penstock.core.serving import Service
from penstock.core.usage import Held
from penstock.gateway.alarm import Alarm
from penstock.gateway.lease import Given, Lease
from penstock.gateway.means import Means
from penstock.gateway.snapshot import Admission


class Reserving:
    """One object per worker. ``owner`` is the name of this worker; no other ever has it."""

    def __init__(self, means: Means, owner: str) -> None:
        self._means = means
        self._owner = owner
        self._numbers = itertools.count(1)
        self._open: dict[str, Lease] = {}

    async def open(
        self, call: Call, admission: Admission, service: Service, total_s: float, given: Given | None = None
    ) -> Lease:
        """Reserves for the service's first model, or for what is ``given`` instead. Raises ``PenstockError``:
        RATE_LIMITED or BUDGET_EXCEEDED that name the tightest, NO_PRICE, COUNTERS_UNAVAILABLE. ``total_s``: how long
        the request may take."""
        lease = Lease(
            self._means, f"{self._owner}.{next(self._numbers)}", call, admission, service, total_s, self._over
        )
        await lease.open(given)
        self._open[lease.id] = lease
        return lease

    def held(self) -> Iterator[tuple[str, tuple[Held, ...]]]:
        """What open leases hold."""
        return ((lease.id, lease.held()) for lease in tuple(self._open.values()) if lease.counted)

    def _over(self, lease: str) -> None:
        self._open.pop(lease, None)


async def leased(
    reserving: Reserving,
    call: Call,
    admission: Admission,
    service: Service,
    total_s: float,
    alarm: Alarm,
    given: Given | None = None,
) -> Lease:
    """A lease, within the request's time. Raises as ``Reserving.open`` does, and when the alarm rings."""
    with alarm.begin():
        return await reserving.open(call, admission, service, total_s, given)
