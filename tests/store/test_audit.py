"""The audit keeps its contract in both databases, whoever appends at once, and finds what was done behind its back."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import sqlalchemy as sql
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from penstock.core.errors import STORE_UNAVAILABLE, PenstockError
from penstock.core.usage import Act, AuditQuery, Head
from penstock.store.audit import SqlAudit
from penstock.store.audit_chain import GENESIS, follow, sign_head
from penstock.store.database import Database, open_database, sqlite_url
from penstock.store.migrations import migrate
from tests.contracts.audit import WHY, AuditContract, act
from tests.postgres import postgres, postgres_url  # noqa: F401
from tests.store.chains import KEY


class Kept(AuditContract):
    database: Database

    def make(self, key: Ed25519PrivateKey = KEY, **trusted: list[Ed25519PrivateKey]) -> SqlAudit:
        migrate(self.database, now=0.0)
        self.witnessed: list[Head] = []
        public = [each.public_key() for each in trusted.get("trusted", ())]
        return SqlAudit(self.database, key, self.witnessed.append, lambda: 77.0, public)

    def make_another(self, acts: list[tuple[str, Act]]) -> Head:
        *_, last = follow(GENESIS, 0, acts)
        return sign_head(KEY, last.row.number, last.row.digest, 1.0)

    def run(self, statement: str) -> None:
        with self.database.begin() as connection:
            connection.exec_driver_sql(statement)

    def faults(self, audit: SqlAudit, heads: list[Head] | None = None) -> set[str]:
        return {found.fault for found in audit.verify(heads or [])}

    def grown(self) -> SqlAudit:
        audit = self.make()
        audit.append_acts([(str(n), act(float(n))) for n in range(1, 151)])
        audit.head()
        audit.append_acts([(str(n), act(float(n))) for n in range(151, 301)])
        audit.head()
        assert audit.verify(self.witnessed) == []
        return audit

    def test_four_who_append_at_once_make_one_chain(self) -> None:
        audit = self.make()
        start = threading.Barrier(4)

        def append(who: int) -> int:
            start.wait(10)
            new = 0
            for turn in range(15):
                new += audit.append_acts([(f"own{who}-{turn}", act()), (f"shared{turn}", act())])
                if turn % 5 == 4:
                    audit.head()
                    audit.redact([turn * 2 + 1 + who], WHY)
            return new

        with ThreadPoolExecutor(4) as pool:
            assert sum(pool.map(append, range(4))) == 4 * 15 + 15
        audit.head()
        assert audit.verify(self.witnessed) == []
        rows = audit.acts(AuditQuery(), None, 1000)
        assert [row.number for row in rows] == list(range(len(rows), 0, -1))

    def test_verifying_while_the_chain_grows_finds_nothing(self) -> None:
        audit = self.grown()
        done = threading.Event()

        def grow() -> None:
            turn = 0
            while not done.is_set() and turn < 500:
                audit.append_acts([(f"more{turn}", act())])
                audit.head()
                audit.redact([turn + 1], WHY)
                turn += 1

        with ThreadPoolExecutor(1) as pool:
            growing = pool.submit(grow)
            for _ in range(5):
                assert audit.verify([]) == []
            done.set()
            growing.result(30)

    def test_an_act_in_another_transaction_is_of_its_fate(self) -> None:
        audit = self.make()
        with contextlib.suppress(ZeroDivisionError), self.database.begin() as connection:
            assert audit.append_in(connection, [("a", act())]) == 1
            raise ZeroDivisionError
        assert audit.acts(AuditQuery(), None, 1) == []
        with self.database.begin() as connection:
            assert audit.append_in(connection, [("a", act())]) == 1
        assert audit.verify([]) == []

    @pytest.mark.parametrize(
        ("statement", "fault"),
        [
            ("UPDATE audit SET actor = 'mallory' WHERE number = 42", "edited"),
            ("UPDATE audit SET at = at + 1 WHERE number = 42", "edited"),
            ("UPDATE audit SET digest = previous WHERE number = 42", "edited"),
            ("DELETE FROM audit WHERE number = 42", "removed"),
            ("DELETE FROM audit WHERE number < 42", "removed"),
            ("UPDATE audit SET number = 958 WHERE number = 42", "reordered"),
            ("DELETE FROM audit_content WHERE number = 42", "content"),
            ("DELETE FROM audit_content", "content"),
            ("UPDATE audit_content SET content = salt WHERE number = 42", "content"),
            ("UPDATE audit SET redacted_by = 43 WHERE number = 42", "content"),
            ("UPDATE audit_heads SET number = number - 1 WHERE number = 150", "head"),
            ("UPDATE audit_heads SET at = at + 1 WHERE number = 150", "head"),
            ("UPDATE audit_heads SET key = 'mine' WHERE number = 150", "head"),
            ("DELETE FROM audit WHERE number > 200", "cut"),
            ("DELETE FROM audit", "cut"),
        ],
    )
    def test_what_somebody_does_in_the_database_is_found(self, statement: str, fault: str) -> None:
        audit = self.grown()
        self.run(statement)
        assert fault in self.faults(audit)

    def test_rows_put_in_or_swapped_are_found(self) -> None:
        audit = self.grown()
        columns = "id, at, kind, actor, project, action, target, outcome, address, request_id, content_digest, previous, digest"
        self.run("UPDATE audit SET number = -number WHERE number > 42")
        self.run("UPDATE audit SET number = 1 - number WHERE number < 0")
        assert self.faults(audit)
        self.run(f"INSERT INTO audit (number, {columns}) SELECT 43, 'x' || {columns} FROM audit WHERE number = 42")
        assert "inserted" in self.faults(audit)

    def test_a_cut_tail_with_its_heads_is_known_to_the_witness(self) -> None:
        audit = self.grown()
        for table in ("audit", "audit_content", "audit_heads"):
            self.run(f"DELETE FROM {table} WHERE number > 150")
        assert audit.verify([]) == []
        assert self.faults(audit, self.witnessed) == {"cut"}
        # Nor does it become well when it grows again.
        audit.append_acts([(f"later{n}", act()) for n in range(200)])
        audit.head()
        assert self.faults(audit, self.witnessed) == {"edited"}

    def test_a_chain_that_was_cut_is_not_signed_for(self) -> None:
        audit = self.grown()
        self.run("DELETE FROM audit WHERE number > 200")
        assert audit.head() == self.witnessed[-1]
        assert len(self.witnessed) == 2

    def test_gateways_sign_each_for_itself(self) -> None:
        other = Ed25519PrivateKey.from_private_bytes(b"o" * 32)
        first, second = self.make(trusted=[other]), self.make(other)
        first.append_acts([("a", act())])
        heads = [first.head(), second.head()]
        assert heads[0] != heads[1]
        assert first.verify([]) == []
        assert self.faults(second) == {"head"}
        assert [first.head(), second.head()] == heads

    def test_gateways_of_one_key_are_each_witness(self) -> None:
        first = self.make()
        one, second = self.witnessed, self.make()
        first.append_acts([("a", act())])
        head = first.head()
        assert second.head() == head
        assert second.head() == head
        assert one == self.witnessed == [head]
        self.run("UPDATE audit_heads SET number = 9")
        second.head()
        assert self.witnessed == [head]

    def test_a_witness_that_fails_leaves_no_head(self) -> None:
        def full(head: Head) -> None:
            raise PenstockError(STORE_UNAVAILABLE, "The disk is full.")

        audit = self.make()
        audit.append_acts([("a", act())])
        with pytest.raises(PenstockError, match="disk is full"):
            SqlAudit(self.database, KEY, full, lambda: 1.0).head()
        assert self.witnessed == []
        head = audit.head()
        assert self.witnessed == [head]

    def test_going_back_and_forth_keeps_every_row(self) -> None:
        audit = self.grown()
        rows = audit.acts(AuditQuery(), None, 1000)
        migrate(self.database, now=0.0, to="0002")
        with self.database.read() as connection:
            names = set(sql.inspect(connection).get_table_names())
        assert {"audit_kept", "audit_content_kept", "audit_heads_kept", "ledger_kept"} <= names
        assert not {"audit", "ledger"} & names
        migrate(self.database, now=0.0)
        assert audit.acts(AuditQuery(), None, 1000) == rows
        assert audit.verify(self.witnessed) == []
        audit.append_acts([("after", act())])
        assert audit.verify(self.witnessed) == []


class TestSqlite(Kept):
    @pytest.fixture(autouse=True)
    def _opened(self, tmp_path: Path) -> Iterator[None]:
        self.path = tmp_path / "state.db"
        self.database = open_database(sqlite_url(self.path))
        yield
        self.database.close()

    @pytest.mark.parametrize("column", ["actor", "at", "kind", "previous", "digest", "content_digest", "redacted_by"])
    @pytest.mark.parametrize("value", ["'text'", "x'00ff'", "7.5", "-7"])
    def test_values_of_another_kind_are_findings(self, column: str, value: str) -> None:
        audit = self.make()
        audit.append_acts([(str(n), act(float(n))) for n in range(1, 6)])
        self.run(f"UPDATE audit SET {column} = {value} WHERE number = 3")
        assert self.faults(audit)

    @pytest.mark.parametrize("column", ["number", "key", "digest", "at", "signature"])
    @pytest.mark.parametrize("value", ["'text'", "x'00ff'", "7.5", "-7"])
    def test_heads_of_another_kind_are_findings(self, column: str, value: str) -> None:
        audit = self.grown()
        self.run(f"UPDATE audit_heads SET {column} = {value} WHERE number = 150")
        assert self.faults(audit)

    def test_what_is_redacted_is_nowhere_in_the_file(self) -> None:
        secret = b"the client's own words"
        audit = self.make()
        audit.append_acts([(str(n), act(content=b"x" * 3000)) for n in range(20)])
        audit.append_acts([("a", act(content=secret)), ("b", act(content=secret * 1000))])
        assert audit.redact([21, 22], WHY) == 2
        self.database.close()
        assert [path.name for path in self.path.parent.iterdir()] == ["state.db"]
        assert secret not in self.path.read_bytes()


class TestPostgresql(Kept):
    @pytest.fixture(autouse=True)
    def _opened(self, postgres_url: str) -> Iterator[None]:  # noqa: F811
        self.database = open_database(postgres_url)
        yield
        self.database.close()
