"""``penstock rollout``, ``rollback`` and ``split``: what is asked, and what people read of it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec
import pytest

from penstock.control.accounts.rollout_preflight import PreflightView
from penstock.control.accounts.rollout_request import GateForm, SegmentForm, StartRollout, StepForm
from penstock.control.accounts.rollout_shown import DecisionView, RolloutView, SplitView, WarmView, shown
from penstock.control.accounts.rollouts import Approve
from penstock.control.accounts.splits import KeepWarm, RollBack, SetSplit
from penstock.core.releases import Decision
from penstock.edge.cli import rollback, rollout
from penstock.edge.cli.main import main
from penstock.quality.verdict import Standing
from tests.control.rollouts.parts import NEW, NOW, OLD, READY, plan, split_of
from tests.control.rollouts.parts import rollout as made
from tests.edge.cli.accounts import Accounts

Out = pytest.CaptureFixture[str]
replace = msgspec.structs.replace

LOADING = made("loading", decisions=1, reason="It is loaded first.")
FIRST = Decision(rollout="roll-1", number=1, at=NOW, actor="ann", what="start", reason="It is loaded first.")
SECOND = Decision(rollout="roll-1", number=2, at=NOW, actor="", what="promote", reason="It is proven.")
SPLIT = SplitView(
    id="chat",
    shares={OLD: 90.0, NEW: 10.0},
    sticky="user",
    segment=None,
    segment_shares={},
    mirror="",
    warm=(WarmView(release=OLD, until=None),),
    rollout="",
    origin=OLD,
    changed_at=NOW,
)


def view(state: Any = "loading", *decisions: Decision, **more: Any) -> RolloutView:
    here = replace(LOADING, state=state, **more)
    return shown(here, split_of(LOADING), READY, decisions)


def ahead(sentence: str) -> PreflightView:
    return PreflightView(
        preset="canary",
        candidate=NEW,
        champion=OLD,
        steps=(),
        gates=(),
        requests_per_hour=1,
        units_per_hour=1,
        expected=(),
        drop_s=None,
        equal_s=None,
        judge_dollars=0,
        decidable=False,
        sentence=sentence,
    )


@pytest.fixture(autouse=True)
def at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rollout, "_POLL_S", 0.0)
    monkeypatch.setattr(rollback, "_POLL_S", 0.0)


def test_a_rollout_starts_after_it_was_said_what_to_expect(
    gateway_accounts: Accounts, capsys: Out, tmp_path: Path
) -> None:
    gateway_accounts.answer("rollouts.preflight", ahead("In two days."))
    gateway_accounts.answer("rollouts.create", view())
    (tmp_path / "gates.yaml").write_text(
        "- {metric: good, scorer: judge, settings: {service: judge, rubric: Is it kind?}}"
    )
    line = [
        "chat",
        NEW,
        "--step",
        "1%:10m",
        "--step",
        "10:30m:500",
        "--gate",
        "success:0.03",
        "--gates",
        "gates.yaml",
    ]
    line += ["--gate", "format,json=true,max_chars=9", "--gate", "latency,bound=2.5", "--header", "X-Beta=yes"]
    line += ["--gate", "kind,scorer=feedback", "--deadline", "2d", "--ask", "--project", "red", "--keep-warm", "2h"]
    assert main(["rollout", "start", *line, "--yes"]) == 0
    asked = StartRollout(
        service="chat",
        release=NEW,
        gates=(
            GateForm(metric="success", margin=0.03),
            GateForm(metric="format", settings={"json": True, "max_chars": 9}),
            GateForm(metric="latency", bound=2.5),
            GateForm(metric="kind", scorer="feedback"),
            GateForm(metric="good", scorer="judge", settings={"service": "judge", "rubric": "Is it kind?"}),
        ),
        steps=(StepForm(share=1.0, hold_s=600.0), StepForm(share=10.0, hold_s=1800.0, samples=500)),
        deadline_s=172800.0,
        promote="ask",
        segment=SegmentForm(headers={"X-Beta": ("yes",)}, projects=("red",)),
        keep_warm_s=7200.0,
    )
    assert gateway_accounts.bodies("rollouts.preflight") == gateway_accounts.bodies("rollouts.create") == [asked]
    told = capsys.readouterr()
    assert "In two days." in told.err
    assert "Rollout roll-1 has begun" in told.out


def test_without_a_yes_nothing_starts(gateway_accounts: Accounts) -> None:
    gateway_accounts.answer("rollouts.preflight", ahead("In two days."))
    assert main(["rollout", "start", "chat", NEW]) == 2
    assert [each.operation for each in gateway_accounts.asked] == ["rollouts.preflight"]


@pytest.mark.parametrize(
    "line",
    [
        ["--step", "ten"],
        ["--step", "1%:10m:5:6"],
        ["--step", "101%"],
        ["--gate", "success:high"],
        ["--gate", "Success"],
        ["--gate", "latency,bound"],
        ["--gates", "nowhere.yaml"],
        ["--no-gates", "--gate", "success"],
        ["--header", "x"],
    ],
)
def test_what_makes_no_sense_is_said_before_anything_is_asked(gateway_accounts: Accounts, line: list[str]) -> None:
    assert main(["rollout", "start", "chat", NEW, *line]) == 2
    assert not gateway_accounts.asked


def test_one_is_found_by_its_service_and_shown_with_gates_and_decisions(
    gateway_accounts: Accounts, capsys: Out
) -> None:
    fields = {each.name: 1 for each in msgspec.structs.fields(Standing)}
    standing = msgspec.convert(
        fields | {"metric": "success", "candidate_mean": 0.98, "difference": -0.01, "margin": 0.05}, Standing
    )
    gateway_accounts.list("rollouts.list", view())
    gateway_accounts.answer("rollouts.get", replace(view("running", FIRST), standings=(standing,)))
    assert main(["rollout", "show", "chat"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == f"roll-1: canary of {NEW} at chat, in the place of {OLD}"
    assert any(each.split()[:4] == ["success", "0.980", "1.000", "-0.010"] for each in lines)
    assert lines[-1].endswith("start     It is loaded first. (ann)")
    assert [each.target for each in gateway_accounts.asked] == ["", "roll-1"]


def test_of_a_service_without_any_it_is_said(gateway_accounts: Accounts, capsys: Out) -> None:
    gateway_accounts.list("rollouts.list")
    gateway_accounts.refuse("rollouts.get", 404, "not_found", "no")
    assert main(["rollout", "show", "chat"]) == 1
    assert "no service of this name has had one" in capsys.readouterr().err


def test_of_what_nobody_has_scored_nothing_is_shown(gateway_accounts: Accounts, capsys: Out) -> None:
    fields = {each.name: 0 for each in msgspec.structs.fields(Standing)}
    standing = msgspec.convert(fields | {"metric": "success", "low": -1.0, "high": 1.0, "margin": 0.05}, Standing)
    gateway_accounts.list("rollouts.list", view())
    gateway_accounts.answer("rollouts.get", replace(view("running", FIRST), standings=(standing,)))
    assert main(["rollout", "show", "chat"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert any(each.split() == ["success", "-", "-", "-", "-", "-0.05", "0"] for each in lines)


def test_what_has_ended_has_no_share(gateway_accounts: Accounts, capsys: Out) -> None:
    gateway_accounts.list("rollouts.list", replace(view("aborted", reason="It was aborted."), share=100.0))
    assert main(["rollout", "list"]) == 0
    assert "100 %" not in capsys.readouterr().out
    gateway_accounts.list("rollouts.list", view())
    gateway_accounts.answer("rollouts.get", replace(view("aborted", FIRST), share=100.0))
    assert main(["rollout", "show", "chat"]) == 0
    assert "100 %" not in capsys.readouterr().out


@pytest.mark.parametrize(("state", "code"), [("promoted", 0), ("asking", 0), ("rolled_back", 1), ("failed", 1)])
def test_it_is_watched_until_it_ends(gateway_accounts: Accounts, capsys: Out, state: str, code: int) -> None:
    gateway_accounts.list("rollouts.list")
    gateway_accounts.answer("rollouts.get", view("loading", FIRST))
    gateway_accounts.answer("rollouts.get", view("running", FIRST))
    gateway_accounts.answer("rollouts.get", view(state, FIRST, SECOND))
    assert main(["rollout", "watch", "roll-1"]) == code
    lines = capsys.readouterr().out.splitlines()
    assert [each.split()[1] for each in lines] == ["start", "promote"]


@pytest.mark.parametrize("verb", ["pause", "resume", "abort", "approve"])
def test_people_decide(gateway_accounts: Accounts, capsys: Out, verb: str) -> None:
    gateway_accounts.list("rollouts.list", view())
    gateway_accounts.answer("rollouts.get", view())
    gateway_accounts.answer(f"rollouts.{verb}", view("rolled_back"))
    more = ["--everyone"] if verb == "approve" else []
    assert main(["rollout", verb, "chat", *more]) == 0
    body = Approve(everyone=True) if verb == "approve" else None
    assert gateway_accounts.bodies(f"rollouts.{verb}") == [body]
    assert capsys.readouterr().out == f"Rollout roll-1 is rolled back: {NEW} has 0 % at chat.\n"


def test_they_are_listed(gateway_accounts: Accounts, capsys: Out) -> None:
    gateway_accounts.list("rollouts.list", view())
    assert main(["rollout", "list", "chat", "--state", "running"]) == 0
    assert capsys.readouterr().out.splitlines()[1].startswith("roll-1")
    assert gateway_accounts.asked[0].query == {"service": "chat", "state": "running", "limit": "200"}


# -- rollback ----------------------------------------------------------------------------------------------------


def back(state: Any, **more: Any) -> RolloutView:
    here = replace(LOADING, state=state, plan=plan(preset="rollback", candidate=OLD, champion=NEW, steps=()), **more)
    return shown(here, split_of(LOADING), {"a": frozenset({OLD}), "b": frozenset()}, ())


def test_what_is_loaded_is_back_at_once(gateway_accounts: Accounts, capsys: Out) -> None:
    gateway_accounts.answer("services.rollback", back("rolled_back"))
    assert main(["rollback", "chat"]) == 0
    assert capsys.readouterr().out.startswith(f"Everybody has {OLD} at chat, 0.")
    assert gateway_accounts.bodies("services.rollback") == [RollBack()]


def test_a_running_rollout_that_is_rolled_back_leaves_its_champion(gateway_accounts: Accounts, capsys: Out) -> None:
    gateway_accounts.answer("services.rollback", view("rolled_back"))
    assert main(["rollback", "chat"]) == 0
    assert f"Everybody has {OLD}" in capsys.readouterr().out


def test_what_is_cold_is_waited_for(gateway_accounts: Accounts, capsys: Out) -> None:
    gateway_accounts.answer("services.rollback", back("loading"))
    gateway_accounts.answer("rollouts.get", back("loading"))
    gateway_accounts.answer("rollouts.get", back("rolled_back"))
    assert main(["rollback", "chat", "--to", OLD]) == 0
    told = capsys.readouterr()
    assert told.err == f"{OLD} is being loaded: ready on 1 of 2 gateways.\n"
    assert gateway_accounts.bodies("services.rollback") == [RollBack(to=OLD)]


def test_what_does_not_load_is_a_failure(gateway_accounts: Accounts, capsys: Out) -> None:
    gateway_accounts.answer("services.rollback", back("failed", reason="It did not load."))
    assert main(["rollback", "chat"]) == 1
    assert "It did not load." in capsys.readouterr().err
    gateway_accounts.answer("services.rollback", back("loading"))
    assert main(["rollback", "chat", "--no-wait"]) == 0
    assert "is loaded first" in capsys.readouterr().out


# -- split -------------------------------------------------------------------------------------------------------


def test_shares_are_set_and_shown(gateway_accounts: Accounts, capsys: Out) -> None:
    gateway_accounts.answer("splits.change", SPLIT)
    assert main(["split", "set", "chat", f"{OLD}=90", f"{NEW}=10%"]) == 0
    assert capsys.readouterr().out == f"chat: {OLD} 90 %, {NEW} 10 %.\n"
    assert gateway_accounts.bodies("splits.change") == [SetSplit(shares={OLD: 90.0, NEW: 10.0})]
    gateway_accounts.list("splits.list", SPLIT, replace(SPLIT, id="other", changed_at=None, warm=()))
    assert main(["split", "show"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[1].startswith("chat")
    assert lines[2].endswith("by the deployment file")
    assert main(["split", "set", "chat", f"{OLD}=90", f"{OLD}=10"]) == 2
    assert main(["split", "set", "chat", OLD]) == 2


def test_a_release_is_kept_loaded(gateway_accounts: Accounts, capsys: Out) -> None:
    gateway_accounts.answer("splits.warm", SPLIT)
    assert main(["split", "warm", "chat", OLD, "--for", "2h"]) == 0
    assert gateway_accounts.bodies("splits.warm") == [KeepWarm(release=OLD, for_s=7200.0)]
    gateway_accounts.answer("splits.warm", replace(SPLIT, warm=()))
    assert main(["split", "warm", "chat", OLD, "--for", "0"]) == 0
    assert capsys.readouterr().out.splitlines() == [f"{OLD} is kept loaded.", f"{OLD} is let go."]


def test_the_answer_is_the_api_s_where_a_machine_reads(gateway_accounts: Accounts, capsys: Out) -> None:
    gateway_accounts.list("rollouts.list", view())
    gateway_accounts.answer("rollouts.get", view("running", FIRST))
    assert main(["rollout", "show", "chat", "--json"]) == 0
    told = msgspec.json.decode(capsys.readouterr().out, type=RolloutView)
    assert isinstance(told.decisions[0], DecisionView)
