"""A gateway as a terminal talks to it: OpenAI's HTTP API, streamed, over the standard library's client."""

from __future__ import annotations

import http.client
import ipaddress
import ssl
from collections.abc import Generator, Mapping, Sequence
from types import MappingProxyType
from urllib.parse import urlsplit

import msgspec

from penstock.config.mistakes import quotable, suggestion
from penstock.core.chat import ChunkView, chunk_view
from penstock.core.errors import (
    BAD_REQUEST,
    INVALID_API_KEY,
    KEY_EXPIRED,
    KEY_REVOKED,
    MODEL_NOT_FOUND,
    UPSTREAM_BROKEN,
    UPSTREAM_FAILED,
    UPSTREAM_GARBLED,
    UPSTREAM_UNREACHABLE,
    ErrorEnvelope,
    PenstockError,
)
from penstock.core.serving import Applied
from penstock.engines.sse import SseSplitter

_CONNECT_S = 10.0
_SILENCE_S = 600.0
"""The gateway sends heartbeats once it streams; before that a slow machine may read a long prompt."""
_MAX_BODY = 16 << 20
_MAX_LINES = 200
_NOTHING: Mapping[str, str] = MappingProxyType({})
_YAML = {"content-type": "application/yaml"}
_JSON = {"accept": "application/json"}
_ANY = {"accept": "*/*"}
_TOO_LATE = (KEY_EXPIRED.code, KEY_REVOKED.code)
"""A key that was right once: the gateway says which one, and what to do."""


class Message(msgspec.Struct, frozen=True):
    """One turn of the conversation."""

    role: str
    content: str


class _Entry(msgspec.Struct, frozen=True):
    id: str


class _Listing(msgspec.Struct, frozen=True):
    data: tuple[_Entry, ...]


