"""Which days of the request log are in the archive, and under which names: in the database of the store.

So a search of recent days asks no archive anything, and of several gateways one archives a day. What is to be written
is noted before, what is to be deleted until it is: an interruption leaves no object that nobody knows.
"""

from __future__ import annotations

import datetime
import secrets
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass

import sqlalchemy as sql

from penstock.store.database import Database
from penstock.store.requests_live import Part
from penstock.store.requests_query import DAY_S
from penstock.store.tables import METADATA, TEXT

CLAIM_S = 300.0
"""After so long without a word from the gateway that has claimed a part, another may have it."""

ARCHIVES = sql.Table(
    "request_archives",
    METADATA,
    sql.Column("day", sql.Integer, primary_key=True, autoincrement=False),
    sql.Column("part", sql.Integer, primary_key=True, autoincrement=False),
    sql.Column("facts", TEXT, nullable=False),
    sql.Column("contents", TEXT, nullable=False),
    sql.Column("writing", TEXT, nullable=False),
    sql.Column("deleting", TEXT, nullable=False),
    sql.Column("rows", sql.BigInteger, nullable=False),
    sql.Column("said", sql.BigInteger, nullable=False),
    sql.Column("last_at", sql.Double, nullable=False),
    sql.Column("owner", TEXT, nullable=False),
    sql.Column("claimed_until", sql.Double, nullable=False),
)
"""``facts`` and ``contents`` are names of objects, empty: there is none (yet, or any more). ``writing`` and
``deleting`` are those that somebody is about to write and to delete, by spaces. ``last_at`` is when the last of its
requests arrived."""

ERASURES = sql.Table(
    "request_erasures",
    METADATA,
    sql.Column("token", TEXT, primary_key=True),
    sql.Column("at", sql.Double, nullable=False),
)
"""One row for each time that a subject was erased. A copy for the archive that began before does not count."""


@dataclass(frozen=True)
class Archived:
    """A part in the archive."""

    part: Part
    facts: str
    contents: str
    rows: int
    said: int
    last_at: float


