"""TLS between a connection and its transport, over ``ssl``'s memory buffers.

The loop's own TLS hides what waits beneath it, so that neither a bound on it nor a client that takes nothing can be
seen, and it cannot say the end of one direction while it listens to the other. This one hands all of that through.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import ssl
from collections.abc import Callable

_log = logging.getLogger("penstock.edge")

_READ = 256 << 10
_PLAIN = b"HTTP/1.1 400 Bad Request\r\ncontent-type: text/plain\r\ncontent-length: %d\r\nconnection: close\r\n\r\n%b"
_SAID = b"This port speaks HTTPS. Begin the URL with https://.\n"


class SecureTransport(asyncio.Transport, asyncio.Protocol):
    """The protocol of a plain transport, and the transport of the protocol that ``protocol`` makes once the handshake
    is done. ``opened`` has a result then; an ``OSError`` when there will be none."""

    def __init__(self, context: ssl.SSLContext, protocol: Callable[[], asyncio.Protocol]) -> None:
        super().__init__()
        self._incoming, self._outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        self._ssl = context.wrap_bio(self._incoming, self._outgoing, server_side=True)
        self._make = protocol
        self._plain: asyncio.Transport
        self._protocol: asyncio.Protocol | None = None
        self.opened: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._paused = self._ended = False

    # -- what the plain transport tells --------------------------------------------------------------------------

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        self._plain = transport

    def data_received(self, data: bytes) -> None:
        self._incoming.write(data)
        if self._protocol is None and not self._shake():
            return
        self._read()

    def eof_received(self) -> bool | None:
        return None if self._protocol is None else self._protocol.eof_received()

    def connection_lost(self, exc: Exception | None) -> None:
        if self._protocol is not None:
            self._protocol.connection_lost(exc)
        elif not self.opened.done():
            self.opened.set_exception(exc or ConnectionResetError("the client has gone"))

    def pause_writing(self) -> None:
        if self._protocol is not None:
            self._protocol.pause_writing()

    def resume_writing(self) -> None:
        if self._protocol is not None:
            self._protocol.resume_writing()

    # -- the handshake, and what follows it ----------------------------------------------------------------------

    def _shake(self) -> bool:
        try:
            self._ssl.do_handshake()
        except ssl.SSLWantReadError:
            self._flush()
            return False
        except ssl.SSLError as error:
            self._flush()
            if error.reason == "HTTP_REQUEST":
                self._plain.write(_PLAIN % (len(_SAID), _SAID))
            self._plain.close()
            if not self.opened.done():
                self.opened.set_exception(error)
            return False
        self._flush()
        if self.opened.done():
            self._plain.abort()
            return False
        self.opened.set_result(None)
        self._protocol = self._make()
        self._protocol.connection_made(self)
        return True

    def _read(self) -> None:
        while not self._paused and not self._plain.is_closing() and self._protocol is not None:
            try:
                data = self._ssl.read(_READ)
            except ssl.SSLWantReadError:
                break
            except ssl.SSLError as error:
                if not isinstance(error, ssl.SSLZeroReturnError):
                    _log.debug("a connection broke: %s", error)
                    self._flush()
                data = b""
            if not data:
                if not self._protocol.eof_received():
                    self._plain.close()
                return
            self._protocol.data_received(data)
            if not (self._incoming.pending or self._ssl.pending()):
                # To be told so would cost an exception.
                break
        # It may have been told something that TLS itself answers.
        self._flush()

    def _flush(self) -> None:
        if self._outgoing.pending:
            self._plain.write(self._outgoing.read())

    # -- what the protocol asks ----------------------------------------------------------------------------------

    def get_extra_info(self, name: str, default: object = None) -> object:
        return self._ssl if name == "ssl_object" else self._plain.get_extra_info(name, default)

    def set_protocol(self, protocol: asyncio.BaseProtocol) -> None:
        if not isinstance(protocol, asyncio.Protocol):
            raise TypeError("a protocol that is told of data is needed")
        self._protocol = protocol

    def get_protocol(self) -> asyncio.BaseProtocol:
        return self if self._protocol is None else self._protocol

    def write(self, data: bytes | bytearray | memoryview) -> None:
        if self._ended:
            return
        rest = memoryview(data)
        try:
            while rest:
                rest = rest[self._ssl.write(rest) :]
        except ssl.SSLError as error:
            _log.debug("a connection broke: %s", error)
            self._plain.abort()
            return
        self._flush()

    def write_eof(self) -> None:
        """The client is told, and may still be listened to."""
        self._end()
        self._plain.write_eof()

    def can_write_eof(self) -> bool:
        return True

    def close(self) -> None:
        if not self._plain.is_closing():
            self._end()
            self._plain.close()

    def abort(self) -> None:
        self._plain.abort()

    def is_closing(self) -> bool:
        return self._plain.is_closing()

    def pause_reading(self) -> None:
        self._paused = True
        self._plain.pause_reading()

    def resume_reading(self) -> None:
        self._paused = False
        self._plain.resume_reading()
        # Some of what has come may have been left where it is.
        asyncio.get_running_loop().call_soon(self._read)

    def is_reading(self) -> bool:
        return not self._paused

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        self._plain.set_write_buffer_limits(high, low)

    def get_write_buffer_size(self) -> int:
        return self._plain.get_write_buffer_size()

    def get_write_buffer_limits(self) -> tuple[int, int]:
        return self._plain.get_write_buffer_limits()

    def _end(self) -> None:
        if self._ended:
            return
        self._ended = True
        # It wants to wait for the client to say the same, which nobody here does.
        with contextlib.suppress(ssl.SSLError):
            self._ssl.unwrap()
        self._flush()
