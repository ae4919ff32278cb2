"""What the admin's view of the gateway says is under way."""

from __future__ import annotations

import msgspec

from penstock.edge.http.admin import Live
from tests.e2e import rawhttp
from tests.e2e.running import Penstock


def live(server: Penstock) -> Live:
    """Asked with the key in the credentials of the home folder. The request itself is not counted in it."""
    reply = rawhttp.exchange(server, rawhttp.request(server, method="GET", path="/admin/live"))
    assert reply.status == 200, reply
    return msgspec.json.decode(reply.body, type=Live)


def under_way(server: Penstock) -> str:
    """The counts that must come to nothing, in words."""
    found = live(server)
    return f"tasks={found.tasks} sockets={found.sockets} leases={found.leases}"


AT_REST = "tasks=0 sockets=0 leases=0"
