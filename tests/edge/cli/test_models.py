"""``penstock models``: versions, their aliases and their differences."""

from __future__ import annotations

import json

import msgspec
import pytest

from penstock.control.accounts.aliases import AliasView, SetAlias
from penstock.control.accounts.differences import DiffView, Part
from penstock.control.accounts.models import ModelVersionView, RegisterModel
from penstock.control.accounts.turn import Gone
from penstock.edge.cli.main import main
from tests.edge.cli.accounts import Accounts

ID = "org/small:8b@1f0c7a3b5d9e2468"
VIEW = ModelVersionView(
    id=ID,
    name="org/small:8b",
    engine="llamacpp",
    weights="hf:org/small",
    source=msgspec.Raw(b'{"engine":"llamacpp","note":"\\u001b[31mred","slots":4}'),
    parents=(),
    aliases=("steady",),
    current=True,
    author="root",
    message="the 4-bit weights",
    created_at=1_795_000_000.0,
)
Out = pytest.CaptureFixture[str]


def test_a_version_is_kept(gateway_accounts: Accounts, capsys: Out) -> None:
    gateway_accounts.answer("models.create", VIEW)
    line = ["models", "register", "org/small:8b", "-m", "the 4-bit weights", "--parent", "base", "--parent", "x@best"]
    assert main(line) == 0
    asked = RegisterModel(name="org/small:8b", message="the 4-bit weights", parents=("base", "x@best"))
    assert gateway_accounts.bodies("models.create") == [asked]
    assert capsys.readouterr().out == f"{ID} is kept.\n"
    gateway_accounts.answer("models.create", VIEW)
    assert main(["models", "register", "org/small:8b"]) == 0
    assert capsys.readouterr().out == f"{ID} is kept already: the 4-bit weights.\n"


def test_versions_are_listed(gateway_accounts: Accounts, capsys: Out) -> None:
    unkept = msgspec.structs.replace(VIEW, id="b@2", aliases=(), author="", message="", created_at=None)
    gateway_accounts.list("models.list", VIEW, unkept)
    assert main(["models", "list", "--name", "x"]) == 0
    assert gateway_accounts.asked[-1].query["name"] == "x"
    rows = capsys.readouterr().out.splitlines()
    assert rows[1].split() == [
        ID,
        "llamacpp",
        "yes",
        "steady",
        "2026-11-18T11:06:40Z",
        "root",
        "the",
        "4-bit",
        "weights",
    ]
    assert rows[2].split() == ["b@2", "llamacpp", "yes", "-", "-", "-", "-"]


def test_a_version_is_shown_line_by_line_and_drives_no_terminal(gateway_accounts: Accounts, capsys: Out) -> None:
    gateway_accounts.answer("models.get", VIEW)
    assert main(["models", "show", ID]) == 0
    assert gateway_accounts.asked[-1].target == ID
    out = capsys.readouterr().out
    assert out.splitlines()[0].split() == ["id", ID]
    assert out.endswith("\nsource:\n  engine: llamacpp\n" + '  note: "\\u001b[31mred"\n  slots: 4\n')
    gateway_accounts.answer("models.get", VIEW)
    assert main(["models", "show", ID, "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["source"]["slots"] == 4


def test_versions_are_compared(gateway_accounts: Accounts, capsys: Out) -> None:
    part = Part(what="model", before=ID, after="b@2", text="@@ -1 +1 @@\n-slots: 4\n+slots: 8")
    gateway_accounts.answer("models.diff", DiffView(before=ID, after="b@2", parts=(part,)))
    assert main(["models", "diff", ID, "b@2"]) == 0
    assert (gateway_accounts.asked[-1].target, gateway_accounts.asked[-1].query) == ("b@2", {"from": ID})
    assert capsys.readouterr().out == f"model  {ID} -> b@2\n  @@ -1 +1 @@\n  -slots: 4\n  +slots: 8\n"
    gateway_accounts.answer("models.diff", DiffView(before=ID, after=ID))
    assert main(["models", "diff", ID]) == 0
    assert (gateway_accounts.asked[-1].target, gateway_accounts.asked[-1].query) == ("org/small:8b", {"from": ID})
    assert "are the same" in capsys.readouterr().err


def test_aliases_are_set_and_removed(gateway_accounts: Accounts, capsys: Out) -> None:
    view = AliasView(
        id="model:org/small:8b:steady", kind="model", name="org/small:8b", alias="steady", version=ID, author="root",
        changed_at=1.0,
    )  # fmt: skip
    gateway_accounts.answer("aliases.create", view)
    assert main(["models", "alias", ID, "steady"]) == 0
    assert gateway_accounts.bodies("aliases.create") == [SetAlias(kind="model", alias="steady", version=ID)]
    assert capsys.readouterr().out == f"org/small:8b@steady stands for {ID} now.\n"
    gateway_accounts.answer("aliases.delete", Gone(object="alias", id=view.id))
    assert main(["models", "unalias", "org/small:8b@steady", "--yes"]) == 0
    assert gateway_accounts.asked[-1].target == view.id
    for said in ("steady", "@steady", "small@"):
        assert main(["models", "unalias", said, "--yes"]) == 2
    assert "write NAME@ALIAS" in capsys.readouterr().err
