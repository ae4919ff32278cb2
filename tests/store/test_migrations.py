"""A store of any age is brought to the newest shape, once, whole or not at all, and can go back."""

from __future__ import annotations

import contextlib
import shutil
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest
import sqlalchemy as sql
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext

from penstock.core.accounts import EVERYWHERE, Change, Directory, KeyRecord, Project, Record, Scopes, User
from penstock.core.caching import Invalidation
from penstock.core.errors import STORE_UNAVAILABLE, PenstockError
from penstock.core.releases import Decision
from penstock.core.usage import UsageQuery
from penstock.store import audit_tables, ledger_table, migrations, observed_tables, release_tables, requests
from penstock.store.database import Database, open_database, sqlite_url
from penstock.store.ledger import SqlLedger
from penstock.store.ledger_rows import COLUMNS, rows_of
from penstock.store.migrations import migrate, revisions
from penstock.store.rows import read_directory
from penstock.store.sql import SqlStore
from penstock.store.tables import METADATA
from tests.contracts.ledger import entry
from tests.contracts.releases import RELEASED, decision
from tests.postgres import postgres, postgres_url

__all__ = [
    "audit_tables",
    "ledger_table",
    "observed_tables",
    "postgres",
    "postgres_url",
    "release_tables",
    "requests",
]

MADE_AT = 1_700_000_000.9


class NoAudit:
    def append_in(self, connection: sql.Connection, acts: object) -> int:
        raise AssertionError("nothing here has an act")


