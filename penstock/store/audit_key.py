"""The key that signs the audit's heads. It lies beside the store, never in it.

Gateways of one store may share the file, or each be told the public keys of the others.
"""

from __future__ import annotations

from pathlib import Path

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    load_pem_private_key,
    load_pem_public_key,
)

from penstock.core.errors import STORE_UNAVAILABLE, PenstockError
from penstock.store.private_file import load_or_make

_WHAT = "The audit's key"


def load_audit_key(path: Path) -> Ed25519PrivateKey:
    """The Ed25519 key at ``path`` (PKCS #8, PEM), made at random when nothing is there, readable by its owner alone.

    Of several processes that make it at once one wins, and all get the same. Raises
    ``PenstockError(STORE_UNAVAILABLE)`` when it cannot be read or made, or is something else.
    """
    kept = load_or_make(path, _WHAT, _new)
    try:
        key = load_pem_private_key(kept, password=None)
    except (ValueError, TypeError, UnsupportedAlgorithm):
        # Without the cause: it might quote what is in the file.
        key = None
    if not isinstance(key, Ed25519PrivateKey):
        raise PenstockError(
            STORE_UNAVAILABLE,
            f"{_WHAT} {path} is damaged: it is no Ed25519 key in PEM. Put back a copy of it, or move it away to "
            "start with another one; keep its public key, for the heads that it has signed.",
        )
    return key


def public_pem(key: Ed25519PublicKey) -> bytes:
    """For an auditor: the public key in PEM."""
    return key.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)


def read_public_pem(pem: bytes, where: str) -> Ed25519PublicKey:
    """The public key in a PEM text that came from ``where``. Raises ``PenstockError(STORE_UNAVAILABLE)``."""
    try:
        key = load_pem_public_key(pem)
    except (ValueError, UnsupportedAlgorithm):
        key = None
    if not isinstance(key, Ed25519PublicKey):
        raise PenstockError(STORE_UNAVAILABLE, f"{where} is no public Ed25519 key in PEM. Give the one of a gateway.")
    return key


def _new() -> bytes:
    return Ed25519PrivateKey.generate().private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
