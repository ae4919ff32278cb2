"""Versions, aliases, releases, splits and rollouts, with what was decided and scored; which releases a gateway is
ready for; the release of a row of the ledger, empty for the rows of before.

Going back puts the tables aside as ``..._kept`` and the ledger's column as ``release_kept``, with every row; going
forward again takes them up from there. Rows that an older Penstock writes meanwhile are of no release. What gateways
were ready for is gone: it was true for a moment.
"""

from __future__ import annotations

import sqlalchemy as sql
from alembic import op

revision = "0005"
down_revision = "0004"

TEXT = sql.Text().with_variant(sql.Text(collation="C"), "postgresql")
NUMBER = sql.BigInteger().with_variant(sql.Integer, "sqlite")
TABLES = (
    "model_versions",
    "prompt_versions",
    "aliases",
    "releases",
    "splits",
    "rollouts",
    "decisions",
    "scores",
)


def upgrade() -> None:
    op.add_column("gateways", sql.Column("ready", TEXT, nullable=False, server_default="[]"))
    if not sql.inspect(op.get_bind()).has_table("releases_kept"):
        op.add_column("ledger", sql.Column("release", TEXT, nullable=False, server_default=""))
        _make_versions()
        _make_rollouts()
        _make_scores()
        return
    for table in TABLES:
        op.rename_table(f"{table}_kept", table)
    op.execute("ALTER TABLE ledger RENAME COLUMN release_kept TO release")
    if op.get_context().dialect.name == "postgresql":
        op.execute("UPDATE ledger SET release = '' WHERE release IS NULL")
        op.execute("ALTER TABLE ledger ALTER COLUMN release SET NOT NULL")
    op.execute("UPDATE directory_version SET version = version + 1")


def downgrade() -> None:
    for table in TABLES:
        op.rename_table(table, f"{table}_kept")
    op.execute("ALTER TABLE ledger RENAME COLUMN release TO release_kept")
    if op.get_context().dialect.name == "postgresql":
        # There an older Penstock writes NULL where it knows no column.
        op.execute("ALTER TABLE ledger ALTER COLUMN release_kept DROP NOT NULL")
    op.execute("ALTER TABLE gateways DROP COLUMN ready")


def _make_versions() -> None:
    op.create_table(
        "model_versions",
        sql.Column("id", TEXT, primary_key=True),
        sql.Column("name", TEXT, nullable=False),
        sql.Column("digest", TEXT, nullable=False),
        sql.Column("engine", TEXT, nullable=False),
        sql.Column("source", sql.LargeBinary, nullable=False),
        sql.Column("weights", TEXT, nullable=False),
        sql.Column("parents", TEXT, nullable=False),
        sql.Column("author", TEXT, nullable=False),
        sql.Column("message", TEXT, nullable=False),
        sql.Column("created_at", sql.Double, nullable=False),
    )
    op.create_table(
        "prompt_versions",
        sql.Column("id", TEXT, primary_key=True),
        sql.Column("name", TEXT, nullable=False),
        sql.Column("digest", TEXT, nullable=False),
        sql.Column("source", sql.LargeBinary, nullable=False),
        sql.Column("parent", TEXT, nullable=False),
        sql.Column("author", TEXT, nullable=False),
        sql.Column("message", TEXT, nullable=False),
        sql.Column("created_at", sql.Double, nullable=False),
    )
    op.create_table(
        "aliases",
        sql.Column("id", TEXT, primary_key=True),
        sql.Column("kind", TEXT, nullable=False),
        sql.Column("name", TEXT, nullable=False),
        sql.Column("alias", TEXT, nullable=False),
        sql.Column("digest", TEXT, nullable=False),
        sql.Column("author", TEXT, nullable=False),
        sql.Column("changed_at", sql.Double, nullable=False),
    )
    op.create_table(
        "releases",
        sql.Column("id", TEXT, primary_key=True),
        sql.Column("service", TEXT, nullable=False),
        sql.Column("model", TEXT, nullable=False),
        sql.Column("prompt", TEXT, nullable=False),
        sql.Column("index", TEXT, nullable=False),
        sql.Column("guards", TEXT, nullable=False),
        sql.Column("defaults", sql.LargeBinary, nullable=False),
        sql.Column("author", TEXT, nullable=False),
        sql.Column("message", TEXT, nullable=False),
        sql.Column("created_at", sql.Double, nullable=False),
    )


