"""Secrets of new keys. One that is made under an idempotency key is derived from it, so that the same request sent
again is told the same secret, though it is kept nowhere."""

from __future__ import annotations

import base64
import hashlib
import hmac
from collections.abc import Sequence

import msgspec

from penstock.access.keys import digest, mint
from penstock.access.peppers import Pepper
from penstock.control.accounts.turn import Minted
from penstock.core.accounts import KeyRecord
from penstock.core.administration import Ask

# No key begins so: a NUL cannot be presented, and a digest is never a secret.
_DOMAIN = b"\0penstock once\0"


def once_key(ask: Ask) -> str:
    """Who asks, and under which idempotency key, as one name of 64 characters; empty without one."""
    if not ask.idempotency_key:
        return ""
    return hashlib.sha256(msgspec.msgpack.encode([ask.actor.key_id, ask.idempotency_key])).hexdigest()


def request_digest(ask: Ask) -> bytes:
    """What is asked, whoever asks."""
    asked = [ask.operation, ask.target, sorted(ask.query.items()), ask.body]
    return hashlib.sha256(msgspec.msgpack.encode(asked)).digest()


def minted(public_id: str, ask: Ask, pepper: Pepper) -> Minted:
    """A new key, at random, or derived when the request has an idempotency key."""
    text = _derived(public_id, ask, pepper) if ask.idempotency_key else mint(public_id)
    return Minted(text, digest(pepper.secret, text), pepper.name)


def told_again(key: KeyRecord | None, ask: Ask, peppers: Sequence[Pepper]) -> str | None:
    """The secret that this request was told the first time; None when the key has another by now."""
    kept = {each.name: each.secret for each in peppers}
    if key is None:
        return None
    secrets = ((key.digest, key.pepper), (key.previous_digest, key.previous_pepper))
    for pepper in peppers:
        text = _derived(key.id, ask, pepper)
        for known, name in secrets:
            if known is not None and name in kept and hmac.compare_digest(known, digest(kept[name], text)):
                return text
    return None


def _derived(public_id: str, ask: Ask, pepper: Pepper) -> str:
    message = _DOMAIN + msgspec.msgpack.encode([public_id, once_key(ask), request_digest(ask)])
    secret = hmac.digest(pepper.secret, message, "sha256")
    return f"pk-{public_id}-{base64.urlsafe_b64encode(secret).rstrip(b'=').decode()}"
