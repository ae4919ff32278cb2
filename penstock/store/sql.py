"""Who may call, and how much, in a database."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Mapping, Sequence
from typing import Protocol

import msgspec
import sqlalchemy as sql

from penstock.core.accounts import Change, Directory, KeyRecord, Once, Record, User
from penstock.core.errors import STORE_CONFLICT, PenstockError
from penstock.core.releases import Decision
from penstock.core.usage import Act, Used
from penstock.store.database import Database
from penstock.store.release_tables import DECISIONS
from penstock.store.rows import KINDS, TABLES, Named, identity, read_directory, to_row
from penstock.store.tables import GATEWAYS, KEYS, MEMBERSHIPS, ONCE, SETTINGS, VERSION

DAY_S = 86400.0
ALIVE_S = 10.0
_READY = msgspec.json.Decoder(frozenset[str])


class Audit(Protocol):
    """Where acts are written down."""

    def append_in(self, connection: sql.Connection, acts: Sequence[tuple[str, Act]]) -> int:
        """Adds the acts, by their ids, in the transaction of ``connection``."""


class SqlStore:
    """``StateStore`` in a database that has been migrated. ``audit`` gets the act of every change, in its
    transaction; ``wall`` tells seconds since the epoch, by which idempotency keys are forgotten."""

    def __init__(self, database: Database, audit: Audit, wall: Callable[[], float]) -> None:
        self._database = database
        self._audit = audit
        self._wall = wall

    def created_at(self) -> int:
        with self._database.read() as connection:
            found = sql.select(SETTINGS.c.value).where(SETTINGS.c.name == "created_at")
            return int(connection.execute(found).scalar_one())

    def version(self) -> int:
        with self._database.read() as connection:
            return _version(connection)

    def directory(self) -> Directory:
        with self._database.read() as connection:
            return read_directory(connection)

    def once(self, key: str) -> Once | None:
        with self._database.read() as connection:
            found = sql.select(ONCE).where(ONCE.c.key == key, ONCE.c.at > self._wall() - DAY_S)
            row = connection.execute(found).one_or_none()
            return None if row is None else Once(**row._mapping)

    def change(self, change: Change) -> int:
        with self._database.begin() as connection:
            # The lock on this row puts changes in a line, so none below sees another's.
            moved = connection.execute(
                sql.update(VERSION).where(VERSION.c.version == change.version).values(version=change.version + 1)
            )
            if moved.rowcount != 1:
                raise PenstockError(STORE_CONFLICT, "Somebody else made a change at the same moment. Try again.")
            if change.once is not None:
                self._note_once(connection, change.once)
            for kind, id in change.remove:
                _remove(connection, KINDS[kind], id)
            for record in change.put:
                _put(connection, record)
            for decision in change.decisions:
                _decide(connection, decision)
            if change.act is not None:
                self._audit.append_in(connection, [(secrets.token_hex(16), change.act)])
        return change.version + 1

    def used(self, keys: Sequence[Used]) -> None:
        # In one order, so that two gateways never wait for each other.
        noted = sorted(keys, key=lambda each: (each.key_id, each.at))
        moved = [each for each in noted if each.digest]
        with self._database.begin() as connection:
            if moved:
                version = connection.execute(sql.select(VERSION.c.version).with_for_update()).scalar_one()
                # Not any(...): each of them is to be moved.
                if sum(_move(connection, each) for each in moved):
                    connection.execute(sql.update(VERSION).values(version=version + 1))
            if noted:
                at: sql.BindParameter[float] = sql.bindparam("used_at")
                older = sql.or_(KEYS.c.last_used_at.is_(None), KEYS.c.last_used_at < at)
                connection.execute(
                    sql.update(KEYS).where(KEYS.c.id == sql.bindparam("key"), older).values(last_used_at=at),
                    [{"key": each.key_id, "used_at": each.at} for each in noted],
                )

    def beat(self, gateway: str, at: float, ready: Sequence[str] = ()) -> Mapping[str, frozenset[str]]:
        now = {"seen_at": at, "ready": msgspec.json.encode(sorted(ready)).decode()}
        with self._database.begin() as connection:
            mine = sql.update(GATEWAYS).where(GATEWAYS.c.id == gateway)
            if not connection.execute(mine.values(now)).rowcount:
                connection.execute(sql.insert(GATEWAYS).values(id=gateway, **now))
            connection.execute(sql.delete(GATEWAYS).where(GATEWAYS.c.seen_at < at - DAY_S))
            alive = sql.select(GATEWAYS.c.id, GATEWAYS.c.ready).where(GATEWAYS.c.seen_at > at - ALIVE_S)
            return {name: _READY.decode(told) for name, told in connection.execute(alive.order_by(GATEWAYS.c.id))}

    def close(self) -> None:
        self._database.close()

    def _note_once(self, connection: sql.Connection, once: Once) -> None:
        connection.execute(sql.delete(ONCE).where(ONCE.c.at <= self._wall() - DAY_S))
        if connection.execute(sql.select(ONCE.c.key).where(ONCE.c.key == once.key)).first():
            raise PenstockError(STORE_CONFLICT, "The same `idempotency-key` was used at the same moment. Try again.")
        connection.execute(
            sql.insert(ONCE).values(
                key=once.key, request=once.request, status=once.status, answer=once.answer, at=once.at
            )
        )


def _decide(connection: sql.Connection, decision: Decision) -> None:
    same = sql.select(DECISIONS.c.number).where(
        DECISIONS.c.rollout == decision.rollout, DECISIONS.c.number == decision.number
    )
    if connection.execute(same).first():
        raise PenstockError(STORE_CONFLICT, "Somebody else decided at the same moment. Try again.")
    connection.execute(sql.insert(DECISIONS).values(msgspec.structs.asdict(decision)))


def _version(connection: sql.Connection) -> int:
    version: int = connection.execute(sql.select(VERSION.c.version)).scalar_one()
    return version


def _remove(connection: sql.Connection, kind: type[Record], id: str) -> None:
    connection.execute(sql.delete(TABLES[kind]).where(*_is(TABLES[kind], identity(kind, id))))
    if kind is User:
        connection.execute(sql.delete(MEMBERSHIPS).where(MEMBERSHIPS.c.user_id == id))


def _put(connection: sql.Connection, record: Record) -> None:
    table = TABLES[type(record)]
    row = to_row(record)
    changes: dict[str, object] = dict(row)
    if isinstance(record, KeyRecord):
        _check_digest(connection, record)
        # It may have been used since the directory was read that the change was made from.
        if record.last_used_at is None:
            del changes["last_used_at"]
        else:
            later = sql.or_(KEYS.c.last_used_at.is_(None), KEYS.c.last_used_at < record.last_used_at)
            changes["last_used_at"] = sql.case((later, record.last_used_at), else_=KEYS.c.last_used_at)
    found = {column.name: row[column.name] for column in table.primary_key.columns}
    if not connection.execute(sql.update(table).where(*_is(table, found)).values(changes)).rowcount:
        connection.execute(sql.insert(table).values(row))
    if isinstance(record, User):
        connection.execute(sql.delete(MEMBERSHIPS).where(MEMBERSHIPS.c.user_id == record.id))
        rows = [
            {"user_id": record.id, "place": place, "project": each.project, "role": each.role, "team": each.team}
            for place, each in enumerate(record.memberships)
        ]
        if rows:
            connection.execute(sql.insert(MEMBERSHIPS), rows)


def _is(table: sql.Table, found: Named) -> list[sql.ColumnElement[bool]]:
    return [table.c[name] == value for name, value in found.items()]


def _check_digest(connection: sql.Connection, record: KeyRecord) -> None:
    same = sql.select(KEYS.c.id).where(KEYS.c.digest == record.digest, KEYS.c.id != record.id)
    if connection.execute(same).first():
        raise PenstockError(STORE_CONFLICT, f"Key {record.id!r} is the same as another key; choose another.")


def _move(connection: sql.Connection, used: Used) -> int:
    """The digest under the new pepper in place of the one that it was found by, if the key still has that."""
    others = KEYS.alias()
    taken = sql.exists().where(others.c.digest == used.digest)
    for digest, pepper in ((KEYS.c.digest, KEYS.c.pepper), (KEYS.c.previous_digest, KEYS.c.previous_pepper)):
        moved = connection.execute(
            sql.update(KEYS)
            .where(KEYS.c.id == used.key_id, digest == used.replaces, ~taken)
            .values({digest: used.digest, pepper: used.pepper})
        )
        if moved.rowcount:
            return 1
    return 0
