"""What was said on one day, in an SQLite file: contents of the same second together, in packs.

A pack takes a third of the time that a row for each would, and less room: what the prompts of one application have in
common is kept once. Who looks for one reads the places of the packs of its second first. What comes twice, as it does
after an interruption, is in two packs, of which the first holds. Files that began before there were packs also have
a table with a row for each.
"""

from __future__ import annotations

import sqlite3
import struct
import zlib
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from heapq import merge
from pathlib import Path

import msgspec

from penstock.core.requests import RequestContent
from penstock.store.requests_file import opened, writing
from penstock.store.requests_postings import tag
from penstock.store.requests_said import COLUMNS, content_of
from penstock.store.words import storable

MANY = 64
"""Contents in a pack."""
BYTES = 256 << 10
"""How long one is, but for one content that is longer by itself: who wants one content reads all of its pack."""

_SCHEMA = """
CREATE TABLE IF NOT EXISTS packs (
    id INTEGER PRIMARY KEY, second INTEGER NOT NULL, places BLOB NOT NULL, body BLOB NOT NULL);
CREATE INDEX IF NOT EXISTS packs_second ON packs (second);
CREATE TABLE IF NOT EXISTS pack_subjects (
    subject TEXT NOT NULL, pack INTEGER NOT NULL, PRIMARY KEY (subject, pack)) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS pack_subjects_pack ON pack_subjects (pack);
"""
_SELECT = f"SELECT {', '.join(COLUMNS)} FROM contents"  # noqa: S608 - our own names
_PLACE = struct.Struct("<dI")
_FEW = 256
_FAST = 1
_WORTH_IT = 1 << 10
# How zlib begins; no array of MessagePack does.
_ZLIB = 0x78

Place = tuple[float, str]
Places = Collection[Place]


class _Said(msgspec.Struct, frozen=True, array_like=True, gc=False):
    at: float
    request_id: str
    project: str
    service: str
    subject: str
    masked: bool
    request: bytes
    reply: bytes


_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(list[_Said]).decode


