"""``penstock release``: made, listed with who gets them, compared, and what became of them."""

from __future__ import annotations

import json

import msgspec
import pytest

from penstock.control.accounts.differences import DiffView, Part
from penstock.control.accounts.release_history import EventView
from penstock.control.accounts.release_shown import ReleaseView
from penstock.control.accounts.releases import CreateRelease
from penstock.edge.cli.main import main
from tests.edge.cli.accounts import Accounts

VIEW = ReleaseView(
    id="rel_1",
    service="chat",
    model="small@1",
    prompt="greeting@2",
    index="",
    guards="",
    defaults=msgspec.Raw(b'{"stop":["a"],"temperature":0.2}'),
    author="root",
    message="kinder",
    created_at=1_795_000_000.0,
    share=0.0,
    segment_share=0.0,
    warm=False,
    rollout="",
    ready=("a",),
    in_file=False,
)
Out = pytest.CaptureFixture[str]


def test_what_is_not_mentioned_is_not_sent(gateway_accounts: Accounts, capsys: Out) -> None:
    gateway_accounts.answer("releases.create", VIEW)
    assert main(["release", "create", "chat", "--prompt", "greeting", "-m", "kinder"]) == 0
    asked = CreateRelease(service="chat", prompt="greeting", message="kinder")
    assert gateway_accounts.bodies("releases.create") == [asked]
    told = capsys.readouterr()
    assert told.out == "rel_1\n"
    assert told.err == "Release rel_1 of chat is made: small@1 and greeting@2; nobody gets it yet.\n"


def test_all_is_said_of_it(gateway_accounts: Accounts, capsys: Out) -> None:
    served = msgspec.structs.replace(VIEW, prompt="", share=100.0)
    gateway_accounts.answer("releases.create", served)
    defaults = ["--default", "temperature=0.2", "--default", 'stop=["a"]', "--default", "note=a=b"]
    assert main(["release", "create", "chat", "--model", "small@1", "--no-prompt", *defaults]) == 0
    assert gateway_accounts.bodies("releases.create") == [
        CreateRelease(
            service="chat",
            model="small@1",
            prompt=None,
            defaults={"temperature": 0.2, "stop": ["a"], "note": "a=b"},
        )
    ]
    assert capsys.readouterr().err == "Release rel_1 of chat is made: small@1; 100 % of the traffic get it.\n"
    gateway_accounts.answer("releases.create", served)
    assert main(["release", "create", "chat", "--no-defaults"]) == 0
    assert gateway_accounts.asked[-1].body == CreateRelease(service="chat", defaults={})


@pytest.mark.parametrize(
    "line",
    [
        ["--prompt", "x", "--no-prompt"],
        ["--default", "a=1", "--no-defaults"],
        ["--default", "a"],
        ["--default", "=1"],
    ],
)
def test_what_makes_no_sense_is_not_sent(gateway_accounts: Accounts, line: list[str]) -> None:
    assert main(["release", "create", "chat", *line]) == 2
    assert gateway_accounts.asked == []


def test_releases_are_listed_with_who_gets_them(gateway_accounts: Accounts, capsys: Out) -> None:
    change = msgspec.structs.replace
    gateway_accounts.list(
        "releases.list",
        change(VIEW, share=12.5),
        change(VIEW, warm=True),
        change(VIEW, segment_share=50.0),
        change(VIEW, created_at=None, prompt="", author="", message=""),
    )
    assert main(["release", "list", "chat"]) == 0
    assert gateway_accounts.asked[-1].query["service"] == "chat"
    rows = capsys.readouterr().out.splitlines()
    assert rows[1].split() == [
        "rel_1", "chat", "12.5", "%", "small@1", "greeting@2", "2026-11-18T11:06:40Z", "root", "kinder",
    ]  # fmt: skip
    assert rows[2].split()[2] == "warm"
    assert "(50 % of a segment)" in rows[3]
    assert rows[4].split()[2:] == ["-", "small@1", "-", "-", "-", "-"]


def test_one_is_shown_and_compared(gateway_accounts: Accounts, capsys: Out) -> None:
    gateway_accounts.answer("releases.get", VIEW)
    assert main(["release", "show", "rel_1"]) == 0
    assert capsys.readouterr().out.endswith("\ndefaults:\n  stop:\n    - a\n  temperature: 0.2\n")
    parts = (
        Part(what="prompt", before="", after="greeting@2", text="+system: x"),
        Part(what="defaults", text="-a: 1"),
    )
    gateway_accounts.answer("releases.diff", DiffView(before="rel_1", after="rel_2", parts=parts))
    assert main(["release", "diff", "rel_2"]) == 0
    assert (gateway_accounts.asked[-1].target, gateway_accounts.asked[-1].query) == ("rel_2", {})
    assert capsys.readouterr().out == "prompt  - -> greeting@2\n  +system: x\ndefaults\n  -a: 1\n"
    gateway_accounts.answer("releases.diff", DiffView(before="rel_1", after="rel_2"))
    assert main(["release", "diff", "rel_1", "rel_2"]) == 0
    assert (gateway_accounts.asked[-1].target, gateway_accounts.asked[-1].query) == ("rel_2", {"from": "rel_1"})


def test_what_became_of_them_is_told(gateway_accounts: Accounts, capsys: Out) -> None:
    made = EventView(at=1_795_000_000.0, what="made", release="rel_1", by="root", message="kinder")
    ended = EventView(
        at=1_795_000_060.0, what="rolled_back", release="rel_1", rollout="roll_1", preset="blue_green", held_by="rel_0",
        message="It was worse.",
    )  # fmt: skip
    back = msgspec.structs.replace(ended, preset="rollback", held_by="rel_1")
    gateway_accounts.list("releases.history", ended, made, back)
    assert main(["release", "history", "chat"]) == 0
    assert gateway_accounts.asked[-1].target == "chat"
    rows = capsys.readouterr().out.splitlines()
    assert rows[1].split() == [
        "2026-11-18T11:07:40Z", "blue", "green", "rolled", "back", "rel_1", "-", "roll_1", "It", "was", "worse.",
    ]  # fmt: skip
    assert rows[2].split()[1:] == ["made", "rel_1", "root", "-", "kinder"]
    assert rows[3].split()[1:5] == ["rolled", "back", "to", "rel_1"]
    gateway_accounts.list("releases.history")
    assert main(["release", "history", "a/b", "--json"]) == 0
    assert gateway_accounts.asked[-1].target == "a/b"
    assert json.loads(capsys.readouterr().out) == []


def test_defaults_that_are_none_are_shown_as_such(gateway_accounts: Accounts, capsys: Out) -> None:
    gateway_accounts.answer("releases.get", msgspec.structs.replace(VIEW, defaults=msgspec.Raw(b"{}")))
    assert main(["release", "show", "rel_1"]) == 0
    assert capsys.readouterr().out.endswith("\ndefaults:\n  -\n")
