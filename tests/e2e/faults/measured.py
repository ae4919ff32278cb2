"""The page of faults as it is measured: what a client is told, how often the upstream was asked, and the breaker.

    python -m tests.e2e.faults.measured

writes ``docs/faults.md`` anew, for when a promise has changed.
"""

from __future__ import annotations

import json
import re
import tempfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from tests.e2e import rawhttp
from tests.e2e.faults import killed
from tests.e2e.faults.asked import Place
from tests.e2e.faults.certificates import self_signed
from tests.e2e.faults.live import AT_REST, live, under_way
from tests.e2e.faults.plays import FAULTS
from tests.e2e.faults.upstream import BadUpstream
from tests.e2e.running import Penstock, running, wait_until

PAGE = Path(__file__).resolve().parents[3] / "docs" / "faults.md"
ON_THE_WAY = (
    "refused",
    "no connection",
    "no such name",
    "reset before the request is read",
    "certificate unknown",
    "certificate expired",
    "certificate of another",
)
NO_FAULTS = ("flood", "works")
FAILURES = 5
MOST_ASKED = 6
AT_ONCE = 24
AT_REST_S = 5.0
TOTAL_S = 4.0
ENDLESS_S = 1.0
HEADING = """\
# Faults

What becomes of a request when its upstream fails, or one of our own processes. This page is written by
`python -m tests.e2e.faults.measured`, which brings about each fault in a server that runs; a test fails when it is no
longer true.

## Of an upstream

With three attempts at a model, breakers that open after five failures in a row, and one replica for each model; asked
for a whole answer, and for a stream. `status` and `code` are what the client is told (the code in an error event where
the stream had begun), `attempts` what `x-penstock-attempts` says, `seen` how many requests the upstream counted,
`breaker` its state, and after how many requests. `with a fallback` is what comes of the same request when a sound
model stands behind the bad one: status, code, attempts, and the bad upstream's count.

| fault | asked | status | code | attempts | seen | breaker | with a fallback |
| --- | --- | --- | --- | --- | --- | --- | --- |
"""
AFTERWARDS = f"\nAfterwards `GET /admin/live` says `{AT_REST}`.\n"
_HEADER = re.compile(r"^x-penstock-attempts: (\d+)\r?$", re.MULTILINE)
_CODE = re.compile(rb'"code":\s*"(\w+)"')


@dataclass(frozen=True)
class Case:
    """One row: a fault, asked for in one way. ``alone`` and ``backed`` are the places of its two services; ``trusts``
    is the file with the authority whose certificates its models take."""

    fault: str
    stream: bool
    alone: Place
    backed: Place
    trusts: Path | None = None

    def service(self, backed: bool) -> str:
        words = [
            *re.findall(r"\w+", self.fault),
            "stream" if self.stream else "whole",
            "backed" if backed else "alone",
        ]
        return "-".join(words)


@dataclass(frozen=True)
class Told:
    """What one request came to."""

    status: int
    code: str
    attempts: str

    def __str__(self) -> str:
        return f"{self.status} {self.code}, {self.attempts}" if self.code else f"{self.status}, {self.attempts}"


def cases(upstream: BadUpstream, folder: Path) -> Iterator[Case]:
    """Every row. Certificates are made in ``folder``."""
    certificates = {
        "certificate unknown": self_signed(folder, "unknown"),
        "certificate expired": self_signed(folder, "expired", ends_in_days=-1),
        "certificate of another": self_signed(folder, "another", address="192.0.2.1"),
    }
    for fault in (*ON_THE_WAY, *(name for name in FAULTS if name not in NO_FAULTS)):
        for stream in (False, True):
            if fault in certificates:
                authority, tls = certificates[fault]
                trusts = None if fault == "certificate unknown" else authority
                yield Case(fault, stream, upstream.place("good", tls), upstream.place("good", tls), trusts)
            else:
                yield Case(fault, stream, upstream.place(fault), upstream.place(fault))


def deployment(found: list[Case], good: Place) -> str:
    """A model and a service for each row, and one more of each with the sound model behind it."""
    models: dict[str, object] = {"good": {"engine": "openai", "base_url": good.base_url}}
    services: dict[str, object] = {"good": {"model": "good"}}
    for case in found:
        for backed, place in ((False, case.alone), (True, case.backed)):
            name = case.service(backed)
            model: dict[str, object] = {"engine": "openai", "base_url": place.base_url}
            model |= {"connect_timeout_s": 0.5, "timeout_s": 0.5}
            if case.trusts is not None:
                model["ca_file"] = str(case.trusts)
            models[name] = model
            services[name] = {
                "model": name,
                "fallback": ["good"] if backed else [],
                "retry": {"attempts": 3, "backoff_s": 0.05},
                "deadlines": {"total_s": ENDLESS_S if case.fault == "endless" else TOTAL_S, "first_token_s": 0.5},
                "breaker": {"failures": FAILURES, "open_s": 60},
            }
    # What they are asked beside requests would be counted as attempts.
    return json.dumps({"models": models, "services": services, "observe": {"engine_metrics": False}})


def ask(server: Penstock, service: str, stream: bool) -> Told:
    """One request, and what the client is told in the end."""
    body = {"model": service, "messages": [{"role": "user", "content": "Hello"}], "stream": stream}
    reply = rawhttp.exchange(server, rawhttp.request(server, json.dumps(body).encode()))
    attempts = _HEADER.search(reply.headers)
    code = _CODE.search(reply.body)
    sound = not code and (b"[DONE]" in reply.body if stream else reply.status == 200)
    told = code[1].decode() if code else "" if sound else "cut short"
    return Told(reply.status, told, attempts[1] if attempts else "-")


def row(server: Penstock, case: Case) -> str:
    """One line of the table."""
    alone = case.service(False)
    told = ask(server, alone, case.stream)
    seen = case.alone.attempts
    asked, breaker = 1, live(server).replicas[alone].breaker
    while breaker == "closed" and asked < MOST_ASKED:
        ask(server, alone, case.stream)
        asked, breaker = asked + 1, live(server).replicas[alone].breaker
    backed = ask(server, case.service(True), case.stream)
    cells = [case.fault, "stream" if case.stream else "whole", told.status, told.code or "-", told.attempts]
    cells += [_seen(seen), breaker if breaker == "closed" else f"{breaker} after {asked}"]
    cells.append(f"{backed}, {_seen(case.backed.attempts)}")
    return "| " + " | ".join(map(str, cells)) + " |"


def _seen(attempts: int | None) -> str:
    return "-" if attempts is None else str(attempts)


def table(server: Penstock, found: list[Case]) -> str:
    """Measures all of it, several rows at once. Fails when something is left of it."""
    with ThreadPoolExecutor(AT_ONCE) as pool:
        rows = list(pool.map(lambda case: row(server, case), found))
    wait_until(lambda: under_way(server) == AT_REST, AT_REST_S, lambda: str(live(server)))
    return HEADING + "\n".join(rows) + "\n" + AFTERWARDS


def main() -> None:
    """Writes the page."""
    with tempfile.TemporaryDirectory() as folder, BadUpstream() as upstream:
        found = list(cases(upstream, Path(folder)))
        with running(deployment(found, upstream.place("good"))) as server:
            faults = table(server, found)
        PAGE.write_text(faults + "\n" + killed.table(upstream))


if __name__ == "__main__":
    main()
