"""Who a request is from, when proxies stand in front. Pure.

A proxy adds the address that it sees to the right of ``x-forwarded-for``; what stands further left was there before,
and the client may have written it. So the addresses of known proxies are gone through from the right, and the first
that is none is the client.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable

Address = ipaddress.IPv4Address | ipaddress.IPv6Address
Network = ipaddress.IPv4Network | ipaddress.IPv6Network

# More proxies in a row than anybody has; what a client writes before them costs nothing.
_MOST = 32


class Proxies:
    """``networks``: addresses, or networks in CIDR notation. Raises ``ValueError`` for anything else."""

    __slots__ = ("_networks",)

    def __init__(self, networks: Iterable[str]) -> None:
        self._networks = tuple(_network(text) for text in networks)

    def trust(self, peer: str) -> bool:
        """Whether what this peer says of others is believed."""
        if not self._networks:
            return False
        address = _address(peer)
        return address is not None and self._known(address)

    def client(self, peer: str, chain: bytes | None) -> str:
        """The client's address, of a request that ``peer``, a trusted proxy, has passed on with ``chain`` as its
        ``x-forwarded-for``. Goes no further back than what can be read."""
        client = peer
        for part in reversed((chain or b"").split(b",")[-_MOST:]):
            address = _address(part.decode("latin-1"))
            if address is None:
                break
            client = str(address)
            if not self._known(address):
                break
        return client

    def _known(self, address: Address) -> bool:
        return any(address in network for network in self._networks)


def chain(head: bytes) -> bytes:
    """The value of ``x-forwarded-for`` in a head as it came, as one however often it is there."""
    lines = (line.partition(b":") for line in head.split(b"\r\n")[1:])
    return b",".join(value for name, _, value in lines if name.lower() == b"x-forwarded-for")


def _network(text: str) -> Network:
    try:
        return ipaddress.ip_network(text.strip(), strict=False)
    except ValueError:
        raise ValueError(
            f"`{text}` in `trusted_proxies` is neither an address nor a network; write one such as 10.0.0.0/8"
        ) from None


def _address(text: str) -> Address | None:
    """Some proxies add the port, and brackets with it."""
    text = text.strip().strip('"')
    if text.startswith("["):
        text = text[1:].partition("]")[0]
    elif text.count(":") == 1:
        text = text.partition(":")[0]
    try:
        address = ipaddress.ip_address(text.partition("%")[0])
    except ValueError:
        return None
    mapped = address.ipv4_mapped if isinstance(address, ipaddress.IPv6Address) else None
    return mapped or address
