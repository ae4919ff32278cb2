"""What the deployment file may say of the server."""

from __future__ import annotations

from typing import Annotated

import msgspec

Port = Annotated[int, msgspec.Meta(ge=1, le=65535)]
Seconds = Annotated[float, msgspec.Meta(gt=0, le=86400)]
Workers = Annotated[int, msgspec.Meta(ge=1, le=64)]
Size = Annotated[int, msgspec.Meta(ge=1024, le=1 << 40, extra={"form": "size"})]
"""Bytes; the deployment file may write it with a unit."""


class Drain(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How the gateway stops."""

    announce_s: Annotated[float, msgspec.Meta(ge=0, le=3600)] = 5.0
    """Seconds for which `/readyz` says 503, and replies tell clients to close their connections, while everything is
    still answered: time for load balancers to look elsewhere. Ctrl-C does without."""
    limit_s: Annotated[float, msgspec.Meta(ge=0, le=86400)] = 30.0
    """Seconds after that in which requests in progress may end. A stream that is still running one second before
    gets an error event."""


class ServerSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Where the gateway listens, and what it lets in."""

    host: str = "127.0.0.1"
    """The address to listen on. `0.0.0.0` listens on all of them."""
    port: Port = 8080
    """The TCP port to listen on. The environment variable `PENSTOCK_PORT` wins over it."""
    max_body_bytes: Size = 16 << 20
    """The largest request body that is read; a larger one gets a 413."""
    heartbeat_s: Seconds = 15.0
    """Seconds of silence in a stream after which a comment is sent, so that proxies keep it open."""
    access_log: str = "stdout"
    """Where one line of JSON per request goes: `stdout`, `off`, or the path of a file."""
    workers: Workers = 1
    """Processes that answer requests, one for each core to use. Queues and metrics are counted over all of them."""
    drain: Drain = Drain()
    """How the gateway stops."""
