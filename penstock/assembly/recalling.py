"""What a worker recalls by: its caches, the desks that the supervisor has, and the gateway itself, which embeds,
audits and judges."""

from __future__ import annotations

import functools
from collections.abc import Callable

from penstock.assembly.asking import Asker
from penstock.assembly.caching import Caches
from penstock.assembly.desks import RemoteDesks
from penstock.assembly.flights import RemoteFlights
from penstock.assembly.link import Link, ToldOfSupervisor, ToSupervisor, ToWorker
from penstock.caches.flight import Flights
from penstock.core.chat import Call
from penstock.core.clock import Clock
from penstock.core.identity import Principal
from penstock.core.metrics import Meter
from penstock.core.policy import Terms
from penstock.gateway.chat import Gateway
from penstock.gateway.likeness import Likenesses
from penstock.gateway.prepare import Preparing
from penstock.gateway.recall import Recall
from penstock.gateway.recollection import Recollection
from penstock.gateway.reply import Reply
from penstock.gateway.settle import Summary
from penstock.gateway.snapshot import Snapshot
from penstock.gateway.vectors import Inside

_PLAIN = Terms()


class Recalling:
    """``recall`` is for the gateway, which is there by ``gateway`` once somebody asks, and ``embed`` embeds as it. Of
    what audits may cost this worker has its share, one of ``workers``."""

    def __init__(
        self,
        caches: Caches,
        asker: Asker[ToldOfSupervisor],
        link: Link[ToWorker, ToSupervisor],
        *,
        prepare: Preparing,
        gateway: Callable[[], Gateway],
        snapshots: Callable[[], Snapshot],
        clock: Clock,
        meter: Meter,
        workers: int,
    ) -> None:
        self._gateway = gateway
        self._desks = RemoteDesks(asker, link.send, lambda: link.waiting, meter)
        self.embed = Inside(caches.embeddings, caches.answers, self._ask, snapshots)
        self._likeness = Likenesses(
            self._desks, self.embed, self._ask, clock, meter, invalid=caches.answers.covers, workers=workers
        )
        # What the others get they keep, or their next request would have it made again.
        keep = functools.partial(caches.answers.keep, near=True)
        beyond = RemoteFlights(asker, link.send, lambda: link.waiting, keep) if workers > 1 else None
        self.recall = Recall(caches.answers, clock, prepare, self._likeness, caches.vectors, Flights(beyond))

    async def disown(self, request_id: str, project: str, key_id: str) -> bool:
        """The answer that a cache gave to this request of the project is wrong, the key says; False: none is known.
        Raises ``PenstockError``."""
        return await self._desks.wrong(request_id, project, key_id)

    async def aclose(self) -> None:
        """Breaks off what is under way; the desks hear of what nobody will know."""
        await self.recall.aclose()
        await self._likeness.aclose()

    async def _ask(
        self,
        call: Call,
        principal: Principal,
        terms: Terms = _PLAIN,
        over: Callable[[Summary], None] | None = None,
        keeping: Recollection | None = None,
    ) -> Reply:
        return await self._gateway().ask(call, principal, terms, over, keeping)
