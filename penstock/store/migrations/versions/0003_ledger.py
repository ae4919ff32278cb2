"""The ledger.

Going back puts it aside as ``ledger_kept`` and ``ledger_runs_kept``, with every row; going forward again takes it up
from there. What an older Penstock uses meanwhile is in no ledger.
"""

from __future__ import annotations

import sqlalchemy as sql
from alembic import op

revision = "0003"
down_revision = "0002"

TEXT = sql.Text().with_variant(sql.Text(collation="C"), "postgresql")


def upgrade() -> None:
    if sql.inspect(op.get_bind()).has_table("ledger_kept"):
        op.rename_table("ledger_kept", "ledger")
        op.rename_table("ledger_runs_kept", "ledger_runs")
        return
    op.create_table(
        "ledger",
        sql.Column("received_at", sql.Double, autoincrement=False, nullable=False),
        sql.Column("request_id", TEXT, nullable=False),
        sql.Column("attempt", sql.Integer, autoincrement=False, nullable=False),
        sql.Column("gateway", TEXT, nullable=False),
        sql.Column("settled_at", sql.Double, nullable=False),
        sql.Column("project", TEXT, nullable=False),
        sql.Column("key_id", TEXT, nullable=False),
        sql.Column("user_id", TEXT, nullable=False),
        sql.Column("team", TEXT, nullable=False),
        sql.Column("service", TEXT, nullable=False),
        sql.Column("model", TEXT, nullable=False),
        sql.Column("kind", TEXT, nullable=False),
        sql.Column("purpose", TEXT, nullable=False),
        sql.Column("ending", TEXT, nullable=False),
        sql.Column("status", sql.Integer, nullable=False),
        sql.Column("input_tokens", sql.BigInteger, nullable=False),
        sql.Column("cached_read_tokens", sql.BigInteger, nullable=False),
        sql.Column("cached_write_tokens", sql.BigInteger, nullable=False),
        sql.Column("output_tokens", sql.BigInteger, nullable=False),
        sql.Column("reasoning_tokens", sql.BigInteger, nullable=False),
        sql.Column("audio_input_tokens", sql.BigInteger, nullable=False),
        sql.Column("audio_output_tokens", sql.BigInteger, nullable=False),
        sql.Column("images", sql.BigInteger, nullable=False),
        sql.Column("estimated", sql.Boolean, nullable=False),
        sql.Column("cost_nano", sql.BigInteger, nullable=False),
        sql.Column("price", TEXT, nullable=False),
        sql.Column("run", sql.BigInteger, nullable=False),
        sql.PrimaryKeyConstraint("received_at", "request_id", "attempt", name="ledger_pkey"),
    )
    op.create_index("ledger_request_id", "ledger", ["run", "request_id"])
    op.create_index("ledger_project", "ledger", ["run", "project", "received_at"])
    op.create_index("ledger_key_id", "ledger", ["run", "key_id", "received_at"])
    op.create_table(
        "ledger_runs",
        sql.Column("run", sql.BigInteger, autoincrement=False, nullable=False),
        sql.Column("size", sql.BigInteger, nullable=False),
        sql.Column("first_at", sql.Double, nullable=False),
        sql.Column("last_at", sql.Double, nullable=False),
        sql.PrimaryKeyConstraint("run", name="ledger_runs_pkey"),
    )


def downgrade() -> None:
    op.rename_table("ledger", "ledger_kept")
    op.rename_table("ledger_runs", "ledger_runs_kept")
