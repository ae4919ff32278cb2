"""Series in a database.

A row counts three times, by ``LEVELS``, so that who asks by service reads few rows; and what is over is *rolled*:
added to the rows of the coarser steps, which are then read in its place: growing old is but to lose the finer rows.
"""

from __future__ import annotations

import sqlite3
import zlib
from collections.abc import Collection, Iterable, Mapping, Sequence

import sqlalchemy as sql

from penstock.core.series import Dimension, Fed, SeriesKey, SeriesQuery, SeriesRow
from penstock.store.database import Database
from penstock.store.observed_tables import FED, SERIES
from penstock.store.series_rows import SKETCHES, PackedRow, Sums, row_of, unpacked
from penstock.store.series_tiles import COARSE, FINE, MIDDLE, Kept, floor, tiles
from penstock.store.words import storable

LEVELS: tuple[tuple[Dimension, ...], ...] = (
    ("service", "model", "release", "project", "key"),
    ("service", "model", "release"),
    ("service",),
)
"""What tells the rows of a level apart, beside the gateway."""
PATIENCE_S = 60.0
"""How long a statement may take."""
FORGET = 5000
"""About how many rows go in one transaction, so that others get their turn."""
GONE_S = 86400
"""How much longer than there are fine rows of a gateway these are looked for."""
ROLL_S = 600
"""How much time is rolled in one transaction."""

_LOCK = int.from_bytes(b"SERI", "big")
_NAMES = ("service", "model", "release", "project", "key_id")
_SUMS = (SERIES.c.at, *(SERIES.c[name] for name in _NAMES), SERIES.c.sums)
_DIMENSIONS: tuple[Dimension, ...] = ("gateway", "service", "model", "release", "project", "key")
_COLUMNS = "gateway, step, level, at, service, model, release, project, key_id"
_WRITE = (
    f"INSERT INTO series ({_COLUMNS}, sums) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"  # noqa: S608 - our own names
    f" ON CONFLICT ({_COLUMNS}) DO UPDATE SET sums = excluded.sums"
)
# One statement with arrays, in place of as many as there are rows.
_WRITE_ARRAYS = sql.text(
    f"INSERT INTO series ({_COLUMNS}, sums)"  # noqa: S608 - our own names
    " SELECT :gateway, * FROM unnest(CAST(:step AS integer[]), CAST(:level AS smallint[]), CAST(:at AS bigint[]),"
    " CAST(:service AS text[]), CAST(:model AS text[]), CAST(:release AS text[]), CAST(:project AS text[]),"
    f" CAST(:key_id AS text[]), CAST(:sums AS bytea[])) ON CONFLICT ({_COLUMNS}) DO UPDATE SET sums = excluded.sums"
)

# Made once: it takes longer than what SQLite does with them.
_NOTED = sql.select(FED).where(FED.c.gateway == sql.bindparam("of"))
_NOTE = sql.update(FED).where(FED.c.gateway == sql.bindparam("of"))
_THERE = sql.select(*_SUMS).where(
    SERIES.c.gateway == sql.bindparam("of"),
    SERIES.c.step == sql.bindparam("tile"),
    SERIES.c.level == sql.bindparam("known"),
    SERIES.c.at.in_(sql.bindparam("ats", expanding=True)),
)

_Named = tuple[str, str, str, str, str]
_Place = tuple[int, int, int, _Named]
"""Step, level, begin, and the names."""
_Added = dict[_Place, list[SeriesRow | PackedRow]]


