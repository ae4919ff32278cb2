"""What a load balancer and a scraper ask. None of it needs a key, as with every engine's own server: who must not
see it is kept off the port, and nothing here tells more than names, states and counts."""

from __future__ import annotations

import msgspec

from penstock.gateway.directory import Readiness


class Health(msgspec.Struct, frozen=True):
    """The process answers."""

    status: str


class Ready(msgspec.Struct, frozen=True):
    """Whether requests should be sent here, and how each service stands."""

    status: str
    services: dict[str, str]


def alive() -> bytes:
    return msgspec.json.encode(Health("ok"))


def ready(readiness: Readiness, draining: bool) -> tuple[int, bytes]:
    """The HTTP status, 200 or 503, and the body. ``draining``: the gateway is about to stop."""
    status = "stopping" if draining else "ready" if readiness.ready else "not_ready"
    return 200 if status == "ready" else 503, msgspec.json.encode(Ready(status, dict(readiness.services)))
