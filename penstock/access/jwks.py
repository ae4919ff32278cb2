"""The public keys of an issuer of tokens, from its JWKS document (RFC 7517), each bound to the algorithms (RFC 7518,
RFC 8037) that it may verify: what a token says of itself never chooses how it is checked."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

import msgspec
from jwt import PyJWTError
from jwt.algorithms import get_default_algorithms

# Of the algorithm's name: the kind of key, and its curves.
_FITTING: Mapping[str, tuple[str, tuple[str, ...]]] = {
    "RS256": ("RSA", ("",)),
    "RS384": ("RSA", ("",)),
    "RS512": ("RSA", ("",)),
    "PS256": ("RSA", ("",)),
    "ES256": ("EC", ("P-256",)),
    "ES384": ("EC", ("P-384",)),
    "EdDSA": ("OKP", ("Ed25519", "Ed448")),
}
# RFC 7518, 3.3 and 3.5.
_LEAST_RSA_BITS = 2048


class _Algorithm(Protocol):
    def verify(self, msg: bytes, key: object, sig: bytes) -> bool: ...


class _Jwk(msgspec.Struct, omit_defaults=True):
    """The public members; those of private keys are left behind."""

    kty: str
    kid: str = ""
    use: str = ""
    alg: str = ""
    key_ops: tuple[str, ...] = ("verify",)
    crv: str = ""
    n: str = ""
    e: str = ""
    x: str = ""
    y: str = ""


class _Jwks(msgspec.Struct):
    keys: list[msgspec.Raw]


class SigningKey(msgspec.Struct, frozen=True):
    """One public key: ``kid`` is its name, or empty; ``algorithms`` what it verifies, by their names."""

    kid: str
    key: object
    algorithms: Mapping[str, _Algorithm]

    def verifies(self, algorithm: str, signed: bytes, signature: bytes) -> bool:
        """Whether it made this signature by this algorithm; False too for an algorithm that is not its own."""
        found = self.algorithms.get(algorithm)
        return found is not None and found.verify(signed, self.key, signature)


def read_jwks(document: bytes) -> tuple[SigningKey, ...]:
    """The keys that can verify a signature. Others are passed over: secret ones (``oct``), for encryption, of kinds
    that are unknown here, too short or damaged. Raises ``ValueError`` when the document is no JWKS."""
    try:
        members = msgspec.json.decode(document, type=_Jwks).keys
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise ValueError(f"it is no JWKS document: {error}") from None
    return tuple(key for member in members if (key := _key(member)) is not None)


def _key(member: msgspec.Raw) -> SigningKey | None:
    try:
        jwk = msgspec.json.decode(member, type=_Jwk)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return None
    if jwk.use not in ("", "sig") or "verify" not in jwk.key_ops:
        return None
    names = tuple(
        name
        for name, (kty, curves) in _FITTING.items()
        if kty == jwk.kty and (jwk.crv if kty != "RSA" else "") in curves and jwk.alg in ("", name)
    )
    if not names:
        return None
    known = get_default_algorithms()
    try:
        key = known[names[0]].from_jwk(msgspec.json.encode(jwk).decode())
    except (PyJWTError, ValueError, TypeError):
        return None
    if jwk.kty == "RSA" and key.key_size < _LEAST_RSA_BITS:
        return None
    return SigningKey(jwk.kid, key, {name: known[name] for name in names})
