"""The tables of what is seen: series, how far each gateway has told of them, alerts and silences.

As the newest migration leaves them.
"""

from __future__ import annotations

import sqlalchemy as sql

from penstock.store.tables import METADATA, TEXT

SERIES = sql.Table(
    "series",
    METADATA,
    sql.Column("gateway", TEXT, primary_key=True),
    sql.Column("step", sql.Integer, primary_key=True, autoincrement=False),
    sql.Column("level", sql.SmallInteger, primary_key=True, autoincrement=False),
    sql.Column("at", sql.BigInteger, primary_key=True, autoincrement=False),
    sql.Column("service", TEXT, primary_key=True),
    sql.Column("model", TEXT, primary_key=True),
    sql.Column("release", TEXT, primary_key=True),
    sql.Column("project", TEXT, primary_key=True),
    sql.Column("key_id", TEXT, primary_key=True),
    sql.Column("sums", sql.LargeBinary, nullable=False),
    sqlite_with_rowid=False,
)
"""``step`` and ``at`` in whole seconds; ``sums`` as ``series_rows`` packs them. ``level`` says which of the columns
after it tell rows apart, the others are empty: 0 all, 1 service, model and release, 2 the service alone."""

FED = sql.Table(
    "series_fed",
    METADATA,
    sql.Column("gateway", TEXT, primary_key=True),
    sql.Column("until", sql.Double, nullable=False),
    sql.Column("shed", sql.BigInteger, nullable=False),
    sql.Column("mark", sql.LargeBinary, nullable=False),
    sql.Column("rolled", sql.BigInteger, nullable=False),
    sql.Column("fine_from", sql.BigInteger, nullable=False),
    sql.Column("middle_from", sql.BigInteger, nullable=False),
    sql.Column("last_at", sql.BigInteger, nullable=False),
)
"""One row for each gateway. What ended before ``rolled`` is in the rows of the middle and the coarsest step, too, and
of the finest and the middle step there are rows from ``fine_from`` and ``middle_from`` on: ``middle_from <= fine_from
<= rolled``. No row begins after ``last_at``."""

ALERTS = sql.Table(
    "alerts",
    METADATA,
    sql.Column("id", TEXT, primary_key=True),
    sql.Column("since", sql.Double, primary_key=True),
    sql.Column("changed_at", sql.Double, nullable=False),
    sql.Column("resolved_at", sql.Double),
    sql.Column("alert", TEXT, nullable=False),
    sql.Index("alerts_resolved_at", "resolved_at"),
)
"""``alert`` is all of it, in JSON."""

SILENCES = sql.Table(
    "silences",
    METADATA,
    sql.Column("id", TEXT, primary_key=True),
    sql.Column("until", sql.Double, nullable=False),
    sql.Column("silence", TEXT, nullable=False),
)
"""``silence`` is all of it, in JSON."""
