"""``penstock usage``: sums with their total, one request, and a file that is whole or not there."""

from __future__ import annotations

import time
from pathlib import Path

import pytest
from msgspec.structs import replace

from penstock.control.accounts.usage import EntryView, RequestUsage, SumView
from penstock.core.usage import Tokens
from penstock.edge.cli.main import main
from tests.edge.cli.accounts import Accounts

Out = pytest.CaptureFixture[str]


def of(group: dict[str, str], requests: int, cost: str) -> SumView:
    tokens = Tokens(input=10 * requests, output=requests)
    return SumView(group=group, requests=requests, rows=requests, tokens=tokens, cost=cost, estimated_rows=0)


def entry(attempt: int, model: str, *, estimated: bool) -> EntryView:
    return EntryView(
        request_id="req_1",
        attempt=attempt,
        gateway="g1",
        received_at=0.0,
        settled_at=1.0,
        project="red",
        key_id="k1",
        user="",
        team="",
        service="assistant",
        model=model,
        kind="chat",
        purpose="client",
        ending="complete",
        status=200,
        tokens=Tokens(input=5, output=7),
        estimated=estimated,
        cost="0.25",
        price=f"{model}@1",
        release="",
    )


def test_sums_have_the_total_that_the_gateway_says(gateway_accounts: Accounts, capsys: Out) -> None:
    gateway_accounts.list("usage.sums", of({"model": "a", "day": "2026-11-21"}, 2, "1.00"), next="n")
    gateway_accounts.list("usage.sums", of({"model": "b", "day": "2026-11-21"}, 1, "0.50"))
    # One request that both worked on.
    gateway_accounts.list("usage.sums", of({}, 2, "1.50"))
    assert main(["usage", "--by", "model,day", "--project", "red", "--since", "7d"]) == 0
    assert [line.split() for line in capsys.readouterr().out.splitlines()] == [
        ["MODEL", "DAY", "REQUESTS", "INPUT", "CACHED", "OUTPUT", "ESTIMATED", "COST"],
        ["a", "2026-11-21", "2", "20", "0", "2", "0", "1.00"],
        ["b", "2026-11-21", "1", "10", "0", "1", "0", "0.50"],
        ["all", "-", "2", "20", "0", "2", "0", "1.50"],
    ]
    first, second, total = (asked.query for asked in gateway_accounts.asked)
    assert (first["by"], first["project"], second["after"]) == ("model,day", "red", "n")
    assert abs(float(first["since"]) - (time.time() - 7 * 86400)) < 60
    assert "by" not in total
    assert total["since"] == first["since"]


def test_what_caches_saved_has_columns_where_they_answered(gateway_accounts: Accounts, capsys: Out) -> None:
    hits = replace(of({"project": "red"}, 5, "1.00"), cached_requests=3, saved="0.75")
    gateway_accounts.list("usage.sums", hits)
    assert main(["usage"]) == 0
    titles, row = (line.split() for line in capsys.readouterr().out.splitlines())
    assert titles[-4:] == ["COST", "FROM", "CACHE", "SAVED"]
    assert row[-3:] == ["1.00", "3", "0.75"]
    hit = replace(entry(0, "a", estimated=False), cache="similar", saved="0.75")
    told = RequestUsage(
        request_id="req_1", cost="0.25", estimated=False, tokens=Tokens(), saved="0.75", entries=(hit,)
    )
    gateway_accounts.answer("usage.request", told)
    assert main(["usage", "show", "req_1"]) == 0
    assert capsys.readouterr().out.splitlines()[-1] == "$0.25; from the cache (similar), which saved $0.75"


def test_nothing_used_is_no_failure(gateway_accounts: Accounts, capsys: Out) -> None:
    gateway_accounts.list("usage.sums")
    assert main(["usage"]) == 0
    assert capsys.readouterr() == ("", "Nothing was used.\n")
    assert gateway_accounts.asked[0].query == {"by": "project", "limit": "200"}


def test_one_request_by_its_attempts(gateway_accounts: Accounts, capsys: Out) -> None:
    entries = (entry(1, "a", estimated=True), entry(2, "b", estimated=False))
    told = RequestUsage(
        request_id="req_1", cost="0.50", estimated=True, tokens=Tokens(input=10, output=14), entries=entries
    )
    gateway_accounts.answer("usage.request", told)
    assert main(["usage", "show", "req_1"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "req_1  1970-01-01T00:00:00Z  assistant  project red, key k1"
    assert lines[2].split() == ["1", "a", "complete", "5", "0", "7", "yes", "0.25", "a@1"]
    assert lines[-1] == "$0.50 (estimated)"
    assert gateway_accounts.asked[0].target == "req_1"


def test_an_export_is_whole_or_not_there(
    gateway_accounts: Accounts, capsysbinary: pytest.CaptureFixture[bytes]
) -> None:
    rows = b"request_id,cost_usd\nreq_1,0.25\n"
    gateway_accounts.answer("usage.export", rows)
    assert main(["usage", "export"]) == 0
    assert capsysbinary.readouterr().out == rows
    gateway_accounts.answer("usage.export", rows)
    assert main(["usage", "export", "--since", "2026-11-01", "-o", "november.parquet"]) == 0
    assert Path("november.parquet").read_bytes() == rows
    assert gateway_accounts.asked[-1].query == {"since": "1793491200.0", "format": "parquet"}
    gateway_accounts.answer("usage.export", rows)
    gateway_accounts.cut = 4
    assert main(["usage", "export", "-o", "cut.csv"]) == 1
    assert b"is lost" in capsysbinary.readouterr().err
    assert sorted(file.name for file in Path().iterdir()) == ["home", "november.parquet"]
