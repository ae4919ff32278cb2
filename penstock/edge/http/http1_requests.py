"""From bytes to requests: llhttp, strict as it comes, and what it leaves to its user.

llhttp refuses a length beside chunks, two lengths, folded headers, bare line ends. What is refused here: heads and
trailers that are too long, anything but HTTP/1.0 and 1.1, a host that is not said once, codings besides ``chunked``.
"""

from __future__ import annotations

from typing import NoReturn, Protocol
from urllib.parse import unquote

import httptools
import msgspec

from penstock.core.errors import BAD_REQUEST, HEADERS_TOO_LARGE, PenstockError
from penstock.edge.http.exchange import Headers

MAX_HEAD_BYTES = 64 << 10
LISTS = (b"x-forwarded-for", b"traceparent", b"tracestate", b"cookie")
"""Headers that are given as a list when they come several times; of any other the last one counts. A list makes a
``traceparent`` unsound, as it should be."""

# Headers that speak of an upgrade; without them a "connection: upgrade" means nothing.
_UPGRADE = (b"upgrade", b"http2-settings")


class Head(msgspec.Struct, frozen=True):
    """What stands before a body. ``path`` is decoded, without the ``query``, which is not; ``minor`` is of the
    version, 0 or 1."""

    method: str
    path: str
    query: bytes
    headers: dict[bytes, bytes]
    keep_alive: bool
    minor: int


class Hearer(Protocol):
    """Who is told, in this order for each request."""

    def began(self) -> None:
        """The first byte of a head."""

    def head(self, head: Head) -> None: ...

    def part(self, data: bytes) -> None:
        """Of the body."""

    def ended(self) -> None:
        """The request is complete."""

    def upgrade(self, protocol: bytes, path: str, head: bytes, rest: bytes | memoryview) -> bool:
        """Instead of ``head``: a GET asks for another protocol on this connection. True when it gets it: ``rest``,
        what has come beyond, is then no longer ours, and nothing more is fed."""


