"""Signs people in by their identity provider: the authorization code flow of OpenID Connect Core 1.0, 3.1, with PKCE
(RFC 7636). Where their browsers go begins and ends in a worker; what the gateway itself asks the provider is here."""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from typing import Protocol
from urllib.parse import quote, urlsplit

import msgspec

from penstock.access.config import Issuer
from penstock.control.issuers import Fetch, Unfetched
from penstock.core.errors import IDENTITIES_STALE, INVALID_TOKEN, NOT_FOUND, PenstockError

_WELL_KNOWN = "/.well-known/openid-configuration"
_LONGEST_REASON = 200


class Replied(msgspec.Struct, frozen=True):
    """What an issuer answered to a form, whatever its status."""

    status: int
    body: bytes


class Send(Protocol):
    """Sends forms over HTTP."""

    async def __call__(self, url: str, form: Mapping[str, str], headers: Mapping[str, str]) -> Replied:
        """Within a bound of time and size, no redirect followed. Raises ``Unfetched``."""


class _Discovery(msgspec.Struct):
    issuer: str
    authorization_endpoint: str
    token_endpoint: str
    token_endpoint_auth_methods_supported: tuple[str, ...] = ("client_secret_basic",)


class _Tokens(msgspec.Struct):
    id_token: str


class _Refused(msgspec.Struct):
    error: str
    error_description: str = ""


class SignIn:
    """``issuers`` are those of ``access.oidc``, and called by their places there. What they say of themselves is
    asked for each time: people sign in seldom."""

    def __init__(self, issuers: Sequence[Issuer], *, fetch: Fetch, send: Send) -> None:
        self._issuers = tuple(issuers)
        self._fetch = fetch
        self._send = send

    async def authorize_at(self, number: int) -> str:
        """Where a browser goes to sign in. Raises ``PenstockError``: NOT_FOUND, IDENTITIES_STALE when the issuer
        cannot be asked."""
        return (await self._discovered(self._issuer(number))).authorization_endpoint

    async def exchange(self, number: int, code: str, verifier: str, redirect_uri: str) -> str:
        """The ID token for a code, unchecked. Raises ``PenstockError``: NOT_FOUND, IDENTITIES_STALE; INVALID_TOKEN
        when the issuer refuses the code."""
        issuer = self._issuer(number)
        found = await self._discovered(issuer)
        form = {
            "grant_type": "authorization_code",
            "code": code,
            "redirect_uri": redirect_uri,
            "code_verifier": verifier,
            "client_id": issuer.client_id,
        }
        headers: dict[str, str] = {}
        if issuer.client_secret:
            if "client_secret_basic" in found.token_endpoint_auth_methods_supported:
                headers["authorization"] = _basic(issuer)
            else:
                form["client_secret"] = issuer.client_secret
        try:
            replied = await self._send(found.token_endpoint, form, headers)
        except Unfetched as error:
            raise _unreachable(issuer, str(error)) from None
        if replied.status != 200:
            raise _refused(issuer, replied)
        try:
            return msgspec.json.decode(replied.body, type=_Tokens).id_token
        except msgspec.DecodeError:
            raise PenstockError(
                INVALID_TOKEN,
                f"{issuer.issuer} gave out no ID token. Add 'openid' to the issuer's 'scopes' in 'access.oidc'.",
            ) from None

    def _issuer(self, number: int) -> Issuer:
        if 0 <= number < len(self._issuers) and self._issuers[number].client_id:
            return self._issuers[number]
        raise PenstockError(NOT_FOUND, "Nobody can sign in by this identity provider. Sign in with a key.")

    async def _discovered(self, issuer: Issuer) -> _Discovery:
        url = issuer.issuer.rstrip("/") + _WELL_KNOWN
        try:
            said = msgspec.json.decode((await self._fetch(url)).body, type=_Discovery)
        except Unfetched as error:
            raise _unreachable(issuer, str(error)) from None
        except msgspec.DecodeError as error:
            raise _unreachable(issuer, f"{url} is no discovery document ({error})") from None
        if said.issuer != issuer.issuer:
            raise _unreachable(issuer, f"{url} is of another issuer, {said.issuer[:200]!r}")
        # One that is reached over TLS leads nowhere else.
        allowed = ("https",) if issuer.issuer.startswith("https://") else ("https", "http")
        for endpoint in (said.authorization_endpoint, said.token_endpoint):
            if urlsplit(endpoint).scheme not in allowed:
                raise _unreachable(issuer, f"{url} names {endpoint[:200]!r}, which is not {' or '.join(allowed)}")
        return said


def _basic(issuer: Issuer) -> str:
    """RFC 6749, 2.3.1: both are form-encoded first."""
    both = f"{quote(issuer.client_id, safe='')}:{quote(issuer.client_secret, safe='')}"
    return f"Basic {base64.b64encode(both.encode()).decode()}"


def _unreachable(issuer: Issuer, why: str) -> PenstockError:
    return PenstockError(
        IDENTITIES_STALE,
        f"Signing in by {issuer.issuer} does not work now: {why}. Try again in a moment, or sign in with a key.",
        retry_after=5.0,
    )


def _refused(issuer: Issuer, replied: Replied) -> PenstockError:
    """RFC 6749, 5.2."""
    try:
        said = msgspec.json.decode(replied.body, type=_Refused)
        why = " ".join(f"{said.error}: {said.error_description}".split()).strip(": ")
    except msgspec.DecodeError:
        why = f"status {replied.status}"
    shown = "".join(each for each in why if each.isprintable())[:_LONGEST_REASON]
    mend = (
        "Mend 'client_id' and 'client_secret' of the issuer in 'access.oidc'."
        if "invalid_client" in why
        else "Begin again; a code is good once, and for a short while."
    )
    return PenstockError(INVALID_TOKEN, f"{issuer.issuer} did not take the sign-in ({shown}). {mend}")
