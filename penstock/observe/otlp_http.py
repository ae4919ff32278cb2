"""Posts to a collector over HTTP, with httpx."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping

import httpx

from penstock.observe.otlp_lane import Reply, Unreached

MOST_BYTES = 64 << 10
"""Of an answer: more of it is not read."""


class OtlpHttp:
    """As ``penstock.observe.otlp_lane.Wire``. Proxies and certificate authorities are those of the environment
    (``HTTPS_PROXY``, ``SSL_CERT_FILE``)."""

    def __init__(self) -> None:
        self._client = httpx.AsyncClient(
            follow_redirects=False, limits=httpx.Limits(max_connections=4, max_keepalive_connections=2)
        )

    async def post(self, url: str, body: bytes, headers: Mapping[str, str], within_s: float) -> Reply:
        try:
            async with (
                asyncio.timeout(within_s),
                self._client.stream("POST", url, content=body, headers=dict(headers), timeout=within_s) as response,
            ):
                read = bytearray()
                async for part in response.aiter_bytes():
                    read += part
                    if len(read) > MOST_BYTES:
                        break
        except TimeoutError:
            raise Unreached(f"it did not answer within {within_s:g} s") from None
        except (httpx.HTTPError, OSError) as error:
            raise Unreached(f"it cannot be reached: {error or type(error).__name__}") from None
        except (httpx.InvalidURL, ValueError):
            # Neither may be repeated: there are keys in them.
            raise Unreached("its address or headers, in `observe: otlp:`, cannot be sent") from None
        told = {name.lower(): value for name, value in response.headers.items()}
        return Reply(response.status_code, told, bytes(read[:MOST_BYTES]))

    async def aclose(self) -> None:
        await self._client.aclose()
