"""The table of the ledger, as the newest migration leaves it.

It is for reading too: somebody may well open it with SQL. So no column has the name of a reserved word (``user`` is
the database's own user in PostgreSQL), and money and counts are whole numbers.
"""

from __future__ import annotations

import sqlalchemy as sql

from penstock.store.ledger_columns import TOKENS as TOKENS
from penstock.store.tables import METADATA, TEXT

RUN = 4096
"""Rows in a run, and up to one transaction more."""

LEDGER = sql.Table(
    "ledger",
    METADATA,
    sql.Column("received_at", sql.Double, primary_key=True, autoincrement=False),
    sql.Column("request_id", TEXT, primary_key=True),
    sql.Column("attempt", sql.Integer, primary_key=True, autoincrement=False),
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
    *(sql.Column(name, sql.BigInteger, nullable=False) for name in TOKENS),
    sql.Column("estimated", sql.Boolean, nullable=False),
    sql.Column("cost_nano", sql.BigInteger, nullable=False),
    sql.Column("price", TEXT, nullable=False),
    sql.Column("run", sql.BigInteger, nullable=False),
    sql.Column("release", TEXT, nullable=False, server_default=""),
    sql.Column("cache", TEXT, nullable=False, server_default=""),
    sql.Column("saved_nano", sql.BigInteger, nullable=False, server_default="0"),
    sql.Index("ledger_request_id", "run", "request_id"),
    sql.Index("ledger_project", "run", "project", "received_at"),
    sql.Index("ledger_key_id", "run", "key_id", "received_at"),
)
"""The time is part of the key, and stands first in it: a request id is taken from the client where it sends one, and
the newest rows lie together.

So that the newest entries of the indexes do too, in SQLite the rows are numbered by runs of about ``RUN``. A random
id, or one of many keys, would else change a page of its own in each transaction, and cost ten times what the row
does; who looks for it looks once a run instead. In PostgreSQL, where several write at once, all rows are of run 0.
"""

RUNS = sql.Table(
    "ledger_runs",
    METADATA,
    sql.Column("run", sql.BigInteger, primary_key=True, autoincrement=False),
    sql.Column("size", sql.BigInteger, nullable=False),
    sql.Column("first_at", sql.Double, nullable=False),
    sql.Column("last_at", sql.Double, nullable=False),
)
"""Of the rows of each run: how many there are at most, and between which times they were received."""
