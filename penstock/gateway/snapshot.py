"""What one request holds from admit to settle: the deployment it began with and the live objects that serve it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

import msgspec

from penstock.core.chat import Call, Upstream
from penstock.core.identity import Principal
from penstock.core.serving import Deployment, Replica


class Engine(Protocol):
    """What the gateway needs of an engine."""

    async def start(self, call: Call, replica: Replica, *, connect_s: float | None = None) -> Upstream: ...


class Keyring(Protocol):
    """What the gateway needs of the access room."""

    def find(self, presented: str) -> Principal | None:
        """Whose key this is; None when it is nobody's."""


class Snapshot(msgspec.Struct, frozen=True):
    """``engines`` by model name, for exactly the models of ``deployment``."""

    deployment: Deployment
    engines: Mapping[str, Engine]
    keyring: Keyring


class Admission(msgspec.Struct, frozen=True):
    """A caller who has been let in, and the snapshot that its request will see to the end."""

    snapshot: Snapshot
    principal: Principal
