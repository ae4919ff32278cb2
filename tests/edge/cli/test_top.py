"""``penstock top``: what is on the board, once without a terminal, and live in one."""

from __future__ import annotations

import os
import pty
import re
import select
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from penstock.edge.cli.amounts import memory, money, rate, share, since, time_taken
from penstock.edge.cli.main import main
from penstock.edge.cli.top_board import Seen, Wish, board, ordered
from tests.edge.cli.accounts import Accounts
from tests.edge.cli.seen import NOW, alert, overview, point, replica, service

Out = pytest.CaptureFixture[str]
_ESCAPES = re.compile(r"\x1b(\[[0-9;?]*[A-Za-z]|\([A-B0]|[=>78])")


def shown(seen: Seen, **wish: object) -> list[str]:
    return [line.text for line in board(seen, Wish(**wish), NOW + 2)]  # type: ignore[arg-type]


def test_the_board_has_what_is_known_and_no_zero_for_what_is_not() -> None:
    busy = service("assistant", now=point(120, failed=3, codes={"upstream_failed": 3}))
    unknown = service("quiet", now=None, before=None, ready=False, state="starting")
    seen = Seen(
        overview=overview(busy, unknown, alerts=(alert("a"), alert("b", silenced_until=NOW + 9))),
        replicas=[replica("m-0"), replica("m-1", running=None, kv_use=None, state="down", note="it has exited")],
        at=NOW,
    )
    lines = shown(seen, chosen="assistant")
    assert lines[0] == "penstock top  g1  last 1m until 11:06:40Z  by requests"
    assert lines[1] == "requests/s 4.0  in flight 3  queued 0  tokens/s 80.0  errors 0%  cost/h $3.00"
    assert lines[4].split() == [
        *("assistant", "ready", "2.0"), *("93", "ms", "180", "ms", "840", "ms", "2.10", "s"),
        *("40.0", "2.5%", "0%", "$3.00"),
    ]  # fmt: skip
    assert lines[5].split() == ["quiet", "starting", *"?????????"]
    assert "assistant: releases rel_1 90 %, rel_2 10 %" in lines
    assert "errors: upstream_failed 3" in lines
    assert "before: 1.0 req/s, 0% errors, p95 2.10 s" in lines
    down = next(line for line in lines if line.startswith("m-1"))
    assert down.split() == ["m-1", "down", "-", "0", "-", "3.0", "GiB", "40", "GiB", "77%", "it", "has", "exited"]
    assert lines[-2:] == [
        "PAGE 10 min: The error budget burns 20 times too fast",
        "silenced 10 min: The error budget burns 20 times too fast",
    ]


def test_it_says_how_old_it_is_instead_of_zeros() -> None:
    lines = shown(Seen(overview=overview(stale_since=NOW - 30, total=None), replicas=None, at=NOW))
    assert lines[1] == "Unknown, stale since 2026-11-18T11:06:10Z: the store does not answer."
    assert "requests/s -" in lines[2]
    gone = Seen(overview=overview(), replicas=(), at=NOW - 40, lost="no gateway answers at\nhttp://x")
    assert shown(gone)[1] == "Nothing new for 42 s: no gateway answers at http://x"


def test_services_are_in_the_order_that_is_wished_for() -> None:
    a = service("a", now=point(10, failed=5, cost="9"))
    b = service("b", now=point(500, cost="1"))
    c = service("c", now=None)
    assert [each.service for each in ordered((a, b, c), "requests")] == ["b", "a", "c"]
    assert [each.service for each in ordered((a, b, c), "errors")] == ["a", "b", "c"]
    assert [each.service for each in ordered((b, c, a), "cost")] == ["a", "b", "c"]
    assert [each.service for each in ordered((b, c, a), "name")] == ["a", "b", "c"]
    assert ordered((b, c, a), "latency")[-1] is c


