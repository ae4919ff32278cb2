"""The audit in SQL: one chain over all gateways, and the heads that each of them signs."""

from __future__ import annotations

import heapq
import math
import secrets
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import sqlalchemy as sql
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from msgspec.structs import replace
from sqlalchemy.dialects import postgresql, sqlite

from penstock.core.usage import Act, AuditQuery, AuditRow, Finding, Head
from penstock.store.audit_chain import GENESIS, Link, follow, head_fault, key_name, redaction_target, sign_head
from penstock.store.audit_tables import AUDIT, CONTENT, HEADS
from penstock.store.audit_verify import verify_chain
from penstock.store.database import Database
from penstock.store.words import storable

NAMED = 1000
"""Rows that one act redacts at most; for more there are several."""
PAGE = 100
"""Rows read at once while verifying: their contents may be long."""
PATIENCE_S = 60.0

_LOCK = int.from_bytes(b"PENAUDIT", "big")
_ACT = ("at", "kind", "actor", "project", "action", "target", "outcome", "address", "request_id")


def _raw(table: sql.Table, *names: str) -> list[sql.ColumnElement[Any]]:
    # As the driver gives it: where somebody put a text for bytes, that is a finding and no crash.
    return [sql.type_coerce(table.c[name], sql.types.NullType()).label(name) for name in names]


_ROW = sql.select(
    *_raw(AUDIT, "number", "id", *_ACT, "content_digest", "previous", "digest", "redacted_by"),
    *_raw(CONTENT, "salt", "content"),
).select_from(AUDIT.outerjoin(CONTENT, AUDIT.c.number == CONTENT.c.number))
_HEAD = sql.select(*_raw(HEADS, "number", "key", "digest", "at", "signature"))


