"""What the deployment file may say of the server."""

from __future__ import annotations

from typing import Annotated

import msgspec

from penstock.edge.http import cors, forwarded

Port = Annotated[int, msgspec.Meta(ge=1, le=65535)]
Seconds = Annotated[float, msgspec.Meta(gt=0, le=86400)]
Workers = Annotated[int, msgspec.Meta(ge=1, le=64)]
Connections = Annotated[int, msgspec.Meta(ge=1, le=1_000_000)]
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


class Tls(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Whom the gateway shows itself to be. The files are looked at every second, and what is new in them is shown to
    the connections that follow."""

    certificate: Annotated[str, msgspec.Meta(min_length=1)]
    """A PEM file: the server's certificate, then those between it and the authority that clients trust."""
    key: Annotated[str, msgspec.Meta(min_length=1)]
    """A PEM file: the certificate's private key."""
    password: str = ""
    """What the key is encrypted with, if it is."""

    def __repr__(self) -> str:
        return f"Tls(certificate={self.certificate!r}, key={self.key!r})"


class Cors(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Which web pages may ask the gateway from a browser. They show a key all the same."""

    origins: Annotated[list[str], msgspec.Meta(min_length=1)]
    """The pages' origins, such as `https://app.example`, or `"*"` for any."""
    max_age_s: Annotated[int, msgspec.Meta(ge=0, le=86400)] = 600
    """Seconds for which a browser need not ask again what it may send."""

    def __post_init__(self) -> None:
        for origin in self.origins:
            cors.check(origin)


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
    max_connections: Connections = 10_000
    """Client connections that one worker keeps open; one more gets a 503. Each takes one of the files that the system
    lets a process open."""
    tls: Tls | None = None
    """Speaks HTTPS in place of HTTP. Default: no."""
    cors: Cors | None = None
    """Lets web pages of other origins in. Default: none."""
    trusted_proxies: list[str] = []
    """Addresses, or networks such as `10.0.0.0/8`, of the proxies in front. What they say in `x-forwarded-for` is
    taken for the client's address, in the access log say."""
    workers: Workers = 1
    """Processes that answer requests, one for each core to use. Queues and metrics are counted over all of them."""
    drain: Drain = Drain()
    """How the gateway stops."""

    def __post_init__(self) -> None:
        forwarded.Proxies(self.trusted_proxies)
