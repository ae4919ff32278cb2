"""Records as a worker writes them."""

from __future__ import annotations

from penstock.core.leases import Hold
from penstock.core.releases import Score, Scored
from penstock.core.usage import Act, Audited, Entry, Held, Opened, Settled, Tokens, Used

AT = 1_700_000_000.0


def entry(request: str, attempt: int = 1, *, cost_nano: int = 12_345, ending: str = "complete") -> Entry:
    return Entry(
        request_id=request, attempt=attempt, gateway="gw-1", received_at=AT, settled_at=AT + 1, project="red",
        key_id="k_1", user="u_1", team="t_1", service="small", model="gpt-5", kind="chat", ending=ending, status=200,
        tokens=Tokens(input=100, output=50), estimated=False, cost_nano=cost_nano, price="gpt-5@2025-08-07",
    )  # fmt: skip


def opened(lease: str, attempt: int = 1, *, request: str = "") -> Opened:
    bound = entry(request or f"req_{lease}", attempt, cost_nano=99_999, ending="worker_lost")
    return Opened(lease, bound, (Held("lim_1:project:red", Hold.SLIDING, 200, 60.0, 0.0, AT),))


def settled(lease: str, *attempts: int, request: str = "") -> Settled:
    rows = tuple(entry(request or f"req_{lease}", attempt) for attempt in attempts or (1,))
    return Settled(lease, rows, {"lim_1:project:red": 150})


def audited(id: str, content: bytes = b"{}") -> Audited:
    return Audited(id, Act(at=AT, actor="k_1", project="red", action="keys.create", content=content))


def used(key_id: str, at: float = AT) -> Used:
    return Used(key_id, at)


def scored(*requests: str) -> Scored:
    return Scored(
        tuple(
            Score(
                request_id=request, at=AT, arrived_at=AT + 1, service="small", release="rel_1", rollout="ro_1",
                metric="format", version="v1", value=0.25, unit="5f",
            )
            for request in requests
        )
    )  # fmt: skip