class SqlAudit:
    """``AuditStore`` in a database whose migrations have run.

    ``signer`` signs heads, and may be one for all gateways; ``trusted`` are other keys that have signed heads in the
    same store, an older one say. ``witness`` keeps every head outside of the store before it is stored, so that
    nobody who can only write the database can cut the chain unseen; when it raises, so does ``head``, and nothing is
    stored. ``wall`` tells seconds since the epoch. ``verify`` believes heads of ``signer`` and ``trusted``.
    """

    def __init__(
        self,
        database: Database,
        signer: Ed25519PrivateKey,
        witness: Callable[[Head], None],
        wall: Callable[[], float],
        trusted: Sequence[Ed25519PublicKey] = (),
    ) -> None:
        self._database = database
        self._signer = signer
        self._witness = witness
        self._wall = wall
        self._told = 0  # the number of the newest head that the witness has
        self._name = key_name(signer.public_key())
        self._keys = {key_name(key): key for key in (*trusted, signer.public_key())}

    def append_acts(self, acts: Sequence[tuple[str, Act]]) -> int:
        if not acts:
            return 0
        with self._database.begin(PATIENCE_S) as connection:
            return self.append_in(connection, acts)

    def append_in(self, connection: sql.Connection, acts: Sequence[tuple[str, Act]]) -> int:
        """``append_acts`` in a transaction of the same database that somebody else began. Until that ends nobody else
        appends; so it comes last in it."""
        self._lock(connection)
        fresh = {storable(id_): _storable(act) for id_, act in reversed(acts)}
        ids = list(fresh)
        for at in range(0, len(ids), NAMED):
            known = sql.select(AUDIT.c.id).where(AUDIT.c.id.in_(ids[at : at + NAMED]))
            for id_ in connection.scalars(known).all():
                del fresh[id_]
        return self._append(connection, list(reversed(fresh.items())))

    def acts(self, query: AuditQuery, before: int | None, most: int) -> Sequence[AuditRow]:
        asked = _ROW.where(*_wanted(query))
        if before is not None:
            asked = asked.where(AUDIT.c.number < before)
        with self._database.read(PATIENCE_S) as connection:
            rows = connection.execute(asked.order_by(AUDIT.c.number.desc()).limit(most))
            return [_link(row).row for row in rows]

    def redact(self, numbers: Sequence[int], act: Act) -> int:
        """Its target is what the act says that it redacts, in place of its own. Where no row had any content nothing
        is added."""
        wanted = sorted(set(numbers))
        with self._database.begin(PATIENCE_S) as connection:
            self._lock(connection)
            return sum(self._redact(connection, wanted[at : at + NAMED], act) for at in range(0, len(wanted), NAMED))

    def expire(self, kind: str, before: float, act: Act) -> int:
        """In steps, each of them whole: when it raises, some may have been redacted."""
        old = sql.select(CONTENT.c.number).where(CONTENT.c.kind == kind, CONTENT.c.at < before)
        old = old.order_by(CONTENT.c.number).limit(NAMED)
        last, gone = math.inf, 0
        while True:
            with self._database.begin(PATIENCE_S) as connection:
                self._lock(connection)
                # Not what it writes itself.
                last = min(last, self._end(connection)[0])
                numbers = connection.scalars(old.where(CONTENT.c.number <= last)).all()
                gone += self._redact(connection, numbers, act)
            if len(numbers) < NAMED:
                return gone

    def head(self) -> Head | None:
        """The newest of its own key. The witness has it when this returns, whoever signed it."""
        mine = _HEAD.where(HEADS.c.key == self._name).order_by(HEADS.c.number.desc()).limit(1)
        with self._database.read() as connection:
            number, digest = self._end(connection)
            newest = connection.execute(mine).first()
        if not number:
            return None
        # A chain that became shorter is not signed for: the head of the longer one is what gives it away.
        if newest is not None and newest.number >= number:
            head = _head(newest)
            # Another gateway with the same key may have signed it, or this one before a crash.
            if head.number > self._told and not head_fault(head, self._keys):
                self._tell(head)
            return head
        head = sign_head(self._signer, number, digest, self._wall())
        self._tell(head)
        dialect = sqlite if self._database.kind == "sqlite" else postgresql
        with self._database.begin() as connection:
            values = {name: getattr(head, name) for name in Head.__struct_fields__}
            connection.execute(dialect.insert(HEADS).values(values).on_conflict_do_nothing())
        return head

    def verify(self, heads: Sequence[Head]) -> Sequence[Finding]:
        """Reads the chain in pages, so that nobody waits for it; what is appended meanwhile is looked at too."""
        with self._database.read() as connection:
            top = connection.scalar(sql.select(*_raw(HEADS, "number")).order_by(HEADS.c.number.desc()).limit(1))
        stored = iter(()) if top is None else self._heads(top)
        given = sorted(heads, key=lambda head: head.number)
        return verify_chain(self._links(), heapq.merge(stored, given, key=lambda head: head.number), self._keys)

    def _tell(self, head: Head) -> None:
        self._witness(head)
        self._told = head.number

    def _lock(self, connection: sql.Connection) -> None:
        if self._database.kind == "postgresql":
            connection.execute(sql.text("SELECT pg_advisory_xact_lock(:lock)"), {"lock": _LOCK})

    def _end(self, connection: sql.Connection) -> tuple[int, bytes]:
        last = sql.select(AUDIT.c.number, AUDIT.c.digest).order_by(AUDIT.c.number.desc()).limit(1)
        row = connection.execute(last).first()
        return (0, GENESIS) if row is None else (row.number, row.digest)

    def _append(self, connection: sql.Connection, acts: Sequence[tuple[str, Act]]) -> int:
        number, digest = self._end(connection)
        links = list(follow(digest, number, acts))
        if links:
            connection.execute(sql.insert(AUDIT), [_kept(link.row) for link in links])
        contents = [
            {"number": row.number, "kind": row.act.kind, "at": row.act.at, "salt": salt, "content": row.act.content}
            for row, salt in ((link.row, link.salt) for link in links)
            if salt is not None
        ]
        if contents:
            connection.execute(sql.insert(CONTENT), contents)
        return len(links)

    def _redact(self, connection: sql.Connection, numbers: Sequence[int], act: Act) -> int:
        having = sql.select(CONTENT.c.number).where(CONTENT.c.number.in_(numbers)).order_by(CONTENT.c.number)
        found = connection.scalars(having).all()
        if not found:
            return 0
        if self._database.kind == "sqlite":
            # Zeros over what is deleted, in place of pages that lie about until they are needed again.
            connection.exec_driver_sql("PRAGMA secure_delete = ON")
        why = replace(_storable(act), kind="administrative", target=redaction_target(found))
        self._append(connection, [(secrets.token_hex(16), why)])
        by = self._end(connection)[0]
        connection.execute(sql.delete(CONTENT).where(CONTENT.c.number.in_(found)))
        connection.execute(sql.update(AUDIT).where(AUDIT.c.number.in_(found)).values(redacted_by=by))
        return len(found)

    def _links(self) -> Iterator[Link]:
        asked = _ROW.order_by(AUDIT.c.number).limit(PAGE)
        page = asked
        while True:
            with self._database.read(PATIENCE_S) as connection:
                rows = connection.execute(page).all()
            yield from map(_link, rows)
            if len(rows) < PAGE:
                return
            page = asked.where(AUDIT.c.number > rows[-1].number)

    def _heads(self, top: int) -> Iterator[Head]:
        asked = _HEAD.where(HEADS.c.number <= top).order_by(HEADS.c.number, HEADS.c.key).limit(PAGE)
        page = asked
        while True:
            with self._database.read() as connection:
                rows = connection.execute(page).all()
            yield from map(_head, rows)
            if len(rows) < PAGE:
                return
            page = asked.where(sql.tuple_(HEADS.c.number, HEADS.c.key) > sql.tuple_(rows[-1].number, rows[-1].key))


