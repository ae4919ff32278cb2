"""The audit: its rows, what may be redacted of them, and the signed heads.

Going back puts the tables aside as ``..._kept``, with every row; going forward again takes them up from there. What
an older Penstock does meanwhile is in no audit.
"""

from __future__ import annotations

import sqlalchemy as sql
from alembic import op

revision = "0004"
down_revision = "0003"

TEXT = sql.Text().with_variant(sql.Text(collation="C"), "postgresql")
NUMBER = sql.BigInteger().with_variant(sql.Integer, "sqlite")
TABLES = ("audit", "audit_content", "audit_heads")


def upgrade() -> None:
    if sql.inspect(op.get_bind()).has_table("audit_kept"):
        for table in TABLES:
            op.rename_table(f"{table}_kept", table)
        return
    op.create_table(
        "audit",
        sql.Column("number", NUMBER, autoincrement=False, nullable=False),
        sql.Column("id", TEXT, nullable=False),
        sql.Column("at", sql.Double, nullable=False),
        sql.Column("kind", TEXT, nullable=False),
        sql.Column("actor", TEXT, nullable=False),
        sql.Column("project", TEXT, nullable=False),
        sql.Column("action", TEXT, nullable=False),
        sql.Column("target", TEXT, nullable=False),
        sql.Column("outcome", TEXT, nullable=False),
        sql.Column("address", TEXT, nullable=False),
        sql.Column("request_id", TEXT, nullable=False),
        sql.Column("content_digest", sql.LargeBinary, nullable=False),
        sql.Column("previous", sql.LargeBinary, nullable=False),
        sql.Column("digest", sql.LargeBinary, nullable=False),
        sql.Column("redacted_by", sql.BigInteger),
        sql.PrimaryKeyConstraint("number", name="audit_pkey"),
        sql.UniqueConstraint("id", name="audit_id_key"),
    )
    op.create_index("audit_project", "audit", ["project", "number"])
    op.create_index("audit_request_id", "audit", ["request_id"])
    op.create_table(
        "audit_content",
        sql.Column("number", NUMBER, autoincrement=False, nullable=False),
        sql.Column("kind", TEXT, nullable=False),
        sql.Column("at", sql.Double, nullable=False),
        sql.Column("salt", sql.LargeBinary, nullable=False),
        sql.Column("content", sql.LargeBinary, nullable=False),
        sql.PrimaryKeyConstraint("number", name="audit_content_pkey"),
    )
    op.create_index("audit_content_age", "audit_content", ["kind", "at"])
    op.create_table(
        "audit_heads",
        sql.Column("number", sql.BigInteger, autoincrement=False, nullable=False),
        sql.Column("key", TEXT, nullable=False),
        sql.Column("digest", sql.LargeBinary, nullable=False),
        sql.Column("at", sql.Double, nullable=False),
        sql.Column("signature", sql.LargeBinary, nullable=False),
        sql.PrimaryKeyConstraint("number", "key", name="audit_heads_pkey"),
    )


def downgrade() -> None:
    for table in TABLES:
        op.rename_table(table, f"{table}_kept")
