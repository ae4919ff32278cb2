"""What a key may be used for, checked on the live path. Pure; free where a key has no bound."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable
from functools import lru_cache

from penstock.core.accounts import Scopes
from penstock.core.errors import (
    ENDPOINT_FORBIDDEN,
    INVALID_VALUE,
    NETWORK_FORBIDDEN,
    TOOL_FORBIDDEN,
    PenstockError,
)
from penstock.core.identity import Principal

_Network = ipaddress.IPv4Network | ipaddress.IPv6Network


def check_endpoint(principal: Principal, path: str) -> None:
    """``path`` is the route's, such as ``/v1/chat/completions``. Raises ``PenstockError(ENDPOINT_FORBIDDEN)``."""
    if principal.endpoints is not None and path not in principal.endpoints:
        raise PenstockError(
            ENDPOINT_FORBIDDEN,
            f"The key '{principal.key_id}' may not use {path[:80]}. Ask its owner to allow it, or use another key; "
            f"it may use {_listed(principal.endpoints)}.",
        )


def check_network(principal: Principal, address: str) -> None:
    """``address`` is the client's, an IPv4 one perhaps written as IPv6; one that cannot be read, that of a Unix
    socket say, is in no network. Raises ``PenstockError(NETWORK_FORBIDDEN)``."""
    if principal.networks is not None and not _inside(principal.networks, address):
        raise PenstockError(
            NETWORK_FORBIDDEN,
            f"The key '{principal.key_id}' may not be used from {address[:80] or 'here'}. Use it from a network that "
            "it is for, or ask its owner to add this address.",
        )


def check_tools(principal: Principal, names: Iterable[str]) -> None:
    """``names`` are of the tools that a request offers to the model. Raises ``PenstockError(TOOL_FORBIDDEN)``."""
    if principal.tools is None:
        return
    for name in names:
        if name not in principal.tools:
            raise PenstockError(
                TOOL_FORBIDDEN,
                f"The key '{principal.key_id}' may not offer the tool '{name[:80]}'. Leave it out, or ask the key's "
                f"owner to allow it; it may offer {_listed(principal.tools)}.",
                param="tools",
            )


def check_scopes(scopes: Scopes) -> None:
    """Whether they may be kept of a key: every network can be read, no name is empty, every endpoint is a path.
    Raises ``PenstockError(INVALID_VALUE)`` that names the one to mend."""
    for field in ("services", "models", "endpoints", "tools", "networks"):
        for place, value in enumerate(getattr(scopes, field) or ()):
            if why := _unusable(field, value):
                raise PenstockError(INVALID_VALUE, why, param=f"scopes.{field}[{place}]")


def _unusable(field: str, value: str) -> str:
    if not value or len(value) > 512:
        return f"A scope of {field} has 1 to 512 characters."
    if field == "endpoints" and not value.startswith("/"):
        return f"The endpoint {value[:80]!r} is no path; write it like '/v1/chat/completions'."
    if field == "networks":
        try:
            ipaddress.ip_network(value)
        except ValueError:
            return (
                f"The network {value[:80]!r} cannot be read; write an address, or a network such as '10.0.0.0/8' or "
                "'2001:db8::/32' with no bits set beyond its length."
            )
    return ""


@lru_cache(maxsize=4096)
def _inside(networks: tuple[str, ...], address: str) -> bool:
    try:
        client = ipaddress.ip_address(address)
    except ValueError:
        return False
    mapped = getattr(client, "ipv4_mapped", None)
    return any((mapped or client) in network for network in _parsed(networks))


@lru_cache(maxsize=1024)
def _parsed(networks: tuple[str, ...]) -> tuple[_Network, ...]:
    """What cannot be read, left by something that did not check it, holds nobody."""
    found: list[_Network] = []
    for text in networks:
        try:
            found.append(ipaddress.ip_network(text))
        except ValueError:
            continue
    return tuple(found)


def _listed(names: frozenset[str]) -> str:
    shown = ", ".join(sorted(names)[:5]) or "none"
    return f"{shown} and {len(names) - 5} more" if len(names) > 5 else shown
