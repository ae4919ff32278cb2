"""Keeps the signing keys of the identity providers fresh: a loop for each, in the supervisor.

An issuer says where its keys are in its discovery document (OpenID Connect Discovery 1.0, 4). While it cannot be
reached the keys stay as they were; how long they are trusted is decided where tokens are checked.
"""

from __future__ import annotations

import asyncio
import logging
import math
import re
from collections.abc import Awaitable, Callable, Iterable, Mapping
from typing import Protocol

import msgspec

from penstock.access.config import Issuer
from penstock.control.copies import cancelled
from penstock.core.accounts import SigningKeys
from penstock.core.clock import Clock

_log = logging.getLogger(__name__)

REFRESH_S = 300.0
"""How long keys are kept where the issuer does not say."""
LEAST_S, MOST_S = 60.0, 3600.0
"""Bounds of what it may say."""
WANTED_S = 10.0
"""How often at most it is asked because somebody wants a key that it did not have."""
# Longer than two documents take.
_PATIENCE_S = 15.0
_LEAST_DELAY_S = 0.5
_BACKOFF_S = (1.0, 2.0, 5.0, 10.0, 30.0, 60.0)
_MAX_AGE = re.compile(r"(?:^|[\s,])max-age\s*=\s*\"?(\d{1,9})")
_WELL_KNOWN = "/.well-known/openid-configuration"


class Answer(msgspec.Struct, frozen=True):
    """What an issuer answered with status 200. ``cache_control`` as it was sent, empty: it was not."""

    body: bytes
    cache_control: str = ""


class Unfetched(Exception):
    """A document that could not be had; its text says why, for the log."""


class Fetch(Protocol):
    """Gets documents over HTTP."""

    async def __call__(self, url: str) -> Answer:
        """The document at an ``http:`` or ``https:`` URL, within a bound of time and size, no redirect followed.
        Raises ``Unfetched``."""


class _Discovery(msgspec.Struct):
    issuer: str
    jwks_uri: str


class _Jwks(msgspec.Struct):
    keys: list[msgspec.Raw]


class _Provider:
    """One issuer, and how its keys stand, which are trusted for ``trusted_s``. ``attempt`` is the newest look for
    them: whether it found them; ``wanted_at`` is when somebody last made it look."""

    def __init__(self, issuer: Issuer, trusted_s: float) -> None:
        self.issuer = issuer
        self.trusted_s = trusted_s
        self.keys = SigningKeys(issuer.issuer)
        self.failures = 0
        self.wanted_at = -math.inf
        self.attempt: asyncio.Future[bool] | None = None
        self.woken = asyncio.Event()


