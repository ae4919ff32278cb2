"""schemathesis over the description of the admin API: what comes back from the real one is what the description says."""

from __future__ import annotations

import asyncio
import socket
import threading
from collections.abc import Iterator
from pathlib import Path

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

from penstock.control.accounts.operations import OPERATIONS
from penstock.edge.http import openapi
from penstock.edge.http.config import Drain, ServerSettings
from penstock.edge.http.listening import Patience
from penstock.edge.http.server import serve
from tests.edge.http.paper import PaperSite, paper_site

DOCUMENT = msgspec.json.decode(openapi.document())


class Served:
    """The application on a port, in a thread of its own, because schemathesis calls it as a client that blocks."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._loop = uvloop.new_event_loop()
        self._up = threading.Event()
        self._thread = threading.Thread(target=self._loop.run_until_complete, args=(self._run(),))
        self.site: PaperSite
        self.url = ""

    def start(self) -> None:
        self._thread.start()
        assert self._up.wait(30)

    async def _run(self) -> None:
        self._stopped: asyncio.Future[Drain] = self._loop.create_future()
        async with paper_site(self._folder) as self.site:
            sock = socket.create_server(("127.0.0.1", 0))
            self.url = f"http://127.0.0.1:{sock.getsockname()[1]}"
            self._up.set()
            await serve(self.site.app, sock, stop=self._stopped, settings=ServerSettings(), patience=Patience())

    def stop(self) -> None:
        drain = Drain(announce_s=0.0, limit_s=2.0)
        self._loop.call_soon_threadsafe(self._stopped.set_result, drain)
        self._thread.join(10)
        self._loop.close()


@pytest.fixture(scope="module")
def here(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    served = Served(tmp_path_factory.mktemp("openapi"))
    served.start()
    yield served
    served.stop()


schema = schemathesis.openapi.from_dict(DOCUMENT).include(path_regex="^(/admin|/v1/usage)")


@schema.parametrize()
@settings(
    max_examples=25,
    deadline=None,
    derandomize=True,
    phases=[Phase.explicit, Phase.generate],
    suppress_health_check=list(HealthCheck),
)
def test_what_is_described_is_what_is_served(here: Served, case: schemathesis.Case) -> None:
    case.call_and_validate(
        base_url=here.url,
        headers={"authorization": f"Bearer {here.site.keys['all-owner']}"},
        checks=[
            not_a_server_error,
            status_code_conformance,
            content_type_conformance,
            response_schema_conformance,
        ],
    )


def test_every_operation_is_described() -> None:
    for operation in OPERATIONS:
        described = DOCUMENT["paths"][operation.path][operation.method.lower()]
        assert described["summary"] == operation.summary
        assert str(operation.status) in described["responses"]
    ids = [each["operationId"] for path in DOCUMENT["paths"].values() for each in path.values()]
    assert len(set(ids)) == len(ids)
