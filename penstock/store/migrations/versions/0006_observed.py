"""What is seen: series, how far each gateway has told of them, alerts and silences; and what projects say of keeping
what was said.

Going back puts the tables, and what projects say, aside as ``..._kept``, with every row; going forward again takes
them up from there. What happens meanwhile is in no series.
"""

from __future__ import annotations

import sqlalchemy as sql
from alembic import op

revision = "0006"
down_revision = "0005"

TEXT = sql.Text().with_variant(sql.Text(collation="C"), "postgresql")
TABLES = ("series", "series_fed", "alerts", "silences")


def upgrade() -> None:
    op.add_column("projects", sql.Column("log", TEXT, nullable=False, server_default=""))
    if sql.inspect(op.get_bind()).has_table("project_logs_kept"):
        op.execute(
            "UPDATE projects SET log = (SELECT kept.log FROM project_logs_kept AS kept WHERE kept.id = projects.id) "
            "WHERE id IN (SELECT id FROM project_logs_kept)"
        )
        op.drop_table("project_logs_kept")
    if sql.inspect(op.get_bind()).has_table("series_kept"):
        for table in TABLES:
            op.rename_table(f"{table}_kept", table)
        return
    op.create_table(
        "series",
        sql.Column("gateway", TEXT, nullable=False),
        sql.Column("step", sql.Integer, autoincrement=False, nullable=False),
        sql.Column("level", sql.SmallInteger, autoincrement=False, nullable=False),
        sql.Column("at", sql.BigInteger, autoincrement=False, nullable=False),
        sql.Column("service", TEXT, nullable=False),
        sql.Column("model", TEXT, nullable=False),
        sql.Column("release", TEXT, nullable=False),
        sql.Column("project", TEXT, nullable=False),
        sql.Column("key_id", TEXT, nullable=False),
        sql.Column("sums", sql.LargeBinary, nullable=False),
        sql.PrimaryKeyConstraint(
            "gateway", "step", "level", "at", "service", "model", "release", "project", "key_id", name="series_pkey"
        ),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "series_fed",
        sql.Column("gateway", TEXT, nullable=False),
        sql.Column("until", sql.Double, nullable=False),
        sql.Column("shed", sql.BigInteger, nullable=False),
        sql.Column("mark", sql.LargeBinary, nullable=False),
        sql.Column("rolled", sql.BigInteger, nullable=False),
        sql.Column("fine_from", sql.BigInteger, nullable=False),
        sql.Column("middle_from", sql.BigInteger, nullable=False),
        sql.Column("last_at", sql.BigInteger, nullable=False),
        sql.PrimaryKeyConstraint("gateway", name="series_fed_pkey"),
    )
    op.create_table(
        "alerts",
        sql.Column("id", TEXT, nullable=False),
        sql.Column("since", sql.Double, nullable=False),
        sql.Column("changed_at", sql.Double, nullable=False),
        sql.Column("resolved_at", sql.Double),
        sql.Column("alert", TEXT, nullable=False),
        sql.PrimaryKeyConstraint("id", "since", name="alerts_pkey"),
    )
    op.create_index("alerts_resolved_at", "alerts", ["resolved_at"])
    op.create_table(
        "silences",
        sql.Column("id", TEXT, nullable=False),
        sql.Column("until", sql.Double, nullable=False),
        sql.Column("silence", TEXT, nullable=False),
        sql.PrimaryKeyConstraint("id", name="silences_pkey"),
    )


def downgrade() -> None:
    op.execute("CREATE TABLE project_logs_kept AS SELECT id, log FROM projects WHERE log <> ''")
    op.drop_column("projects", "log")
    for table in TABLES:
        op.rename_table(table, f"{table}_kept")