@pytest.fixture(params=["sqlite", "postgresql"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    return sqlite_url(tmp_path / "100%.db") if request.param == "sqlite" else request.getfixturevalue("postgres_url")


@pytest.fixture
def database(url: str) -> Iterator[Database]:
    database = open_database(url)
    yield database
    database.close()


def directory(database: Database) -> Directory:
    with database.read() as connection:
        return read_directory(connection)


def everything(database: Database) -> dict[str, list[tuple[object, ...]]]:
    """Every row of every table, but Alembic's own."""
    with database.read() as connection:
        names = sorted({*sql.inspect(connection).get_table_names()} - {"alembic_version"})
        # The version of the directory grows whenever it may have changed.
        names = [name for name in names if not name.startswith("directory_version") and not name.endswith("_kept")]
        return {
            name: sorted((tuple(row) for row in connection.execute(sql.text(f'SELECT * FROM "{name}"'))), key=repr)
            for name in names
        }


def put(database: Database, *records: Record, decisions: tuple[Decision, ...] = ()) -> None:
    version = directory(database).version
    SqlStore(database, NoAudit(), lambda: MADE_AT).change(Change(version=version, put=records, decisions=decisions))


def test_the_newest_shape_is_that_of_the_tables(database: Database) -> None:
    assert migrate(database, now=MADE_AT) == revisions()[-1]

    def is_of_this_kind(each: sql.schema.SchemaItem, *_: object) -> bool:
        table = getattr(each, "table", each)
        return database.kind in table.info.get("kinds", (database.kind,))

    with database.read() as connection:
        context = MigrationContext.configure(connection, opts={"include_object": is_of_this_kind})
        assert compare_metadata(context, METADATA) == []


def test_every_step_goes_forward_and_back_and_keeps_what_was_written_before(database: Database) -> None:
    steps = revisions()
    assert steps[0] == "0001"
    seen: dict[str, dict[str, list[tuple[object, ...]]]] = {}
    for revision in steps:
        assert migrate(database, now=MADE_AT, to=revision) == revision
        seen[revision] = everything(database)
    for revision in reversed(steps):
        migrate(database, now=MADE_AT + 1, to=revision)
        assert everything(database) == seen[revision]
    migrate(database, now=MADE_AT + 2)
    assert everything(database) == seen[steps[-1]]


def test_keys_of_the_first_shape_go_up_and_down_whole(database: Database) -> None:
    migrate(database, now=MADE_AT, to="0001")
    rows = [
        {"id": "admin", "digest": b"\x00\xff" * 16, "project": "default", "role": "admin", "services": None},
        {"id": "b", "digest": b"b" * 32, "project": "red", "role": "developer", "services": '["chat", "日本"]'},
        {"id": "c", "digest": b"c" * 32, "project": "red", "role": "developer", "services": "[]"},
    ]
    keys = sql.table("keys", *(sql.column(name) for name in rows[0]))
    with database.begin() as connection:
        connection.execute(sql.insert(keys), rows)
    before = everything(database)
    migrate(database, now=MADE_AT + 1)
    found = directory(database)
    assert found.version == 1
    assert found.projects == (Project(id="default", created_at=1.7e9), Project(id="red", created_at=1.7e9))
    made = {"created_at": 1.7e9}
    assert found.keys == (
        KeyRecord(id="admin", digest=b"\x00\xff" * 16, project=EVERYWHERE, role="admin", **made),
        KeyRecord(
            id="b",
            digest=b"b" * 32,
            project="red",
            role="developer",
            scopes=Scopes(services=("chat", "日本")),
            **made,
        ),
        KeyRecord(id="c", digest=b"c" * 32, project="red", role="developer", scopes=Scopes(services=()), **made),
    )
    migrate(database, now=MADE_AT + 2, to="0001")
    assert everything(database) == before


def test_going_back_gives_no_key_more_than_it_had(database: Database) -> None:
    migrate(database, now=MADE_AT)

    def key(id: str, role: str = "developer", project: str = "default", **more: object) -> KeyRecord:
        return KeyRecord(id=id, digest=id.encode(), project=project, role=role, **more)  # type: ignore[arg-type]

    put(
        database,
        Project(id="gone", archived_at=1.0),
        User(id="out", disabled_at=1.0),
        key("kept"),
        key("kept-services", scopes=Scopes(services=("chat",))),
        key("everywhere", "owner", EVERYWHERE),
        key("project-admin", "admin"),
        key("revoked", revoked_at=1.0),
        key("expires", expires_at=9e9),
        key("networks", scopes=Scopes(networks=("10.0.0.0/8",))),
        key("viewer", "viewer"),
        key("custom", "tester"),
        key("archived", project="gone"),
        key("disabled", user="out"),
    )
    before = directory(database)
    migrate(database, now=MADE_AT, to="0001")
    assert [(row[0], row[2], row[3], row[4]) for row in everything(database)["keys"]] == [
        ("everywhere", "default", "admin", None),
        ("kept", "default", "developer", None),
        ("kept-services", "default", "developer", '["chat"]'),
        ("project-admin", "default", "developer", None),
    ]
    migrate(database, now=MADE_AT)
    after = directory(database)
    assert after.version > before.version
    assert msgspec.structs.replace(after, version=before.version) == before
    migrate(database, now=MADE_AT, to="0001")


def test_a_key_that_was_replaced_in_the_older_shape_is_the_one_that_counts(database: Database) -> None:
    migrate(database, now=MADE_AT)
    put(
        database,
        KeyRecord(id="admin", digest=b"1", project=EVERYWHERE, role="admin", revoked_at=1.0),
        KeyRecord(id="a", digest=b"2", project="default", role="developer", name="kept", user="ada"),
    )
    migrate(database, now=MADE_AT, to="0001")
    keys = sql.table("keys", *(sql.column(name) for name in ("id", "digest", "project", "role")))
    with database.begin() as connection:
        connection.execute(sql.insert(keys).values(id="admin", digest=b"3", project="default", role="admin"))
    migrate(database, now=MADE_AT)
    assert directory(database).keys == (
        KeyRecord(id="a", digest=b"2", project="default", role="developer", name="kept", user="ada"),
        KeyRecord(id="admin", digest=b"3", project=EVERYWHERE, role="admin", created_at=1.7e9),
    )


def test_going_back_keeps_what_was_released_decided_and_of_which_release_a_row_is(database: Database) -> None:
    migrate(database, now=MADE_AT)
    put(database, *RELEASED, decisions=(decision(1), decision(2)))
    ledger = SqlLedger(database)
    ledger.append([entry("new", release="rel_b")])
    before, rows = directory(database), everything(database)
    for back in ("0004", "0001"):
        migrate(database, now=MADE_AT, to=back)
        assert not {"releases", "decisions", "scores"} & everything(database).keys()
        migrate(database, now=MADE_AT)
        after = directory(database)
        assert after.version > before.version
        assert msgspec.structs.replace(after, version=before.version) == before
        assert everything(database) == rows
    migrate(database, now=MADE_AT, to="0004")
    with database.begin() as connection:
        # What a Penstock of then writes.
        names = [name for name in COLUMNS if name not in ("release", "cache", "saved_nano")]
        values = dict(zip(COLUMNS, next(rows_of([entry("old")], 1)), strict=True))
        older = sql.table("ledger", *(sql.column(name) for name in names))
        connection.execute(sql.insert(older).values({name: values[name] for name in names}))
    migrate(database, now=MADE_AT)
    assert [(row.request_id, row.release) for row in ledger.entries(UsageQuery(), None, 10)] == [
        ("new", "rel_b"),
        ("old", ""),
    ]


def test_going_back_keeps_what_is_invalidated_and_what_caches_saved(database: Database) -> None:
    migrate(database, now=MADE_AT)
    put(database, Invalidation(scope="service", value="chat", project="red", at=7.5))
    ledger = SqlLedger(database)
    ledger.append([entry("hit", 0, cache="hit", saved_nano=7)])
    before, rows = directory(database), everything(database)
    migrate(database, now=MADE_AT, to="0007")
    assert "cache_invalidations" not in everything(database)
    with database.begin() as connection:
        # What a Penstock of then writes.
        names = [name for name in COLUMNS if name not in ("cache", "saved_nano")]
        values = dict(zip(COLUMNS, next(rows_of([entry("old")], 1)), strict=True))
        older = sql.table("ledger", *(sql.column(name) for name in names))
        connection.execute(sql.insert(older).values({name: values[name] for name in names}))
        if database.kind == "postgresql":
            gone = "UPDATE ledger SET cache_kept = NULL, saved_nano_kept = NULL WHERE cache_kept = ''"
            connection.execute(sql.text(gone))
    migrate(database, now=MADE_AT)
    after = directory(database)
    assert after.version > before.version
    assert msgspec.structs.replace(after, version=before.version) == before
    assert len(everything(database)["ledger"]) == len(rows["ledger"]) + 1
    found = ledger.entries(UsageQuery(), None, 10)
    assert [(row.request_id, row.cache, row.saved_nano) for row in found] == [("hit", "hit", 7), ("old", "", 0)]


# What a Penstock from before Alembic made; it leaves a store alone whose ``user_version`` is above its own 1.
BEFORE_REVISIONS = """
    PRAGMA journal_mode = WAL;
    CREATE TABLE settings (name TEXT PRIMARY KEY, value TEXT NOT NULL) STRICT;
    CREATE TABLE keys (
        id TEXT PRIMARY KEY, digest BLOB NOT NULL UNIQUE, project TEXT NOT NULL, role TEXT NOT NULL, services TEXT
    ) STRICT;
    INSERT INTO settings VALUES ('created_at', '1700000000');
    INSERT INTO keys VALUES ('admin', x'616161', 'default', 'admin', NULL);
    PRAGMA user_version = 1;
"""


def test_a_store_from_before_there_were_revisions_opens(tmp_path: Path) -> None:
    path = tmp_path / "state.db"
    with contextlib.closing(sqlite3.connect(path)) as old:
        old.executescript(BEFORE_REVISIONS)
    database = open_database(sqlite_url(path))
    migrate(database, now=MADE_AT + 1)
    store = SqlStore(database, NoAudit(), lambda: MADE_AT)
    assert store.created_at() == 1_700_000_000
    assert [(each.id, each.digest, each.project) for each in store.directory().keys] == [("admin", b"aaa", "*")]
    with contextlib.closing(sqlite3.connect(path)) as old:
        assert old.execute("PRAGMA user_version").fetchone()[0] > 1
    migrate(database, now=MADE_AT, to="0001")
    database.close()
    with contextlib.closing(sqlite3.connect(path)) as old:
        assert old.execute("PRAGMA user_version").fetchone() == (1,)
        assert old.execute("SELECT id, digest, project, role, services FROM keys").fetchall() == [
            ("admin", b"aaa", "default", "admin", None)
        ]
        assert old.execute("SELECT value FROM settings WHERE name = 'created_at'").fetchone() == ("1700000000",)


def test_a_store_of_a_newer_penstock_is_left_alone(database: Database) -> None:
    migrate(database, now=MADE_AT)
    with database.begin() as connection:
        connection.exec_driver_sql("UPDATE alembic_version SET version_num = '9999'")
    before = everything(database)
    with pytest.raises(PenstockError, match=r"newer Penstock \(revision 9999") as caught:
        migrate(database, now=MADE_AT)
    assert caught.value.fault is STORE_UNAVAILABLE
    assert everything(database) == before


def test_a_number_that_no_penstock_wrote_is_refused(tmp_path: Path) -> None:
    with sqlite3.connect(tmp_path / "other.db") as other:
        other.execute("PRAGMA user_version = 77")
    other.close()
    database = open_database(sqlite_url(tmp_path / "other.db"))
    with pytest.raises(PenstockError, match="newer Penstock"):
        migrate(database, now=MADE_AT)
    database.close()


def test_a_step_that_fails_leaves_the_store_as_it_was(
    database: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    migrate(database, now=MADE_AT)
    put(database, KeyRecord(id="a", digest=b"a", project="default", role="developer"))
    before = everything(database)
    scripts = tmp_path / "scripts"
    shutil.copytree(migrations.SCRIPTS, scripts)
    (scripts / "versions" / "9998_broken.py").write_text(
        f"from alembic import op\nrevision = '9998'\ndown_revision = '{revisions()[-1]}'\n"
        "def upgrade():\n    op.execute('CREATE TABLE extra (x INTEGER)')\n    op.execute('CREATE TABLE keys (x INTEGER)')\n"
    )
    with monkeypatch.context() as patched:
        patched.setattr(migrations, "SCRIPTS", scripts)
        with pytest.raises(PenstockError) as caught:
            migrate(database, now=MADE_AT)
    assert caught.value.fault is STORE_UNAVAILABLE
    assert everything(database) == before
    migrate(database, now=MADE_AT)


def test_an_unknown_revision_is_no_aim(database: Database) -> None:
    with pytest.raises(ValueError, match="no revision '0000'"):
        migrate(database, now=MADE_AT, to="0000")


_GATEWAY = """
import logging, sys
from penstock.store.database import open_database
from penstock.store.migrations import migrate
logging.basicConfig(level=logging.INFO, format="%(message)s", stream=sys.stdout)
logging.getLogger("alembic").setLevel(logging.WARNING)
database = open_database(sys.argv[1], patience_s=20)
print("ready", flush=True)
sys.stdin.readline()
print(migrate(database, now=1.0))
"""


def test_gateways_that_start_together_migrate_once(url: str) -> None:
    gateways = [
        subprocess.Popen(
            [sys.executable, "-c", _GATEWAY, url], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        for _ in range(3)
    ]
    try:
        for each in gateways:
            assert each.stdout
            assert each.stdout.readline() == "ready\n"
        for each in gateways:
            assert each.stdin
            each.stdin.write("\n")
            each.stdin.flush()
        said = "".join(each.communicate(timeout=60)[0] for each in gateways)
    finally:
        for each in gateways:
            each.kill()
            each.wait()
    assert said.count("was brought from revision none") == 1
    assert said.splitlines().count(revisions()[-1]) == len(gateways)