def _wanted(query: AuditQuery) -> list[sql.ColumnElement[bool]]:
    table = AUDIT.c
    wanted = [table.at >= query.since]
    if query.until is not None:
        wanted.append(table.at < query.until)
    asked = {
        table.project: query.project,
        table.actor: query.actor,
        table.kind: query.kind,
        table.request_id: query.request_id,
    }
    wanted.extend(column == storable(value) for column, value in asked.items() if value is not None)
    if query.action is not None:
        action = storable(query.action)
        begin = action.removesuffix("*")
        begins = sql.func.substr(table.action, 1, len(begin)) == begin
        wanted.append(begins if begin != action else table.action == action)
    return wanted


def _storable(act: Act) -> Act:
    return Act(
        at=act.at,
        kind=act.kind,
        actor=storable(act.actor),
        project=storable(act.project),
        action=storable(act.action),
        target=storable(act.target),
        outcome=storable(act.outcome),
        address=storable(act.address),
        request_id=storable(act.request_id),
        content=act.content,
    )


def _kept(row: AuditRow) -> dict[str, object]:
    act = {name: getattr(row.act, name) for name in _ACT}
    return {
        **act,
        "number": row.number,
        "id": row.id,
        "content_digest": row.content_digest,
        "previous": row.previous,
        "digest": row.digest,
        "redacted_by": row.redacted_by,
    }


def _link(row: sql.Row[Any]) -> Link:
    act = Act(
        at=_time(row.at),
        kind=_text(row.kind),
        actor=_text(row.actor),
        project=_text(row.project),
        action=_text(row.action),
        target=_text(row.target),
        outcome=_text(row.outcome),
        address=_text(row.address),
        request_id=_text(row.request_id),
        content=_bytes(row.content) if row.content is not None else b"",
    )
    linked = AuditRow(
        number=row.number,
        id=_text(row.id),
        act=act,
        content_digest=_bytes(row.content_digest),
        previous=_bytes(row.previous),
        digest=_bytes(row.digest),
        redacted_by=row.redacted_by if row.redacted_by is None else _whole(row.redacted_by),
    )
    return Link(linked, None if row.salt is None else _bytes(row.salt))


def _head(row: sql.Row[Any]) -> Head:
    return Head(
        number=_whole(row.number),
        digest=_bytes(row.digest),
        at=_time(row.at),
        key=_text(row.key),
        signature=_bytes(row.signature),
    )


# SQLite lets anybody put anything anywhere. What is of another kind than it was becomes something that it never was.


def _text(value: object) -> Any:
    return value if isinstance(value, str) else repr(value)


def _bytes(value: object) -> bytes:
    return value if isinstance(value, bytes) else b""


def _whole(value: object) -> int:
    return value if isinstance(value, int) else -1


def _time(value: object) -> float:
    return float(value) if isinstance(value, int | float) else math.nan
