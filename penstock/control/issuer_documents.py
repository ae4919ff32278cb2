"""Gets the documents of identity providers over HTTP."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping

import httpx

from penstock.control.issuers import Answer, Unfetched
from penstock.control.sign_in import Replied

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
        status, body, headers = await self._whole(url, "GET")
        if status != httpx.codes.OK:
            raise Unfetched(f"{url} answered with status {status}")
        return Answer(body, headers.get("cache-control", ""))

    async def send(self, url: str, form: Mapping[str, str], headers: Mapping[str, str]) -> Replied:
        """As ``penstock.control.sign_in.Send``."""
        status, body, _ = await self._whole(url, "POST", form, headers)
        return Replied(status, body)

    async def _whole(
        self, url: str, method: str, form: Mapping[str, str] | None = None, headers: Mapping[str, str] | None = None
    ) -> tuple[int, bytes, httpx.Headers]:
        try:
            async with (
                asyncio.timeout(self._deadline_s),
                self._client.stream(method, url, data=form, headers=headers) as response,
            ):
                body = bytearray()
                async for part in response.aiter_raw():
                    body += part
                    if len(body) > MOST_BYTES:
                        raise Unfetched(f"{url} is larger than {MOST_BYTES >> 10} KiB")
                return response.status_code, bytes(body), response.headers
        except TimeoutError:
            raise Unfetched(f"{url} did not answer within {self._deadline_s:g} s") from None
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            raise Unfetched(f"{url} cannot be reached: {error or type(error).__name__}") from None

    async def aclose(self) -> None:
        """Lets go of the connections. Idempotent."""
        await self._client.aclose()
