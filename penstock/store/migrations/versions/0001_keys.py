"""Keys."""

from __future__ import annotations

import sqlalchemy as sql
from alembic import context, op

revision = "0001"
down_revision = None


def upgrade() -> None:
    sqlite = op.get_context().dialect.name == "sqlite"
    binary, strict = ("BLOB", " STRICT") if sqlite else ("BYTEA", "")
    op.execute(f"CREATE TABLE settings (name TEXT PRIMARY KEY, value TEXT NOT NULL){strict}")
    op.execute(
        f"""CREATE TABLE keys (
            id TEXT PRIMARY KEY,
            digest {binary} NOT NULL UNIQUE,
            project TEXT NOT NULL,
            role TEXT NOT NULL,
            services TEXT
        ){strict}"""
    )
    op.get_bind().execute(
        sql.text("INSERT INTO settings (name, value) VALUES ('created_at', :at)"),
        {"at": str(int(context.config.attributes["now"]))},
    )


def downgrade() -> None:
    op.drop_table("keys")
    op.drop_table("settings")
