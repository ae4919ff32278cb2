"""Gets the documents of identity providers over HTTP."""

from __future__ import annotations

import asyncio

import httpx

from penstock.control.issuers import Answer, Unfetched

MOST_BYTES = 512 << 10
"""The largest document that is read."""
DEADLINE_S = 6.0
"""How long one may take in all."""


class Documents:
    """Of any issuer. Proxies and certificate authorities are those of the environment (``HTTPS_PROXY``,
    ``SSL_CERT_FILE``). ``deadline_s`` is for one document, from the connection to its last byte."""

    def __init__(self, deadline_s: float = DEADLINE_S) -> None:
        self._deadline_s = deadline_s
        self._client = httpx.AsyncClient(
            follow_redirects=False,
            timeout=deadline_s,
            limits=httpx.Limits(max_connections=10, max_keepalive_connections=0),
            # What arrives is what is counted.
            headers={"accept": "application/json", "accept-encoding": "identity"},
        )

    async def __call__(self, url: str) -> Answer:
        """As ``penstock.control.issuers.Fetch``."""
        try:
            async with asyncio.timeout(self._deadline_s), self._client.stream("GET", url) as response:
                if response.status_code != httpx.codes.OK:
                    raise Unfetched(f"{url} answered with status {response.status_code}")
                body = bytearray()
                async for part in response.aiter_raw():
                    body += part
                    if len(body) > MOST_BYTES:
                        raise Unfetched(f"{url} is larger than {MOST_BYTES >> 10} KiB")
        except TimeoutError:
            raise Unfetched(f"{url} did not answer within {self._deadline_s:g} s") from None
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            raise Unfetched(f"{url} cannot be reached: {error or type(error).__name__}") from None
        return Answer(bytes(body), response.headers.get("cache-control", ""))

    async def aclose(self) -> None:
        """Lets go of the connections. Idempotent."""
        await self._client.aclose()
