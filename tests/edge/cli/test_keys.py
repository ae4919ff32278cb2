"""``penstock keys``: the secret alone where a shell takes it, and only what was said is changed."""

from __future__ import annotations

import time

import msgspec
import pytest
from msgspec import UNSET

from penstock.control.accounts.keys import ChangeKey, CreateKey, KeySecret, KeyView, RotateKey, ScopesForm
from penstock.edge.cli.keys import state_of
from penstock.edge.cli.main import main
from tests.edge.cli.accounts import Accounts

KEY = KeyView(
    id="pk1",
    project="red",
    role="developer",
    name="nightly",
    user="",
    team="",
    scopes=ScopesForm(),
    priority="",
    created_at=1_700_000_000.0,
    created_by="admin",
    expires_at=None,
    revoked_at=None,
    last_used_at=None,
    previous_until=None,
)
replace = msgspec.structs.replace


def test_the_secret_of_a_new_key_is_alone_on_standard_output(
    gateway_accounts: Accounts, capsys: pytest.CaptureFixture[str]
) -> None:
    gateway_accounts.answer("keys.create", KeySecret(key=KEY, secret="pk-pk1-s3cret"))
    before = time.time()
    line = ["--project", "red", "--service", "a", "--service", "b", "--network", "10.0.0.0/8", "--expires", "30d"]
    assert main(["keys", "create", *line]) == 0
    said = capsys.readouterr()
    assert said.out == "pk-pk1-s3cret\n"
    assert "Key pk1 for project red, as developer." in said.err
    assert "s3cret" not in said.err
    (asked,) = gateway_accounts.asked
    assert asked.idempotency_key
    assert isinstance(asked.body, CreateKey)
    assert asked.body.scopes == ScopesForm(services=("a", "b"), networks=("10.0.0.0/8",))
    assert isinstance(asked.body.expires_at, float)
    assert before + 30 * 86400 - 1 <= asked.body.expires_at <= time.time() + 30 * 86400


def test_machines_get_the_json(gateway_accounts: Accounts, capsys: pytest.CaptureFixture[str]) -> None:
    told = KeySecret(key=KEY, secret="pk-pk1-s3cret")
    gateway_accounts.answer("keys.create", told)
    assert main(["keys", "create", "--json"]) == 0
    said = capsys.readouterr()
    assert msgspec.json.decode(said.out, type=KeySecret) == told
    assert said.err == ""


def test_an_answer_that_was_lost_is_asked_for_once_more_with_the_same_key(
    gateway_accounts: Accounts, capsys: pytest.CaptureFixture[str]
) -> None:
    gateway_accounts.answer("keys.create", KeySecret(key=KEY, secret="pk-pk1-s3cret"))
    gateway_accounts.lose = 1
    assert main(["keys", "create"]) == 0
    first, second = gateway_accounts.asked
    assert first.idempotency_key == second.idempotency_key
    gateway_accounts.answer("keys.create", KeySecret(key=KEY, secret="x"))
    gateway_accounts.lose = 2
    assert main(["keys", "create"]) == 1
    assert "is lost" in capsys.readouterr().err