class Catalogue:
    """``owner`` is this gateway, ``wall`` tells seconds since the epoch."""

    def __init__(self, database: Database, owner: str, wall: Callable[[], float]) -> None:
        self._database = database
        self._owner = owner
        self._wall = wall

    def archived(self) -> Sequence[Archived]:
        """All of it, oldest first."""
        asked = sql.select(ARCHIVES).where(ARCHIVES.c.rows >= 0).order_by(ARCHIVES.c.day, ARCHIVES.c.part)
        with self._database.read() as connection:
            return [
                Archived(Part(row.day, row.part), row.facts, row.contents, row.rows, row.said, row.last_at)
                for row in connection.execute(asked)
            ]

    def gone(self) -> Collection[Part]:
        """The parts that are in it."""
        return {each.part for each in self.archived()}

    def claim(self, part: Part, *, anew: bool) -> Sequence[str] | None:
        """Names for what is to be written of this part, facts and contents; the same as last time where that was
        interrupted. ``anew``: it is in the archive and is to be written again, else it must not be there yet. None:
        that is not so, or another gateway is about it."""
        now = self._wall()
        date = datetime.datetime.fromtimestamp(part.day * DAY_S, datetime.UTC).strftime("%Y-%m-%d")
        name = f"date={date}/{part.part}-{secrets.token_hex(8)}"
        names = f"{name}.facts.parquet {name}.contents.parquet"
        fresh = {"facts": "", "contents": "", "deleting": "", "rows": -1, "said": 0, "last_at": 0.0}
        with self._database.begin() as connection:
            if not anew:
                self._insert(connection, {**fresh, "day": part.day, "part": part.part, "writing": ""})
            mine = (ARCHIVES.c.owner == self._owner) | (ARCHIVES.c.claimed_until < now)
            mine &= ARCHIVES.c.rows >= 0 if anew else ARCHIVES.c.rows < 0
            claimed = {"owner": self._owner, "claimed_until": now + CLAIM_S}
            if not connection.execute(sql.update(ARCHIVES).where(self._is(part), mine).values(claimed)).rowcount:
                return None
            unnamed = sql.update(ARCHIVES).where(self._is(part), ARCHIVES.c.writing == "")
            connection.execute(unnamed.values(writing=names))
            found = connection.execute(sql.select(ARCHIVES.c.writing).where(self._is(part))).scalar_one()
            return str(found).split()

    def keep_claim(self, part: Part) -> bool:
        """Says that this gateway is still about it; False: another took it over."""
        with self._database.begin() as connection:
            mine = sql.update(ARCHIVES).where(self._is(part), ARCHIVES.c.owner == self._owner)
            return bool(connection.execute(mine.values(claimed_until=self._wall() + CLAIM_S)).rowcount)

    def note(self, connection: sql.Connection, found: Archived, written: Collection[str]) -> bool:
        """Puts what was written in place of what was there, which is to be deleted. False: another gateway has taken
        the claim over."""
        row = connection.execute(sql.select(ARCHIVES).where(self._is(found.part)).with_for_update()).one_or_none()
        if row is None or row.owner != self._owner or not set(written) <= set(row.writing.split()):
            return False
        left = {*row.deleting.split(), row.facts, row.contents, *row.writing.split()} - {
            found.facts,
            found.contents,
            "",
        }
        values = {
            "facts": found.facts,
            "contents": found.contents,
            "rows": found.rows,
            "said": found.said,
            "last_at": found.last_at,
            "writing": "",
            "deleting": " ".join(sorted(left)),
            "claimed_until": 0.0,
        }
        connection.execute(sql.update(ARCHIVES).where(self._is(found.part)).values(values))
        return True

    def rewrite(self, found: Archived, written: Collection[str]) -> bool:
        """The same, in a transaction of its own."""
        with self._database.begin() as connection:
            return self.note(connection, found, written)

    def deleting(self) -> Sequence[tuple[Part, Sequence[str]]]:
        """Objects that are to be deleted, by part."""
        asked = sql.select(ARCHIVES).where(ARCHIVES.c.deleting != "")
        with self._database.read() as connection:
            return [(Part(row.day, row.part), row.deleting.split()) for row in connection.execute(asked)]

    def deleted(self, part: Part, names: Collection[str]) -> None:
        """Notes that these objects are no more, and drops what has none left."""
        with self._database.begin() as connection:
            row = connection.execute(sql.select(ARCHIVES).where(self._is(part)).with_for_update()).one_or_none()
            if row is None:
                return
            left = " ".join(name for name in row.deleting.split() if name not in names)
            connection.execute(sql.update(ARCHIVES).where(self._is(part)).values(deleting=left))
            over = (ARCHIVES.c.rows >= 0, ARCHIVES.c.facts == "", ARCHIVES.c.contents == "")
            unused = (ARCHIVES.c.deleting == "", ARCHIVES.c.writing == "")
            connection.execute(sql.delete(ARCHIVES).where(self._is(part), *over, *unused))

    def forget(self, day: int, contents_day: int) -> int:
        """Gives objects up of days up to ``day``, and contents up to ``contents_day``; how many."""
        given_up = 0
        with self._database.begin() as connection:
            found = sql.select(ARCHIVES).where(ARCHIVES.c.day <= max(day, contents_day))
            for row in connection.execute(found.with_for_update()).all():
                names = [row.facts, row.contents, *row.writing.split()] if row.day <= day else [row.contents]
                names = [name for name in names if name]
                if not names:
                    continue
                left = {"contents": "", "said": 0, "deleting": " ".join([*row.deleting.split(), *names])}
                if row.day <= day:
                    left |= {"facts": "", "rows": 0, "writing": ""}
                part = self._is(Part(row.day, row.part))
                connection.execute(sql.update(ARCHIVES).where(part).values(left))
                given_up += (row.facts in names) + (row.contents in names)
        return given_up

    def note_erasure(self) -> None:
        """Before a subject is erased: copies for the archive that have begun do not count any more."""
        with self._database.begin() as connection:
            connection.execute(sql.insert(ERASURES).values(token=secrets.token_hex(16), at=self._wall()))

    def erasures(self, connection: sql.Connection | None = None) -> int:
        """How many there were."""
        asked = sql.select(sql.func.count()).select_from(ERASURES)
        if connection is not None:
            return int(connection.execute(asked).scalar_one())
        with self._database.read() as fresh:
            return int(fresh.execute(asked).scalar_one())

    def _insert(self, connection: sql.Connection, values: dict[str, object]) -> None:
        values = {**values, "owner": self._owner, "claimed_until": 0.0}
        names = ", ".join(values)
        places = ", ".join(f":{name}" for name in values)
        connection.execute(
            sql.text(f"INSERT INTO request_archives ({names}) VALUES ({places}) ON CONFLICT DO NOTHING"),  # noqa: S608
            values,
        )

    def _is(self, part: Part) -> sql.ColumnElement[bool]:
        return sql.and_(ARCHIVES.c.day == part.day, ARCHIVES.c.part == part.part)
