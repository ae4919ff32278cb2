"""Signing in and out of the console: with a key, or by an identity provider (OpenID Connect Core 1.0, 3.1, with PKCE,
RFC 7636)."""

from __future__ import annotations

import base64
import hashlib
import hmac
import secrets
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Protocol
from urllib.parse import urlencode, urlsplit

from penstock.access.config import Issuer
from penstock.access.keyring import UnknownKid
from penstock.access.sessions import Errand, Identity
from penstock.core.accounts import EVERYWHERE
from penstock.core.errors import INVALID_TOKEN, NOT_FOUND, PenstockError
from penstock.core.identity import Principal
from penstock.core.usage import Act
from penstock.edge.http.console_replies import bounce, lead, ours
from penstock.edge.http.console_sessions import Attempts, Sessions, check_origin
from penstock.edge.http.exchange import Exchange

AWAY_S = 600.0
"""How long somebody may take at an identity provider."""
_LONGEST_KEY = 4096
_CALLBACK = "/console/sign-in/callback"

Refuse = Callable[[Exchange, PenstockError, str], Awaitable[None]]
"""Shows the page again, with what was wrong; the last argument is where they wanted to go."""


class Providers(Protocol):
    """Asks identity providers, called by their places in ``access.oidc``. Each raises ``PenstockError``."""

    async def authorize_at(self, number: int) -> str:
        """Where a browser goes to sign in."""

    async def exchange(self, number: int, code: str, verifier: str, redirect_uri: str) -> str:
        """The ID token for a code."""