def test_the_list_is_all_pages(gateway_accounts: Accounts, capsys: pytest.CaptureFixture[str]) -> None:
    gateway_accounts.list("keys.list", KEY, next="more")
    gateway_accounts.list("keys.list", replace(KEY, id="pk2", name="\x1b[31mred\n", revoked_at=1.0))
    assert main(["keys", "list", "--project", "red"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split() for line in lines] == [
        ["ID", "NAME", "PROJECT", "ROLE", "USER", "STATE", "EXPIRES", "LAST", "USED"],
        ["pk1", "nightly", "red", "developer", "-", "active", "never", "-"],
        ["pk2", "[31mred", "red", "developer", "-", "revoked", "never", "-"],
    ]
    assert [asked.query for asked in gateway_accounts.asked] == [
        {"project": "red", "limit": "200"},
        {"project": "red", "limit": "200", "after": "more"},
    ]
    gateway_accounts.list("keys.list")
    assert main(["keys", "list", "--json"]) == 0
    assert msgspec.json.decode(capsys.readouterr().out) == []
    gateway_accounts.list("keys.list")
    assert main(["keys", "list"]) == 0
    assert capsys.readouterr() == ("", "There is no such key.\n")


def test_one_key_with_its_scopes(gateway_accounts: Accounts, capsys: pytest.CaptureFixture[str]) -> None:
    scoped = replace(KEY, scopes=ScopesForm(services=("a", "b")), expires_at=1_800_000_000.0)
    gateway_accounts.answer("keys.get", scoped)
    assert main(["keys", "show", "pk1"]) == 0
    out = capsys.readouterr().out
    assert "services a, b" in out
    assert "2027-01-15T08:00:00Z" in out


def test_rotation_says_how_long_the_old_secret_works(
    gateway_accounts: Accounts, capsys: pytest.CaptureFixture[str]
) -> None:
    rotated = KeySecret(key=replace(KEY, previous_until=1_800_000_000.0), secret="pk-pk1-new")
    gateway_accounts.answer("keys.rotate", rotated)
    assert main(["keys", "rotate", "pk1", "--grace", "12h"]) == 0
    said = capsys.readouterr()
    assert said.out == "pk-pk1-new\n"
    assert "works until 2027-01-15T08:00:00Z" in said.err
    assert gateway_accounts.bodies("keys.rotate") == [RotateKey(grace_s=43200.0)]


def test_nothing_is_revoked_unasked(
    gateway_accounts: Accounts, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sys.stdin.isatty", lambda: False)
    assert main(["keys", "revoke", "pk1"]) == 2
    assert "--yes" in capsys.readouterr().err
    monkeypatch.setattr("sys.stdin.isatty", lambda: True)
    monkeypatch.setattr("click.confirm", lambda *_, **__: False)
    assert main(["keys", "revoke", "pk1"]) == 1
    assert "Nothing was changed" in capsys.readouterr().err
    assert gateway_accounts.asked == []
    gateway_accounts.answer("keys.revoke", replace(KEY, revoked_at=5.0))
    assert main(["keys", "revoke", "pk1", "--yes"]) == 0
    assert capsys.readouterr().out == "Key pk1 is revoked.\n"


def test_a_change_keeps_the_scopes_that_are_not_mentioned(gateway_accounts: Accounts) -> None:
    gateway_accounts.answer("keys.get", replace(KEY, scopes=ScopesForm(services=("a",), tools=("t",), models=("m",))))
    gateway_accounts.answer("keys.change", KEY)
    assert main(["keys", "update", "pk1", "--service", "b", "--any", "tools", "--never-expires"]) == 0
    (asked,) = gateway_accounts.bodies("keys.change")
    assert asked == ChangeKey(scopes=ScopesForm(services=("b",), models=("m",)), expires_at=None)
    gateway_accounts.answer("keys.change", KEY)
    assert main(["keys", "update", "pk1", "--priority", "project"]) == 0
    changed = gateway_accounts.bodies("keys.change")[-1]
    assert isinstance(changed, ChangeKey)
    assert changed.priority == ""
    assert changed.scopes is UNSET


@pytest.mark.parametrize(
    ("line", "code", "said"),
    [
        (["update", "pk1"], 1, "nothing to change was given"),
        (["update", "pk1", "--expires", "1d", "--never-expires"], 2, "exclude each other"),
        (["create", "--expires", "soon"], 2, "'soon' is no time; write 2026-11-21"),
        (["rotate", "pk1", "--grace", "1y"], 2, "'1y' is no duration; write 90s"),
    ],
)
def test_what_makes_no_sense_is_not_asked(
    gateway_accounts: Accounts, capsys: pytest.CaptureFixture[str], line: list[str], code: int, said: str
) -> None:
    assert main(["keys", *line]) == code
    assert said in " ".join(capsys.readouterr().err.split())
    assert gateway_accounts.asked == []


def test_a_refusal_is_one_line_with_its_mend(
    gateway_accounts: Accounts, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    gateway_accounts.refuse("keys.get", 404, "not_found", "There is no key 'pk9'. List them first.")
    assert main(["keys", "show", "pk9"]) == 1
    assert capsys.readouterr() == ("", "penstock: There is no key 'pk9'. List them first.\n")
    monkeypatch.setenv("PENSTOCK_API_KEY", "pk-other")
    assert main(["keys", "show", "pk9"]) == 1
    assert "refuses the key; set PENSTOCK_API_KEY" in capsys.readouterr().err


def test_an_answer_of_another_version_is_said(gateway_accounts: Accounts, capsys: pytest.CaptureFixture[str]) -> None:
    gateway_accounts.refuse("keys.get", 200, "", "")
    assert main(["keys", "show", "pk1"]) == 1
    assert "does not answer as a gateway of this version does" in capsys.readouterr().err


def test_the_state_of_a_key() -> None:
    assert state_of(KEY, 10.0) == "active"
    assert state_of(replace(KEY, previous_until=11.0), 10.0) == "rotating"
    assert state_of(replace(KEY, previous_until=10.0), 10.0) == "active"
    assert state_of(replace(KEY, expires_at=10.0), 10.0) == "expired"
    assert state_of(replace(KEY, expires_at=10.0, revoked_at=3.0), 10.0) == "revoked"
