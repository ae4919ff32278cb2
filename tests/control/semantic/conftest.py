"""A desk that hits, made once."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from penstock.control.semantic.desks import Desks
from tests.control.semantic.house import Walls, graph, train


@pytest.fixture(scope="session")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder in which it lies."""
    folder = tmp_path_factory.mktemp("trained") / "semantic"

    async def made() -> None:
        clock = Walls()
        desks = Desks(folder, clock, graph)
        await train(desks, clock)
        await desks.aclose()

    asyncio.run(made())
    return folder
