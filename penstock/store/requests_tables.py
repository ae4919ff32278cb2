"""The tables of the request log in PostgreSQL, as the newest migration leaves them.

These two stay empty: each UTC day has tables of its own that are made like them (``requests_20778``, by the day's
number since 1970-01-01), so that a day goes by dropping them. In SQLite a day is a file instead.
"""

from __future__ import annotations

import sqlalchemy as sql

from penstock.store.tables import METADATA, TEXT

_IN_POSTGRESQL = {"kinds": ("postgresql",)}
_WORDS = ("project", "key_id", "user_id", "team", "subject", "service", "release", "model", "replica")
_MORE_WORDS = ("ending", "code", "cache", "purpose", "content")

REQUESTS = sql.Table(
    "requests",
    METADATA,
    sql.Column("at", sql.Double, primary_key=True, autoincrement=False),
    sql.Column("request_id", TEXT, primary_key=True),
    *(sql.Column(name, TEXT, nullable=False) for name in (*_WORDS, *_MORE_WORDS)),
    sql.Column("status", sql.Integer, nullable=False),
    sql.Column("stream", sql.Boolean, nullable=False),
    sql.Column("trace", sql.LargeBinary, nullable=False),
    sql.Column("cost_nano", sql.BigInteger, nullable=False),
    sql.Column("duration_us", sql.BigInteger, nullable=False),
    sql.Column("first_us", sql.BigInteger),
    sql.Column("rest", sql.LargeBinary, nullable=False),
    sql.Index("requests_request_id", "request_id", postgresql_using="hash"),
    sql.Index("requests_trace", "trace", postgresql_using="hash", postgresql_where=sql.text("trace <> ''::bytea")),
    sql.Index("requests_service", "service", "at"),
    sql.Index("requests_project", "project", "at"),
    sql.Index("requests_key_id", "key_id", "at"),
    sql.Index("requests_user_id", "user_id", "at", postgresql_where=sql.text("user_id <> ''")),
    sql.Index("requests_subject", "subject", "at", postgresql_where=sql.text("subject <> ''")),
    sql.Index("requests_failed", "at", postgresql_where=sql.text("status >= 400")),
    info=_IN_POSTGRESQL,
)
"""``rest`` is what nobody searches by, as ``requests_rows`` packs it."""

CONTENTS = sql.Table(
    "request_contents",
    METADATA,
    sql.Column("at", sql.Double, primary_key=True, autoincrement=False),
    sql.Column("request_id", TEXT, primary_key=True),
    sql.Column("project", TEXT, nullable=False),
    sql.Column("service", TEXT, nullable=False),
    sql.Column("subject", TEXT, nullable=False),
    sql.Column("masked", sql.Boolean, nullable=False),
    sql.Column("body", sql.LargeBinary, nullable=False),
    sql.Index("request_contents_subject", "subject", postgresql_where=sql.text("subject <> ''")),
    info=_IN_POSTGRESQL,
)
"""``body`` is compressed already."""
