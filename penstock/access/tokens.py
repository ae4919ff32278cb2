"""Tokens: JWTs (RFC 7519) signed by an identity provider, taken in place of keys, checked as RFC 8725 wants it."""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import json
import math
from collections.abc import Callable, Mapping, Sequence

import msgspec

from penstock.access.config import Issuer
from penstock.access.jwks import SigningKey, read_jwks
from penstock.access.keyring import UnknownKid
from penstock.access.oidc_claims import Claims, People, deciding, shown
from penstock.access.sessions import Identity
from penstock.core.accounts import Directory, SigningKeys
from penstock.core.errors import IDENTITIES_STALE, INVALID_TOKEN, KEY_EXPIRED, PenstockError
from penstock.core.identity import Principal

MOST_BYTES = 16 << 10
"""The longest token that is looked at."""

# RFC 9068; other kinds, such as logout tokens, are no proof of who calls.
_TYPES = frozenset({"jwt", "at+jwt", "application/jwt", "application/at+jwt"})
_MOST_SEEN = 10_000
_RETRY_S = 10.0


class _Trusted(msgspec.Struct, frozen=True):
    """The keys of an issuer, trusted until ``until``."""

    keys: tuple[SigningKey, ...]
    until: float


class Tokens:
    """Checks tokens for one directory and one set of signing keys; when either changes, a new one takes its place.

    ``signing`` by the issuers' names. ``now`` is in seconds since the epoch. A token that was right is remembered,
    by its SHA-256, until it expires, or its issuer's keys are too old to be trusted.
    """

    __slots__ = ("_issuers", "_now", "_people", "_seen", "_trusted")

    def __init__(
        self,
        issuers: Sequence[Issuer],
        signing: Mapping[str, SigningKeys],
        directory: Directory,
        now: Callable[[], float],
    ) -> None:
        self._issuers = tuple(issuers)
        self._people = People(directory)
        self._now = now
        self._trusted = {
            each.issuer: _trusted(signing[each.issuer], each) for each in self._issuers if each.issuer in signing
        }
        self._seen: dict[bytes, tuple[Principal, float]] = {}

    def verify(self, token: str) -> Principal:
        """Whom it acts for.

        Raises ``PenstockError``: ``INVALID_TOKEN`` when it is not one that is taken here, the message says why;
        ``UnknownKid``, of the same fault, when only its signing key is missing; ``KEY_EXPIRED``; ``KEY_REVOKED`` when
        its user is disabled or its project archived; ``IDENTITIES_STALE`` when the issuer's keys were never had, or
        are too old to be trusted. The token is in no message.
        """
        if len(token) > MOST_BYTES or not token.isascii():
            raise _invalid(f"The token is longer than {MOST_BYTES >> 10} KiB, or not ASCII. Get a shorter one.")
        now = self._now()
        raw = token.encode()
        name = hashlib.sha256(raw).digest()
        seen = self._seen.get(name)
        if seen is not None and now < seen[1]:
            return seen[0]
        claims, issuer, until = self._checked(raw, now)
        principal = self._people.principal(claims, issuer)
        if len(self._seen) >= _MOST_SEEN:
            del self._seen[next(iter(self._seen))]
        self._seen[name] = (principal, until)
        return principal

    def identity(self, token: str, number: int, nonce: str) -> Identity:
        """Who has signed in at the issuer of that place in ``access.oidc``, by the ID token that it gave out for the
        console's ``client_id`` and ``nonce`` (OpenID Connect Core 1.0, 3.1.3.7).

        Raises ``PenstockError`` as ``verify`` does.
        """
        if len(token) > MOST_BYTES or not token.isascii():
            raise _invalid(f"The token is longer than {MOST_BYTES >> 10} KiB, or not ASCII. Get a shorter one.")
        issuer = self._issuers[number]
        meant = msgspec.structs.replace(issuer, audience=issuer.client_id)
        claims, _, _ = self._checked(token.encode(), self._now(), (meant,))
        if not hmac.compare_digest(str(claims.get("nonce", "")).encode("utf-8", "replace"), nonce.encode()):
            raise _invalid("The ID token is not the answer to this sign-in. Begin again.")
        if isinstance(claims.get("aud"), list) and claims.get("azp", issuer.client_id) != issuer.client_id:
            raise _invalid("The ID token was given out for another program ('azp'). Begin again.")
        named = claims.get("name") or claims.get("email") or claims.get("preferred_username")
        identity = Identity(
            issuer.issuer,
            issuer.audience,
            json.dumps(deciding(claims, issuer)).encode(),
            named[:120] if isinstance(named, str) else "",
        )
        self.of(identity)
        return identity

    def of(self, identity: Identity) -> Principal:
        """What somebody may do now who signed in before. Raises ``PenstockError`` as ``verify`` does."""
        for issuer in self._issuers:
            if (issuer.issuer, issuer.audience) == (identity.issuer, identity.audience) and issuer.client_id:
                return self._people.principal(json.loads(identity.claims), issuer)
        raise _invalid(f"Nobody can sign in by {identity.issuer[:200]} any more. Sign in with a key.")

    def _checked(
        self, token: bytes, now: float, issuers: Sequence[Issuer] | None = None
    ) -> tuple[Claims, Issuer, float]:
        """The claims of a token that is right, whose it is, and until when."""
        signed, _, signature_part = token.rpartition(b".")
        header_part, _, claims_part = signed.partition(b".")
        header = _object(header_part, "header")
        claims = _object(claims_part, "body")
        signature = _decoded(signature_part, "signature")
        named = [each for each in issuers or self._issuers if each.issuer == claims.get("iss")]
        if not named:
            raise _invalid(
                f"The token's issuer ({shown(claims.get('iss'))}) is none that this gateway takes tokens of. "
                "Use one of an issuer that it does, or add this one to 'access.oidc'."
            )
        trusted = self._keys(named[0], now)
        issuer = self._meant(named, claims)
        _verify(header, signed, signature, issuer, trusted.keys)
        return claims, issuer, min(_end(claims, issuer, now), trusted.until)

    def _keys(self, issuer: Issuer, now: float) -> _Trusted:
        found = self._trusted.get(issuer.issuer)
        if found is None or now >= found.until:
            why = "could not be fetched yet" if found is None else "are too old to be trusted"
            raise PenstockError(
                IDENTITIES_STALE,
                f"The signing keys of {issuer.issuer} {why}. Try again in a moment; the operator finds in the log "
                "why the issuer cannot be reached.",
                retry_after=_RETRY_S,
            )
        return found

    def _meant(self, named: Sequence[Issuer], claims: Claims) -> Issuer:
        """That of the entries for one issuer whose audience the token has."""
        audience = claims.get("aud")
        having = [audience] if isinstance(audience, str) else audience
        if isinstance(having, list) and all(isinstance(each, str) for each in having):
            for issuer in named:
                if issuer.audience in having:
                    return issuer
        wanted = " or ".join(f"'{each.audience}'" for each in named)
        raise _invalid(
            f"The token is for another audience ({shown(audience)}). Ask its issuer for one whose 'aud' is {wanted}."
        )


