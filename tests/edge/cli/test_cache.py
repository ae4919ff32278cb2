"""``penstock cache``: what is asked and told of invalidations, and what caches did."""

from __future__ import annotations

import json

import pytest
from msgspec.structs import asdict

from penstock.control.accounts.caches import Invalidate, Invalidated, InvalidationView, SemanticView
from penstock.control.accounts.usage import SumView
from penstock.core.usage import Tokens
from penstock.edge.cli.main import main
from tests.edge.cli import seen
from tests.edge.cli.accounts import Accounts

Out = pytest.CaptureFixture[str]

DESK = SemanticView(
    project="red", service="faq", caller="", max_error=0.02, requests=1000, hits=300, audits=40, wrong_seen=1,
    wrong_estimate=3.52, wrong_at_most=12, allowed=20.0, threshold=0.1, probability=0.05, labels=700, entries=600,
)  # fmt: skip


def told(scope: str, value: str = "", project: str = "", at: float = 0.0) -> Invalidated:
    return Invalidated(scope=scope, value=value, project=project, at=at, since=at)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("args", "body", "said"),
    [
        (
            ["--service", "faq", "--older-than", "1h", "--in-project", "red"],
            Invalidate(scope="service", value="faq", project="red", older_than_s=3600.0),
            "Answers of the service faq of the project red: what was made until 1970-01-01T00:00:00Z is not served "
            "any more. Every worker knows within 1 s.",
        ),
        (["--release", "rel_1"], Invalidate(scope="release", value="rel_1"), "Answers of the release rel_1: "),
        (["--project", "red"], Invalidate(scope="project", value="red"), "Answers of the project red: "),
        (["--tag", "a b"], Invalidate(scope="tag", value="a b"), "Answers of the tag a b: "),
        (["--key", "0" * 40], Invalidate(scope="key", value="0" * 40), "Answers of the key "),
        (["--user", "ada"], Invalidate(scope="subject", value="ada"), "Answers of the person: "),
        (["--all", "--yes"], Invalidate(scope="all"), "All answers: "),
    ],
)
def test_what_is_asked_and_said(
    gateway_accounts: Accounts, capsys: Out, args: list[str], body: Invalidate, said: str
) -> None:
    value = "f" * 32 if body.scope == "subject" else body.value
    project = body.project or (body.value if body.scope == "project" else "")
    gateway_accounts.answer("caches.invalidate", told(body.scope, value, project))
    assert main(["cache", "invalidate", *args]) == 0
    assert capsys.readouterr().out.startswith(said)
    (asked,) = gateway_accounts.asked
    assert asked.body == body
    assert asked.idempotency_key


@pytest.mark.parametrize(
    "args", [[], ["--service", "a", "--tag", "b"], ["--all"], ["--tag", "x", "--older-than", "x"]]
)
def test_what_makes_no_sense_asks_nothing(gateway_accounts: Accounts, args: list[str]) -> None:
    assert main(["cache", "invalidate", *args]) == 2
    assert gateway_accounts.asked == []


def test_what_was_invalidated(gateway_accounts: Accounts, capsys: Out) -> None:
    row = InvalidationView(scope="subject", value="f" * 32, project="red", at=0.0)
    gateway_accounts.list("caches.list", row)
    assert main(["cache", "list", "--project", "red"]) == 0
    assert capsys.readouterr().out.splitlines()[1].split() == ["1970-01-01T00:00:00Z", "person", "f" * 32, "red"]
    gateway_accounts.list("caches.list")
    assert main(["cache", "list"]) == 0
    assert capsys.readouterr().err == "Nothing was invalidated.\n"


def _figures(gateway: Accounts) -> None:
    counts = {"hit": 60, "similar": 20, "miss": 115, "bypass": 5}
    faq = seen.service("faq", now=seen.point(200, caches=counts))
    gateway.answer("overview.get", seen.overview(seen.service("assistant"), faq))
    saved = SumView(
        group={"service": "faq"}, requests=200, rows=120, tokens=Tokens(), cost="1.00", estimated_rows=0,
        cached_requests=80, saved="0.75",
    )  # fmt: skip
    gateway.list("usage.sums", saved)
    gateway.list("caches.semantic", DESK)


def test_what_caches_did(gateway_accounts: Accounts, capsys: Out) -> None:
    _figures(gateway_accounts)
    assert main(["cache", "show", "--window", "7d"]) == 0
    lines = [line.split() for line in capsys.readouterr().out.splitlines()]
    assert lines[1] == ["faq", "60", "20", "0", "0", "0", "0", "115", "5", "40.0", "%", "$0.75"]
    assert lines[4] == ["faq", "red", "-", "1000", "300", "40", "3.5", "12", "20.0", "600"]
    overview, usage, _ = (asked.query for asked in gateway_accounts.asked)
    assert overview["window"] == "7d"
    assert usage["by"] == "service"
    _figures(gateway_accounts)
    assert main(["cache", "show", "--json"]) == 0
    shown = json.loads(capsys.readouterr().out)
    assert shown["services"]["faq"]["similar"] == 20
    assert shown["saved"] == {"faq": "0.75"}
    assert shown["semantic"] == [asdict(DESK)]


def test_where_nothing_is_kept_it_says_how_to_begin(gateway_accounts: Accounts, capsys: Out) -> None:
    gateway_accounts.answer("overview.get", seen.overview(seen.service("assistant")))
    gateway_accounts.list("usage.sums")
    gateway_accounts.list("caches.semantic")
    assert main(["cache", "show"]) == 0
    assert "cache: {exact: {}}" in capsys.readouterr().err
