"""The request log: which days of it are in the archive, when subjects were erased; in PostgreSQL the tables that
those of each day are made like.

Going back puts these aside as ``..._kept``; going forward again takes them up from there. The tables of days, files
and objects of the archive stay as they are meanwhile.
"""

from __future__ import annotations

import sqlalchemy as sql
from alembic import op

revision = "0007"
down_revision = "0006"

TEXT = sql.Text().with_variant(sql.Text(collation="C"), "postgresql")
EVERYWHERE = ("request_archives", "request_erasures")
IN_POSTGRESQL = ("requests", "request_contents")
WORDS = ("project", "key_id", "user_id", "team", "subject", "service", "release", "model", "replica")
MORE_WORDS = ("ending", "code", "cache", "purpose", "content")


def upgrade() -> None:
    if sql.inspect(op.get_bind()).has_table("request_archives_kept"):
        for table in _tables():
            op.rename_table(f"{table}_kept", table)
        return
    op.create_table(
        "request_archives",
        sql.Column("day", sql.Integer, autoincrement=False, nullable=False),
        sql.Column("part", sql.Integer, autoincrement=False, nullable=False),
        sql.Column("facts", TEXT, nullable=False),
        sql.Column("contents", TEXT, nullable=False),
        sql.Column("writing", TEXT, nullable=False),
        sql.Column("deleting", TEXT, nullable=False),
        sql.Column("rows", sql.BigInteger, nullable=False),
        sql.Column("said", sql.BigInteger, nullable=False),
        sql.Column("last_at", sql.Double, nullable=False),
        sql.Column("owner", TEXT, nullable=False),
        sql.Column("claimed_until", sql.Double, nullable=False),
        sql.PrimaryKeyConstraint("day", "part", name="request_archives_pkey"),
    )
    op.create_table(
        "request_erasures",
        sql.Column("token", TEXT, nullable=False),
        sql.Column("at", sql.Double, nullable=False),
        sql.PrimaryKeyConstraint("token", name="request_erasures_pkey"),
    )
    if op.get_context().dialect.name == "postgresql":
        _make_requests()


def downgrade() -> None:
    for table in _tables():
        op.rename_table(table, f"{table}_kept")


def _tables() -> tuple[str, ...]:
    return (*EVERYWHERE, *IN_POSTGRESQL) if op.get_context().dialect.name == "postgresql" else EVERYWHERE


def _make_requests() -> None:
    op.create_table(
        "requests",
        sql.Column("at", sql.Double, autoincrement=False, nullable=False),
        sql.Column("request_id", TEXT, nullable=False),
        *(sql.Column(name, TEXT, nullable=False) for name in (*WORDS, *MORE_WORDS)),
        sql.Column("status", sql.Integer, nullable=False),
        sql.Column("stream", sql.Boolean, nullable=False),
        sql.Column("trace", sql.LargeBinary, nullable=False),
        sql.Column("cost_nano", sql.BigInteger, nullable=False),
        sql.Column("duration_us", sql.BigInteger, nullable=False),
        sql.Column("first_us", sql.BigInteger),
        sql.Column("rest", sql.LargeBinary, nullable=False),
        sql.PrimaryKeyConstraint("at", "request_id", name="requests_pkey"),
    )
    op.create_index("requests_request_id", "requests", ["request_id"], postgresql_using="hash")
    traced = sql.text("trace <> ''::bytea")
    op.create_index("requests_trace", "requests", ["trace"], postgresql_using="hash", postgresql_where=traced)
    for name in ("service", "project", "key_id"):
        op.create_index(f"requests_{name}", "requests", [name, "at"])
    for name in ("user_id", "subject"):
        some = sql.text(f"{name} <> ''")
        op.create_index(f"requests_{name}", "requests", [name, "at"], postgresql_where=some)
    op.create_index("requests_failed", "requests", ["at"], postgresql_where=sql.text("status >= 400"))
    op.create_table(
        "request_contents",
        sql.Column("at", sql.Double, autoincrement=False, nullable=False),
        sql.Column("request_id", TEXT, nullable=False),
        sql.Column("project", TEXT, nullable=False),
        sql.Column("service", TEXT, nullable=False),
        sql.Column("subject", TEXT, nullable=False),
        sql.Column("masked", sql.Boolean, nullable=False),
        sql.Column("body", sql.LargeBinary, nullable=False),
        sql.PrimaryKeyConstraint("at", "request_id", name="request_contents_pkey"),
    )
    op.create_index(
        "request_contents_subject", "request_contents", ["subject"], postgresql_where=sql.text("subject <> ''")
    )
