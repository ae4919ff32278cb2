"""Peppers: the secrets under which keys are hashed. They lie beside the store, never in it.

The first is current: new keys are hashed under it, and an older key moves to it the next time it is used. Every
gateway of one store needs the same ones. To change them: put a new one first (``rotate``), wait until no key is under
the old one any more (``keys_under``), then take that away (``drop``). Of several gateways each has to know the new
one (``add``) before the first of them moves keys to it (``promote``).
"""

from __future__ import annotations

import base64
import binascii
import contextlib
import errno
import fcntl
import hashlib
import os
import secrets
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path

import msgspec

from penstock.core.accounts import KeyRecord
from penstock.core.errors import (
    BAD_DEPLOYMENT,
    NOT_FOUND,
    STORE_CONFLICT,
    STORE_UNAVAILABLE,
    PenstockError,
)

PEPPER_BYTES = 32
# An unknown key is hashed under each of them.
MOST_PEPPERS = 8


class Pepper(msgspec.Struct, frozen=True):
    """``name`` is the first 8 hexadecimal digits of the SHA-256 of ``secret``; records of keys hold it."""

    name: str
    secret: bytes

    def __repr__(self) -> str:
        return f"Pepper({self.name!r})"


def named(secret: bytes) -> Pepper:
    """The pepper with its name."""
    return Pepper(hashlib.sha256(secret).hexdigest()[:8], secret)


def read_peppers(setting: str, path: Path) -> tuple[Pepper, ...]:
    """The peppers of this gateway, the current one first: those of ``setting`` (``access.pepper``), else those of the
    file at ``path``, which is made, with one, when nothing is there; of several processes that make it one wins.

    Raises ``PenstockError``: ``BAD_DEPLOYMENT`` for a setting that is not 1 to 8 different texts of 32 bytes in
    base64; ``STORE_UNAVAILABLE`` when the file cannot be read or made, or is not 1 to 8 times 32 bytes long.
    """
    if setting:
        return _set(setting)
    with _saying(path):
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        with contextlib.suppress(FileNotFoundError):
            return _kept(path)
        with _drafted(path, secrets.token_bytes(PEPPER_BYTES)) as draft, contextlib.suppress(FileExistsError):
            # A link appears whole or not at all, and never over another's.
            os.link(draft, path)
        return _kept(path)


def rotate(path: Path) -> Pepper:
    """Puts a new pepper before those of the file; durable when it returns. The new one.

    Raises ``PenstockError``: ``STORE_UNAVAILABLE`` as ``read_peppers`` does; ``STORE_CONFLICT`` when another process
    changes the file at the moment, or it has 8 peppers already.
    """
    fresh = named(secrets.token_bytes(PEPPER_BYTES))
    _change(path, lambda before: (fresh, *before))
    return fresh


def add(path: Path) -> Pepper:
    """Puts a new pepper behind the current one: keys under it are known, and none is put under it yet. The new one.

    Raises ``PenstockError`` as ``rotate`` does.
    """
    fresh = named(secrets.token_bytes(PEPPER_BYTES))
    _change(path, lambda before: (before[0], fresh, *before[1:]))
    return fresh


def promote(path: Path, name: str) -> None:
    """Makes a pepper of the file the current one.

    Raises ``PenstockError`` as ``rotate`` does, and ``NOT_FOUND`` when the file has none of this name.
    """
    _change(path, lambda before: (_named(path, before, name), *(each for each in before if each.name != name)))


def drop(path: Path, name: str) -> None:
    """Takes an old pepper out of the file for good: keys still under it stop working.

    Raises ``PenstockError`` as ``rotate`` does, ``NOT_FOUND`` when the file has none of this name, and
    ``STORE_CONFLICT`` for the current one.
    """

    def without(before: Sequence[Pepper]) -> tuple[Pepper, ...]:
        gone = _named(path, before, name)
        if gone is before[0]:
            raise PenstockError(
                STORE_CONFLICT, f"The pepper {name} is the current one. Rotate first, and let its keys move."
            )
        return tuple(each for each in before if each is not gone)

    _change(path, without)


def keys_under(keys: Iterable[KeyRecord], peppers: Sequence[Pepper], now: float) -> Mapping[str, int]:
    """How many keys that may still be used are under each pepper, by name; of a name that is not among ``peppers``,
    too: those keys work here only when it is added. Records without a name are under the oldest."""
    found: Counter[str] = Counter()
    oldest = peppers[-1].name
    for key in keys:
        if key.revoked_at is not None or (key.expires_at is not None and now >= key.expires_at):
            continue
        found[key.pepper or oldest] += 1
        if key.previous_digest is not None and now < (key.previous_until or 0.0):
            found[key.previous_pepper or oldest] += 1
    return found


