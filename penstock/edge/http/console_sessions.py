"""Who is signed in at the console: the cookie, the directory behind it, and that a form came from a page of ours."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import Protocol
from urllib.parse import urlsplit

import msgspec

from penstock.access.keyring import Keyring, is_token
from penstock.access.scopes import check_endpoint, check_network
from penstock.access.sessions import Errand, Identity, Session, begun
from penstock.core.errors import INVALID_API_KEY, ORIGIN_FORBIDDEN, RATE_LIMITED, PenstockError
from penstock.core.identity import Principal
from penstock.edge.http.exchange import Exchange, Headers
from penstock.gateway.snapshot import Admission, Snapshot

COOKIE = "penstock_session"
ERRAND_COOKIE = "penstock_sign_in"
PATH = "/console"

FAILURES = 10
"""Sign-ins that may fail in five minutes from one address, at one worker."""
_FAILURES_S = 300.0
_MOST_ADDRESSES = 4096
_NOT_OURS = "This was not sent by a page of this console. Load the page again, and send it from there."


class People(Protocol):
    """Those who sign in by an identity provider."""

    def of(self, identity: Identity) -> Principal:
        """What they may do now. Raises ``PenstockError``."""

    def identity(self, token: str, number: int, nonce: str) -> Identity:
        """Who has signed in, by an ID token. Raises ``PenstockError``."""


class Signed(msgspec.Struct, frozen=True):
    """Somebody who is signed in. ``token`` has to come back in every form."""

    session: Session
    admission: Admission
    name: str
    token: str

    @property
    def principal(self) -> Principal:
        return self.admission.principal


class Attempts:
    """Counts sign-ins that failed, by address. ``now`` is in monotonic seconds."""

    def __init__(self, now: Callable[[], float] = time.monotonic) -> None:
        self._now = now
        self._failed: dict[str, list[float]] = {}

    def check(self, address: str) -> None:
        """Raises ``PenstockError(RATE_LIMITED)``."""
        recent = self._recent(address)
        if len(recent) >= FAILURES:
            wait = recent[0] + _FAILURES_S - self._now()
            raise PenstockError(
                RATE_LIMITED,
                f"Too many sign-ins from here have failed. Try again in {max(1, round(wait))} s.",
                retry_after=wait,
            )

    def failed(self, address: str) -> None:
        recent = self._recent(address)
        self._failed.pop(address, None)
        while len(self._failed) >= _MOST_ADDRESSES:
            del self._failed[next(iter(self._failed))]
        self._failed[address] = [*recent, self._now()][-FAILURES:]

    def _recent(self, address: str) -> list[float]:
        since = self._now() - _FAILURES_S
        return [at for at in self._failed.get(address, ()) if at > since]


class Sessions:
    """``keyring`` and ``snapshots`` give those of this moment, ``people`` None where nobody signs in by an identity
    provider. ``secure``: this worker speaks HTTPS itself. ``now`` is in seconds since the epoch."""

    def __init__(
        self,
        keyring: Callable[[], Keyring],
        snapshots: Callable[[], Snapshot],
        people: Callable[[], People | None],
        *,
        secure: bool,
        now: Callable[[], float] = time.time,
    ) -> None:
        self._keyring = keyring
        self._snapshots = snapshots
        self.people = people
        self._secure = secure
        self._now = now

    def signed(self, exchange: Exchange) -> Signed:
        """Who is signed in; the directory is asked each time. Raises ``PenstockError``: INVALID_API_KEY for nobody,
        and what the keyring, or the claims of an identity provider, say of somebody who may not be any more."""
        text = cookies(exchange.headers).get(COOKIE, "")
        if not text:
            raise PenstockError(INVALID_API_KEY, "Nobody is signed in here. Sign in at /console/sign-in.")
        seals = self._keyring().seals
        session = seals.opened(text, self._now())
        principal = self._principal(session)
        admission = self._admitted(principal, exchange)
        named = "" if session.identity is None else session.identity.name
        return Signed(session, admission, named or principal.user or principal.key_id, seals.token(session))

    def begin_by_key(self, exchange: Exchange, presented: str) -> tuple[Principal, Headers]:
        """Signs the holder of a key in. Raises ``PenstockError`` as the keyring does."""
        keyring = self._keyring()
        if is_token(presented):
            raise PenstockError(INVALID_API_KEY, "Tokens are for programs. Sign in with an API key.")
        key_id, mark = keyring.find(presented).key_id, keyring.mark_of(presented)
        # A secret that was replaced, and has grace, begins no session.
        principal = keyring.find_id(key_id, mark)
        self._admitted(principal, exchange)
        return principal, self._cookie(exchange, begun(self._now(), key_id=key_id, mark=mark))

    def begin_by_identity(self, exchange: Exchange, identity: Identity) -> tuple[Principal, Headers]:
        """Signs somebody in whom an identity provider has named. Raises ``PenstockError``."""
        session = begun(self._now(), identity=identity)
        principal = self._principal(session)
        self._admitted(principal, exchange)
        return principal, self._cookie(exchange, session)

    def end(self, exchange: Exchange) -> Headers:
        """Takes the session out of the browser."""
        return [self._set(exchange, COOKIE, "", 0, PATH, "Strict")]

    def send_off(self, exchange: Exchange, errand: Errand) -> Headers:
        """Remembers, in the browser, somebody who goes to an identity provider. They come back from another site,
        which a strict cookie would not survive."""
        text = self._keyring().seals.errand(errand)
        seconds = round(errand.expires - self._now())
        return [self._set(exchange, ERRAND_COOKIE, text, seconds, f"{PATH}/sign-in", "Lax")]

    def back(self, exchange: Exchange) -> tuple[Errand | None, Headers]:
        """Somebody who comes back; each errand is good once."""
        text = cookies(exchange.headers).get(ERRAND_COOKIE, "")
        errand = self._keyring().seals.errand_of(text, self._now()) if text else None
        return errand, [self._set(exchange, ERRAND_COOKIE, "", 0, f"{PATH}/sign-in", "Lax")]

    def check_form(self, signed: Signed, token: str) -> None:
        """Raises ``PenstockError(ORIGIN_FORBIDDEN)`` for a form of another session, or of none."""
        if not self._keyring().seals.is_token(signed.session, token):
            raise PenstockError(ORIGIN_FORBIDDEN, _NOT_OURS)

    def now(self) -> float:
        return self._now()

    def scheme(self, exchange: Exchange) -> str:
        """``https`` where this worker, or a proxy in front of it, speaks that with the browser. Whoever lies about it
        keeps only its own cookie from itself."""
        proxied = exchange.headers.get(b"x-forwarded-proto", b"").split(b",")[0].strip().lower()
        return "https" if self._secure or proxied == b"https" else "http"

    def _principal(self, session: Session) -> Principal:
        if session.identity is None:
            return self._keyring().find_id(session.key_id, session.mark)
        people = self.people()
        if people is None:
            raise PenstockError(INVALID_API_KEY, "Nobody signs in by an identity provider here. Sign in with a key.")
        return people.of(session.identity)

    def _admitted(self, principal: Principal, exchange: Exchange) -> Admission:
        check_network(principal, exchange.client)
        check_endpoint(principal, PATH)
        return Admission(self._snapshots(), principal, exchange.client)

    def _cookie(self, exchange: Exchange, session: Session) -> Headers:
        text = self._keyring().seals.session(session)
        return [self._set(exchange, COOKIE, text, round(session.expires - session.issued), PATH, "Strict")]

    def _set(
        self, exchange: Exchange, name: str, value: str, seconds: int, path: str, same_site: str
    ) -> tuple[bytes, bytes]:
        text = f"{name}={value}; Path={path}; Max-Age={seconds}; HttpOnly; SameSite={same_site}"
        if self.scheme(exchange) == "https":
            text += "; Secure"
        return b"set-cookie", text.encode("ascii")


def cookies(headers: Mapping[bytes, bytes]) -> dict[str, str]:
    """By name; of a name that occurs twice, the first. HTTP/2 may bring a cookie in pieces, which come here as a
    list."""
    found: dict[str, str] = {}
    for pair in headers.get(b"cookie", b"").replace(b",", b";").split(b";"):
        name, equals, value = pair.strip().decode("latin-1").partition("=")
        if equals:
            found.setdefault(name, value)
    return found


def check_origin(headers: Mapping[bytes, bytes]) -> None:
    """Raises ``PenstockError(ORIGIN_FORBIDDEN)`` for what another site's page sends. Browsers say where a request
    began (Fetch Metadata; the header ``origin``); what says nothing is no browser, and has no cookie but its own."""
    site, origin = headers.get(b"sec-fetch-site"), headers.get(b"origin")
    if site is not None:
        ours = site in (b"same-origin", b"none")
    elif origin is not None:
        ours = (
            urlsplit(origin.decode("latin-1")).netloc.lower() == headers.get(b"host", b"").decode("latin-1").lower()
        )
    else:
        ours = True
    if not ours:
        raise PenstockError(ORIGIN_FORBIDDEN, _NOT_OURS)