class Gateway:
    """One gateway and the key to it. ``url`` with or without ``/v1``. Holds no connection between calls."""

    def __init__(self, url: str, key: str) -> None:
        """Raises ``PenstockError`` when ``url`` is not an HTTP URL."""
        parts = split_url(url)
        self.url = f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}"
        self._secure = parts.scheme == "https"
        self._host, self._port = parts.hostname or "", parts.port
        self._root = parts.path.rstrip("/").removesuffix("/v1")
        self._headers = {"content-type": "application/json", "accept": "text/event-stream, application/json"}
        if key:
            self._headers["authorization"] = f"Bearer {key}"

    def services(self) -> Sequence[str]:
        """The names that the key may use. Raises ``PenstockError``."""
        connection = self._connect()
        try:
            with self._accepted(connection, "GET", "/models", None) as response:
                body = response.read(_MAX_BODY)
            return [entry.id for entry in msgspec.json.decode(body, type=_Listing).data]
        except msgspec.DecodeError:
            raise PenstockError(UPSTREAM_GARBLED, f"{self.url} does not answer as a gateway does") from None
        except (OSError, http.client.HTTPException) as error:
            raise self._lost(error) from None
        finally:
            connection.close()

    def answer(self, service: str, messages: Sequence[Message]) -> Generator[ChunkView, None, None]:
        """The chunks of one streamed answer. Closing the iterator closes the connection, which stops the work.

        Raises ``PenstockError``, in mid-answer too.
        """
        connection = self._connect()
        try:
            body = msgspec.json.encode({"model": service, "messages": messages, "stream": True})
            events, complete = SseSplitter(), False
            with self._accepted(connection, "POST", "/chat/completions", body) as response:
                while piece := response.read1(1 << 16):
                    for data in events.feed(piece):
                        # Read on to the end of the response: hanging up before it looks like giving up.
                        complete = complete or data == b"[DONE]"
                        if not complete:
                            yield self._chunk(data)
            if not complete:
                raise PenstockError(UPSTREAM_BROKEN, f"{self.url} broke off in mid-answer; ask again")
        except (OSError, http.client.HTTPException) as error:
            raise self._lost(error) from None
        finally:
            connection.close()

    def deploy(self, deployment: bytes, *, dry_run: bool) -> Applied:
        """Sends the text of a deployment file, which the gateway serves from now on, or only says what would change.

        Raises ``PenstockError``; of a text that is refused it has a line for every mistake.
        """
        connection = self._connect()
        try:
            path = f"/admin/deployment?dry_run={str(dry_run).lower()}"
            with self._accepted(connection, "PUT", path, deployment, _YAML) as response:
                return msgspec.json.decode(response.read(_MAX_BODY), type=Applied)
        except msgspec.DecodeError:
            raise PenstockError(UPSTREAM_GARBLED, f"{self.url} does not answer as a gateway does") from None
        except (OSError, http.client.HTTPException) as error:
            raise self._lost(error) from None
        finally:
            connection.close()

    def ask(self, method: str, path: str, body: bytes | None = None, more: Mapping[str, str] = _NOTHING) -> bytes:
        """The body of the answer to one request at ``path``, below the gateway's root; ``more`` headers go with it.

        Raises ``PenstockError``: ``UPSTREAM_BROKEN`` when it is not known whether the request was carried out.
        """
        return self.answered(method, path, body, more)[0]

    def answered(
        self, method: str, path: str, body: bytes | None = None, more: Mapping[str, str] = _NOTHING
    ) -> tuple[bytes, Mapping[str, str]]:
        """As ``ask``, with the headers of the answer, their names in lower case."""
        connection = self._connect()
        try:
            with self._accepted(connection, method, path, body, _JSON | dict(more)) as response:
                return response.read(), {name.lower(): value for name, value in response.headers.items()}
        except (OSError, http.client.HTTPException) as error:
            raise self._lost(error) from None
        finally:
            connection.close()

    def fetch(self, path: str) -> Generator[bytes, None, None]:
        """A file at ``path``, below the gateway's root, piece by piece. Raises ``PenstockError``, for a file that
        ends too soon too."""
        connection = self._connect()
        try:
            with self._accepted(connection, "GET", path, None, _ANY) as response:
                while piece := response.read1(1 << 16):
                    yield piece
                if response.length:
                    raise http.client.IncompleteRead(b"", response.length)
        except (OSError, http.client.HTTPException) as error:
            raise self._lost(error) from None
        finally:
            connection.close()

    def unknown(self, service: str, known: Sequence[str]) -> PenstockError:
        """The error for a service that is not among the ``known`` ones."""
        return PenstockError(
            MODEL_NOT_FOUND, f"{self.url} has no service `{quotable(service)}`; {suggestion(service, known)}"
        )

    def _connect(self) -> http.client.HTTPConnection:
        if self._secure:
            context = ssl.create_default_context()
            return http.client.HTTPSConnection(self._host, self._port, timeout=_CONNECT_S, context=context)
        return http.client.HTTPConnection(self._host, self._port, timeout=_CONNECT_S)

    def _accepted(
        self,
        connection: http.client.HTTPConnection,
        method: str,
        path: str,
        body: bytes | None,
        below_root: Mapping[str, str] | None = None,
    ) -> http.client.HTTPResponse:
        """``path`` is below ``/v1``, or below the root, where headers for that are given."""
        try:
            connection.connect()
        except OSError as error:
            raise PenstockError(
                UPSTREAM_UNREACHABLE,
                f"no gateway answers at {self.url} ({error.strerror or error}); "
                "start one with `penstock up`, or name another with --url",
            ) from None
        connection.sock.settimeout(_SILENCE_S)
        headers = self._headers | dict(below_root or _NOTHING)
        connection.request(method, self._root + ("/v1" if below_root is None else "") + path, body, headers)
        response = connection.getresponse()
        if response.status in (200, 201):
            return response
        with response:
            raise self._refused(response.status, response.read(_MAX_BODY))

    def _refused(self, status: int, body: bytes) -> PenstockError:
        try:
            said = msgspec.json.decode(body, type=ErrorEnvelope).error
        except msgspec.DecodeError:
            said = None
        if status == 401 and (said is None or said.code not in _TOO_LATE):
            return PenstockError(
                INVALID_API_KEY,
                f"{self.url} refuses the key; set PENSTOCK_API_KEY, or PENSTOCK_HOME to the home of that gateway",
            )
        if said is None:
            return PenstockError(UPSTREAM_GARBLED, f"{self.url} answers {status}, and not as a gateway does")
        return PenstockError(
            MODEL_NOT_FOUND if status == 404 else BAD_REQUEST if status < 500 else UPSTREAM_FAILED,
            "\n".join(quotable(line, 1000) for line in said.message.splitlines()[:_MAX_LINES]),
        )

    def _chunk(self, data: bytes) -> ChunkView:
        try:
            view = chunk_view(data)
            if not view.choices and b'"error"' in data:
                raise PenstockError(UPSTREAM_FAILED, quotable(_error_of(data), 1000))
        except msgspec.DecodeError:
            raise PenstockError(UPSTREAM_GARBLED, f"{self.url} sent a chunk that is none") from None
        return view

    def _lost(self, error: Exception) -> PenstockError:
        if isinstance(error, TimeoutError):
            return PenstockError(UPSTREAM_BROKEN, f"{self.url} has been silent for {_SILENCE_S:.0f} s")
        reason = (error.strerror if isinstance(error, OSError) else None) or type(error).__name__
        return PenstockError(UPSTREAM_BROKEN, f"the connection to {self.url} is lost ({reason}); ask again")


class _Failed(msgspec.Struct, frozen=True):
    message: str = "the answer failed"


class _FailedEvent(msgspec.Struct, frozen=True):
    error: _Failed | None = None


def _error_of(data: bytes) -> str:
    found = msgspec.json.decode(data, type=_FailedEvent).error
    return found.message if found else "the answer failed"


class Place(msgspec.Struct, frozen=True):
    """Where a URL leads, without its path."""

    scheme: str
    netloc: str
    hostname: str | None
    port: int | None
    path: str


def split_url(url: str) -> Place:
    """Reads an HTTP URL. Raises ``PenstockError`` when it is none."""
    try:
        parts = urlsplit(url if "://" in url else f"http://{url}")
        if parts.scheme in ("http", "https") and parts.hostname and url.isprintable() and " " not in url:
            return Place(parts.scheme, parts.netloc, parts.hostname, parts.port, parts.path)
    except ValueError:
        pass  # said below, as for every other text that is no URL
    raise PenstockError(BAD_REQUEST, "--url must be the gateway's http:// or https:// URL")


def same_place(one: str, other: str) -> bool:
    """Whether a key for ``one`` may be shown to ``other``: the same server, or both on this very machine."""
    a, b = split_url(one), split_url(other)
    return (a.scheme, a.hostname, a.port) == (b.scheme, b.hostname, b.port) or (_here(a) and _here(b))


def _here(place: Place) -> bool:
    host = place.hostname or ""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
