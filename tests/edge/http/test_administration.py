"""The admin API over HTTP: what its requests and replies look like, and that the two ends of it agree."""

from __future__ import annotations

import io
import json
from collections.abc import AsyncIterator
from pathlib import Path

import pandas
import pytest
from pyarrow import parquet

from penstock.core.errors import STORE_UNAVAILABLE, PenstockError
from tests.control.accounts.office import NOW, entry
from tests.edge.http.paper import Paper, PaperSite, paper_site

V1 = "/admin/v1"


@pytest.fixture
async def here(tmp_path: Path) -> AsyncIterator[PaperSite]:
    async with paper_site(tmp_path) as found:
        yield found


def error(paper: Paper) -> tuple[int, str, str | None]:
    found = paper.json()["error"]
    return paper.status, found["code"], found["param"]


async def test_a_key_from_its_making_to_its_end(here: PaperSite) -> None:
    made = await here.ask("POST", f"{V1}/keys", {"name": "app"}, key="owner")
    assert made.status == 201
    assert made.told["cache-control"] == "no-store"
    id = made.json()["key"]["id"]
    assert (await here.ask("GET", f"{V1}/keys/{id}", key="owner")).json() == made.json()["key"]
    assert (await here.ask("PATCH", f"{V1}/keys/{id}", {"name": "b"}, key="owner")).json()["name"] == "b"
    turned = await here.ask("POST", f"{V1}/keys/{id}/rotate", {"grace_s": 5}, key="owner")
    assert turned.json()["secret"] != made.json()["secret"]
    assert (await here.ask("POST", f"{V1}/keys/{id}/revoke", key="owner")).json()["revoked_at"] == NOW
    assert here.desk.asked[-1].address == "192.0.2.9"
    assert here.desk.asked[-1].request_id.startswith("req_")


async def test_lists_are_in_pages(here: PaperSite) -> None:
    first = (await here.ask("GET", f"{V1}/projects?limit=2")).json()
    assert [each["id"] for each in first["data"]] == ["blue", "default"]
    assert (first["object"], first["has_more"]) == ("list", True)
    rest = (await here.ask("GET", f"{V1}/projects?limit=2&after={first['next']}")).json()
    assert ([each["id"] for each in rest["data"]], rest["has_more"], rest["next"]) == (["red"], False, None)


async def test_the_same_post_twice_is_one(here: PaperSite) -> None:
    sent = {"name": "app"}
    one = await here.ask("POST", f"{V1}/keys", sent, key="owner", idempotency_key="a b".replace(" ", "-"))
    two = await here.ask("POST", f"{V1}/keys", sent, key="owner", idempotency_key="a-b")
    assert (one.reply_body, one.status) == (two.reply_body, two.status)
    assert two.told["idempotent-replayed"] == "true"
    other = await here.ask("POST", f"{V1}/keys", {"name": "x"}, key="owner", idempotency_key="a-b")
    assert error(other) == (409, "idempotency_conflict", "idempotency-key")


@pytest.mark.parametrize(
    ("method", "target", "body", "told"),
    [
        ("POST", f"{V1}/keys", b"", (400, "invalid_json", None)),
        ("POST", f"{V1}/keys", b"[]", (400, "invalid_type", None)),
        ("POST", f"{V1}/keys", {"project": 5}, (400, "invalid_type", "project")),
        ("POST", f"{V1}/keys", {"projekt": "red"}, (400, "invalid_value", "projekt")),
        ("POST", f"{V1}/keys", {"project": "red", "scopes": {"service": []}}, (400, "invalid_value", "scopes")),
        ("POST", f"{V1}/keys", b'{"project":"red","name":"a\\u0000"}', (400, "invalid_value", None)),
        ("POST", f"{V1}/limits", {"kind": "key"}, (400, "missing_required_parameter", "metric")),
        ("POST", f"{V1}/limits", {"kind": "kee", "metric": "x", "amount": 1}, (400, "invalid_value", "kind")),
        ("POST", f"{V1}/keys/red-key/rotate", {"grace_s": -1}, (400, "invalid_value", "grace_s")),
        ("POST", f"{V1}/keys/red-key/revoke", {"now": True}, (400, "invalid_value", None)),
        ("POST", f"{V1}/budgets", {"kind": "global", "amount": "x"}, (400, "invalid_value", "amount")),
        ("GET", f"{V1}/keys?lmit=1", None, (400, "invalid_value", "lmit")),
        ("GET", f"{V1}/keys?limit=1&limit=2", None, (400, "invalid_value", "limit")),
        ("GET", f"{V1}/keys/nobody", None, (404, "not_found", None)),
        ("GET", f"{V1}/kees", None, (404, "unknown_url", None)),
        ("PUT", f"{V1}/keys", {}, (405, "method_not_allowed", None)),
        ("GET", f"{V1}/keys/red-key/rotate", None, (405, "method_not_allowed", None)),
        ("POST", f"{V1}/keys", b" " * (1 << 20) + b"{}", (413, "request_too_large", None)),
        ("GET", f"{V1}/usage/export?format=xls", None, (400, "invalid_value", "format")),
    ],
)
async def test_mistakes_are_named(
    here: PaperSite, method: str, target: str, body: object, told: tuple[int, str, str | None]
) -> None:
    answered = await here.ask(method, target, body)
    assert error(answered) == told
    assert answered.json()["error"]["message"].count(".") >= 1


