"""What is not served from caches any more; and of a row of the ledger, whether it is an answer from one, and what
that saved.

Going back puts the table aside as ``..._kept`` and the ledger's columns as ``cache_kept`` and ``saved_nano_kept``,
with every row; going forward again takes them up from there. Rows that an older Penstock writes meanwhile are of no
cache. An older Penstock adds the tokens of answers from caches to what was used.
"""

from __future__ import annotations

import sqlalchemy as sql
from alembic import op

revision = "0008"
down_revision = "0007"

TEXT = sql.Text().with_variant(sql.Text(collation="C"), "postgresql")
COLUMNS = (("cache", "''"), ("saved_nano", "0"))


def upgrade() -> None:
    if not sql.inspect(op.get_bind()).has_table("cache_invalidations_kept"):
        op.add_column("ledger", sql.Column("cache", TEXT, nullable=False, server_default=""))
        op.add_column("ledger", sql.Column("saved_nano", sql.BigInteger, nullable=False, server_default="0"))
        op.create_table(
            "cache_invalidations",
            sql.Column("id", TEXT, nullable=False),
            sql.Column("scope", TEXT, nullable=False),
            sql.Column("value", TEXT, nullable=False),
            sql.Column("project", TEXT, nullable=False),
            sql.Column("at", sql.Double, nullable=False),
            sql.PrimaryKeyConstraint("id", name="cache_invalidations_pkey"),
        )
        return
    op.rename_table("cache_invalidations_kept", "cache_invalidations")
    for name, nothing in COLUMNS:
        op.execute(f"ALTER TABLE ledger RENAME COLUMN {name}_kept TO {name}")
        if op.get_context().dialect.name == "postgresql":
            op.execute(f"UPDATE ledger SET {name} = {nothing} WHERE {name} IS NULL")  # noqa: S608 - our own names
            op.execute(f"ALTER TABLE ledger ALTER COLUMN {name} SET NOT NULL")
    op.execute("UPDATE directory_version SET version = version + 1")


def downgrade() -> None:
    op.rename_table("cache_invalidations", "cache_invalidations_kept")
    for name, _ in COLUMNS:
        op.execute(f"ALTER TABLE ledger RENAME COLUMN {name} TO {name}_kept")
        if op.get_context().dialect.name == "postgresql":
            # There an older Penstock writes NULL where it knows no column.
            op.execute(f"ALTER TABLE ledger ALTER COLUMN {name}_kept DROP NOT NULL")
