"""``penstock prices``: exact amounts, tiers, and what came with Penstock."""

from __future__ import annotations

from decimal import Decimal

import msgspec
import pytest

from penstock.access.price_form import PriceForm, TierForm
from penstock.control.accounts.prices import PriceView
from penstock.control.accounts.turn import Gone
from penstock.edge.cli.main import main
from tests.edge.cli.accounts import Accounts

VIEW = PriceView(id="m/x@1754524800", model="m/x", since="2025-08-07", input=Decimal("0.50"), output=Decimal("1.5"))
Out = pytest.CaptureFixture[str]


def test_a_price_is_set_exactly(gateway_accounts: Accounts, capsys: Out) -> None:
    gateway_accounts.answer("prices.create", VIEW)
    line = ["--input", "0.50", "--output", "1.5", "--cached-read", "0.05", "--since", "2025-08-07"]
    tiers = ["--tier", "400000:input=2", "--tier", "200000:input=1,cached-read=0.1"]
    assert main(["prices", "set", "m/x", *line, *tiers]) == 0
    assert gateway_accounts.bodies("prices.create") == [
        PriceForm(
            model="m/x",
            since="2025-08-07",
            input=Decimal("0.50"),
            output=Decimal("1.5"),
            cached_read=Decimal("0.05"),
            tiers=(
                TierForm(above=200_000, input=Decimal(1), cached_read=Decimal("0.1")),
                TierForm(above=400_000, input=Decimal(2)),
            ),
        )
    ]
    assert capsys.readouterr().out == "Price m/x@1754524800 is set.\n"


@pytest.mark.parametrize("tier", ["200000", "x:input=1", "200000:inputs=1", "200000:input=a", "200000:"])
def test_a_tier_that_is_none_is_said(gateway_accounts: Accounts, capsys: Out, tier: str) -> None:
    assert main(["prices", "set", "m", "--tier", tier]) == 2
    assert "write" in capsys.readouterr().err
    assert gateway_accounts.asked == []


def test_the_price_that_holds_now_is_shown(gateway_accounts: Accounts, capsys: Out) -> None:
    later = msgspec.structs.replace(VIEW, id="m/x@99999999999", input=Decimal(9))
    gateway_accounts.list("prices.list", VIEW, later)
    assert main(["prices", "show", "m/x"]) == 0
    assert "id             m/x@1754524800" in capsys.readouterr().out
    gateway_accounts.answer("prices.get", later)
    assert main(["prices", "show", "m/x@99999999999"]) == 0
    assert gateway_accounts.asked[-1].target == "m/x@99999999999"


def test_a_shipped_price_is_shown_where_none_is_set(gateway_accounts: Accounts, capsys: Out) -> None:
    gateway_accounts.list("prices.list")
    assert main(["prices", "show", "gpt-4.1-mini", "--json"]) == 0
    said = capsys.readouterr()
    assert msgspec.json.decode(said.out, type=PriceForm).model == "gpt-4.1-mini"
    assert "came with Penstock" in said.err
    gateway_accounts.list("prices.list")
    assert main(["prices", "show", "nobody-has-this"]) == 1
    assert "penstock prices set nobody-has-this" in capsys.readouterr().err


def test_prices_are_listed_and_removed(gateway_accounts: Accounts, capsys: Out) -> None:
    gateway_accounts.list("prices.list", VIEW)
    assert main(["prices", "list"]) == 0
    assert capsys.readouterr().out.splitlines()[1].split() == [
        "m/x@1754524800", "2025-08-07", "0.50", "-", "1.5", "-", "-",
    ]  # fmt: skip
    assert main(["prices", "list", "--shipped", "--model", "gpt-4.1-mini"]) == 0
    assert len(capsys.readouterr().out.splitlines()) == 2
    gateway_accounts.answer("prices.delete", Gone(object="price", id=VIEW.id))
    assert main(["prices", "remove", VIEW.id, "--yes"]) == 0
    assert gateway_accounts.asked[-1].target == VIEW.id
