"""What was said as a row: of tables in PostgreSQL, and of files from before there were packs."""

from __future__ import annotations

import zlib
from collections.abc import Sequence

import msgspec

from penstock.core.requests import RequestContent
from penstock.store.words import storable

COLUMNS = ("at", "request_id", "project", "service", "subject", "masked", "body")
"""All columns of contents, in order."""

_FAST = 1
_WORTH_IT = 1 << 10
# How a pair begins in MessagePack; nothing of zlib's does.
_PLAIN = 0x92
_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(tuple[bytes, bytes]).decode

Said = tuple[float, str, str, str, str, bool, bytes]
"""A row of contents."""


def said_of(content: RequestContent) -> Said:
    """The row of a content, in the order of ``COLUMNS``."""
    body = _encode((content.request, content.reply))
    # Of what is short zlib would spare little, and take longer than all the rest of writing it.
    if len(body) >= _WORTH_IT:
        body = zlib.compress(body, _FAST)
    words = (storable(content.request_id), storable(content.project), storable(content.service))
    return (content.at, *words, storable(content.subject), content.masked, body)


def content_of(row: Sequence[object]) -> RequestContent:
    """The content of a row."""
    at, request_id, project, service, subject, masked, body = row
    packed = bytes(body)  # type: ignore[call-overload]
    request, reply = _decode(packed if packed[0] == _PLAIN else zlib.decompress(packed))
    return RequestContent(
        request_id=str(request_id),
        at=float(at),  # type: ignore[arg-type]
        project=str(project),
        service=str(service),
        subject=str(subject),
        masked=bool(masked),
        request=request,
        reply=reply,
    )
