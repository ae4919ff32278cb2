"""Projects, people, scopes of keys, roles, limits, budgets, prices; the version of all of them.

Going back puts the tables aside as ``..._kept``, with every row; going forward again takes them up from there, with
the keys that an older Penstock has made or replaced meanwhile.
"""

from __future__ import annotations

import json

import sqlalchemy as sql
from alembic import op

revision = "0002"
down_revision = "0001"

TEXT = sql.Text().with_variant(sql.Text(collation="C"), "postgresql")
TABLES = (
    "directory_version",
    "projects",
    "teams",
    "users",
    "memberships",
    "keys",
    "roles",
    "limits",
    "budgets",
    "prices",
    "once",
    "gateways",
)
MAY_CALL = ("owner", "admin", "operator", "developer")


def upgrade() -> None:
    """A key of before keeps its services as its scope. An admin's administers everything, as it did."""
    connection = op.get_bind()
    old = connection.execute(sql.text("SELECT id, digest, project, role, services FROM keys ORDER BY id")).all()
    op.drop_table("keys")
    if sql.inspect(connection).has_table("keys_kept"):
        for table in TABLES:
            op.rename_table(f"{table}_kept", table)
        op.execute("UPDATE directory_version SET version = version + 1")
    else:
        _make_people()
        _make_keys()
        _make_bounds()
        _make_records()
        op.execute("INSERT INTO directory_version (one, version) VALUES (1, 1)")
    made_at = float(connection.execute(sql.text("SELECT value FROM settings WHERE name = 'created_at'")).scalar_one())
    known = set(connection.execute(sql.text("SELECT id FROM projects")).scalars())
    for project in sorted({"default", *(row.project for row in old)} - known):
        connection.execute(
            sql.text(
                "INSERT INTO projects (id, name, priority, capture, created_at) VALUES (:id, '', 'normal', '', :at)"
            ),
            {"id": project, "at": made_at},
        )
    for row in old:
        _take(connection, row, made_at)


def _take(connection: sql.Connection, row: sql.Row[tuple[str, bytes, str, str, str | None]], made_at: float) -> None:
    """A key of the older shape, unless it is there; one that was given another digest meanwhile is as it is now."""
    binary = sql.bindparam("digest", type_=sql.LargeBinary)
    same = sql.text("SELECT id FROM keys WHERE id = :id AND digest = :digest").bindparams(binary)
    if connection.execute(same, {"id": row.id, "digest": row.digest}).first():
        return
    other = sql.text("DELETE FROM keys WHERE id = :id OR digest = :digest").bindparams(binary)
    connection.execute(other, {"id": row.id, "digest": row.digest})
    services = None if row.services is None else json.loads(row.services)
    connection.execute(
        sql.text(
            'INSERT INTO keys (id, digest, pepper, project, role, name, "user", team, scopes, priority,'
            " created_at, created_by, previous_pepper)"
            " VALUES (:id, :digest, '', :project, :role, '', '', '', :scopes, '', :at, '', '')"
        ).bindparams(binary),
        {
            "id": row.id,
            "digest": row.digest,
            "project": "*" if (row.project, row.role) == ("default", "admin") else row.project,
            "role": row.role,
            "scopes": json.dumps({} if services is None else {"services": services}, ensure_ascii=False),
            "at": made_at,
        },
    )


def downgrade() -> None:
    """Gives the older shape each key that it can hold without allowing it more: those that neither end nor are
    revoked, have no scope but services, and may call. Who administers one project only does not any more."""
    connection = op.get_bind()
    rows = connection.execute(
        sql.text(
            'SELECT k.* FROM keys k LEFT JOIN projects p ON p.id = k.project LEFT JOIN users u ON u.id = k."user"'
            " WHERE k.revoked_at IS NULL AND k.expires_at IS NULL AND p.archived_at IS NULL AND u.disabled_at IS NULL"
            " ORDER BY k.id"
        )
    ).mappings()
    held = [_older(row) for row in rows if row["role"] in MAY_CALL and _scoped(row["scopes"]) <= {"services"}]
    for table in TABLES:
        op.rename_table(table, f"{table}_kept")
    sqlite = connection.dialect.name == "sqlite"
    binary, strict = ("BLOB", " STRICT") if sqlite else ("BYTEA", "")
    op.execute(
        f"""CREATE TABLE keys (
            id TEXT PRIMARY KEY,
            digest {binary} NOT NULL UNIQUE,
            project TEXT NOT NULL,
            role TEXT NOT NULL,
            services TEXT
        ){strict}"""
    )
    for row in held:
        connection.execute(
            sql.text(
                "INSERT INTO keys (id, digest, project, role, services)"
                " VALUES (:id, :digest, :project, :role, :services)"
            ).bindparams(sql.bindparam("digest", type_=sql.LargeBinary)),
            row,
        )


def _scoped(scopes: str) -> set[str]:
    return {name for name, bound in json.loads(scopes).items() if bound is not None}


def _older(row: sql.RowMapping) -> dict[str, object]:
    everywhere = row["project"] == "*"
    administers = row["role"] in ("owner", "admin")
    services = json.loads(str(row["scopes"])).get("services")
    return {
        "id": row["id"],
        "digest": row["digest"],
        "project": "default" if everywhere else row["project"],
        "role": ("admin" if everywhere else "developer") if administers else row["role"],
        "services": None if services is None else json.dumps(services, ensure_ascii=False),
    }