def _set(setting: str) -> tuple[Pepper, ...]:
    found: list[Pepper] = []
    for place, text in enumerate(setting.split(","), 1):
        try:
            # Both alphabets of RFC 4648, with or without the padding.
            plain = text.strip().rstrip("=").replace("-", "+").replace("_", "/")
            secret = base64.b64decode(plain + "=" * (-len(plain) % 4), validate=True)
        except (binascii.Error, ValueError):
            secret = b""
        if len(secret) != PEPPER_BYTES:
            raise PenstockError(
                BAD_DEPLOYMENT,
                f"Pepper {place} of 'access.pepper' is not {PEPPER_BYTES} bytes in base64. Make one with "
                "'openssl rand -base64 32', and separate several by commas.",
                param="access.pepper",
            )
        found.append(named(secret))
    if len(found) > MOST_PEPPERS or len({each.name for each in found}) < len(found):
        raise PenstockError(
            BAD_DEPLOYMENT,
            f"'access.pepper' holds a pepper twice, or more than {MOST_PEPPERS}. Take out what is too much.",
            param="access.pepper",
        )
    return tuple(found)


def _kept(path: Path) -> tuple[Pepper, ...]:
    raw = path.read_bytes()
    count, rest = divmod(len(raw), PEPPER_BYTES)
    if rest or not 1 <= count <= MOST_PEPPERS:
        raise PenstockError(
            STORE_UNAVAILABLE,
            f"The pepper {path} is damaged: it has {len(raw)} bytes, not {PEPPER_BYTES} for each of 1 to "
            f"{MOST_PEPPERS} peppers. Put back a copy of it, or delete it to start anew; every key made before then "
            "stops working.",
        )
    return tuple(named(raw[at : at + PEPPER_BYTES]) for at in range(0, len(raw), PEPPER_BYTES))


def _named(path: Path, peppers: Sequence[Pepper], name: str) -> Pepper:
    for each in peppers:
        if each.name == name:
            return each
    have = ", ".join(each.name for each in peppers)
    raise PenstockError(NOT_FOUND, f"There is no pepper {name[:80]!r} in {path}; there are: {have}.")


def _change(path: Path, change: Callable[[Sequence[Pepper]], Sequence[Pepper]]) -> None:
    with _saying(path), _alone(path):
        after = change(_kept(path))
        if len(after) > MOST_PEPPERS:
            raise PenstockError(
                STORE_CONFLICT,
                f"The file {path} has {MOST_PEPPERS} peppers already. Drop those no key is under first.",
            )
        _replace(path, after)


def _replace(path: Path, peppers: Sequence[Pepper]) -> None:
    with _drafted(path, b"".join(each.secret for each in peppers)) as draft:
        os.replace(draft, path)


@contextlib.contextmanager
def _drafted(path: Path, content: bytes) -> Iterator[Path]:
    """The content, whole and on disk, under another name beside ``path``; what the block made of it is on disk too
    when it ends."""
    draft = path.with_name(f"{path.name}.{secrets.token_hex(8)}")
    descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        yield draft
        with _directory(path) as directory:
            os.fsync(directory)
    finally:
        draft.unlink(missing_ok=True)


@contextlib.contextmanager
def _alone(path: Path) -> Iterator[None]:
    with _directory(path) as directory:
        try:
            fcntl.flock(directory, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise PenstockError(
                STORE_CONFLICT, f"Another process is changing the file {path} right now; try again."
            ) from None
        yield


@contextlib.contextmanager
def _directory(path: Path) -> Iterator[int]:
    directory = os.open(path.parent, os.O_RDONLY | os.O_CLOEXEC)
    try:
        yield directory
    finally:
        os.close(directory)


@contextlib.contextmanager
def _saying(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        full = error.errno in (errno.ENOSPC, errno.EDQUOT)
        mend = "Make room on its disk" if full else "Give this user the right to"
        raise PenstockError(
            STORE_UNAVAILABLE,
            f"The pepper {path} cannot be read or written ({error.strerror}). {mend}, "
            "or set PENSTOCK_HOME to a directory where it may.",
        ) from error
