"""The table of faults as it is measured: what a client is told, how often the upstream was asked, and the breaker.

    python -m tests.e2e.faults.measured > tests/e2e/faults/table.md

writes it anew, for when a promise has changed.
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
from tests.e2e.faults.plays import FAULTS
from tests.e2e.faults.upstream import BadUpstream
from tests.e2e.running import Penstock, running

ON_THE_WAY = ("refused", "no connection", "no such name", "reset unread", "certificate unknown", "expired")
NO_FAULTS = ("flood", "works")
FAILURES = 5
MOST_ASKED = 6
AT_ONCE = 24
HEADING = """\
# Faults of an upstream, and what becomes of a request

Measured by `tests/e2e/faults/test_table.py` with three attempts at a model, breakers that open after five failures in
a row, and one replica for each model. `status` and `code` are what a client is told (the code in the error event where
the stream had begun), `attempts` what `x-penstock-attempts` says, `seen` what the upstream counted, `breaker` after how
many requests it is open. `with a fallback` is what comes of the same request when a sound model stands behind the bad
one: status, code, attempts, and the upstream's count.

| fault | asked | status | code | attempts | seen | breaker | with a fallback |
| --- | --- | --- | --- | --- | --- | --- | --- |
"""
_HEADER = re.compile(r"^x-penstock-attempts: (\d+)\r?$", re.MULTILINE)
_CODE = re.compile(rb'"code":\s*"(\w+)"')


@dataclass(frozen=True)
class Case:
    """One row: a fault, asked for in one way. ``alone`` and ``backed`` are the places of its two services."""

    fault: str
    stream: bool
    alone: Place
    backed: Place

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


def cases(upstream: BadUpstream, folder: Path) -> Iterator[tuple[Case, dict[str, object]]]:
    """Every row, and what its models need beside an address."""
    unknown, expired = self_signed(folder, "unknown"), self_signed(folder, "expired", ends_in_days=-1)
    for fault in (*ON_THE_WAY, *(name for name in FAULTS if name not in NO_FAULTS)):
        for stream in (False, True):
            if fault == "certificate unknown":
                yield Case(fault, stream, *(upstream.place("good", unknown[1]) for _ in range(2))), {}
            elif fault == "expired":
                extra: dict[str, object] = {"ca_file": str(expired[0])}
                yield Case(fault, stream, *(upstream.place("good", expired[1]) for _ in range(2))), extra
            else:
                yield Case(fault, stream, upstream.place(fault), upstream.place(fault)), {}


def deployment(found: list[tuple[Case, dict[str, object]]], good: Place) -> str:
    """A model and a service for each row, and one more of each with the sound model behind it."""
    terms = {
        "retry": {"attempts": 3, "backoff_s": 0.05},
        "deadlines": {"total_s": 3, "first_token_s": 0.5},
        "breaker": {"failures": FAILURES, "open_s": 60},
    }
    models: dict[str, object] = {"good": {"engine": "openai", "base_url": good.base_url}}
    services: dict[str, object] = {"good": {"model": "good"}}
    for case, extra in found:
        for backed, place in ((False, case.alone), (True, case.backed)):
            name = case.service(backed)
            models[name] = {
                "engine": "openai",
                "base_url": place.base_url,
                "connect_timeout_s": 0.5,
                "timeout_s": 0.5,
            } | extra
            services[name] = terms | {"model": name, "fallback": ["good"] if backed else []}
    return json.dumps({"models": models, "services": services})


def ask(server: Penstock, service: str, stream: bool) -> Told:
    """One request, and what the client is told in the end."""
    body = {"model": service, "messages": [{"role": "user", "content": "Hello"}], "stream": stream}
    try:
        reply = rawhttp.exchange(server, rawhttp.request(server, json.dumps(body).encode()))
    except TimeoutError:
        return Told(0, "no end", "-")
    attempts = _HEADER.search(reply.headers)
    code = _CODE.search(reply.body)
    sound = not code and (b"[DONE]" in reply.body if stream else reply.status == 200)
    told = code[1].decode() if code else "" if sound else "cut short"
    return Told(reply.status, told, attempts[1] if attempts else "-")


def row(server: Penstock, case: Case) -> str:
    """One line of the table."""
    told = ask(server, case.service(False), case.stream)
    seen = case.alone.attempts
    breaker = "closed"
    for asked in range(2, MOST_ASKED + 1):
        if not told.status:
            break
        if ask(server, case.service(False), case.stream).code == "breaker_open":
            breaker = f"open after {asked - 1}"
            break
    backed = ask(server, case.service(True), case.stream)
    cells = [case.fault, "stream" if case.stream else "whole", told.status, told.code or "-", told.attempts]
    cells += [_seen(seen), breaker, f"{backed}, {_seen(case.backed.attempts)}"]
    return "| " + " | ".join(map(str, cells)) + " |"


def _seen(attempts: int | None) -> str:
    return "-" if attempts is None else str(attempts)


def table(server: Penstock, found: list[Case]) -> str:
    """Measures all of it, several rows at once."""
    with ThreadPoolExecutor(AT_ONCE) as pool:
        rows = list(pool.map(lambda case: row(server, case), found))
    return HEADING + "\n".join(rows) + "\n"


def main() -> None:
    """Prints the table."""
    with tempfile.TemporaryDirectory() as folder, BadUpstream() as upstream:
        found = list(cases(upstream, Path(folder)))
        with running(deployment(found, upstream.place("good"))) as server:
            print(table(server, [case for case, _ in found]), end="", flush=True)
        print(killed.table(upstream), end="", flush=True)


if __name__ == "__main__":
    main()