def _make_records() -> None:
    op.create_table(
        "directory_version",
        sql.Column("one", sql.SmallInteger, primary_key=True, autoincrement=False),
        sql.Column("version", sql.BigInteger, nullable=False),
    )
    op.create_table(
        "once",
        sql.Column("key", TEXT, primary_key=True),
        sql.Column("request", sql.LargeBinary, nullable=False),
        sql.Column("status", sql.Integer, nullable=False),
        sql.Column("answer", sql.LargeBinary, nullable=False),
        sql.Column("at", sql.Double, nullable=False),
    )
    op.create_table(
        "gateways",
        sql.Column("id", TEXT, primary_key=True),
        sql.Column("seen_at", sql.Double, nullable=False),
    )


def _make_people() -> None:
    op.create_table(
        "projects",
        sql.Column("id", TEXT, primary_key=True),
        sql.Column("name", TEXT, nullable=False),
        sql.Column("priority", TEXT, nullable=False),
        sql.Column("capture", TEXT, nullable=False),
        sql.Column("created_at", sql.Double, nullable=False),
        sql.Column("archived_at", sql.Double),
    )
    op.create_table(
        "teams",
        sql.Column("id", TEXT, primary_key=True),
        sql.Column("project", TEXT, nullable=False),
        sql.Column("name", TEXT, nullable=False),
        sql.Column("created_at", sql.Double, nullable=False),
    )
    op.create_table(
        "users",
        sql.Column("id", TEXT, primary_key=True),
        sql.Column("kind", TEXT, nullable=False),
        sql.Column("name", TEXT, nullable=False),
        sql.Column("email", TEXT, nullable=False),
        sql.Column("issuer", TEXT, nullable=False),
        sql.Column("subject", TEXT, nullable=False),
        sql.Column("created_at", sql.Double, nullable=False),
        sql.Column("disabled_at", sql.Double),
    )
    op.create_table(
        "memberships",
        sql.Column("user_id", TEXT, primary_key=True),
        sql.Column("place", sql.Integer, primary_key=True, autoincrement=False),
        sql.Column("project", TEXT, nullable=False),
        sql.Column("role", TEXT, nullable=False),
        sql.Column("team", TEXT, nullable=False),
    )


def _make_keys() -> None:
    op.create_table(
        "keys",
        sql.Column("id", TEXT, primary_key=True),
        sql.Column("digest", sql.LargeBinary, nullable=False, unique=True),
        sql.Column("pepper", TEXT, nullable=False),
        sql.Column("project", TEXT, nullable=False),
        sql.Column("role", TEXT, nullable=False),
        sql.Column("name", TEXT, nullable=False),
        sql.Column("user", TEXT, nullable=False),
        sql.Column("team", TEXT, nullable=False),
        sql.Column("scopes", TEXT, nullable=False),
        sql.Column("priority", TEXT, nullable=False),
        sql.Column("created_at", sql.Double, nullable=False),
        sql.Column("created_by", TEXT, nullable=False),
        sql.Column("expires_at", sql.Double),
        sql.Column("revoked_at", sql.Double),
        sql.Column("last_used_at", sql.Double),
        sql.Column("previous_digest", sql.LargeBinary),
        sql.Column("previous_pepper", TEXT, nullable=False),
        sql.Column("previous_until", sql.Double),
    )
    op.create_table(
        "roles",
        sql.Column("name", TEXT, primary_key=True),
        sql.Column("permissions", TEXT, nullable=False),
        sql.Column("description", TEXT, nullable=False),
    )


def _make_bounds() -> None:
    op.create_table(
        "limits",
        sql.Column("id", TEXT, primary_key=True),
        sql.Column("kind", TEXT, nullable=False),
        sql.Column("subject", TEXT, nullable=False),
        sql.Column("service", TEXT, nullable=False),
        sql.Column("metric", TEXT, nullable=False),
        sql.Column("per", TEXT, nullable=False),
        sql.Column("amount", sql.BigInteger, nullable=False),
        sql.Column("created_at", sql.Double, nullable=False),
    )
    op.create_table(
        "budgets",
        sql.Column("id", TEXT, primary_key=True),
        sql.Column("kind", TEXT, nullable=False),
        sql.Column("subject", TEXT, nullable=False),
        sql.Column("service", TEXT, nullable=False),
        sql.Column("period", TEXT, nullable=False),
        sql.Column("amount_nano", sql.BigInteger, nullable=False),
        sql.Column("warn_percent", TEXT, nullable=False),
        sql.Column("created_at", sql.Double, nullable=False),
    )
    op.create_table(
        "prices",
        sql.Column("model", TEXT, primary_key=True),
        sql.Column("since", sql.Double, primary_key=True, autoincrement=False),
        sql.Column("rates", TEXT, nullable=False),
        sql.Column("tiers", TEXT, nullable=False),
        sql.Column("batch_percent", sql.Integer, nullable=False),
        sql.Column("per_hour_nano", sql.BigInteger, nullable=False),
        sql.Column("max_input", sql.BigInteger),
        sql.Column("max_output", sql.BigInteger),
        sql.Column("source", TEXT, nullable=False),
    )
