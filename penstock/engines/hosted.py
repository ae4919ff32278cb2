"""What the engines that are reached by URL have in common: addresses, keys, refusals, probes."""

from __future__ import annotations

from collections.abc import Mapping

from penstock.core.errors import UPSTREAM_UNREACHABLE, PenstockError
from penstock.engines import config
from penstock.engines.faults import Origin, http_error
from penstock.engines.http import Http, Response

PROBE_S = 5.0
PREPARED = 256
"""Requests that an engine keeps rendered, for the replicas, paths and keys it has used last."""
_ERROR_BYTES = 64 << 10
_SECRET_LENGTH = 8
"""Shorter header values are words like ``true``, and taking them out of messages would only garble those."""


def endpoint(base_url: str, path: str) -> str:
    """``path`` below ``base_url``, whose query stays at the end (Azure's ``?api-version=``)."""
    base, mark, query = base_url.partition("?")
    return f"{base.rstrip('/')}{path}{mark}{query}"


def usable_keys(given: str | list[str]) -> tuple[str, ...]:
    """The keys to take in turn; empty and ``none`` mean no key."""
    keys = [given] if isinstance(given, str) else given
    return tuple(key for key in keys if key and key.lower() != "none")


def secrets_of(settings: config.OpenAI | config.Anthropic) -> tuple[str, ...]:
    """What must not be repeated to a client: keys, the proxy's address and the values of headers."""
    values = (value.removeprefix("Bearer ") for value in settings.headers.values())
    hidden = tuple(value for value in values if len(value) >= _SECRET_LENGTH)
    return usable_keys(settings.api_key) + hidden + ((settings.proxy,) if settings.proxy else ())


async def refusal(response: Response) -> bytes:
    """The body of a bad answer, as far as it is worth reading; the connection is let go."""
    pieces: list[bytes] = []
    try:
        while sum(map(len, pieces)) < _ERROR_BYTES and (piece := await response.read()):
            pieces.append(piece)
    except PenstockError:
        # The status has been said already, and it says more than that its body broke off.
        return b"".join(pieces)
    finally:
        response.close()
    return b"".join(pieces)


async def probed(http: Http, url: str, headers: Mapping[str, str], wall: float, origin: Origin) -> None:
    """Raises ``PenstockError`` when ``url`` does not answer within 5 s, or answers 401, 403 or 5xx."""
    response = await http.get(http.prepared("GET", url, headers), PROBE_S)
    try:
        if response.status in (401, 403) or response.status >= 500:
            raise http_error(response.status, response.headers, await refusal(response), origin, wall)
        if 300 <= response.status < 400:
            raise PenstockError(
                UPSTREAM_UNREACHABLE,
                f"The upstream of model {origin.model!r} redirects; give the address it points to as base_url",
            )
    finally:
        response.close()
