"""Every fault of an upstream, and every kill, comes to what the committed page says; and nothing is left of it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.e2e.faults import killed, measured
from tests.e2e.faults.upstream import BadUpstream
from tests.e2e.running import running


@pytest.fixture
def upstream() -> Iterator[BadUpstream]:
    with BadUpstream() as bad:
        yield bad


def committed() -> tuple[str, str]:
    """What the page says of upstreams, and of processes."""
    faults, found, kills = measured.PAGE.read_text().partition(killed.HEADING)
    assert found, f"{measured.PAGE} has no part about processes; write it anew: python -m tests.e2e.faults.measured"
    return faults, found + kills


def test_every_fault_comes_to_what_the_page_says(upstream: BadUpstream, tmp_path: Path) -> None:
    cases = list(measured.cases(upstream, tmp_path))
    with running(measured.deployment(cases, upstream.place("good"))) as server:
        assert (measured.table(server, cases) + "\n").splitlines() == committed()[0].splitlines()
        assert "Traceback" not in server.said()


def test_what_a_kill_comes_to(upstream: BadUpstream) -> None:
    assert killed.table(upstream).splitlines() == committed()[1].splitlines()
