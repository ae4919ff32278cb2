"""The deployment file for people, of a server without processes."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest

from penstock.assembly.explaining import Explaining
from tests.assembly.test_apply import FIRST, SECOND, Server


@pytest.fixture
async def server() -> AsyncIterator[Server]:
    async with Server().serving() as server:
        yield server


async def test_the_file_that_is_served_stands_beside_the_words_of_the_schema(server: Server) -> None:
    shown = await asyncio.to_thread(Explaining(server.applying, asyncio.get_running_loop()).shown)
    assert "\n".join(each.text for each in shown.lines) == FIRST.rstrip("\n")
    assert [each.number for each in shown.lines] == list(range(1, len(shown.lines) + 1))
    (services,) = (each for each in shown.lines if each.key == "services")
    assert "public names" in services.about


async def test_what_the_file_says_now_is_told_and_nothing_is_applied(server: Server) -> None:
    explaining = Explaining(server.applying, asyncio.get_running_loop())
    assert (await asyncio.to_thread(explaining.pending)).changed == ()
    server.file.lies = SECOND
    pending = await asyncio.to_thread(explaining.pending)
    assert len(pending.changed) == 1
    assert "also" in pending.changed[0]
    assert server.heard == []
    for broken in ("models: [", None):
        server.file.lies = broken
        pending = await asyncio.to_thread(explaining.pending)
        assert pending.changed == ()
        assert pending.mistakes