class SqlSeries:
    """``SeriesStore`` in a database whose migrations have run."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def append_series(self, rows: Sequence[SeriesRow], fed: Fed) -> None:
        with self._database.begin(PATIENCE_S) as connection:
            self._alone(connection, fed.gateway)
            noted = connection.execute(_NOTED, {"of": fed.gateway}).one_or_none()
            if noted is not None and fed.mark and noted.mark == fed.mark:
                rows = ()
            kept = Kept(floor(fed.until, MIDDLE), 0, 0) if noted is None else _kept(noted)
            last_at = max([0 if noted is None else noted.last_at, *(int(row.at) for row in rows)])
            self._write(connection, fed.gateway, _places(rows, kept))
            rolled = self._roll(connection, fed.gateway, kept, floor(fed.until, MIDDLE))
            told = {"until": fed.until, "shed": fed.shed, "mark": fed.mark, "last_at": last_at, "rolled": rolled}
            if noted is None:
                new = sql.insert(FED).values(gateway=fed.gateway, fine_from=0, middle_from=0, **told)
                connection.execute(new)
            else:
                connection.execute(_NOTE, {"of": fed.gateway, **told})

    def series(self, query: SeriesQuery) -> Sequence[SeriesRow]:
        wanted = _wanted(query)
        level = _level({*wanted, *query.by})
        step = int(query.step_s)
        found: dict[tuple[int, SeriesKey], list[PackedRow]] = {}
        asked = sql.select(*_SUMS).where(
            SERIES.c.gateway == sql.bindparam("of"),
            SERIES.c.step == sql.bindparam("tile"),
            SERIES.c.level == level,
            SERIES.c.at >= sql.bindparam("begin"),
            SERIES.c.at < sql.bindparam("end"),
            *(SERIES.c["key_id" if name == "key" else name] == value for name, value in wanted.items()),
        )
        with self._database.read(PATIENCE_S) as connection:
            for noted in connection.execute(sql.select(FED).where(FED.c.last_at >= query.since - COARSE)).all():
                if query.gateway not in (None, noted.gateway):
                    continue
                for tile, begin, end in tiles(query.since, query.until, step, _kept(noted)):
                    place = {"of": noted.gateway, "tile": tile, "begin": begin, "end": end}
                    groups = _Groups(query.by, noted.gateway)
                    for at, *names, sums in connection.execute(asked, place):
                        group = (at // step * step, groups.key(names))
                        found.setdefault(group, []).append(unpacked(sums))
        ordered = sorted(found, key=lambda each: (each[0], _names_of(each[1])))
        shown = SKETCHES if query.sketches is None else query.sketches
        return [row_of(found[at, key], float(at), query.step_s, key, shown) for at, key in ordered]

    def fed(self) -> Sequence[Fed]:
        with self._database.read() as connection:
            rows = connection.execute(sql.select(FED).order_by(FED.c.gateway)).all()
        return [Fed(gateway=row.gateway, until=row.until, shed=row.shed, mark=row.mark) for row in rows]

    def coarsen(self, fine_before: float, middle_before: float, forget_before: float) -> None:
        forgotten = floor(forget_before, COARSE)
        middle_from = max(floor(middle_before, COARSE), forgotten)
        fine_from = max(floor(fine_before, MIDDLE), middle_from)
        with self._database.read() as connection:
            gateways = connection.execute(sql.select(FED).order_by(FED.c.gateway)).all()
        for noted in gateways:
            steps = [(COARSE, forgotten)]
            # Of a gateway that has gone long ago there is nothing else left.
            if max(noted.last_at, noted.until) >= noted.middle_from - GONE_S:
                steps += ((FINE, fine_from), (MIDDLE, middle_from))
                while self._grown_old(noted.gateway, fine_from, middle_from):
                    pass
            for step, before in steps:
                for level in range(len(LEVELS)):
                    while self._drop(noted.gateway, step, level, before):
                        pass
        with self._database.begin() as connection:
            connection.execute(sql.delete(FED).where(FED.c.last_at < forgotten, FED.c.until < forgotten))

    def _grown_old(self, gateway: str, fine_from: int, middle_from: int) -> bool:
        """Rolls what is not, as far as it grows old, and notes from when there will be rows; whether it is to be
        called again."""
        of = FED.c.gateway == gateway
        with self._database.begin(PATIENCE_S) as connection:
            self._alone(connection, gateway)
            noted = connection.execute(sql.select(FED).where(of)).one_or_none()
            if noted is None:
                return False
            kept = _kept(noted)
            if kept.rolled < fine_from:
                rolled = self._roll(connection, gateway, kept, fine_from)
                connection.execute(sql.update(FED).where(of).values(rolled=rolled))
                return True
            later = {"fine_from": max(fine_from, kept.fine_from), "middle_from": max(middle_from, kept.middle_from)}
            connection.execute(sql.update(FED).where(of).values(**later))
            return False

    def _drop(self, gateway: str, step: int, level: int, before: int) -> bool:
        """Drops some of what is older; whether there is more."""
        at = SERIES.c.at
        of = (SERIES.c.gateway == gateway, SERIES.c.step == step, SERIES.c.level == level)
        some = sql.select(at).where(*of, at < before).order_by(at).offset(FORGET - 1).limit(1)
        with self._database.begin(PATIENCE_S) as connection:
            self._alone(connection, gateway)
            last = connection.scalar(some)
            connection.execute(sql.delete(SERIES).where(*of, at < before if last is None else at <= last))
        return last is not None

    def _roll(self, connection: sql.Connection, gateway: str, kept: Kept, until: int) -> int:
        """Adds fine rows from ``kept.rolled`` on to the coarser ones, up to ``until`` or as far as one transaction
        should go; how far."""
        if until <= kept.rolled:
            return kept.rolled
        fine = (SERIES.c.gateway == gateway, SERIES.c.step == FINE)
        if until > kept.rolled + ROLL_S:
            first = connection.scalar(
                sql.select(sql.func.min(SERIES.c.at)).where(*fine, SERIES.c.level == 0, SERIES.c.at >= kept.rolled)
            )
            until = until if first is None else min(until, floor(first, MIDDLE) + ROLL_S)
        asked = sql.select(SERIES.c.level, *_SUMS).where(
            *fine, SERIES.c.level.in_(range(len(LEVELS))), SERIES.c.at >= kept.rolled, SERIES.c.at < until
        )
        added: _Added = {}
        for level, at, service, model, release, project, key_id, sums in connection.execute(asked):
            part, names = unpacked(sums), (service, model, release, project, key_id)
            for step in (MIDDLE, COARSE):
                added.setdefault((step, level, floor(at, step), names), []).append(part)
        self._write(connection, gateway, added)
        return until

    def _write(self, connection: sql.Connection, gateway: str, added: _Added) -> None:
        """Adds them to what is there."""
        if not added:
            return
        times: dict[tuple[int, int], set[int]] = {}
        for step, level, at, _ in added:
            times.setdefault((step, level), set()).add(at)
        for (step, level), ats in times.items():
            place = {"of": gateway, "tile": step, "known": level, "ats": sorted(ats)}
            for at, service, model, release, project, key_id, packed in connection.execute(_THERE, place):
                parts = added.get((step, level, at, (service, model, release, project, key_id)))
                if parts is not None:
                    parts.append(unpacked(packed))
        # In the order of the table.
        rows = [(gateway, *place[:3], *place[3], _summed(added[place])) for place in sorted(added)]
        if self._database.kind == "postgresql":
            columns = map(list, zip(*rows, strict=True))
            next(columns)
            values = dict(zip(("step", "level", "at", *_NAMES, "sums"), columns, strict=True))
            connection.execute(_WRITE_ARRAYS, {"gateway": gateway, **values})
            return
        driver = connection.connection.driver_connection
        if not isinstance(driver, sqlite3.Connection):
            raise TypeError(f"{type(driver).__name__} is not SQLite's")
        driver.executemany(_WRITE, rows)

    def _alone(self, connection: sql.Connection, gateway: str) -> None:
        """Nobody else writes rows of this gateway until the transaction ends."""
        if self._database.kind == "postgresql":
            name = zlib.crc32(gateway.encode()) - (1 << 31)
            connection.execute(sql.text("SELECT pg_advisory_xact_lock(:lock, :name)"), {"lock": _LOCK, "name": name})


def _summed(parts: Iterable[SeriesRow | PackedRow]) -> bytes:
    sums = Sums()
    for part in parts:
        sums.add(part)
    return sums.pack()


class _Groups:
    """The keys that a query tells apart, of one gateway's rows."""

    def __init__(self, by: Collection[Dimension], gateway: str) -> None:
        self._at = tuple(name in by for name in _DIMENSIONS[1:])
        self._gateway = gateway if "gateway" in by else ""
        self._made: dict[tuple[str, ...], SeriesKey] = {}

    def key(self, names: Sequence[str]) -> SeriesKey:
        shown = tuple(name if told else "" for name, told in zip(names, self._at, strict=True))
        found = self._made.get(shown)
        if found is None:
            found = self._made[shown] = SeriesKey(self._gateway, *shown)
        return found


