"""``penstock pepper``: on the home's own file, with the keys counted where a gateway can be asked."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest

from penstock.access.peppers import read_peppers
from penstock.edge.cli.main import main
from tests.edge.cli.accounts import Accounts
from tests.edge.cli.test_keys import KEY

Out = pytest.CaptureFixture[str]
FILE = Path("home/pepper")
replace = msgspec.structs.replace


def names() -> list[str]:
    return [each.name for each in read_peppers("", FILE)]


def test_one_gateway_rotates_and_drops_when_no_key_is_left(gateway_accounts: Accounts, capsys: Out) -> None:
    (old,) = names()
    assert main(["pepper", "rotate"]) == 0
    said = capsys.readouterr()
    new = said.out.strip()
    assert names() == [new, old]
    assert "Start the gateway again" in said.err
    moving = replace(KEY, project="*", pepper=new, previous_pepper=old, previous_until=9e10)
    revoked = replace(KEY, pepper=old, revoked_at=1.0)
    gateway_accounts.list("keys.list", moving, revoked, replace(KEY, pepper="elsewher"))
    assert main(["pepper", "list"]) == 0
    said = capsys.readouterr()
    assert [" ".join(line.split()) for line in said.out.splitlines()[1:]] == [
        f"{new} new keys 1",
        f"{old} old keys 1",
        "elsewher not in the file 1",
    ]
    assert "do not work here" in said.err
    gateway_accounts.list("keys.list", moving)
    assert main(["pepper", "drop", old]) == 1
    assert "1 keys are under" in capsys.readouterr().err
    assert names() == [new, old]
    gateway_accounts.list("keys.list", replace(moving, previous_until=1.0))
    assert main(["pepper", "drop", old]) == 0
    assert names() == [new]


def test_several_gateways_know_it_before_it_is_current(gateway_accounts: Accounts, capsys: Out) -> None:
    (old,) = names()
    assert main(["pepper", "add"]) == 0
    new = capsys.readouterr().out.strip()
    assert names() == [old, new]
    assert main(["pepper", "promote", new]) == 0
    assert names() == [new, old]
    assert main(["pepper", "promote", "absent"]) == 1
    assert gateway_accounts.asked == []


def test_what_cannot_be_counted_is_not_dropped_unasked(
    gateway_accounts: Accounts, capsys: Out, monkeypatch: pytest.MonkeyPatch
) -> None:
    (old,) = names()
    main(["pepper", "rotate"])
    # A key of one project sees the keys of that project only.
    gateway_accounts.list("keys.list", KEY)
    assert main(["pepper", "drop", old]) == 2
    assert "use the admin key" in capsys.readouterr().err
    monkeypatch.setenv("PENSTOCK_API_KEY", "nobody's")
    assert main(["pepper", "list"]) == 0
    said = capsys.readouterr()
    assert said.out.count("?") == 2
    assert "refuses the key" in said.err
    assert main(["pepper", "drop", old, "--yes"]) == 0
    assert len(names()) == 1


def test_a_home_without_a_file_is_said(gateway_accounts: Accounts, capsys: Out) -> None:
    for command in ("list", "rotate", "add"):
        assert main(["pepper", command]) == 1
        assert "`penstock up` makes it" in capsys.readouterr().err
    assert not FILE.exists()
