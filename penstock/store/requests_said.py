"""What was said, packed; and the contents of one day in an SQLite file."""

from __future__ import annotations

import sqlite3
import zlib
from collections.abc import Collection, Iterator, Mapping, Sequence
from pathlib import Path

import msgspec

from penstock.core.requests import RequestContent
from penstock.store.requests_file import opened, writing
from penstock.store.requests_postings import tag
from penstock.store.words import storable

COLUMNS = ("at", "request_id", "project", "service", "subject", "masked", "body")
"""All columns of contents, in order."""

_SCHEMA = f"""
CREATE TABLE IF NOT EXISTS contents ({", ".join(COLUMNS)}, tag INTEGER NOT NULL);
CREATE UNIQUE INDEX IF NOT EXISTS contents_at ON contents (at, tag);
CREATE INDEX IF NOT EXISTS contents_subject ON contents (subject) WHERE subject <> '';
"""
_INSERT = (
    f"INSERT INTO contents ({', '.join(COLUMNS)}, tag) VALUES ({', '.join('?' * (len(COLUMNS) + 1))})"  # noqa: S608
    " ON CONFLICT DO NOTHING"
)
_SELECT = f"SELECT {', '.join(COLUMNS)} FROM contents"  # noqa: S608 - our own names
_MANY = 256
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


class ContentsWriter:
    """The only one who writes this file. Not for two threads at once."""

    def __init__(self, path: Path) -> None:
        self._connection = opened(path, _SCHEMA)

    def append(self, contents: Sequence[RequestContent]) -> None:
        """Writes those that are not there yet."""
        rows = [(*said_of(content), tag(storable(content.request_id))) for content in contents]
        with writing(self._connection):
            self._connection.executemany(_INSERT, rows)

    def erase(self, places: Collection[tuple[float, str]]) -> None:
        """Drops the contents of these requests."""
        with writing(self._connection):
            self._connection.executemany(
                "DELETE FROM contents WHERE at = ? AND tag = ? AND request_id = ?",
                [(at, tag(request_id), request_id) for at, request_id in places],
            )
        self.flush()

    def flush(self) -> None:
        """Brings everything from the log of changes into the file, and empties that."""
        self._connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")

    def close(self) -> None:
        self._connection.close()


def read(
    connection: sqlite3.Connection, places: Collection[tuple[float, str]]
) -> Mapping[tuple[float, str], RequestContent]:
    """Those of the contents that are there."""
    found = {}
    for at, request_id in places:
        row = connection.execute(
            f"{_SELECT} WHERE at = ? AND tag = ? AND request_id = ?", (at, tag(request_id), request_id)
        ).fetchone()
        if row is not None:
            found[at, request_id] = content_of(row)
    return found


def of_subject(
    connection: sqlite3.Connection, subject: str, project: str | None, facts: Collection[tuple[float, str]]
) -> Collection[tuple[float, str]]:
    """The contents that are the subject's by themselves, or by the facts of their requests."""
    asked = "SELECT at, request_id FROM contents WHERE subject = ? AND subject <> '' AND (? IS NULL OR project = ?)"
    found = set(connection.execute(asked, (storable(subject), project, project)).fetchall())
    for at, request_id in facts:
        place = (at, tag(request_id), request_id)
        if connection.execute("SELECT 1 FROM contents WHERE at = ? AND tag = ? AND request_id = ?", place).fetchone():
            found.add((at, request_id))
    return found


def rows(connection: sqlite3.Connection) -> Iterator[RequestContent]:
    """Everything, newest first."""
    chosen = connection.execute(f"{_SELECT} ORDER BY at DESC, request_id DESC")
    while found := chosen.fetchmany(_MANY):
        yield from map(content_of, found)
