"""``https:`` weights (and ``http:``, for this machine or with a SHA-256), by the standard library: it is enough.

Follows RFC 9110 for ranges (``Range``, ``If-Range``, 206, 416) and validators. Proxies come from the environment
(``HTTPS_PROXY``, ``NO_PROXY``), certificate authorities from the system or ``SSL_CERT_FILE``.
"""

from __future__ import annotations

import base64
import contextlib
import email.message
import hashlib
import http.client
import re
import ssl
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import IO
from urllib.parse import quote, unquote, urlsplit, urlunsplit

from penstock.weights import Progress
from penstock.weights.address import Web, file_name
from penstock.weights.disk import BLOCK
from penstock.weights.fetching import Part, unavailable
from penstock.weights.resume import Body, Broken, Stale, download
from penstock.weights.split import parts_of

_SILENCE_S = 60.0
_HEADERS = {"User-Agent": "penstock", "Accept-Encoding": "identity"}
_PASSING = frozenset({408, 425, 429, 500, 502, 503, 504})
_RANGE = re.compile(r"bytes (\d+)-(\d+)/(\d+|\*)")
_MENDS = {
    401: "it asks for a name and a password; put them in the URL, https://name:password@host/...",
    403: "it forbids this; a signed URL may have run out",
    404: "there is no such file; mend the path",
    410: "the file is gone; find its new address",
}


def fetch(address: Web, into: Path, progress: Progress) -> tuple[Part, ...]:
    """The file, or each part of a GGUF in parts from beside the first."""
    parts = urlsplit(address.url)
    folder, _, _ = parts.path.rpartition("/")
    found = []
    for name in parts_of(address.name):
        url = urlunsplit(parts._replace(path=f"{folder}/{quote(name)}")) if name != address.name else address.url
        target = into / file_name(name)
        try:
            if not target.exists():
                download(_Pages(address, url), target, of=_digest(url), progress=progress)
        except Broken as fault:
            raise unavailable(address, f"{fault.why}; what came is kept, try again") from fault
        found.append(Part(target))
    return tuple(found)


class _Pages:
    """One URL, as a source to resume from."""

    def __init__(self, address: Web, url: str) -> None:
        self._address = address
        parts = urlsplit(url)
        user, at, host = parts.netloc.rpartition("@")
        self._url = urlunsplit(parts._replace(netloc=host))
        self._user = unquote(user) if at else None
        self._opener = urllib.request.build_opener(_Redirects(address))

    @contextlib.contextmanager
    def open(self, offset: int, validator: str | None) -> Iterator[Body]:
        request = urllib.request.Request(self._url, headers=_HEADERS)  # noqa: S310 parsed: http or https
        if self._user is not None:
            # Not for whoever a redirect names.
            basic = base64.b64encode(self._user.encode()).decode()
            request.add_unredirected_header("Authorization", f"Basic {basic}")
        if offset and validator:
            request.add_header("Range", f"bytes={offset}-")
            request.add_header("If-Range", validator)
        with _network_faults(self._address):
            response = self._opener.open(request, timeout=_SILENCE_S)
        with response:
            yield self._body(response, offset)

    def _body(self, response: http.client.HTTPResponse, offset: int) -> Body:
        headers = response.headers
        if headers.get("Content-Encoding", "identity").lower() != "identity":
            raise unavailable(
                self._address, "the server compresses the file although told not to; use another address"
            )
        length = headers.get("Content-Length")
        total: int | None
        if response.status == 206:
            match = _RANGE.fullmatch(headers.get("Content-Range", "").strip())
            if match is None or int(match[1]) != offset or match[3] == "*":
                raise Stale("the server answered with another part of the file than was asked for")
            start, total = offset, int(match[3])
        elif length is not None and length.isdigit():
            start, total = 0, int(length)
        elif headers.get("Transfer-Encoding", "").lower() == "chunked":
            start, total = 0, None
        else:
            raise unavailable(self._address, "the server does not say how long the file is; use another address")
        return Body(start, total, _validator(headers), _chunks(self._address, response))


class _Redirects(urllib.request.HTTPRedirectHandler):
    """Follows redirects, but not from TLS to a plain connection, nor out of HTTP."""

    def __init__(self, address: Web) -> None:
        self._address = address

    def redirect_request(
        self,
        req: urllib.request.Request,
        fp: IO[bytes],
        code: int,
        msg: str,
        headers: http.client.HTTPMessage,
        newurl: str,
    ) -> urllib.request.Request | None:
        allowed = {"https"} if req.type == "https" else {"http", "https"}
        if urlsplit(newurl).scheme.lower() not in allowed:
            raise unavailable(self._address, "it redirects to an address that is not https:; use another")
        return super().redirect_request(req, fp, code, msg, headers, newurl)


@contextlib.contextmanager
def _network_faults(address: Web) -> Iterator[None]:
    """The faults of opening a URL in our words. ``URLError`` wraps them, and is an ``OSError`` itself."""
    try:
        yield
    except urllib.error.HTTPError as fault:
        fault.close()
        why = f"the server answered {fault.code} {fault.reason}"
        if fault.code in _PASSING:
            raise Broken(why, _seconds(fault.headers.get("Retry-After"))) from None
        if fault.code == 416:
            raise Stale("the file has become shorter since the last attempt") from None
        raise unavailable(address, _MENDS.get(fault.code, f"{why}; mend the address")) from None
    except urllib.error.URLError as fault:
        raise _unreachable(address, fault.reason) from None
    except (http.client.HTTPException, TimeoutError, ConnectionError, ssl.SSLError) as fault:
        raise _unreachable(address, fault) from None


def _chunks(address: Web, response: http.client.HTTPResponse) -> Iterator[bytes]:
    while True:
        try:
            chunk = response.read1(BLOCK)
        except (http.client.HTTPException, OSError) as fault:
            raise _unreachable(address, fault) from None
        if not chunk:
            return
        yield chunk


def _unreachable(address: Web, fault: object) -> Exception:
    if isinstance(fault, ssl.SSLCertVerificationError):
        mend = "name its certificate authority with SSL_CERT_FILE"
        return unavailable(address, f"its certificate is not to be trusted ({fault.verify_message}); {mend}")
    if isinstance(fault, TimeoutError):
        return Broken(f"the server was silent for {_SILENCE_S:.0f} s")
    said = fault.strerror if isinstance(fault, OSError) and fault.strerror else str(fault) or type(fault).__name__
    return Broken(f"the server cannot be reached ({said})")


def _validator(headers: email.message.Message) -> str | None:
    """What ``If-Range`` may carry: a strong ETag, or else the time of the last change."""
    etag = headers.get("ETag")
    if etag and not etag.startswith("W/"):
        return str(etag)
    changed = headers.get("Last-Modified")
    return str(changed) if changed else None


def _seconds(retry_after: str | None) -> float | None:
    return float(retry_after) if retry_after and retry_after.isdigit() else None


def _digest(url: str) -> str:
    """Tells one URL from another in a file that others may read; the URL may hold a secret."""
    return hashlib.sha256(url.encode()).hexdigest()
