"""What a browser is told of who may ask: https://fetch.spec.whatwg.org/#http-cors-protocol. Pure.

Cookies mean nothing here, so credentials are never allowed: a page has a key of its own, or it gets a 401.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from urllib.parse import urlsplit

ANY = "*"

# What a page's script may read of a reply, beside its body. "*" does not stand for all of them in every browser.
_EXPOSED = (
    b"x-request-id, x-should-retry, retry-after, retry-after-ms, x-penstock-model, x-penstock-replica, "
    b"x-penstock-attempts, x-penstock-fallbacks, x-penstock-overhead-us, x-penstock-cost, x-penstock-budget-warning, "
    b"x-ratelimit-limit-requests, x-ratelimit-remaining-requests, x-ratelimit-reset-requests, "
    b"x-ratelimit-limit-tokens, x-ratelimit-remaining-tokens, x-ratelimit-reset-tokens"
)
_METHODS = b"GET, HEAD, POST, DELETE, OPTIONS"
# Header names, as many as a page would ask for. They are sent back as they came: "*" leaves `authorization` out.
_NAMES = re.compile(rb"[A-Za-z0-9!#$%&'*+.^_`|~, -]{1,2048}\Z")


def check(origin: str) -> None:
    """Raises ``ValueError`` for what no browser would send as its page's origin, with the mend."""
    if origin == ANY:
        return
    try:
        url = urlsplit(origin)
        sound = bool(url.hostname) and url.port != 0 and origin.lower() == f"{url.scheme}://{url.netloc}".lower()
    except ValueError:
        sound = False
    if not sound or not origin.isascii() or "@" in origin:
        raise ValueError(
            f"`{origin}` in `origins` is no origin: write scheme and host, and the port unless it is the usual one, "
            'such as https://app.example or http://localhost:3000, without a path; "*" is any'
        )


class Cors:
    """``origins`` as ``check`` has found them sound; ``max_age_s`` whole seconds."""

    __slots__ = ("_any", "_origins", "_preflight")

    def __init__(self, origins: Collection[str], max_age_s: int) -> None:
        self._any = ANY in origins
        self._origins = frozenset(origin.lower().encode("ascii") for origin in origins)
        self._preflight = [
            (b"access-control-allow-methods", _METHODS),
            (b"access-control-max-age", b"%d" % max_age_s),
        ]

    def beside(self, method: str, headers: Mapping[bytes, bytes]) -> list[tuple[bytes, bytes]]:
        """The headers that the reply to a request must carry, whatever it is; none when no browser's page asks, or
        one that may not. A preflight, which shows no key, is allowed whatever headers it names."""
        origin = headers.get(b"origin")
        vary = [] if self._any else [(b"vary", b"origin")]
        if origin is None or not (self._any or origin.lower() in self._origins):
            return vary
        found = [(b"access-control-allow-origin", b"*" if self._any else origin), *vary]
        if method != "OPTIONS" or b"access-control-request-method" not in headers:
            return [*found, (b"access-control-expose-headers", _EXPOSED)]
        found += self._preflight
        names = headers.get(b"access-control-request-headers", b"")
        if _NAMES.match(names):
            found.append((b"access-control-allow-headers", names))
        return found
