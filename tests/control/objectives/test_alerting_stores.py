"""Gateways at the same moment over a real database: whoever is first tells people, and nobody else."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path

import pytest

from penstock.store.alerts import SqlAlerts
from penstock.store.database import Database, open_database, sqlite_url
from penstock.store.migrations import migrate
from tests.control.objectives.test_alerting import World, sends
from tests.postgres import postgres, postgres_url

__all__ = ["postgres", "postgres_url"]


@pytest.fixture(params=["sqlite", "postgresql"])
def databases(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[list[Database]]:
    """One for each gateway, as in processes of their own."""
    url = request.getfixturevalue("postgres_url") if request.param == "postgresql" else sqlite_url(tmp_path / "s.db")
    found = [open_database(url) for _ in range(1 if request.param == "sqlite" else 3)]
    migrate(found[0], now=0.0)
    yield found
    for each in found:
        each.close()


async def test_of_three_one_tells(databases: list[Database]) -> None:
    world = World()
    world.alive = {"a", "b", "c"}
    made = []
    for number, name in enumerate(sorted(world.alive)):
        world.alerts = SqlAlerts(databases[number % len(databases)])  # type: ignore[assignment]
        made.append(world.gateway(name))
    gateways = [each for each, _ in made]

    async def passed(ticks: int, good: int, bad: int) -> None:
        for _ in range(ticks):
            await world.time.advance(15)
            world.happen(good, bad)
            await asyncio.gather(*(each.tick() for each in gateways))
            await world.time.advance(0)

    def said() -> list[tuple[str, list[str]]]:
        return [each for _, phone in made for each in phone.said]

    page = "slo/assistant/availability/page"
    async with sends(gateways):
        await passed(30, 0, 100)
        assert said() == [("firing", [page])]
        (alert,) = [each for each in world.alerts.alerts(world.now) if each.id == page]
        assert alert.notified_at is not None
        # Half an hour without a failure, and it is over.
        await passed(130, 1000, 0)
        assert sorted(each for each in said() if page in each[1]) == [("firing", [page]), ("resolved", [page])]
