"""The handshake, RFC 6455 section 4: who may open a socket, and what is answered. Pure, but for the date.

Browsers can set no headers on a WebSocket, so a key may also come as a subprotocol, ``penstock, key.THE_KEY``, as
OpenAI's realtime API has it. It is taken out before anything else sees the request, and never sent back.

Browsers also let any site open a socket to any other, with whatever credentials they hold for it. They hold none
for us: the key is always the script's own. Other sites' pages are refused all the same, unless ``server.cors`` lists
them, so that what a page may do here does not depend on the way it takes.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping

import msgspec
from websockets.http11 import Request
from websockets.server import ServerProtocol

from penstock.core.errors import BAD_REQUEST, ORIGIN_FORBIDDEN, PenstockError
from penstock.edge.http.exchange import key_in

_SUBPROTOCOL = "penstock"
_KEY = "key."
# All that the library needs to see of the head.
_NEEDED = (b"connection", b"upgrade", b"sec-websocket-key", b"sec-websocket-version")


class Upgrade(msgspec.Struct, frozen=True):
    """A request for a socket. ``headers`` by lower-case name, without those that hold a key; of a name that occurs
    twice, the last. ``needed`` are the request line and headers of the handshake itself."""

    headers: Mapping[bytes, bytes]
    key: str | None
    offered: bool
    needed: bytes

    def __repr__(self) -> str:
        return f"Upgrade({self.offered})"


def read(head: bytes) -> Upgrade:
    """Reads a head that an HTTP parser has found sound."""
    line, *lines = head.rstrip(b"\r\n").split(b"\r\n")
    pairs = [(name.lower(), value.strip()) for name, _, value in (text.partition(b":") for text in lines)]
    protocols = _listed(value for name, value in pairs if name == b"sec-websocket-protocol")
    headers = dict(pairs)
    key = key_in(headers) or next((p.removeprefix(_KEY) for p in protocols if p.startswith(_KEY)), None)
    for name in (b"authorization", b"x-api-key", b"api-key", b"sec-websocket-protocol"):
        headers.pop(name, None)
    method, *_, version = line.split(b" ")
    needed = [name + b": " + value for name, value in pairs if name in _NEEDED]
    needed = [b"%s / %s" % (method, version), *needed, b"", b""]
    return Upgrade(headers, key or None, _SUBPROTOCOL in protocols, b"\r\n".join(needed))


def check_origin(headers: Mapping[bytes, bytes], origins: Collection[str]) -> None:
    """Raises ``PenstockError(ORIGIN_FORBIDDEN)`` for a browser's page of a site that is neither ours nor listed."""
    given = headers.get(b"origin")
    if given is None or "*" in origins:
        return
    origin = given.decode("latin-1").lower()
    host = headers.get(b"host", b"").decode("latin-1").lower()
    if origin in origins or (host and origin.partition("://")[2] == host):
        return
    raise PenstockError(
        ORIGIN_FORBIDDEN,
        "Pages of this origin may not open a WebSocket here. Add the origin to 'server.cors' in the deployment file.",
    )


def accept(upgrade: Upgrade, protocol: ServerProtocol, request_id: str) -> bytes:
    """The 101 response; ``protocol`` is open then. Raises ``PenstockError(BAD_REQUEST)``."""
    protocol.receive_data(upgrade.needed)
    events = protocol.events_received()
    if not events or not isinstance(events[0], Request):
        raise PenstockError(BAD_REQUEST, "This is no WebSocket handshake. Send a GET over HTTP/1.1.")
    response = protocol.accept(events[0])
    if response.status_code != 101:
        raise PenstockError(
            BAD_REQUEST,
            "The WebSocket handshake is not sound. Send 'Connection: Upgrade', 'Upgrade: websocket', "
            "'Sec-WebSocket-Version: 13' and one 'Sec-WebSocket-Key' of 16 bytes in base64.",
        )
    response.headers["X-Request-Id"] = request_id
    if upgrade.offered:
        response.headers["Sec-WebSocket-Protocol"] = _SUBPROTOCOL
    protocol.send_response(response)
    return b"".join(protocol.data_to_send())


def _listed(values: Iterable[bytes]) -> list[str]:
    return [part.strip().decode("latin-1") for value in values for part in value.split(b",")]
