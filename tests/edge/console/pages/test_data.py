"""What pages fetch for themselves."""

from __future__ import annotations

import json

from penstock.core.errors import NOT_FOUND, PenstockError
from tests.edge.console.pages.test_requests import OFF, shown


async def test_who_waits_for_a_request_is_told_that_it_is_not_there_yet() -> None:
    here, _ = await shown("/data/requests/req_1")
    assert json.loads(here.body)
    for error in (PenstockError(NOT_FOUND, "There is no request."), OFF):
        waits, _ = await shown("/data/requests/req_1", {"requests.get": error})
        assert (waits.status, waits.body) == (200, b"null")
