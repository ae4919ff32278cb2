"""``penstock limits`` and ``budgets``: what is set in place of what was there, and what is spent."""

from __future__ import annotations

from decimal import Decimal

import msgspec
import pytest
from msgspec import UNSET

from penstock.control.accounts.budgets import BudgetView, ChangeBudget, CreateBudget
from penstock.control.accounts.limits import ChangeLimit, CreateLimit, LimitView
from penstock.control.accounts.turn import Gone
from penstock.edge.cli.main import main
from tests.edge.cli.accounts import Accounts

LIMIT = LimitView(
    id="lim_1", kind="project", subject="red", service="", metric="requests", per="minute", amount=600, created_at=0.0
)
BUDGET = BudgetView(
    id="bud_1",
    kind="project",
    subject="red",
    service="",
    period="month",
    amount="500.00",
    warn_percent=(80,),
    created_at=0.0,
    spent="125.50",
    period_end=86400.0,
)
Out = pytest.CaptureFixture[str]
replace = msgspec.structs.replace


def test_a_limit_is_changed_where_there_is_one_and_else_made(gateway_accounts: Accounts, capsys: Out) -> None:
    day = replace(LIMIT, id="lim_2", per="day", amount=20_000)
    gateway_accounts.list("limits.list", LIMIT)
    gateway_accounts.answer("limits.change", replace(LIMIT, amount=900))
    gateway_accounts.answer("limits.create", day)
    gateway_accounts.answer("limits.create", replace(LIMIT, id="lim_3", metric="concurrent", per="", amount=8))
    line = ["project:red", "--requests", "900", "--requests", "20k/day", "--concurrent", "8"]
    assert main(["limits", "set", *line]) == 0
    assert capsys.readouterr().out.splitlines() == [
        "project:red: at most 900 requests a minute (lim_1).",
        "project:red: at most 20000 requests a day (lim_2).",
        "project:red: at most 8 requests at once (lim_3).",
    ]
    assert gateway_accounts.asked[0].query == {"kind": "project", "subject": "red", "limit": "200"}
    assert gateway_accounts.bodies("limits.change") == [ChangeLimit(amount=900)]
    assert gateway_accounts.bodies("limits.create") == [
        CreateLimit(kind="project", subject="red", metric="requests", per="day", amount=20_000),
        CreateLimit(kind="project", subject="red", metric="concurrent", per="", amount=8),
    ]


def test_a_limit_at_one_service_is_another_limit(gateway_accounts: Accounts) -> None:
    gateway_accounts.list("limits.list", replace(LIMIT, kind="key", subject="*"))
    gateway_accounts.answer("limits.create", replace(LIMIT, kind="key", subject="*", service="embed"))
    assert main(["limits", "set", "key", "--requests", "1.5M/minute", "--service", "embed"]) == 0
    (made,) = gateway_accounts.bodies("limits.create")
    assert made == CreateLimit(kind="key", service="embed", metric="requests", per="minute", amount=1_500_000)


@pytest.mark.parametrize(
    ("line", "code", "said"),
    [
        (["set", "project:red"], 1, "no limit was given"),
        (["set", "planet:red", "--requests", "1"], 2, "nothing to set it on"),
        (["set", "project:", "--requests", "1"], 2, "nothing to set it on"),
        (["set", "global", "--requests", "1.5"], 2, "no whole number"),
        (["set", "global", "--requests", "-1"], 2, "no whole number"),
        (["set", "global", "--requests", "1/hour"], 2, "write 1/minute or 1/day"),
        (["set", "global", "--requests", "1/"], 2, "write 1/minute or 1/day"),
        (["set", "global", "--concurrent", "1/day"], 2, "requests at one moment"),
    ],
)
def test_what_makes_no_sense_is_not_asked(
    gateway_accounts: Accounts, capsys: Out, line: list[str], code: int, said: str
) -> None:
    assert main(["limits", *line]) == code
    assert said in " ".join(capsys.readouterr().err.split())
    assert gateway_accounts.asked == []


def test_limits_are_listed_and_removed(gateway_accounts: Accounts, capsys: Out) -> None:
    gateway_accounts.list("limits.list", LIMIT, replace(LIMIT, id="lim_2", kind="global", subject="*", amount=12))
    assert main(["limits", "list"]) == 0
    assert [line.split() for line in capsys.readouterr().out.splitlines()[1:]] == [
        ["lim_1", "project:red", "-", "600", "requests", "a", "minute"],
        ["lim_2", "global", "-", "12", "requests", "a", "minute"],
    ]
    gateway_accounts.list("limits.list")
    assert main(["limits", "list", "key"]) == 0
    assert gateway_accounts.asked[-1].query == {"kind": "key", "subject": "*", "limit": "200"}
    for id_ in ("lim_1", "lim_2"):
        gateway_accounts.answer("limits.delete", Gone(object="limit", id=id_))
    assert main(["limits", "remove", "lim_1", "lim_2", "--yes"]) == 0
    assert [asked.target for asked in gateway_accounts.asked[-2:]] == ["lim_1", "lim_2"]


def test_a_budget_is_changed_where_there_is_one_and_else_made(gateway_accounts: Accounts, capsys: Out) -> None:
    gateway_accounts.list("budgets.list", BUDGET)
    gateway_accounts.answer("budgets.change", replace(BUDGET, amount="12.50"))
    assert main(["budgets", "set", "project:red", "$12.50"]) == 0
    assert gateway_accounts.bodies("budgets.change") == [ChangeBudget(amount=Decimal("12.50"), warn_percent=UNSET)]
    assert capsys.readouterr().out == "project:red: at most $12.50 a month (bud_1).\n"
    gateway_accounts.list("budgets.list", BUDGET)
    gateway_accounts.answer("budgets.create", replace(BUDGET, period="total"))
    assert main(["budgets", "set", "project:red", "1,000", "--per", "total", "--warn", "50", "--warn", "90"]) == 0
    (made,) = gateway_accounts.bodies("budgets.create")
    assert made == CreateBudget(
        kind="project", subject="red", period="total", amount=Decimal(1000), warn_percent=(50, 90)
    )
    assert main(["budgets", "set", "global", "12.x"]) == 2
    assert "write 12.50" in capsys.readouterr().err


def test_budgets_are_listed_with_what_is_spent(gateway_accounts: Accounts, capsys: Out) -> None:
    each = replace(BUDGET, id="bud_2", kind="key", subject="*", period="total", spent_by="k9", period_end=None)
    warned = replace(BUDGET, id="bud_4", warn_percent=(10, 25, 90))
    gateway_accounts.list("budgets.list", BUDGET, each, replace(BUDGET, id="bud_3", amount="0.00"), warned)
    assert main(["budgets", "list"]) == 0
    assert [" ".join(line.split()) for line in capsys.readouterr().out.splitlines()[1:]] == [
        "bud_1 project:red - month 500.00 125.50 25% 1970-01-02T00:00:00Z",
        "bud_2 each key - total 500.00 125.50 (k9) 25% never",
        "bud_3 project:red - month 0.00 125.50 - 1970-01-02T00:00:00Z",
        "bud_4 project:red - month 500.00 125.50 25% (past 25%) 1970-01-02T00:00:00Z",
    ]
    gateway_accounts.answer("budgets.delete", Gone(object="budget", id="bud_1"))
    assert main(["budgets", "remove", "bud_1", "--yes"]) == 0
