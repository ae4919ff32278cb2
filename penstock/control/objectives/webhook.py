"""Tells by HTTP: one request for a message, or for each alert where the template is one of an incident."""

from __future__ import annotations

import asyncio
import datetime
import email.utils
from collections.abc import Callable, Sequence
from urllib.parse import urlsplit

import httpx

from penstock.control.objectives.receivers import Undelivered
from penstock.control.objectives.telling import Message
from penstock.control.objectives.templates import Body, is_json
from penstock.core.series import Severity
from penstock.observe import config

DEADLINE_S = 10.0
"""How long one request may take in all."""
_READ = 2048
# Shorter parts of an address are words such as `services`.
_SECRET = 9
_LONGEST_AFTER_S = 300.0
_TRY_AGAIN = frozenset({408, 425, 429})


class Webhook:
    """A ``Receiver``. ``number`` tells it from others of the file. Proxies and certificate authorities are those of
    the environment (``HTTPS_PROXY``, ``SSL_CERT_FILE``). Raises ``PenstockError(BAD_DEPLOYMENT)`` for a template that
    cannot be used."""

    def __init__(self, settings: config.Webhook, number: int, deadline_s: float = DEADLINE_S) -> None:
        self._body = Body(settings.template, settings.key)
        self._settings = settings
        kind = settings.template if settings.template in config.TEMPLATES else "own template"
        self.name = f"webhook {number} ({kind}, {urlsplit(settings.url).hostname})"
        self.severities: Sequence[Severity] = settings.severities
        self._deadline_s = deadline_s
        self._client = httpx.AsyncClient(follow_redirects=False, timeout=deadline_s)

    async def send(self, message: Message) -> None:
        for body in self._body.bodies(message):
            await self._post(body)

    async def _post(self, body: bytes) -> None:
        kind = "application/json" if is_json(body) else "text/plain; charset=utf-8"
        headers = {"content-type": kind, "user-agent": "penstock", **self._settings.headers}
        try:
            async with (
                asyncio.timeout(self._deadline_s),
                self._client.stream("POST", self._settings.url, content=body, headers=headers) as response,
            ):
                if response.is_success:
                    return
                said = await _begin(response)
        except TimeoutError:
            raise Undelivered(f"no answer in {self._deadline_s:g} s") from None
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            raise Undelivered(f"it cannot be reached: {self._masked(str(error)) or type(error).__name__}") from None
        status = response.status_code
        why = f"it answered with status {status}" + (f": {self._masked(said)}" if said else "")
        raise Undelivered(
            why,
            retry=status >= 500 or status in _TRY_AGAIN,
            after_s=_after(response.headers.get("retry-after", ""), _now),
        )

    def _masked(self, text: str) -> str:
        """Without what is secret, in case that it is repeated."""
        settings, parts = self._settings, urlsplit(self._settings.url)
        for secret in (settings.url, settings.key, *settings.headers.values(), parts.query, *parts.path.split("/")):
            text = text.replace(secret, "***") if len(secret) >= _SECRET else text
        return text

    async def aclose(self) -> None:
        await self._client.aclose()


async def _begin(response: httpx.Response) -> str:
    read = b""
    async for part in response.aiter_bytes():
        read += part
        if len(read) >= _READ:
            break
    return " ".join(read[:_READ].decode(errors="replace").split())[:200]


def _now() -> float:
    return datetime.datetime.now(datetime.UTC).timestamp()


def _after(said: str, now: Callable[[], float]) -> float:
    """Seconds of a ``retry-after``, a number or a date (RFC 9110, 10.2.3); 0: it says nothing that is of use."""
    if said.strip().isdigit():
        return min(float(said), _LONGEST_AFTER_S)
    parsed = email.utils.parsedate_tz(said)
    if parsed is None:
        return 0.0
    return min(max(0.0, email.utils.mktime_tz(parsed) - now()), _LONGEST_AFTER_S)
