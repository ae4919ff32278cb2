"""``penstock audit``: what was done, heads that are kept, and an exit code for what is not whole."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest

from penstock.control.accounts.audit import HeadView, Redact, Redacted, RowView, Verified, Verify
from penstock.core.usage import Finding
from penstock.edge.cli.main import main
from tests.edge.cli.accounts import Accounts

HEAD = HeadView(number=3, digest="ab" * 32, at=0.0, key="cd" * 8, signature="ef" * 64)
ROW = RowView(
    number=3,
    id="a",
    at=0.0,
    kind="administrative",
    actor="admin",
    project="red",
    action="keys.create",
    target="k1",
    outcome="ok",
    address="127.0.0.1",
    request_id="req_1",
    content=msgspec.Raw(b'{"after":{}}'),
    content_digest="00",
    previous="00",
    digest="00",
    redacted_by=None,
)
Out = pytest.CaptureFixture[str]


def test_what_was_done_newest_first(gateway_accounts: Accounts, capsys: Out) -> None:
    gone = msgspec.structs.replace(ROW, number=2, redacted_by=3)
    gateway_accounts.list("audit.list", ROW, gone, next="2")
    assert main(["audit", "list", "--action", "keys.*", "--request", "req_1", "--most", "2"]) == 0
    assert [" ".join(line.split()) for line in capsys.readouterr().out.splitlines()[1:]] == [
        "3 1970-01-01T00:00:00Z admin red keys.create k1 ok 127.0.0.1",
        "2 1970-01-01T00:00:00Z admin red keys.create (redacted) k1 ok 127.0.0.1",
    ]
    (asked,) = gateway_accounts.asked
    assert asked.query == {"action": "keys.*", "request_id": "req_1", "limit": "2"}


def test_heads_are_kept_in_a_file_and_given_back(gateway_accounts: Accounts, capsys: Out) -> None:
    for number in range(1, 151):
        gateway_accounts.answer("audit.head", msgspec.structs.replace(HEAD, number=number))
        assert main(["audit", "head", "-o", "heads.jsonl"]) == 0
    gateway_accounts.answer("audit.verify", Verified(whole=True, findings=(), head=HEAD))
    gateway_accounts.answer("audit.verify", Verified(whole=True, findings=(), head=HEAD))
    assert main(["audit", "verify", "--head", "heads.jsonl"]) == 0
    assert "whole: 3 rows, signed 1970-01-01T00:00:00Z, and every head that was kept fits (150)" in (
        capsys.readouterr().out
    )
    sent = [head.number for body in gateway_accounts.bodies("audit.verify") for head in _heads(body)]
    assert sent == list(range(1, 151))


def test_what_is_not_whole_has_exit_code_1(gateway_accounts: Accounts, capsys: Out) -> None:
    told = Verified(whole=False, findings=(Finding(2, "cut", "the rows after 2 are gone"),), head=HEAD)
    gateway_accounts.answer("audit.verify", told)
    assert main(["audit", "verify"]) == 1
    said = capsys.readouterr()
    assert "2  cut    the rows after 2 are gone" in said.out
    assert "not whole" in said.err
    gateway_accounts.answer("audit.verify", told)
    assert main(["audit", "verify", "--json"]) == 1
    assert msgspec.json.decode(capsys.readouterr().out, type=Verified) == told


def test_a_file_without_heads_is_said(gateway_accounts: Accounts, capsys: Out) -> None:
    Path("heads").write_text('\n{"number": 0}\n')
    assert main(["audit", "verify", "--head", "heads"]) == 1
    assert "heads:2 is no head" in capsys.readouterr().err
    assert gateway_accounts.asked == []


def test_redaction_needs_a_reason_and_a_yes(gateway_accounts: Accounts, capsys: Out) -> None:
    assert main(["audit", "redact", "3", "--yes"]) == 2
    assert main(["audit", "redact", "3", "--reason", "asked for"]) == 2
    assert gateway_accounts.asked == []
    gateway_accounts.answer("audit.redact", Redacted(redacted=2))
    assert main(["audit", "redact", "3", "4", "--reason", "asked for", "--yes"]) == 0
    assert gateway_accounts.bodies("audit.redact") == [Redact(numbers=(3, 4), reason="asked for")]
    assert capsys.readouterr().out == "2 rows were emptied.\n"


def _heads(body: object) -> tuple[HeadView, ...]:
    assert isinstance(body, Verify)
    return body.heads  # type: ignore[return-value]
