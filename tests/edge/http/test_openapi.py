"""schemathesis over our own description: whatever it generates, what comes back is what the description says."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator

import msgspec
import pytest
import schemathesis
import uvloop
from hypothesis import HealthCheck, Phase, settings
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from penstock.edge.http import openapi
from tests.edge.http.serving import Site, site, usual


@pytest.fixture(scope="module")
def here() -> Iterator[Site]:
    """The server in a thread of its own, because schemathesis calls it as a client that blocks."""
    up, found = threading.Event(), list[Site]()
    loop = uvloop.new_event_loop()

    async def run() -> None:
        async with site(usual) as running:
            found.append(running)
            up.set()
            await asyncio.shield(running.stopped)

    thread = threading.Thread(target=loop.run_until_complete, args=(run(),))
    thread.start()
    assert up.wait(10)
    yield found[0]
    loop.call_soon_threadsafe(found[0].stop)
    thread.join(10)
    loop.close()


schema = schemathesis.openapi.from_dict(msgspec.json.decode(openapi.document()))


def examples(count: int) -> settings:
    return settings(
        max_examples=count,
        deadline=None,
        derandomize=True,
        phases=[Phase.explicit, Phase.generate],
        suppress_health_check=list(HealthCheck),
    )


@schema.parametrize()
@examples(20)
def test_what_is_described_is_what_is_served(here: Site, case: schemathesis.Case) -> None:
    _checked(here, case)


@pytest.mark.slow
@schema.parametrize()
@examples(100)
def test_much_of_what_is_described_is_what_is_served(here: Site, case: schemathesis.Case) -> None:
    _checked(here, case)


def _checked(here: Site, case: schemathesis.Case) -> None:
    case.call_and_validate(
        base_url=here.url,
        headers={"authorization": "Bearer key"},
        checks=[
            not_a_server_error,
            status_code_conformance,
            content_type_conformance,
            response_schema_conformance,
        ],
    )