def test_without_a_terminal_it_is_printed_once(gateway_accounts: Accounts, capsys: Out) -> None:
    gateway_accounts.answer("overview.get", overview(service("assistant")))
    gateway_accounts.list("replicas.list", replica("m-0"))
    assert main(["top", "--window", "15m", "--project", "red"]) == 0
    assert "assistant  ready" in capsys.readouterr().out
    assert gateway_accounts.asked[0].query == {"window": "15m", "project": "red"}
    gateway_accounts.answer("overview.get", overview(service("assistant")))
    gateway_accounts.refuse("replicas.list", 403, "permission_denied", "no")
    assert main(["top", "--once"]) == 0
    assert "The key may not see replicas ('live:read')." in capsys.readouterr().out
    gateway_accounts.answer("overview.get", overview())
    assert main(["top", "--json"]) == 0
    assert '"object": "overview"' in capsys.readouterr().out


def test_a_gateway_that_is_away_is_named(
    gateway_accounts: Accounts, capsys: Out, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PENSTOCK_API_KEY", "pk")
    assert main(["top", "--url", "http://127.0.0.1:1"]) == 1
    assert "no gateway answers at http://127.0.0.1:1" in capsys.readouterr().err


class Terminal:
    """A command in a terminal of its own."""

    def __init__(self, process: subprocess.Popen[bytes], end: int) -> None:
        self.process = process
        self._end = end
        self._told = ""

    def until(self, text: str) -> None:
        """Reads on until the text has been drawn; what was drawn before it is forgotten."""
        deadline = time.monotonic() + 20.0
        while text not in (plain := _ESCAPES.sub("", self._told)):
            left = deadline - time.monotonic()
            assert left > 0, f"{text!r} was never drawn; this was: {plain!r}"
            if select.select([self._end], [], [], left)[0]:
                self._told += os.read(self._end, 1 << 16).decode()
        self._told = plain[plain.index(text) + len(text) :]

    def press(self, keys: bytes) -> None:
        os.write(self._end, keys)


@contextmanager
def terminal(*args: str) -> Iterator[Terminal]:
    ours, theirs = pty.openpty()
    env = {**os.environ, "TERM": "xterm-256color", "LINES": "40", "COLUMNS": "140"}
    process = subprocess.Popen(
        [sys.executable, "-m", "penstock.edge.cli.main", *args], stdin=theirs, stdout=theirs, stderr=theirs, env=env
    )
    os.close(theirs)
    try:
        yield Terminal(process, ours)
    finally:
        process.kill()
        process.wait(10)
        os.close(ours)


def test_in_a_terminal_it_goes_on_and_hears_keys(gateway_accounts: Accounts, tmp_path: Path) -> None:
    for n in range(300):
        gateway_accounts.answer("overview.get", overview(service("assistant"), in_flight=n + 1000))
        gateway_accounts.list("replicas.list", replica("m-0"))
    with terminal("top", "--every", "0.5") as there:
        there.until("in flight 1,000")
        there.until("q quit")
        there.press(b"s")
        there.until("errors")
        there.press(b"\x1bOB")
        there.until("releases rel_1 90 %")
        there.press(b"w")
        deadline = time.monotonic() + 20
        while gateway_accounts.asked[-1].query.get("window") != "5m" and time.monotonic() < deadline:
            time.sleep(0.05)
        there.press(b"p")
        there.until("paused")
        there.press(b"q")
        assert there.process.wait(20) == 0
    assert any(each.query.get("window") == "5m" for each in gateway_accounts.asked)


def test_amounts() -> None:
    assert [time_taken(ms) for ms in (None, 0.84, 9.96, 999.6, 9_960.0, 130_000.0)] == [
        *("-", "0.8 ms", "10 ms", "1.00 s", "10 s", "2.2 min"),
    ]  # fmt: skip
    assert [rate(x) for x in (None, 0, 0.256, 12.34, 999.6, 12_345.0)] == ["-", "0", "0.26", "12.3", "1000", "12.3k"]
    assert [share(a, b) for a, b in ((0, 0), (0, 5), (1, 1000), (5, 5), (1, 3))] == ["-", "0%", "0.1%", "100%", "33%"]
    assert [money(x) for x in (None, "0", "0.00012", "1234.5")] == ["-", "$0", "$0.00012", "$1,234.50"]
    assert [memory(x) for x in (None, 512, 3 << 20, 1 << 40)] == ["-", "512 B", "3.0 MiB", "1024 GiB"]
    assert [since(x) for x in (-1.0, 12.0, 600.0, 7200.0, 5 * 86400.0)] == ["0 s", "12 s", "10 min", "2 h", "5 d"]
