"""The tables of the audit, as the newest migration leaves them."""

from __future__ import annotations

import sqlalchemy as sql

from penstock.store.tables import METADATA, TEXT

NUMBER = sql.BigInteger().with_variant(sql.Integer, "sqlite")
"""A key that SQLite keeps the rows by, and in which it takes nothing but whole numbers."""

AUDIT = sql.Table(
    "audit",
    METADATA,
    sql.Column("number", NUMBER, primary_key=True, autoincrement=False),
    sql.Column("id", TEXT, nullable=False, unique=True),
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
    sql.Index("audit_project", "project", "number"),
    sql.Index("audit_request_id", "request_id"),
)

CONTENT = sql.Table(
    "audit_content",
    METADATA,
    sql.Column("number", NUMBER, primary_key=True, autoincrement=False),
    sql.Column("kind", TEXT, nullable=False),
    sql.Column("at", sql.Double, nullable=False),
    sql.Column("salt", sql.LargeBinary, nullable=False),
    sql.Column("content", sql.LargeBinary, nullable=False),
    sql.Index("audit_content_age", "kind", "at"),
)
"""What may be redacted. ``kind`` and ``at`` are those of the row, so that what is old is found at once."""

HEADS = sql.Table(
    "audit_heads",
    METADATA,
    sql.Column("number", sql.BigInteger, primary_key=True, autoincrement=False),
    sql.Column("key", TEXT, primary_key=True),
    sql.Column("digest", sql.LargeBinary, nullable=False),
    sql.Column("at", sql.Double, nullable=False),
    sql.Column("signature", sql.LargeBinary, nullable=False),
)
"""Every gateway signs for itself."""