class ContentsWriter:
    """The only one who writes this file. Not for two threads at once."""

    def __init__(self, path: Path) -> None:
        self._connection = opened(path, _SCHEMA)

    def append(self, contents: Sequence[RequestContent]) -> None:
        """Writes them, whether they are there or not."""
        packs = list(_packs(map(_said, contents)))
        with writing(self._connection):
            for pack in packs:
                self._write(pack)

    def erase(self, places: Places) -> None:
        """Drops the contents of these requests."""
        gone = set(places)
        with writing(self._connection):
            for number, pack in list(_with(self._connection, gone)):
                self._connection.execute("DELETE FROM packs WHERE id = ?", (number,))
                self._connection.execute("DELETE FROM pack_subjects WHERE pack = ?", (number,))
                left = [each for each in pack if (each.at, each.request_id) not in gone]
                if left:
                    # In its own place: what was written first holds.
                    self._write(left, number)
            if _has_rows(self._connection):
                self._connection.executemany(
                    "DELETE FROM contents WHERE at = ? AND tag = ? AND request_id = ?", _rows_of(gone)
                )
        self.flush()

    def flush(self) -> None:
        """Brings everything from the log of changes into the file, and empties that."""
        self._connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")

    def close(self) -> None:
        self._connection.close()

    def _write(self, pack: Sequence[_Said], number: int | None = None) -> None:
        body = _encode(pack)
        # Of what is short zlib would spare little, and take longer than all the rest of writing it.
        if len(body) >= _WORTH_IT * len(pack):
            body = zlib.compress(body, _FAST)
        places = b"".join([_PLACE.pack(each.at, tag(each.request_id)) for each in pack])
        written = self._connection.execute(
            "INSERT INTO packs (id, second, places, body) VALUES (?, ?, ?, ?)",
            (number, int(pack[0].at // 1), places, body),
        )
        if subjects := {each.subject for each in pack if each.subject}:
            self._connection.executemany(
                "INSERT INTO pack_subjects VALUES (?, ?)", [(subject, written.lastrowid) for subject in subjects]
            )


def read(connection: sqlite3.Connection, places: Places) -> Mapping[Place, RequestContent]:
    """Those of the contents that are there."""
    found: dict[Place, RequestContent] = {}
    for content in _found(connection, places):
        found.setdefault(_place(content), content)
    return found


def of_subject(connection: sqlite3.Connection, subject: str, project: str | None, facts: Places) -> Places:
    """The contents that are the subject's by themselves, or by the facts of their requests."""
    name = storable(subject)
    found = set(map(_place, _found(connection, facts)))
    if _has_packs(connection):
        numbers = connection.execute("SELECT pack FROM pack_subjects WHERE subject = ?", (name,)).fetchall()
        for (number,) in numbers:
            (body,) = connection.execute("SELECT body FROM packs WHERE id = ?", (number,)).fetchone()
            found |= {
                (each.at, each.request_id)
                for each in _unpacked(body)
                if each.subject == name and project in (None, each.project)
            }
    if _has_rows(connection):
        asked = (
            "SELECT at, request_id FROM contents WHERE subject = ? AND subject <> '' AND (? IS NULL OR project = ?)"
        )
        found |= set(connection.execute(asked, (name, project, project)).fetchall())
    return found


def rows(connection: sqlite3.Connection) -> Iterator[RequestContent]:
    """Everything, newest first, each once."""
    last: Place | None = None
    for content in merge(_from_rows(connection), _from_packs(connection), key=_place, reverse=True):
        if _place(content) != last:
            last = _place(content)
            yield content


def _place(content: RequestContent) -> Place:
    return content.at, content.request_id


def _from_packs(connection: sqlite3.Connection) -> Iterator[RequestContent]:
    if not _has_packs(connection):
        return
    seconds = connection.execute("SELECT DISTINCT second FROM packs ORDER BY second DESC").fetchall()
    for second in seconds:
        said: list[_Said] = []
        for (body,) in connection.execute("SELECT body FROM packs WHERE second = ? ORDER BY id", second):
            said += _unpacked(body)
        said.sort(key=lambda each: (each.at, each.request_id), reverse=True)
        yield from map(_content, said)


def _from_rows(connection: sqlite3.Connection) -> Iterator[RequestContent]:
    if _has_rows(connection):
        chosen = connection.execute(f"{_SELECT} ORDER BY at DESC, request_id DESC")
        while found := chosen.fetchmany(_FEW):
            yield from map(content_of, found)


def _found(connection: sqlite3.Connection, places: Places) -> Iterator[RequestContent]:
    """In the order in which they were written."""
    wanted = set(places)
    if _has_rows(connection):
        for place in _rows_of(wanted):
            row = connection.execute(f"{_SELECT} WHERE at = ? AND tag = ? AND request_id = ?", place).fetchone()
            if row is not None:
                yield content_of(row)
    if _has_packs(connection):
        for _, pack in _with(connection, wanted):
            yield from (_content(each) for each in pack if (each.at, each.request_id) in wanted)


def _with(connection: sqlite3.Connection, places: Places) -> Iterator[tuple[int, Sequence[_Said]]]:
    """The packs that may have any of these."""
    seconds: dict[int, set[bytes]] = {}
    for at, request_id in places:
        seconds.setdefault(int(at // 1), set()).add(_PLACE.pack(at, tag(request_id)))
    for second, wanted in seconds.items():
        packs = connection.execute("SELECT id, places FROM packs WHERE second = ? ORDER BY id", (second,)).fetchall()
        for number, there in packs:
            if any(there[begin : begin + _PLACE.size] in wanted for begin in range(0, len(there), _PLACE.size)):
                (body,) = connection.execute("SELECT body FROM packs WHERE id = ?", (number,)).fetchone()
                yield number, _unpacked(body)


def _rows_of(places: Places) -> Sequence[tuple[float, int, str]]:
    return [(at, tag(request_id), request_id) for at, request_id in places]


def _packs(said: Iterable[_Said]) -> Iterator[Sequence[_Said]]:
    """The same by the second, and as many together as a pack has."""
    packs: dict[int, list[_Said]] = {}
    sizes: dict[int, int] = {}
    for each in said:
        second = int(each.at // 1)
        pack, size = packs.setdefault(second, []), len(each.request) + len(each.reply)
        if pack and (len(pack) >= MANY or sizes[second] + size > BYTES):
            yield pack
            pack = packs[second] = []
            sizes[second] = 0
        pack.append(each)
        sizes[second] = sizes.get(second, 0) + size
    yield from packs.values()


def _said(content: RequestContent) -> _Said:
    return _Said(
        content.at,
        storable(content.request_id),
        storable(content.project),
        storable(content.service),
        storable(content.subject),
        content.masked,
        content.request,
        content.reply,
    )


def _content(said: _Said) -> RequestContent:
    return RequestContent(
        request_id=said.request_id,
        at=said.at,
        project=said.project,
        service=said.service,
        subject=said.subject,
        masked=said.masked,
        request=said.request,
        reply=said.reply,
    )


def _unpacked(body: bytes) -> Sequence[_Said]:
    return _decode(zlib.decompress(body) if body[0] == _ZLIB else body)


def _has_packs(connection: sqlite3.Connection) -> bool:
    return _there(connection, "packs")


def _has_rows(connection: sqlite3.Connection) -> bool:
    return _there(connection, "contents")


def _there(connection: sqlite3.Connection, table: str) -> bool:
    asked = "SELECT 1 FROM sqlite_master WHERE type = 'table' AND name = ?"
    return connection.execute(asked, (table,)).fetchone() is not None
