"""Scores and decisions in a database."""

from __future__ import annotations

from collections.abc import Sequence

import sqlalchemy as sql

from penstock.core.releases import Decision
from penstock.store.database import Database
from penstock.store.release_tables import DECISIONS


class SqlScores:
    """``ScoreStore`` in a database whose migrations have run."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def decisions(self, rollout: str) -> Sequence[Decision]:
        found = sql.select(DECISIONS).where(DECISIONS.c.rollout == rollout).order_by(DECISIONS.c.number)
        with self._database.read() as connection:
            return [Decision(**row._mapping) for row in connection.execute(found)]
