"""``penstock alerts``: what is listed, and what is silenced."""

from __future__ import annotations

import pytest

from penstock.control.accounts.turn import Gone
from penstock.control.observed.views import MakeSilence, ObjectiveView, SilenceView
from penstock.edge.cli.main import main
from tests.edge.cli.accounts import Accounts
from tests.edge.cli.seen import NOW, alert

Out = pytest.CaptureFixture[str]


def test_alerts_and_objectives_are_listed(gateway_accounts: Accounts, capsys: Out) -> None:
    gateway_accounts.list(
        "alerts.list", alert("slo/a", silenced_until=NOW), alert("slo/b", resolved_at=NOW), alert("slo/c")
    )
    assert main(["alerts", "--service", "assistant"]) == 0
    _, *lines = capsys.readouterr().out.splitlines()
    assert [line.split()[1] for line in lines] == ["silenced", "resolved", "active"]
    assert gateway_accounts.asked[0].query == {"service": "assistant", "limit": "50"}
    gateway_accounts.list("alerts.list")
    assert main(["alerts", "list", "--state", "active"]) == 0
    assert "No alert." in capsys.readouterr().err
    gateway_accounts.list(
        "objectives.list",
        ObjectiveView(
            service="assistant",
            kind="availability",
            name="availability",
            target=0.999,
            window_days=30.0,
            text="99.9 % of requests do not fail, in 30 days",
            good=999.0,
            total=1000.0,
            budget_left=-0.25,
            burn={"1h": 14.4, "6h": None},
        ),
    )
    assert main(["alerts", "objectives"]) == 0
    assert "assistant  availability       -25.0%     14.4        -  99.9 %" in capsys.readouterr().out


def test_alerts_are_silenced_for_a_while(gateway_accounts: Accounts, capsys: Out) -> None:
    view = SilenceView(id="sil_1", pattern="slo/*", reason="load", by="ada", created_at=NOW, until=NOW + 7200)
    gateway_accounts.answer("silences.create", view)
    assert main(["alerts", "silence", "slo/*", "--for", "2h", "--reason", "load"]) == 0
    assert gateway_accounts.bodies("silences.create") == [MakeSilence(pattern="slo/*", reason="load", for_s=7200.0)]
    assert "until 2026-11-18T13:06:40Z; `penstock alerts unsilence sil_1` ends it." in capsys.readouterr().out
    gateway_accounts.list("silences.list", view)
    assert main(["alerts", "silences"]) == 0
    gateway_accounts.answer("silences.delete", Gone(object="silence", id="sil_1"))
    assert main(["alerts", "unsilence", "sil_1"]) == 0
    assert gateway_accounts.asked[-1].target == "sil_1"
    assert capsys.readouterr().out.endswith("The silence sil_1 is over.\n")