def _names_of(key: SeriesKey) -> tuple[str, ...]:
    return key.gateway, key.service, key.model, key.release, key.project, key.key_id


def _kept(noted: sql.Row[tuple[object, ...]]) -> Kept:
    return Kept(noted.rolled, noted.fine_from, noted.middle_from)


def _wanted(query: SeriesQuery) -> Mapping[Dimension, str]:
    asked: dict[Dimension, str | None] = {
        "service": query.service,
        "model": query.model,
        "release": query.release,
        "project": query.project,
        "key": query.key_id,
    }
    return {name: storable(value) for name, value in asked.items() if value is not None}


def _level(needed: Collection[Dimension]) -> int:
    """The one of the fewest rows that knows all of these."""
    wanted = {*needed} - {"gateway"}
    return max(level for level, known in enumerate(LEVELS) if wanted <= {*known})


def _places(rows: Iterable[SeriesRow], kept: Kept) -> _Added:
    added: _Added = {}
    for row in rows:
        key, at = row.key, int(row.at)
        whole = tuple(map(storable, (key.service, key.model, key.release, key.project, key.key_id)))
        for level, known in enumerate(LEVELS):
            service, model, release, project, key_id = (*whole[: len(known)], *[""] * (5 - len(known)))
            names = (service, model, release, project, key_id)
            for step in kept.steps(at):
                added.setdefault((step, level, floor(at, step), names), []).append(row)
    return added
