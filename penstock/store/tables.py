"""The tables of who may call, and how much, as the newest migration leaves them.

Times are seconds since the epoch. What is only ever read whole is JSON in a text, the same in both databases. Nothing
refers to anything by a foreign key: an administrative act is checked against the whole directory, and carried out
only on the version of it that it was checked against.
"""

from __future__ import annotations

import sqlalchemy as sql

METADATA = sql.MetaData()
"""Every table of a store; those of releases, of the ledger and of the audit join it where they are declared."""

TEXT = sql.Text().with_variant(sql.Text(collation="C"), "postgresql")
"""Ordered by its bytes, in both databases and whatever the locale."""

SETTINGS = sql.Table(
    "settings",
    METADATA,
    sql.Column("name", TEXT, primary_key=True),
    sql.Column("value", TEXT, nullable=False),
)
"""``created_at``: when the store was made, whole seconds since the epoch."""

VERSION = sql.Table(
    "directory_version",
    METADATA,
    sql.Column("one", sql.SmallInteger, primary_key=True, autoincrement=False),
    sql.Column("version", sql.BigInteger, nullable=False),
)
"""One row, whose lock every change of the directory takes first."""

PROJECTS = sql.Table(
    "projects",
    METADATA,
    sql.Column("id", TEXT, primary_key=True),
    sql.Column("name", TEXT, nullable=False),
    sql.Column("priority", TEXT, nullable=False),
    sql.Column("capture", TEXT, nullable=False),
    sql.Column("created_at", sql.Double, nullable=False),
    sql.Column("archived_at", sql.Double),
    sql.Column("log", TEXT, nullable=False, server_default=""),
)

TEAMS = sql.Table(
    "teams",
    METADATA,
    sql.Column("id", TEXT, primary_key=True),
    sql.Column("project", TEXT, nullable=False),
    sql.Column("name", TEXT, nullable=False),
    sql.Column("created_at", sql.Double, nullable=False),
)

USERS = sql.Table(
    "users",
    METADATA,
    sql.Column("id", TEXT, primary_key=True),
    sql.Column("kind", TEXT, nullable=False),
    sql.Column("name", TEXT, nullable=False),
    sql.Column("email", TEXT, nullable=False),
    sql.Column("issuer", TEXT, nullable=False),
    sql.Column("subject", TEXT, nullable=False),
    sql.Column("created_at", sql.Double, nullable=False),
    sql.Column("disabled_at", sql.Double),
)

MEMBERSHIPS = sql.Table(
    "memberships",
    METADATA,
    sql.Column("user_id", TEXT, primary_key=True),
    sql.Column("place", sql.Integer, primary_key=True, autoincrement=False),
    sql.Column("project", TEXT, nullable=False),
    sql.Column("role", TEXT, nullable=False),
    sql.Column("team", TEXT, nullable=False),
)
"""``place`` is where it stands among those of its user, from 0."""

KEYS = sql.Table(
    "keys",
    METADATA,
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

ROLES = sql.Table(
    "roles",
    METADATA,
    sql.Column("name", TEXT, primary_key=True),
    sql.Column("permissions", TEXT, nullable=False),
    sql.Column("description", TEXT, nullable=False),
)
"""Only custom ones; the others come with Penstock."""

LIMITS = sql.Table(
    "limits",
    METADATA,
    sql.Column("id", TEXT, primary_key=True),
    sql.Column("kind", TEXT, nullable=False),
    sql.Column("subject", TEXT, nullable=False),
    sql.Column("service", TEXT, nullable=False),
    sql.Column("metric", TEXT, nullable=False),
    sql.Column("per", TEXT, nullable=False),
    sql.Column("amount", sql.BigInteger, nullable=False),
    sql.Column("created_at", sql.Double, nullable=False),
)

BUDGETS = sql.Table(
    "budgets",
    METADATA,
    sql.Column("id", TEXT, primary_key=True),
    sql.Column("kind", TEXT, nullable=False),
    sql.Column("subject", TEXT, nullable=False),
    sql.Column("service", TEXT, nullable=False),
    sql.Column("period", TEXT, nullable=False),
    sql.Column("amount_nano", sql.BigInteger, nullable=False),
    sql.Column("warn_percent", TEXT, nullable=False),
    sql.Column("created_at", sql.Double, nullable=False),
)

PRICES = sql.Table(
    "prices",
    METADATA,
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

INVALIDATIONS = sql.Table(
    "cache_invalidations",
    METADATA,
    sql.Column("id", TEXT, primary_key=True),
    sql.Column("scope", TEXT, nullable=False),
    sql.Column("value", TEXT, nullable=False),
    sql.Column("project", TEXT, nullable=False),
    sql.Column("at", sql.Double, nullable=False),
)

ONCE = sql.Table(
    "once",
    METADATA,
    sql.Column("key", TEXT, primary_key=True),
    sql.Column("request", sql.LargeBinary, nullable=False),
    sql.Column("status", sql.Integer, nullable=False),
    sql.Column("answer", sql.LargeBinary, nullable=False),
    sql.Column("at", sql.Double, nullable=False),
)

GATEWAYS = sql.Table(
    "gateways",
    METADATA,
    sql.Column("id", TEXT, primary_key=True),
    sql.Column("seen_at", sql.Double, nullable=False),
    sql.Column("ready", TEXT, nullable=False, server_default="[]"),
)
"""``ready``: the ids of the releases that it could serve when it was seen last, as a JSON array."""
