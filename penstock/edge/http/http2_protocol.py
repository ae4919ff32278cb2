"""How ``h2`` is set up here, and the one frame that it is not left to write."""

from __future__ import annotations

from h2.config import H2Configuration
from h2.connection import H2Connection
from h2.settings import SettingCodes, Settings

from penstock.edge.http.http1_requests import MAX_HEAD_BYTES

STREAMS = 100
"""That a client may have open at once, as it is told."""

# The room that the body of a stream has before anybody waits for it.
_UNASKED = 64 << 10
_NO_BOUND = 1 << 31


def begun() -> H2Connection:
    """A server's side whose settings are ready to be sent.

    It takes any number of streams, and who uses it is to refuse those above ``STREAMS``: ``h2`` would give the
    connection up over one too many, which a client that has not read our settings yet may well begin.
    """
    connection = H2Connection(
        H2Configuration(
            client_side=False,
            header_encoding=None,
            normalize_outbound_headers=False,
            validate_outbound_headers=False,
        )
    )
    connection.local_settings = _settings(STREAMS)
    connection.initiate_connection()
    connection.local_settings = _settings(_NO_BOUND)
    # Headers that are too long get an answer, much too long ones the end of the connection.
    connection.decoder.max_header_list_size = 2 * MAX_HEAD_BYTES
    return connection


def goaway(last: int, code: int) -> bytes:
    """The frame that says that streams after ``last`` are not answered, RFC 9113 section 6.8. To ``h2`` it would be
    the end of those before it, too."""
    return b"\0\0\x08\x07\0\0\0\0\0%b%b" % (last.to_bytes(4), code.to_bytes(4))


def _settings(streams: int) -> Settings:
    return Settings(
        client=False,
        initial_values={
            SettingCodes.MAX_CONCURRENT_STREAMS: streams,
            SettingCodes.MAX_HEADER_LIST_SIZE: MAX_HEAD_BYTES,
            SettingCodes.INITIAL_WINDOW_SIZE: _UNASKED,
            SettingCodes.ENABLE_PUSH: 0,
        },
    )
