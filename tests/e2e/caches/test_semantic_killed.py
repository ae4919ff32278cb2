"""A gateway that is killed in the middle of hits: the next one of its home knows of each of them, and goes on."""

from __future__ import annotations

import dataclasses
import os
import shutil
import signal
import time
from pathlib import Path

import pytest

from tests.e2e.caches.test_semantic import Asker, _trained, file, verdict
from tests.e2e.running import Penstock, alive, running, wait_until


@pytest.mark.slow
async def test_a_gateway_that_is_killed_knows_what_it_served(tmp_path: Path) -> None:
    with running(file("old")) as first:
        await _trained(first)
        hits = await hits_of(first, 200)
        family = first.family()
        os.kill(first.pid, signal.SIGKILL)
        wait_until(lambda: not any(alive(each.pid) for each in family), 10)
        shutil.copytree(first.home, tmp_path / "home")
    with running(file("old"), env={"PENSTOCK_HOME": str(tmp_path / "home")}) as second:
        async with Asker(dataclasses.replace(second, home=tmp_path / "home"), 3) as asker:
            assert verdict(await asker.hit()) == "similar"
            # They are told when the desk has been open for a second.
            told, deadline = [], time.monotonic() + 10
            while not told and time.monotonic() < deadline:
                told = (await asker.http.get("/admin/v1/caches/semantic")).json()["data"]
    (figures,) = told
    assert figures["hits"] >= hits
    assert figures["wrong_at_most"] <= figures["allowed"] + 1
    assert figures["entries"] > 0


async def hits_of(penstock: Penstock, count: int) -> int:
    """How many there were at least, after so many requests more; what the figures say may be a second old."""
    async with Asker(penstock, 2) as asker:
        before = (await asker.figures())["hits"]
        await asker.many(count)
        assert asker.verdicts["similar"] > 20
        return int(before + asker.verdicts["similar"])
