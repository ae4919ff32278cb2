"""The tables of what is released: versions, releases, splits, rollouts, what was decided and how it was scored.

As the newest migration leaves them, and by the rules of the other tables of the directory.
"""

from __future__ import annotations

import sqlalchemy as sql

from penstock.store.tables import METADATA, TEXT

_UNKNOWN = sql.text("release = ''")

MODEL_VERSIONS = sql.Table(
    "model_versions",
    METADATA,
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

PROMPT_VERSIONS = sql.Table(
    "prompt_versions",
    METADATA,
    sql.Column("id", TEXT, primary_key=True),
    sql.Column("name", TEXT, nullable=False),
    sql.Column("digest", TEXT, nullable=False),
    sql.Column("source", sql.LargeBinary, nullable=False),
    sql.Column("parent", TEXT, nullable=False),
    sql.Column("author", TEXT, nullable=False),
    sql.Column("message", TEXT, nullable=False),
    sql.Column("created_at", sql.Double, nullable=False),
)

ALIASES = sql.Table(
    "aliases",
    METADATA,
    sql.Column("id", TEXT, primary_key=True),
    sql.Column("kind", TEXT, nullable=False),
    sql.Column("name", TEXT, nullable=False),
    sql.Column("alias", TEXT, nullable=False),
    sql.Column("digest", TEXT, nullable=False),
    sql.Column("author", TEXT, nullable=False),
    sql.Column("changed_at", sql.Double, nullable=False),
)

RELEASES = sql.Table(
    "releases",
    METADATA,
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

SPLITS = sql.Table(
    "splits",
    METADATA,
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

ROLLOUTS = sql.Table(
    "rollouts",
    METADATA,
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

DECISIONS = sql.Table(
    "decisions",
    METADATA,
    sql.Column("rollout", TEXT, primary_key=True),
    sql.Column("number", sql.BigInteger, primary_key=True, autoincrement=False),
    sql.Column("at", sql.Double, nullable=False),
    sql.Column("actor", TEXT, nullable=False),
    sql.Column("what", TEXT, nullable=False),
    sql.Column("reason", TEXT, nullable=False),
    sql.Column("evidence", sql.LargeBinary, nullable=False),
)
"""Only ever added to: no directory has them, so that a long rollout makes no change of it dearer."""

SCORES = sql.Table(
    "scores",
    METADATA,
    sql.Column("number", sql.BigInteger().with_variant(sql.Integer, "sqlite"), primary_key=True),
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
    sql.UniqueConstraint("request_id", "release", "metric", "version", name="scores_name_key"),
    sql.Index("scores_rollout", "rollout", "number"),
    sql.Index("scores_release", "release", "at"),
    sql.Index("scores_arrived_at", "arrived_at"),
    sql.Index("scores_unknown", "release", "arrived_at", sqlite_where=_UNKNOWN, postgresql_where=_UNKNOWN),
    sqlite_autoincrement=True,
)
"""``number`` is the order of arrival here, with gaps; a number is never used again, whatever was forgotten."""