class Requests:
    """One connection's. After an error nothing more is to be fed."""

    __slots__ = ("_bytes", "_fault", "_feeding", "_hearer", "_inside", "_pairs", "_parser", "_senseless", "_url")

    def __init__(self, hearer: Hearer) -> None:
        self._hearer = hearer
        self._parser = self._made()
        self._url = b""
        self._pairs: Headers = []
        self._bytes = 0
        self._inside = False
        # Bytes fed since the parser last made sense of some, and those that it is being fed.
        self._senseless = self._feeding = 0
        self._fault: PenstockError | None = None

    def feed(self, data: bytes | memoryview) -> None:
        """Tells the hearer what the bytes say. Raises ``PenstockError`` (BAD_REQUEST, HEADERS_TOO_LARGE)."""
        self._feeding = len(data)
        while data:
            try:
                self._parser.feed_data(data)
                break
            except httptools.HttpParserUpgrade as upgrade:
                data = self._wish(data[upgrade.args[0] :])
            except httptools.HttpParserCallbackError as error:
                if self._fault is None:
                    # It is the hearer's.
                    raise error.__context__ or error from None
                raise self._fault from None
            except httptools.HttpParserError:
                raise _bad("This is no HTTP.") from None
        if self._inside:
            self._senseless += self._feeding
            if self._senseless > MAX_HEAD_BYTES:
                raise too_long()

    def _made(self) -> httptools.HttpRequestParser:
        parser = httptools.HttpRequestParser(self)
        # What follows a last request is thrown away, not judged.
        parser.set_dangerous_leniencies(lenient_data_after_close=True)
        return parser

    # -- what the parser tells -----------------------------------------------------------------------------------

    def on_message_begin(self) -> None:
        self._url = b""
        self._pairs = []
        self._bytes = 0
        self._inside = True
        self._senseless = -self._feeding
        self._hearer.began()

    def on_url(self, url: bytes) -> None:
        self._url += url
        self._bytes += len(url)
        if self._bytes > MAX_HEAD_BYTES:
            self._overlong()

    def on_header(self, name: bytes, value: bytes) -> None:
        self._pairs.append((name.lower(), value.rstrip(b" \t")))
        self._bytes += len(name) + len(value)
        if self._bytes > MAX_HEAD_BYTES:
            self._overlong()

    def on_headers_complete(self) -> None:
        parser = self._parser
        if parser.should_upgrade():
            return
        version = parser.get_http_version()
        try:
            head = Head(
                parser.get_method().decode("ascii"),
                _path(self._url),
                self._url.partition(b"?")[2],
                self._checked(version),
                parser.should_keep_alive(),
                1 if version == "1.1" else 0,
            )
        except PenstockError as error:
            self._fault = error
            raise
        self._hearer.head(head)

    def on_body(self, data: bytes) -> None:
        self._senseless = -self._feeding
        self._hearer.part(data)

    def on_message_complete(self) -> None:
        if not self._parser.should_upgrade():
            self._inside = False
            self._hearer.ended()

    def _overlong(self) -> NoReturn:
        self._fault = too_long()
        raise self._fault

    def _checked(self, version: str) -> dict[bytes, bytes]:
        headers = dict(self._pairs)
        if version not in ("1.1", "1.0"):
            raise _bad(f"HTTP/{version} is not spoken like this.")
        if version == "1.1" and b"host" not in headers:
            raise _bad("The header 'host' is missing.")
        if len(headers) != len(self._pairs):
            for name in (b"host", b"content-length", b"transfer-encoding"):
                if sum(given == name for given, _ in self._pairs) > 1:
                    raise _bad(f"The header '{name.decode()}' is there more than once.")
            for name in LISTS:
                chain = [value for given, value in self._pairs if given == name]
                if len(chain) > 1:
                    headers[name] = b", ".join(chain)
        coding = headers.get(b"transfer-encoding")
        if coding is not None and (coding.strip().lower() != b"chunked" or version == "1.0"):
            raise _bad("A body may have no transfer coding but 'chunked', and that in HTTP/1.1 only.")
        return headers

    def _wish(self, rest: bytes | memoryview) -> bytes:
        """Reads a request again without its wish to speak another protocol, which a server is free to ignore and in
        HTTP/1.0 has to. Returns what is still to be fed: nothing when the wish is granted.

        Java's HTTP client wishes for HTTP/2 on every plain connection; the parser would give its body up for lost.
        """
        wishes = [value for name, value in self._pairs if name == b"upgrade"]
        method, version = self._parser.get_method(), self._parser.get_http_version()
        if not wishes:
            raise _bad("This server is no proxy.")
        first = b"%b %b HTTP/%b" % (method, self._url, version.encode("ascii"))
        if method == b"GET" and version == "1.1":
            whole = [first, *(b"%b: %b" % pair for pair in self._pairs), b"", b""]
            if self._hearer.upgrade(wishes[-1].strip().lower(), _path(self._url), b"\r\n".join(whole), rest):
                return b""
        lines = [b"%b: %b" % pair for pair in self._pairs if pair[0] not in _UPGRADE]
        self._parser = self._made()
        return b"\r\n".join([first, *lines, b"", rest])


def _path(url: bytes) -> str:
    raw = url.partition(b"?")[0]
    if raw[:1] != b"/" and raw != b"*":
        try:
            raw = httptools.parse_url(url).path or b"/"
        except httptools.HttpParserInvalidURLError:
            raise _bad("The request's target cannot be read.") from None
    try:
        path = raw.decode("ascii")
    except UnicodeDecodeError:
        raise _bad("The request's target is not ASCII; encode it with percent signs.") from None
    return unquote(path) if "%" in path else path


def _bad(what: str) -> PenstockError:
    return PenstockError(BAD_REQUEST, f"{what} Send HTTP/1.1.")


def too_long() -> PenstockError:
    """What is said of a head of more than ``MAX_HEAD_BYTES``."""
    return PenstockError(
        HEADERS_TOO_LARGE,
        f"The request's line and headers are longer than {MAX_HEAD_BYTES} bytes. Send fewer or shorter ones.",
    )
