"""What one request holds from admit to settle: the deployment it began with and the live objects that serve it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Protocol

import msgspec

from penstock.access.limits import Rules
from penstock.core.chat import Call, Upstream
from penstock.core.identity import Principal
from penstock.core.money import Price
from penstock.core.serving import Deployment, Replica


class Engine(Protocol):
    """What the gateway needs of an engine."""

    async def start(self, call: Call, replica: Replica, *, connect_s: float | None = None) -> Upstream: ...


class Keyring(Protocol):
    """What the gateway needs of the access room."""

    def find(self, presented: str) -> Principal:
        """Whose key or token this is. Raises ``PenstockError`` (INVALID_API_KEY, KEY_EXPIRED, KEY_REVOKED,
        INVALID_TOKEN, IDENTITIES_STALE), and what the room has for a token whose signing key is not known yet."""


class Prices(Protocol):
    """What the gateway needs of the price list."""

    def find(self, names: Sequence[str], at: float) -> Price | None:
        """The price of a model, under the first of these names that has one, at that time."""


class Snapshot(msgspec.Struct, frozen=True):
    """``engines`` by model name, for exactly the models of ``deployment``."""

    deployment: Deployment
    engines: Mapping[str, Engine]
    keyring: Keyring
    rules: Rules
    prices: Prices


class Admission(msgspec.Struct, frozen=True):
    """A caller who has been let in from ``address``, and the snapshot that its request will see to the end."""

    snapshot: Snapshot
    principal: Principal
    address: str = ""