async def test_the_nearest_field_is_named(here: PaperSite) -> None:
    answered = await here.ask("POST", f"{V1}/keys", {"projekt": "red"})
    assert "Did you mean 'project'?" in answered.json()["error"]["message"]


@pytest.mark.parametrize("value", ["", " ", "x" * 256, "a b"])
async def test_an_idempotency_key_is_visible_ascii(here: PaperSite, value: str) -> None:
    answered = await here.ask("POST", f"{V1}/teams", {}, key="owner", idempotency_key=value)
    assert error(answered) == (400, "invalid_value", "idempotency-key")


async def test_a_key_bound_to_an_endpoint_reaches_no_other(here: PaperSite) -> None:
    body = {"role": "owner", "scopes": {"endpoints": ["/v1/chat/completions", f"{V1}/teams"]}}
    made = await here.ask("POST", f"{V1}/keys", body, key="owner")
    here.keys["bounded"] = made.json()["secret"]
    assert (await here.ask("GET", f"{V1}/teams", key="bounded")).status == 200
    for target in (f"{V1}/keys", f"{V1}/teams/red-team", "/v1/usage/x", "/v1/models"):
        assert error(await here.ask("GET", target, key="bounded"))[:2] == (403, "endpoint_forbidden")
    assert (await here.ask("POST", f"{V1}/teams", {}, key="bounded")).status == 201


async def test_a_revoked_key_is_refused_at_once(here: PaperSite) -> None:
    assert (await here.ask("POST", f"{V1}/keys/red-viewer-key/revoke", key="owner")).status == 200
    assert error(await here.ask("GET", f"{V1}/teams", key="viewer"))[:2] == (401, "key_revoked")


async def test_usage_of_one_request(here: PaperSite) -> None:
    told = await here.ask("GET", "/v1/usage/red-req-0", key="developer")
    assert error(told)[:2] == (404, "not_found")
    assert (await here.ask("GET", "/v1/usage/red-req-0", key="viewer")).json()["cost"] == "0.0025"
    foreign = await here.ask("GET", "/v1/usage/blue-req-0", key="viewer")
    unknown = await here.ask("GET", "/v1/usage/gray-req-0", key="viewer")
    assert foreign.reply_body.replace(b"blue", b"gray") == unknown.reply_body


async def test_exports_open_in_pandas_and_add_up(here: PaperSite, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("penstock.control.accounts.usage.EXPORTED_AT_ONCE", 7)
    here.office.ledger.append([entry("red", f"more-{row}", at=NOW + row, cost_nano=row) for row in range(50)])
    text = await here.ask("GET", f"{V1}/usage/export?project=red")
    assert (text.status, text.told["content-type"]) == (200, "text/csv; charset=utf-8")
    rows = pandas.read_csv(io.BytesIO(text.reply_body))
    file = await here.ask("GET", f"{V1}/usage/export?project=red&format=parquet")
    table = parquet.read_table(io.BytesIO(file.reply_body)).to_pandas()
    (total,) = (await here.ask("GET", f"{V1}/usage?project=red")).json()["data"]
    for frame in (rows, table):
        assert len(frame) == total["rows"] == 53
        assert frame["cost_nano"].sum() == 3 * 2_500_000 + sum(range(50))
    assert float(total["cost"]) == pytest.approx(rows["cost_nano"].sum() / 1e9)
    assert len([ask for ask in here.desk.asked if ask.operation == "usage.export"]) == 2 * 8
    own = await here.ask("GET", f"{V1}/usage/export", key="blue-viewer")
    assert set(pandas.read_csv(io.BytesIO(own.reply_body))["project"]) == {"blue"}


async def test_an_export_that_fails_half_way_is_broken_off(here: PaperSite, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("penstock.control.accounts.usage.EXPORTED_AT_ONCE", 1)
    monkeypatch.setattr("penstock.store.export_csv.LINES", 1)
    real, asked = here.desk.administer, []

    async def fails(ask: object) -> object:
        asked.append(ask)
        if len(asked) > 2:
            raise PenstockError(STORE_UNAVAILABLE, "The store is away.")
        return await real(ask)  # type: ignore[arg-type]

    monkeypatch.setattr(here.desk, "administer", fails)
    cut = await here.ask("GET", f"{V1}/usage/export?format=csv")
    assert (cut.status, cut.finished, len(cut.reply_body.splitlines())) == (200, False, 3)


async def test_what_the_first_page_refuses_is_an_error_and_no_file(here: PaperSite) -> None:
    assert error(await here.ask("GET", f"{V1}/usage/export?project=blue", key="owner"))[:2] == (404, "not_found")
    assert error(await here.ask("GET", f"{V1}/usage/export?since=soon"))[2] == "since"


async def test_options_names_the_methods(here: PaperSite) -> None:
    assert (await here.ask("OPTIONS", f"{V1}/keys/x", key=None)).told["allow"] == "GET, HEAD, OPTIONS, PATCH"


async def test_redaction_and_verification(here: PaperSite) -> None:
    rows = (await here.ask("GET", f"{V1}/audit?kind=content", key="owner")).json()["data"]
    body = {"numbers": [rows[0]["number"]], "reason": "asked to"}
    assert (await here.ask("POST", f"{V1}/audit/redact", body, key="owner")).json()["redacted"] == 1
    head = (await here.ask("GET", f"{V1}/audit/head")).json()
    told = (await here.ask("POST", f"{V1}/audit/verify", {"heads": [head]})).json()
    assert told["whole"] is True
    assert json.dumps(told).count(head["signature"]) == 1