def _make_rollouts() -> None:
    op.create_table(
        "splits",
        sql.Column("service", TEXT, primary_key=True),
        sql.Column("ranges", TEXT, nullable=False),
        sql.Column("salt", TEXT, nullable=False),
        sql.Column("sticky", TEXT, nullable=False),
        sql.Column("segment", TEXT, nullable=False),
        sql.Column("inside", TEXT, nullable=False),
        sql.Column("mirror", TEXT, nullable=False),
        sql.Column("warm", TEXT, nullable=False),
        sql.Column("rollout", TEXT, nullable=False),
        sql.Column("origin", TEXT, nullable=False),
        sql.Column("changed_at", sql.Double, nullable=False),
    )
    op.create_table(
        "rollouts",
        sql.Column("id", TEXT, primary_key=True),
        sql.Column("service", TEXT, nullable=False),
        sql.Column("plan", TEXT, nullable=False),
        sql.Column("state", TEXT, nullable=False),
        sql.Column("step", sql.Integer, nullable=False),
        sql.Column("since", sql.Double, nullable=False),
        sql.Column("started_at", sql.Double, nullable=False),
        sql.Column("ended_at", sql.Double),
        sql.Column("paused_s", sql.Double, nullable=False),
        sql.Column("decisions", sql.BigInteger, nullable=False),
        sql.Column("scored_to", sql.BigInteger, nullable=False),
        sql.Column("reason", TEXT, nullable=False),
        sql.Column("author", TEXT, nullable=False),
    )
    op.create_table(
        "decisions",
        sql.Column("rollout", TEXT, nullable=False),
        sql.Column("number", sql.BigInteger, autoincrement=False, nullable=False),
        sql.Column("at", sql.Double, nullable=False),
        sql.Column("actor", TEXT, nullable=False),
        sql.Column("what", TEXT, nullable=False),
        sql.Column("reason", TEXT, nullable=False),
        sql.Column("evidence", sql.LargeBinary, nullable=False),
        sql.PrimaryKeyConstraint("rollout", "number", name="decisions_pkey"),
    )


def _make_scores() -> None:
    op.create_table(
        "scores",
        sql.Column("number", NUMBER, autoincrement=True, nullable=False),
        sql.Column("request_id", TEXT, nullable=False),
        sql.Column("at", sql.Double, nullable=False),
        sql.Column("arrived_at", sql.Double, nullable=False),
        sql.Column("service", TEXT, nullable=False),
        sql.Column("release", TEXT, nullable=False),
        sql.Column("rollout", TEXT, nullable=False),
        sql.Column("metric", TEXT, nullable=False),
        sql.Column("version", TEXT, nullable=False),
        sql.Column("value", sql.Double, nullable=False),
        sql.Column("unit", TEXT, nullable=False),
        sql.Column("copied", sql.Boolean, nullable=False),
        sql.Column("note", TEXT, nullable=False),
        sql.PrimaryKeyConstraint("number", name="scores_pkey"),
        sql.UniqueConstraint("request_id", "release", "metric", "version", name="scores_name_key"),
        sqlite_autoincrement=True,
    )
    op.create_index("scores_rollout", "scores", ["rollout", "number"])
    op.create_index("scores_release", "scores", ["release", "at"])
    op.create_index("scores_arrived_at", "scores", ["arrived_at"])
    unknown = sql.text("release = ''")
    op.create_index(
        "scores_unknown", "scores", ["release", "arrived_at"], sqlite_where=unknown, postgresql_where=unknown
    )