def _trusted(keys: SigningKeys, issuer: Issuer) -> _Trusted:
    if not keys.jwks:
        return _Trusted((), -math.inf)
    return _Trusted(read_jwks(keys.jwks), keys.fetched_at + issuer.stale_after_s)


def _verify(
    header: Mapping[str, object], signed: bytes, signature: bytes, issuer: Issuer, keys: Sequence[SigningKey]
) -> None:
    algorithm, kid, kind = header.get("alg"), header.get("kid"), header.get("typ", "JWT")
    if not isinstance(algorithm, str) or algorithm not in issuer.algorithms:
        raise _invalid(
            f"The token is signed by {shown(algorithm)}, which is not accepted of {issuer.issuer}. Accepted are "
            f"{', '.join(issuer.algorithms)}: 'algorithms' of the issuer in 'access.oidc'."
        )
    if "crit" in header or not isinstance(kind, str) or kind.lower() not in _TYPES:
        raise _invalid("The token's header asks for an extension, or says that it is no JWT. Get an access token.")
    if kid is None and len(keys) == 1:
        candidates = list(keys)
    elif not isinstance(kid, str) or not kid or not kid.isprintable():
        raise _invalid(f"The token does not say by which of the keys of {issuer.issuer} it is signed ('kid').")
    else:
        candidates = [each for each in keys if each.kid == kid]
        if not candidates:
            raise UnknownKid(issuer.issuer, kid)
    if not any(each.verifies(algorithm, signed, signature) for each in candidates):
        raise _invalid(f"The token's signature is not one of {issuer.issuer}. Get a new token from it.")


def _end(claims: Claims, issuer: Issuer, now: float) -> float:
    """When the token is over, the leeway included. Raises when it is not valid now."""
    expires, begins, made = (_instant(claims, name) for name in ("exp", "nbf", "iat"))
    if expires is None:
        raise _invalid("The token never expires ('exp' is missing). Have the identity provider limit its tokens.")
    if now >= expires + issuer.leeway_s:
        raise PenstockError(KEY_EXPIRED, "The token has expired. Get a new one from the identity provider.")
    for instant, what in ((begins, "is not valid yet ('nbf')"), (made, "was made in the future ('iat')")):
        if instant is not None and now < instant - issuer.leeway_s:
            raise _invalid(f"The token {what}. Set the clocks of this machine and the identity provider right.")
    return expires + issuer.leeway_s


def _instant(claims: Claims, name: str) -> float | None:
    value = claims.get(name)
    if value is None and name not in claims:
        return None
    if isinstance(value, bool) or not isinstance(value, int | float) or not abs(value) < 1e15:
        raise _invalid(f"The token's '{name}' is no time in seconds. Get a token from another identity provider.")
    return float(value)


def _object(part: bytes, what: str) -> Mapping[str, object]:
    try:
        text = _decoded(part, what).decode()
        found: object = json.loads(text, object_pairs_hook=_once_each, parse_constant=_no_number)
    except (ValueError, RecursionError):
        raise _invalid(f"The token's {what} is not JSON with each name once. Get a new token.") from None
    if not isinstance(found, dict):
        raise _invalid(f"The token's {what} is no JSON object. Get a new token.")
    return found


def _once_each(pairs: list[tuple[str, object]]) -> dict[str, object]:
    found = dict(pairs)
    if len(found) < len(pairs):
        raise ValueError("a name twice")
    return found


def _no_number(name: str) -> float:
    raise ValueError(name)


def _decoded(part: bytes, what: str) -> bytes:
    """base64url as RFC 7515 has it: without padding, and in the one spelling that its bytes have."""
    try:
        raw = base64.b64decode(part + b"=" * (-len(part) % 4), altchars=b"-_", validate=True)
    except binascii.Error:
        raw = b""
    if base64.urlsafe_b64encode(raw).rstrip(b"=") != part:
        raise _invalid(f"The token's {what} is not base64url. Send the token as it was issued.")
    return raw


def _invalid(message: str) -> PenstockError:
    return PenstockError(INVALID_TOKEN, message)
