"""The certificate that the gateway shows, read again when its files change."""

from __future__ import annotations

import asyncio
import logging
import os
import ssl
from pathlib import Path

from penstock.core.errors import CANNOT_START, PenstockError
from penstock.edge.http.config import Tls

_log = logging.getLogger("penstock.edge")

# What is left of TLS 1.2: with these HTTP/2 may be spoken, RFC 9113 section 9.2.2.
_CIPHERS = "ECDHE+AESGCM:ECDHE+CHACHA20"
_PROTOCOLS = ["h2", "http/1.1"]

# Of a file: when it was written, its size and its inode, which tells of one that was put in its place.
_Stamp = tuple[int, int, int]


class Certificates:
    """``context`` is for new connections; those that are open keep what they began with. Reads the files when it is
    made. Raises ``PenstockError(CANNOT_START)`` when they are not a certificate and its key."""

    def __init__(self, settings: Tls) -> None:
        self._settings = settings
        self._certificate = Path(settings.certificate).expanduser()
        self._key = Path(settings.key).expanduser()
        self._stamps = self._looked()
        self.context = self._loaded()

    async def watch(self, every_s: float) -> None:
        """Looks at the files every so often, in a thread, and never returns. Files that cannot be used leave things
        as they are, and this is said once."""
        seen = self._stamps
        while True:
            await asyncio.sleep(every_s)
            stamps = await asyncio.to_thread(self._looked)
            # Both files are there, and whole, once they are no longer being written.
            if stamps == seen != self._stamps:
                self._stamps = stamps
                try:
                    self.context = await asyncio.to_thread(self._loaded)
                except PenstockError as error:
                    _log.error("the new certificate is not used, and the old one still is: %s", error.message)
                else:
                    _log.info("a new certificate is used from now on: %s", self._certificate)
            seen = stamps

    def _looked(self) -> tuple[_Stamp | None, _Stamp | None]:
        return _stamp(self._certificate), _stamp(self._key)

    def _loaded(self) -> ssl.SSLContext:
        certificate, key = _text(self._certificate, "certificate"), _text(self._key, "key")
        if b"-----BEGIN CERTIFICATE-----" not in certificate:
            raise _bad("certificate", self._certificate, "holds no certificate in PEM form")
        if b"PRIVATE KEY-----" not in key:
            raise _bad("key", self._key, "holds no private key in PEM form")
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        context.options |= ssl.OP_NO_RENEGOTIATION
        context.set_ciphers(_CIPHERS)
        context.set_alpn_protocols(_PROTOCOLS)
        try:
            # Without a password of ours OpenSSL would ask for one on the terminal.
            context.load_cert_chain(self._certificate, self._key, password=lambda: self._settings.password)
        except ssl.SSLError as error:
            if error.reason == "KEY_VALUES_MISMATCH":
                raise _bad("key", self._key, f"does not belong to the certificate {self._certificate}") from None
            if b"ENCRYPTED" in key:
                raise _bad("password", self._key, "is encrypted, and not with this password") from None
            raise _bad("certificate", self._certificate, f"cannot be used ({error.reason or 'not sound'})") from None
        except (OSError, ValueError) as error:
            raise _bad("certificate", self._certificate, f"cannot be used ({error})") from None
        return context


def check(settings: Tls | None) -> None:
    """Raises ``PenstockError(CANNOT_START)`` when a gateway could not be started with these files."""
    if settings is not None:
        Certificates(settings)


def _stamp(path: Path) -> _Stamp | None:
    try:
        found = os.stat(path)
    except OSError:
        return None
    return found.st_mtime_ns, found.st_size, found.st_ino


def _text(path: Path, key: str) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise _bad(key, path, f"cannot be read: {error.strerror}") from None


def _bad(key: str, path: Path, fault: str) -> PenstockError:
    return PenstockError(CANNOT_START, f"The file {path} {fault}. Mend it, or `server: tls: {key}:`.")