class Issuers:
    """The signing keys of every issuer. ``changed`` is told all of them, by the issuers' names, when it starts and
    whenever some were fetched, the same as before or not: it says how fresh they are."""

    def __init__(
        self,
        issuers: Iterable[Issuer],
        *,
        fetch: Fetch,
        clock: Clock,
        changed: Callable[[Mapping[str, SigningKeys]], None],
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        # One that is named twice, for two audiences, is asked once.
        trusted: dict[str, float] = {}
        for each in (entries := tuple(issuers)):
            trusted[each.issuer] = min(each.stale_after_s, trusted.get(each.issuer, math.inf))
        self._providers = {each.issuer: _Provider(each, trusted[each.issuer]) for each in reversed(entries)}
        self._fetch = fetch
        self._clock = clock
        self._changed = changed
        self._sleep = sleep

    async def run(self) -> None:
        """Keeps at it until cancelled."""
        self._tell()
        async with asyncio.TaskGroup() as loops:
            for provider in self._providers.values():
                loops.create_task(self._keep(provider))

    async def wanted(self, issuer: str) -> bool:
        """Somebody has a token by a key that is not known: looks for it now, and returns when ``changed`` has been
        told; whether the issuer answered.

        False at once when nothing is to be gained: the issuer is none of these, or was asked for somebody else in the
        last ten seconds, so that forged tokens are no way to flood it. Whoever wants while it is being asked waits
        for the same answer, fifteen seconds at most.
        """
        provider = self._providers.get(issuer)
        if provider is None:
            return False
        attempt = provider.attempt
        if attempt is None or attempt.done():
            now = self._clock.now()
            if now - provider.wanted_at < WANTED_S:
                return False
            provider.wanted_at = now
            attempt = provider.attempt = asyncio.get_running_loop().create_future()
            provider.woken.set()
        done, _ = await asyncio.wait((attempt,), timeout=_PATIENCE_S)
        return bool(done) and attempt.result()

    async def _keep(self, provider: _Provider) -> None:
        while True:
            # Keys that can still be had are asked for before they are too old to be trusted.
            delay = min(await self._refresh(provider), max(provider.trusted_s / 2, _LEAST_DELAY_S))
            # What wakes it is set only while it waits here.
            provider.woken.clear()
            waits = [asyncio.ensure_future(self._sleep(delay)), asyncio.ensure_future(provider.woken.wait())]
            try:
                await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
            finally:
                await cancelled(waits)

    async def _refresh(self, provider: _Provider) -> float:
        """Looks for the keys once; in how many seconds to look again."""
        if provider.attempt is None or provider.attempt.done():
            provider.attempt = asyncio.get_running_loop().create_future()
        found = False
        try:
            answer = await self._look(provider.issuer)
            found = True
        except Unfetched as error:
            provider.failures += 1
            if provider.failures == 1:
                _log.warning(
                    "the signing keys of %s could not be fetched: %s; those of before are used for %.0f s",
                    provider.issuer.issuer,
                    error,
                    provider.issuer.stale_after_s,
                )
            return _BACKOFF_S[min(provider.failures, len(_BACKOFF_S)) - 1]
        else:
            if provider.failures:
                _log.info("%s answers again", provider.issuer.issuer)
            provider.failures = 0
            provider.keys = SigningKeys(provider.issuer.issuer, answer.body, self._clock.wall())
            self._tell()
            return _kept_for(answer.cache_control)
        finally:
            provider.attempt.set_result(found)

    async def _look(self, issuer: Issuer) -> Answer:
        url = issuer.jwks_url or await self._discovered(issuer.issuer)
        answer = await self._fetch(url)
        try:
            msgspec.json.decode(answer.body, type=_Jwks)
        except msgspec.DecodeError as error:
            raise Unfetched(f"{url} is no JWKS document ({error})") from None
        return answer

    async def _discovered(self, issuer: str) -> str:
        """Where an issuer says that its keys are."""
        url = issuer.rstrip("/") + _WELL_KNOWN
        answer = await self._fetch(url)
        try:
            said = msgspec.json.decode(answer.body, type=_Discovery)
        except msgspec.DecodeError as error:
            raise Unfetched(f"{url} is no discovery document ({error})") from None
        if said.issuer != issuer:
            raise Unfetched(f"{url} is of another issuer, {said.issuer[:200]!r}; write the issuer as it does")
        # One that is reached over TLS does not lead away from it.
        allowed = ("https://",) if issuer.startswith("https://") else ("https://", "http://")
        if not said.jwks_uri.startswith(allowed):
            raise Unfetched(f"{url} names keys at {said.jwks_uri[:200]!r}, which is not {' or '.join(allowed)}")
        return said.jwks_uri

    def _tell(self) -> None:
        self._changed({name: provider.keys for name, provider in self._providers.items()})


def _kept_for(cache_control: str) -> float:
    """RFC 9111, 5.2.2: for how long an answer is fresh, within our bounds."""
    lowered = cache_control.lower()
    if "no-cache" in lowered or "no-store" in lowered:
        return LEAST_S
    found = _MAX_AGE.search(lowered)
    return min(max(float(found[1]), LEAST_S), MOST_S) if found else REFRESH_S
