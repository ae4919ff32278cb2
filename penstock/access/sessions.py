"""Sessions of people who are signed in: a text that their browser keeps, sealed by the pepper, so that every worker
of every gateway of one store can read it and none has to remember it.

A session proves nothing by itself: it names a key, or a person, and the directory is asked each time.
"""

from __future__ import annotations

import base64
import binascii
import hmac
import secrets
from collections.abc import Sequence
from typing import TypeVar

import msgspec

from penstock.access.peppers import Pepper
from penstock.core.errors import INVALID_API_KEY, KEY_EXPIRED, PenstockError

LASTS_S = 12 * 3600.0
"""How long somebody stays signed in."""

MOST_BYTES = 3800
"""Of a sealed text: browsers keep cookies of 4 KiB."""

MARK_BYTES = 16

_SESSION = b"penstock console session"
_FORM = b"penstock console form"
_ERRAND = b"penstock console sign-in"

_Form = TypeVar("_Form")


class Identity(msgspec.Struct, frozen=True, array_like=True):
    """What an identity provider said of a person: those claims that decide what they may do, as JSON. ``audience``
    is the entry of ``access.oidc`` that it was checked by, ``name`` what to call them."""

    issuer: str
    audience: str
    claims: bytes
    name: str = ""


class Session(msgspec.Struct, frozen=True, array_like=True):
    """Somebody who signed in at ``issued``: by the key ``key_id``, whose secret had ``mark``, or as
    ``identity``. ``id`` is nothing but random. Times in seconds since the epoch."""

    id: bytes
    issued: float
    expires: float
    key_id: str = ""
    mark: bytes = b""
    identity: Identity | None = None


class Errand(msgspec.Struct, frozen=True, array_like=True):
    """Somebody who is away at an identity provider to sign in there (RFC 6749, 4.1; RFC 7636). ``number`` is the
    issuer's place among those of ``access.oidc``, ``then`` where they go afterwards."""

    state: str
    nonce: str
    verifier: str
    number: int
    then: str
    expires: float


class Seals:
    """``peppers`` the current one first: it seals, all of them are known."""

    __slots__ = ("_errands", "_forms", "_sessions")

    def __init__(self, peppers: Sequence[Pepper]) -> None:
        self._sessions = [derived(each.secret, _SESSION) for each in peppers]
        self._forms = [derived(each.secret, _FORM) for each in peppers]
        self._errands = [derived(each.secret, _ERRAND) for each in peppers]

    def session(self, session: Session) -> str:
        """As a text. Raises ``PenstockError(INVALID_API_KEY)`` for one that no browser would keep."""
        text = _sealed(self._sessions[0], msgspec.msgpack.encode(session))
        if len(text) > MOST_BYTES:
            raise PenstockError(
                INVALID_API_KEY,
                "What the identity provider says of you is too long to be kept. Have it send fewer groups or roles.",
            )
        return text

    def opened(self, text: str, now: float) -> Session:
        """Raises ``PenstockError``: INVALID_API_KEY for what was never sealed here, KEY_EXPIRED for what is over."""
        found = _unsealed(self._sessions, text, Session)
        if found is None:
            raise PenstockError(INVALID_API_KEY, "This session was not begun here. Sign in again.")
        if not found.issued <= now + 60 or now >= found.expires:
            raise PenstockError(KEY_EXPIRED, "The session is over. Sign in again.")
        return found

    def errand(self, errand: Errand) -> str:
        """As a text."""
        return _sealed(self._errands[0], msgspec.msgpack.encode(errand))

    def errand_of(self, text: str, now: float) -> Errand | None:
        """None for what was never sealed here, or is over."""
        found = _unsealed(self._errands, text, Errand)
        return None if found is None or now >= found.expires else found

    def token(self, session: Session) -> str:
        """What every form of the session holds, and no other site can know."""
        return _text(hmac.digest(self._forms[0], session.id, "sha256"))

    def is_token(self, session: Session, token: str) -> bool:
        """Compares in constant time."""
        given = token.encode("utf-8", "replace")
        return any(
            hmac.compare_digest(_text(hmac.digest(each, session.id, "sha256")).encode(), given)
            for each in self._forms
        )


def begun(now: float, *, key_id: str = "", mark: bytes = b"", identity: Identity | None = None) -> Session:
    """A new session."""
    return Session(secrets.token_bytes(16), now, now + LASTS_S, key_id, mark, identity)


def derived(secret: bytes, purpose: bytes) -> bytes:
    """A key of 32 bytes for one purpose: HKDF with SHA-256 (RFC 5869), without salt."""
    extracted = hmac.digest(bytes(32), secret, "sha256")
    return hmac.digest(extracted, purpose + b"\x01", "sha256")


def _sealed(key: bytes, body: bytes) -> str:
    return f"{_text(body)}.{_text(hmac.digest(key, body, 'sha256'))}"


def _unsealed(keys: Sequence[bytes], text: str, form: type[_Form]) -> _Form | None:
    if len(text) > MOST_BYTES or not text.isascii():
        return None
    body_part, _, seal_part = text.partition(".")
    body, seal = _raw(body_part), _raw(seal_part)
    if body is None or seal is None:
        return None
    if not any(hmac.compare_digest(hmac.digest(key, body, "sha256"), seal) for key in keys):
        return None
    try:
        return msgspec.msgpack.decode(body, type=form)
    except msgspec.DecodeError:
        # Sealed by another version.
        return None


def _text(raw: bytes) -> str:
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()


def _raw(text: str) -> bytes | None:
    try:
        return base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True)
    except (binascii.Error, ValueError):
        return None
