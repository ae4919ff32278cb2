"""Counters in Redis, from the catalog: what workers and the supervisor need of them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol

from penstock import catalog
from penstock.access.config import AccessSettings
from penstock.core.clock import Clock
from penstock.core.leases import Counters
from penstock.core.usage import Held

Open = Sequence[tuple[str, str, tuple[Held, ...]]]
"""Leases: owner, name, and what each holds."""


class Epoch(Protocol):
    """``open``: what was spent is in it, and reserves are granted."""

    id: str
    open: bool


class Epochs(Protocol):
    """What is needed of ``access.counters_redis_epochs``, whose recipe this follows."""

    async def epoch(self) -> Epoch | None: ...

    async def begin(self, gateway: str) -> str | None: ...

    async def present(self, gateway: str, epoch: str, leases: Open) -> None: ...

    async def leases(self) -> Sequence[tuple[str, str]]: ...

    async def presented(self, epoch: str) -> frozenset[str]: ...

    async def open(self, epoch: str, spent: dict[str, tuple[int, float]], past: Sequence[Held] = ()) -> None: ...


class Joining(Counters, Protocol):
    """Counters that are told which epoch they count in."""

    @property
    def epoch(self) -> str | None: ...

    def join(self, epoch: str) -> None: ...


def counters_at(access: AccessSettings, clock: Clock, lost: Callable[[], None]) -> tuple[Joining, Epochs]:
    """The counters in Redis, and their epochs. Raises ``PenstockError(BAD_DEPLOYMENT)``."""
    make_link = catalog.load("counters.redis.link")
    link = make_link(access.counters, access.counters_name, timeout_s=access.counters_timeout_s, clock=clock)
    counters: Joining = catalog.load("counters.redis")(link, lost)
    epochs: Epochs = catalog.load("counters.redis.epochs")(link)
    return counters, epochs