class SignIn:
    """``learn`` returns when the keys of an issuer have been looked for. ``note`` hears of who signed in, and must
    neither wait nor raise. ``base_url`` is where people reach the console; empty: where they say that they do."""

    def __init__(
        self,
        sessions: Sessions,
        issuers: Sequence[Issuer],
        providers: Providers,
        *,
        learn: Callable[[str], Awaitable[None]],
        note: Callable[[Act], None],
        refuse: Refuse,
        base_url: str = "",
        attempts: Attempts | None = None,
    ) -> None:
        self._sessions = sessions
        self._issuers = tuple(issuers)
        self._providers = providers
        self._learn = learn
        self._note = note
        self._refuse = refuse
        self._base_url = base_url.rstrip("/")
        self._attempts = attempts or Attempts()

    def offered(self) -> Sequence[tuple[int, str]]:
        """The identity providers that people can sign in by, and what they are called."""
        return [
            (number, each.label or urlsplit(each.issuer).netloc or each.issuer)
            for number, each in enumerate(self._issuers)
            if each.client_id
        ]

    async def by_key(self, exchange: Exchange, form: Mapping[str, str]) -> None:
        """A key that somebody filled in."""
        then = ours(form.get("next", ""))
        try:
            check_origin(exchange.headers)
            self._attempts.check(exchange.client)
        except PenstockError as error:
            await self._refuse(exchange, error, then)
            return
        try:
            principal, cookie = self._sessions.begin_by_key(exchange, form.get("key", "")[:_LONGEST_KEY].strip())
        except PenstockError as error:
            self._attempts.failed(exchange.client)
            await self._refuse(exchange, error, then)
            return
        self._tell(exchange, principal, "key")
        lead(exchange, then, cookie)

    async def away(self, exchange: Exchange, place: str, form: Mapping[str, str]) -> None:
        """Off to an identity provider."""
        then = ours(form.get("next", ""))
        try:
            check_origin(exchange.headers)
            number = self._number(place)
            endpoint = await self._providers.authorize_at(number)
        except PenstockError as error:
            await self._refuse(exchange, error, then)
            return
        issuer, verifier = self._issuers[number], secrets.token_urlsafe(48)
        errand = Errand(
            state=secrets.token_urlsafe(24),
            nonce=secrets.token_urlsafe(24),
            verifier=verifier,
            number=number,
            then=then,
            expires=self._sessions.now() + AWAY_S,
        )
        challenge = base64.urlsafe_b64encode(hashlib.sha256(verifier.encode()).digest()).rstrip(b"=").decode()
        asked = urlencode(
            {
                "response_type": "code",
                "client_id": issuer.client_id,
                "redirect_uri": self._redirect_uri(exchange),
                "scope": " ".join(issuer.scopes),
                "state": errand.state,
                "nonce": errand.nonce,
                "code_challenge": challenge,
                "code_challenge_method": "S256",
            }
        )
        joint = "&" if "?" in endpoint else "?"
        lead(exchange, f"{endpoint}{joint}{asked}", self._sessions.send_off(exchange, errand), leaving=True)

    async def back(self, exchange: Exchange, query: Mapping[str, str]) -> None:
        """Back from an identity provider, with a code or a refusal."""
        errand, cleared = self._sessions.back(exchange)
        exchange.beside = [*exchange.beside, *cleared]
        then = "/console" if errand is None else ours(errand.then)
        try:
            self._attempts.check(exchange.client)
            identity = await self._identity(exchange, query, errand)
            principal, cookie = self._sessions.begin_by_identity(exchange, identity)
        except PenstockError as error:
            # Nobody guesses without an errand, and any page can have a browser come here without one.
            if errand is not None:
                self._attempts.failed(exchange.client)
            await self._refuse(exchange, error, then)
            return
        self._tell(exchange, principal, identity.issuer)
        bounce(exchange, then, cookie)

    async def _identity(self, exchange: Exchange, query: Mapping[str, str], errand: Errand | None) -> Identity:
        given = query.get("state", "").encode("utf-8", "replace")
        if errand is None or not hmac.compare_digest(errand.state.encode(), given):
            raise _again("This sign-in was not begun in this browser, or more than ten minutes ago.")
        number = self._number(str(errand.number))
        issuer, people = self._issuers[number], self._sessions.people()
        # RFC 9207: an answer of one issuer must not pass for that of another.
        if query.get("iss", issuer.issuer) != issuer.issuer or people is None:
            raise _again("The answer is not of the identity provider that was asked.")
        if "error" in query:
            said = " ".join((query["error"], query.get("error_description", ""))).strip()
            raise _again(f"{issuer.issuer} says: {''.join(each for each in said if each.isprintable())[:200]}.")
        code = query.get("code", "")
        if not 0 < len(code) <= _LONGEST_KEY:
            raise _again(f"{issuer.issuer} sent no code.")
        token = await self._providers.exchange(number, code, errand.verifier, self._redirect_uri(exchange))
        try:
            return people.identity(token, number, errand.nonce)
        except UnknownKid as unknown:
            await self._learn(unknown.issuer)
        found = self._sessions.people()
        if found is None:
            raise _again("The answer is not of the identity provider that was asked.")
        return found.identity(token, number, errand.nonce)

    def _number(self, place: str) -> int:
        if place.isascii() and place.isdigit() and len(place) < 4 and any(int(place) == n for n, _ in self.offered()):
            return int(place)
        raise PenstockError(NOT_FOUND, "Nobody can sign in by this identity provider. Sign in with a key.")

    def _redirect_uri(self, exchange: Exchange) -> str:
        host = exchange.headers.get(b"host", b"").decode("latin-1")
        return f"{self._base_url or f'{self._sessions.scheme(exchange)}://{host}'}{_CALLBACK}"

    def _tell(self, exchange: Exchange, principal: Principal, by: str) -> None:
        self._note(
            Act(
                at=self._sessions.now(),
                actor=principal.key_id,
                project=EVERYWHERE if principal.everywhere else principal.project,
                action="console.sign_in",
                target=by,
                address=exchange.client,
                request_id=exchange.request_id,
            )
        )


def _again(why: str) -> PenstockError:
    return PenstockError(INVALID_TOKEN, f"{why} Begin again.")
