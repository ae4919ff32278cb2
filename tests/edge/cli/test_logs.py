"""``penstock logs``, ``trace`` and ``subjects``: what is asked, and what is shown."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator

import msgspec
import pytest
from msgspec.structs import replace

from penstock.control.observed.views import ContentView, RequestView, SubjectErased, SubjectView
from penstock.edge.cli.asking import PAGE, Told
from penstock.edge.cli.logs import Seen
from penstock.edge.cli.main import main
from penstock.edge.cli.trace import waterfall
from tests.edge.cli.accounts import Accounts
from tests.edge.cli.seen import NOW, detail, request

REQUEST = msgspec.Raw(b'{"a":["\\u001b[31m"]}')
Out = pytest.CaptureFixture[str]


def test_requests_are_listed_with_the_newest_last(gateway_accounts: Accounts, capsys: Out) -> None:
    gateway_accounts.list(
        "requests.list",
        request(id="new", attempts=2, cache="miss"),
        request(
            id="old", status=429, code="rate_limit_exceeded", tokens=None, first_chunk_ms=None, model="", cost="0"
        ),
    )
    args = ["--service", "assistant", "--min-ms", "100", "--status", "5xx", "--failed", "--since", "2026-11-01"]
    assert main(["logs", *args, "--most", "2"]) == 0
    head, old, new = (line.split() for line in capsys.readouterr().out.splitlines())
    assert head[:4] == ["ARRIVED", "ID", "SERVICE", "MODEL"]
    assert old[1:] == [
        *("old", "assistant", "-", "429", "-", "1.23", "s", "-", "-", "$0", "key_1", "rate_limit_exceeded"),
    ]  # fmt: skip
    assert new[0] == "2026-11-18T11:06:40Z"
    assert new[1:] == [
        *("new", "assistant", "m", "200", "210", "ms", "1.23", "s", "12", "34", "$0.0012", "key_1"),
        *("2", "attempts,", "cache", "miss"),
    ]  # fmt: skip
    (asked,) = gateway_accounts.asked
    assert asked.query == {
        "service": "assistant",
        "min_ms": "100",
        "status": "5xx",
        "ending": "failed",
        "since": "1793491200.0",
        "limit": "2",
    }


def test_json_is_a_line_each(gateway_accounts: Accounts, capsys: Out) -> None:
    gateway_accounts.list("requests.list", request(id="b"), request(id="a"))
    assert main(["logs", "--json"]) == 0
    assert [line[:9] for line in capsys.readouterr().out.splitlines()] == ['{"id":"a"', '{"id":"b"']
    gateway_accounts.list("requests.list")
    assert main(["logs"]) == 0
    assert "There is no such request." in capsys.readouterr().err


def test_what_is_followed_is_shown_once(gateway_accounts: Accounts) -> None:
    gateway_accounts.list("requests.list", request(id="one"))
    gateway_accounts.list("requests.list", request(id="two"), request(id="one"))
    gateway_accounts.refuse("requests.list", 503, "store_unavailable", "The store is away")
    for _ in range(60):
        gateway_accounts.list("requests.list", request(id="three"), request(id="two"), request(id="one"))
    env = {**os.environ, "PYTHONUNBUFFERED": "1"}
    command = [sys.executable, "-m", "penstock.edge.cli.main", "logs", "-f", "--key", "key_1"]
    process = subprocess.Popen(
        command,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=env,
        text=True,
        # A shell that starts the tests in the background has them ignore it.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )
    assert process.stdout is not None
    try:
        lines = [process.stdout.readline().split()[1] for _ in range(4)]
        assert lines == ["ID", "one", "two", "three"]
        deadline = time.monotonic() + 20
        asked = len(gateway_accounts.asked)
        while len(gateway_accounts.asked) < asked + 2 and time.monotonic() < deadline:
            time.sleep(0.05)
        process.send_signal(signal.SIGINT)
        rest, said = process.communicate(timeout=20)
    finally:
        process.kill()
        process.wait(10)
    assert (rest, process.returncode) == ("", 0)
    assert said == "The store is away; looking on\n"
    assert all(each.query["key"] == "key_1" for each in gateway_accounts.asked)


def test_a_log_that_is_followed_is_read_as_far_as_there_is_something_new() -> None:
    def told(*ids: str) -> list[Told[RequestView]]:
        return [Told(msgspec.Raw(b""), request(id=id)) for id in ids]

    seen = Seen(told(*(f"r{n}" for n in range(3 * PAGE))))
    read: list[str] = []

    def listed() -> Iterator[Told[RequestView]]:
        for each in told("new", *(f"r{n}" for n in range(3 * PAGE)), "late"):
            read.append(each.value.id)
            yield each

    assert [each.value.id for each in seen.new(listed(), all_of_them=False)] == ["new"]
    assert len(read) == 1 + PAGE
    assert [each.value.id for each in seen.new(listed(), all_of_them=True)] == ["late"]


def test_a_request_has_its_course_and_its_reasons(
    gateway_accounts: Accounts, capsys: Out, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "120")
    gateway_accounts.answer("requests.get", detail(user="ada", trace="ab" * 16))
    assert main(["trace", "req_1"]) == 0
    out = capsys.readouterr().out.splitlines()
    assert out[0] == "req_1  2026-11-18T11:06:40Z  assistant  project red, key key_1, user ada"
    assert out[1].startswith("complete 200  took 1.23 s  first chunk 210 ms  overhead 0.8 ms  $0.0012  trace abab")
    assert out[3].startswith("assistant  |=====")
    assert out[3].endswith("|   1.23 s  complete 200")
    assert out[6].startswith("    m      |  xx")
    assert out[6].endswith("|   100 ms  m-0  upstream_failed")
    assert out[-2:] == ["'m' (m-1) answered.", "Scores: success 1."]
    assert max(map(len, out)) < 120
    said = ContentView(id="req_1", at=NOW, masked=True, request=REQUEST, reply=msgspec.Raw(b"null"))
    gateway_accounts.answer("requests.get", detail())
    gateway_accounts.answer("requests.content", said)
    assert main(["trace", "req_1", "--content", "--at", "1795000000.5"]) == 0
    out = capsys.readouterr().out.splitlines()
    assert "What was said, with personal data masked:" in out
    assert out[-6:] == ["{", '  "a": [', '    "\\u001b[31m"', "  ]", "}", "null"]
    assert [each.query for each in gateway_accounts.asked[-2:]] == [{"at": "1795000000.5"}, {"at": str(NOW)}]


def test_bars_stay_inside_their_room() -> None:
    for width in (20, 80, 300):
        lines = list(waterfall(detail().spans, width))
        bars = {line.index("|", line.index("|") + 1) for line in lines}
        assert len(bars) == 1
    assert list(waterfall((), 80)) == []


def test_a_subject_is_shown_and_erased_after_asking(gateway_accounts: Accounts, capsys: Out) -> None:
    view = SubjectView(id="ada", requests=1234, contents=5, feedback=2, first_at=NOW, last_at=NOW + 60)
    gateway_accounts.answer("subjects.get", view)
    assert main(["subjects", "show", "ada"]) == 0
    assert capsys.readouterr().out == (
        "ada: 1,234 requests, 5 contents, 2 scores and feedback, from 2026-11-18T11:06:40Z to 2026-11-18T11:07:40Z. "
        "Caches are not looked through; `penstock subjects erase` ends what they serve of it.\n"
    )
    gateway_accounts.answer("subjects.get", replace(view, invalidated_at=NOW))
    assert main(["subjects", "show", "ada"]) == 0
    assert "Caches serve nothing that was made for it until 2026-11-18T11:06:40Z." in capsys.readouterr().out
    assert main(["subjects", "erase", "ada"]) == 2
    assert "give --yes" in capsys.readouterr().err
    erased = SubjectErased(
        id="a/b", requests=3, contents=1, feedback=0, archived_days=2, invalidated_at=NOW, untold=("g2",)
    )
    gateway_accounts.answer("subjects.erase", erased)
    assert main(["subjects", "erase", "a/b", "--project", "red", "-y"]) == 0
    out, err = capsys.readouterr()
    assert out == (
        "Erased of a/b: 3 requests, 1 contents, 0 scores and feedback; 2 days of the archive were written anew. "
        "Caches serve nothing that was made for it until 2026-11-18T11:06:40Z.\n"
    )
    assert "g2" in err
    asked = gateway_accounts.asked[-1]
    assert (asked.operation, asked.target, asked.query) == ("subjects.erase", "a/b", {"project": "red"})
