"""Limits, budgets and prices: who may set them on what, and money that is exact."""

from __future__ import annotations

import pytest

from penstock.core.errors import CONFLICT, INVALID_VALUE, NOT_FOUND, PERMISSION_DENIED
from tests.control.accounts.office import NOW, Office, actor, entry

RED = actor("owner")


@pytest.mark.parametrize(
    ("kind", "subject", "fault"),
    [
        ("project", "red", PERMISSION_DENIED),
        ("global", "*", PERMISSION_DENIED),
        ("service", "chat", PERMISSION_DENIED),
        ("key", "*", PERMISSION_DENIED),
        ("project", "blue", NOT_FOUND),
        ("project", "gray", NOT_FOUND),
        ("key", "blue-key", NOT_FOUND),
        ("key", "gray-key", NOT_FOUND),
        ("user", "blue-user", NOT_FOUND),
        ("team", "blue-team", NOT_FOUND),
    ],
)
async def test_a_project_bounds_its_own_and_not_itself(full: Office, kind: str, subject: str, fault: object) -> None:
    body = {"kind": kind, "subject": subject}
    limited = await full.refused("limits.create", body=body | {"metric": "tokens", "amount": 5}, as_=RED)
    budgeted = await full.refused("budgets.create", body=body | {"amount": "5", "period": "day"}, as_=RED)
    assert (limited.fault, budgeted.fault) == (fault, fault)


async def test_a_project_sees_what_bounds_it_and_does_not_change_it(full: Office) -> None:
    for what, more in (("limits", {"metric": "tokens", "amount": 5}), ("budgets", {"amount": "5"})):
        id = (await full.do(f"{what}.create", body={"kind": "project", "subject": "red"} | more))["id"]
        hidden = (await full.do(f"{what}.create", body={"kind": "project", "subject": "blue"} | more))["id"]
        assert id in {each["id"] for each in (await full.do(f"{what}.list", as_=RED))["data"]}
        assert hidden not in {each["id"] for each in (await full.do(f"{what}.list", as_=RED))["data"]}
        amount = {"amount": more["amount"]}
        for operation, body in (("change", amount), ("delete", None)):
            assert (await full.refused(f"{what}.{operation}", id, body, as_=RED)).fault is PERMISSION_DENIED
            assert (await full.refused(f"{what}.{operation}", hidden, body, as_=RED)).fault is NOT_FOUND


async def test_what_each_may_is_not_widened_for_one_by_its_project(full: Office) -> None:
    await full.do("limits.create", body={"kind": "key", "metric": "tokens", "amount": 100, "id": "each"})
    body = {"kind": "key", "subject": "red-key", "metric": "tokens"}
    error = await full.refused("limits.create", body=body | {"amount": 101}, as_=RED)
    assert error.fault is PERMISSION_DENIED
    assert "'each'" in error.message
    id = (await full.do("limits.create", body=body | {"amount": 100}, as_=RED))["id"]
    assert (await full.refused("limits.change", id, {"amount": 101}, as_=RED)).fault is PERMISSION_DENIED
    assert (await full.do("limits.change", id, {"amount": 101}))["amount"] == 101


async def test_one_limit_on_one_thing(full: Office) -> None:
    body = {"kind": "key", "subject": "red-key", "metric": "requests", "amount": 1}
    error = await full.refused("limits.create", body=body)
    assert error.fault is CONFLICT
    assert "red-key-limit" in error.message
    assert (await full.do("limits.create", body=body | {"per": "day"}))["per"] == "day"
    assert (await full.do("limits.create", body=body | {"metric": "concurrent"}))["per"] == ""


@pytest.mark.parametrize(
    ("body", "param"),
    [
        ({"kind": "global", "subject": "red", "metric": "requests", "amount": 1}, "subject"),
        ({"kind": "service", "subject": "a", "service": "b", "metric": "requests", "amount": 1}, "service"),
        ({"kind": "global", "metric": "requests", "per": "", "amount": 1}, "per"),
        ({"kind": "global", "metric": "concurrent", "per": "day", "amount": 1}, "per"),
    ],
)
async def test_limits_that_cannot_be(full: Office, body: dict[str, object], param: str) -> None:
    error = await full.refused("limits.create", body=body)
    assert (error.fault, error.param) == (INVALID_VALUE, param)


@pytest.mark.parametrize(
    "amount", ["-1", "0.0000000001", "1e10", "1e-999999999", "NaN", "Infinity", "1" * 40, "1." + "0" * 70 + "1"]
)
async def test_amounts_that_cannot_be(full: Office, amount: str) -> None:
    error = await full.refused("budgets.create", body={"kind": "global", "amount": amount})
    assert error.fault is INVALID_VALUE


@pytest.mark.parametrize(
    ("amount", "shown"), [("25", "25.00"), ("0.000000001", "0.000000001"), (12.5, "12.50"), ("0e999999999", "0.00")]
)
async def test_amounts_are_exact(full: Office, amount: object, shown: str) -> None:
    assert (await full.do("budgets.create", body={"kind": "global", "amount": amount}))["amount"] == shown


async def test_a_budget_says_what_is_spent_in_its_period(full: Office) -> None:
    # Of its three rows of $0.0025 an hour ago none is from before this Monday; one more is.
    full.ledger.append([entry("red", "old", at=NOW - 5 * 86400, cost_nano=10**9)])
    red = {"kind": "project", "subject": "red", "amount": "5"}
    week = await full.do("budgets.create", body=red | {"period": "week"})
    total = await full.do("budgets.create", body=red | {"period": "total"})
    each = await full.do("budgets.create", body={"kind": "project", "amount": "5", "period": "total"})
    everything = await full.do("budgets.create", body={"kind": "global", "amount": "5", "period": "total"})
    found = {each["id"]: each for each in (await full.do("budgets.list"))["data"]}
    assert found[week["id"]]["spent"] == "0.0075"
    assert found[total["id"]]["spent"] == "1.0075"
    assert found[total["id"]]["period_end"] is None
    assert (found[each["id"]]["spent"], found[each["id"]]["spent_by"]) == ("1.0075", "red")
    assert found[everything["id"]]["spent"] == "1.015"
    assert await full.do("budgets.get", week["id"]) == found[week["id"]]


async def test_prices_are_the_gateway_s(full: Office) -> None:
    price = {"model": "org/m@2", "since": "2026-01-01", "input": "2.50", "output": "10"}
    assert (await full.refused("prices.create", body=price, as_=RED)).fault is PERMISSION_DENIED
    made = await full.do("prices.create", body=price)
    assert made["id"] == "org/m@2@1767225600"
    assert (made["input"], made["output"], made["since"]) == ("2.5", "10", "2026-01-01")
    assert await full.do("prices.get", made["id"], as_=RED) == made
    cheaper = await full.do("prices.create", body=price | {"input": "1"})
    assert cheaper["id"] == made["id"]
    now = await full.do("prices.create", body={"model": "org/m@2", "input": "3"})
    assert [each["id"] for each in (await full.do("prices.list", model="org/m@2"))["data"]] == [made["id"], now["id"]]
    await full.do("prices.delete", made["id"])
    assert (await full.refused("prices.get", made["id"])).fault is NOT_FOUND
    assert [price.since for price in full.directory.prices] == [NOW]
