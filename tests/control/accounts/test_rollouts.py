"""Rollouts over the admin API: what is refused before anything moves, and what moves."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from penstock.control.accounts import rollouts
from penstock.control.accounts.operation import Sources
from penstock.control.accounts.rollout_request import StartRollout
from penstock.control.accounts.rollout_shown import RolloutView
from penstock.control.accounts.traffic import Recent
from penstock.control.accounts.turn import Outcome
from penstock.control.rollouts.known import Known
from penstock.core.accounts import Directory, Project
from penstock.core.administration import Ask
from penstock.core.errors import CONFLICT, INVALID_VALUE, NOT_FOUND, PenstockError
from penstock.core.releases import WHOLE, Decision, PromptVersion, Release, Rollout, Segment, Split, digest
from penstock.quality.verdict import Standing
from penstock.routing.assignment import shares
from tests.control.accounts.office import NOW, ROOT
from tests.control.accounts.shelf import directory, model, prompt, release, served, split, turn

SMALL, LARGE, KIND = model(), model("large"), prompt()
FIRST, SECOND = release(SMALL), release(LARGE, KIND, at=NOW)
JUDGE = release(LARGE, service="judge")
FILE = served(SMALL, LARGE, KIND, FIRST, JUDGE)
KNOWN = msgspec.structs.replace(directory(SECOND, KIND, LARGE), projects=(Project(id="red"),))
LATELY = Recent(requests=100, per_s=0.1, p95_s=2.5, p5_tokens_per_s=20.0, p95_dollars=0.01)


def start(there: Directory = KNOWN, file: Any = FILE, *, recent: Recent = LATELY, **asked: Any) -> Outcome:
    body = msgspec.convert({"service": "chat", "release": SECOND.id} | asked, StartRollout, str_keys=True)
    return rollouts.start(there, msgspec.structs.replace(turn(served=file), recent=lambda _: recent), body)


def refused(there: Directory = KNOWN, file: Any = FILE, **asked: Any) -> PenstockError:
    with pytest.raises(PenstockError) as error:
        start(there, file, **asked)
    return error.value


def applied(there: Directory, outcome: Outcome) -> Directory:
    """The directory after it."""
    fields = {Rollout: "rollouts", Split: "splits", Release: "releases", PromptVersion: "prompts"}
    for record in outcome.put:
        field = fields.get(type(record), "models")
        key = "service" if field == "splits" else "id"
        kept = [each for each in getattr(there, field) if getattr(each, key) != getattr(record, key)]
        there = msgspec.structs.replace(there, **{field: (*kept, record)})
    return there


def made(outcome: Outcome) -> tuple[Rollout, Split]:
    rollout, after = outcome.put[-2:]
    assert isinstance(rollout, Rollout)
    assert isinstance(after, Split)
    return rollout, after


# -- start -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["Authorization", "x-api-key", "api-key", "Cookie"])
def test_no_secret_is_what_a_segment_goes_by(name: str) -> None:
    error = refused(segment={"headers": {name: ["Bearer pst-1"]}})
    assert (error.fault, error.param) == (INVALID_VALUE, "segment.headers")
    assert "pst-1" not in error.message
    assert "'keys'" in error.message


def test_the_first_rollout_takes_the_service_over_from_the_file_and_moves_nobody() -> None:
    outcome = start()
    rollout, after = made(outcome)
    assert [type(each).__name__ for each in outcome.put] == ["ModelVersion", "Release", "Rollout", "Split"]
    assert (shares(after.ranges), after.origin, after.rollout, after.salt) == (
        {FIRST.id: WHOLE},
        FIRST.id,
        rollout.id,
        rollout.id,
    )
    assert (rollout.state, rollout.decisions, rollout.author) == ("loading", 1, "root")
    (decision,) = outcome.decisions
    assert (decision.number, decision.what, decision.actor) == (1, "start", "root")
    assert [step.share for step in rollout.plan.steps] == [10_000, 100_000, 500_000]
    assert [(each.metric, each.bound) for each in rollout.plan.measures] == [("success", None), ("latency", 2.5)]


def test_a_gate_without_anything_to_take_its_bound_from() -> None:
    rollout, _ = made(start(recent=Recent()))
    assert [each.metric for each in rollout.plan.gates] == ["success"]
    with pytest.raises(PenstockError) as error:
        start(recent=Recent(), gates=[{"metric": "latency"}])
    assert (error.value.fault, error.value.param) == (INVALID_VALUE, "gates[0].bound")


def test_what_only_gets_copies_takes_nobodys_place() -> None:
    assert "is compared with" in made(start(preset="shadow"))[0].reason
    assert "is to take the place of" in made(start())[0].reason


def test_gates_of_every_scorer() -> None:
    gates = [
        {"metric": "speed"},
        {"metric": "cost", "margin": 0.1},
        {"metric": "format", "settings": {"json": True}},
        {"metric": "close", "scorer": "similarity", "settings": {"service": "judge", "text": "hello"}},
        {"metric": "good", "scorer": "judge", "settings": {"service": "judge", "rubric": "Is it kind?"}},
        {"metric": "helped", "scorer": "feedback"},
        {"metric": "feedback.resolved"},
        {"metric": "feedback"},
    ]
    plan = made(start(gates=gates))[0].plan
    measures = {each.metric: each for each in plan.measures}
    reported = ["helped", "feedback.resolved", "feedback"]
    assert [each.metric for each in plan.gates] == ["speed", "cost", "format", "close", "good", *reported]
    assert (measures["speed"].bound, measures["cost"].bound, plan.gates[1].margin) == (20.0, 0.02, 0.1)
    assert [msgspec.json.decode(measures[each].settings)["name"] for each in reported] == [
        "helped",
        "resolved",
        "feedback",
    ]
    # Whether units were split and scored as they should be is known by it.
    assert measures["success"].scorer == "success"


@pytest.mark.parametrize(
    ("asked", "fault", "param", "says"),
    [
        ({"service": "chta"}, NOT_FOUND, "service", "Did you mean 'chat'?"),
        ({"release": "rel_nothing"}, NOT_FOUND, "release", "There is no release"),
        ({"release": JUDGE.id}, CONFLICT, "release", "is of service 'judge'"),
        ({"release": FIRST.id}, CONFLICT, "release", "already"),
        ({"steps": [{"share": 10}, {"share": 5}]}, INVALID_VALUE, "steps[1].share", "ascend"),
        ({"steps": [{"share": 0}]}, INVALID_VALUE, "steps[0].share", "ascend"),
        ({"steps": [{"share": 100}]}, INVALID_VALUE, "steps[0].share", "no samples"),
        ({"steps": []}, INVALID_VALUE, "steps", "1 to 50"),
        ({"gates": [], "steps": [{"share": 5, "samples": 9}]}, INVALID_VALUE, "steps[0].samples", "gate"),
        ({"preset": "ab", "share": 100}, INVALID_VALUE, "share", "below 100 %"),
        ({"preset": "ab", "steps": [{"share": 5}]}, INVALID_VALUE, "steps", "no steps"),
        ({"share": 5}, INVALID_VALUE, "share", "Only 'ab'"),
        ({"mirror_share": 5}, INVALID_VALUE, "mirror_share", "no copies"),
        ({"mirror_budget": "5"}, INVALID_VALUE, "mirror_budget", "no copies"),
        ({"preset": "shadow", "mirror_share": 0}, INVALID_VALUE, "mirror_share", "above 0"),
        ({"preset": "shadow", "mirror_budget": "-1"}, INVALID_VALUE, "mirror_budget", "0 to"),
        ({"gates": [{"metric": "kindness"}]}, INVALID_VALUE, "gates[0].metric", "Nobody reports 'kindness'"),
        ({"gates": [{"metric": "succes"}]}, INVALID_VALUE, "gates[0].metric", "Did you mean 'success'?"),
        (
            {"gates": [{"metric": "thumb", "scorer": "feedback"}]},
            INVALID_VALUE,
            "gates[0].metric",
            "write 'feedback' in the place of 'thumb'",
        ),
        ({"gates": [{"metric": "format"}, {"metric": "format"}]}, INVALID_VALUE, "gates[1].metric", "two gates"),
        ({"gates": [{"metric": "success", "scorer": "format"}]}, INVALID_VALUE, "gates[0].metric", "Choose another"),
        ({"gates": [{"metric": "format", "settings": {"xml": 1}}]}, INVALID_VALUE, "gates[0].settings", "xml"),
        ({"gates": [{"metric": "success", "bound": 2}]}, INVALID_VALUE, "gates[0].settings", "no bound"),
        (
            {"gates": [{"metric": "judge", "settings": {"service": "gone", "rubric": "r"}}]},
            INVALID_VALUE,
            "gates[0].settings.service",
            "no service 'gone'",
        ),
        (
            {"gates": [{"metric": "judge", "settings": {"service": "chat", "rubric": "r"}}]},
            INVALID_VALUE,
            "gates[0].settings.service",
            "judge itself",
        ),
        (
            {"gates": [{"metric": "similarity", "settings": {"service": "judge", "to": "champion"}}]},
            INVALID_VALUE,
            "gates[0].settings.to",
            "champion_challenger",
        ),
        ({"alpha": 0.9}, INVALID_VALUE, "alpha", "0.0001 to 0.5"),
        ({"min_samples": 10, "max_samples": 5}, INVALID_VALUE, "max_samples", "min_samples"),
        ({"deadline_s": 0}, INVALID_VALUE, "deadline_s", "at least 1"),
        ({"segment": {}}, INVALID_VALUE, "segment", "must name"),
        ({"segment": {"projects": ["nope"]}}, NOT_FOUND, "segment.projects", "nope"),
        ({"segment": {"keys": ["nope"]}}, NOT_FOUND, "segment.keys", "nope"),
    ],
)
def test_refused_before_anything_moves(asked: dict[str, Any], fault: object, param: str, says: str) -> None:
    error = refused(**asked)
    assert (error.fault, error.param) == (fault, param)
    assert says in error.message


def test_a_second_rollout_is_refused() -> None:
    error = refused(applied(KNOWN, start()))
    assert (error.fault, error.param) == (CONFLICT, "service")
    assert "roll_1" in error.message


def test_a_shared_service_gives_one_release_all_first() -> None:
    there = applied(KNOWN, Outcome(answer=KNOWN, put=(FIRST, split((FIRST, 60), (SECOND, 40))), target=""))
    assert "split set" in refused(there).message


def test_a_model_whose_name_means_another_now_is_refused() -> None:
    changed = served(SMALL, model("large", context=4096), KIND, FIRST)
    assert "has 'large@" in refused(file=changed).message
    gone = directory(SECOND, KIND, LARGE, release(model("large", context=1), at=NOW))
    beside = applied(
        gone,
        Outcome(
            answer=gone,
            put=(
                split(
                    (release(model("large", context=1)), 100),
                ),
            ),
            target="",
        ),
    )
    assert "needs another of the same name" in refused(beside, served(SMALL, KIND, FIRST)).message


def declaring(name: str, **variables: Any) -> PromptVersion:
    source = msgspec.json.encode({"system": "s", "variables": variables}, order="sorted")
    return PromptVersion(name=name, digest=digest(source), source=source)


@pytest.mark.parametrize(
    ("champion", "candidate", "says"),
    [
        ({}, {"who": {}}, "needs the variable 'who'"),
        ({"who": {"required": False}}, {"who": {}}, "lets clients leave out"),
        ({"who": {}}, {"who": {"type": "integer"}}, "does not take all"),
        ({"who": {}}, {"who": {"choices": ["ann"]}}, "does not take all"),
        ({"who": {}}, {"who": {"max_length": 5}}, "does not take all"),
        ({"who": {}}, {}, "does not declare the variable 'who'"),
    ],
)
def test_a_prompt_whose_variables_do_not_match_is_refused(champion: Any, candidate: Any, says: str) -> None:
    one, other = declaring("one", **champion), declaring("other", **candidate)
    file = served(SMALL, one, other, release(SMALL, one))
    error = refused(directory(release(SMALL, other, at=NOW)), file, release=release(SMALL, other).id)
    assert error.fault is CONFLICT
    assert says in error.message


@pytest.mark.parametrize(
    ("champion", "candidate"),
    [
        ({"who": {}}, {"who": {"required": False}}),
        ({"who": {"type": "integer"}}, {"who": {"type": "number"}}),
        ({"who": {"choices": ["ann"]}}, {"who": {"choices": ["ann", "bob"]}}),
        ({}, {"who": {"default": "ann"}}),
    ],
)
def test_a_prompt_that_takes_more_is_not(champion: Any, candidate: Any) -> None:
    one, other = declaring("one", **champion), declaring("other", **candidate)
    file = served(SMALL, one, other, release(SMALL, one))
    assert start(directory(release(SMALL, other, at=NOW)), file, release=release(SMALL, other).id).put


def test_a_segment_keeps_what_it_has_against_another() -> None:
    kept = msgspec.structs.replace(
        split((FIRST, 100)), segment=Segment(projects=("red",)), inside=split((SECOND, 100)).ranges
    )
    there = applied(KNOWN, Outcome(answer=KNOWN, put=(FIRST, kept), target=""))
    assert refused(there, segment={"projects": ["blue"]}).param == "segment"
    assert "already" in refused(there, segment={"projects": ["red"]}).message
    _, after = made(start(there))
    assert (after.segment, shares(after.inside)) == (kept.segment, {SECOND.id: WHOLE})


# -- afterwards --------------------------------------------------------------------------------------------------


def view(answer: msgspec.Struct) -> RolloutView:
    return msgspec.json.decode(msgspec.json.encode(answer), type=RolloutView)


class Kept:
    """What a rollout's table of decisions would have."""

    def __init__(self, *decisions: Decision) -> None:
        self._decisions = decisions

    def decisions(self, rollout: str) -> tuple[Decision, ...]:
        return self._decisions


def standing() -> Standing:
    fields = {each.name: 1 for each in msgspec.structs.fields(Standing)}
    return msgspec.convert(fields | {"metric": "success", "more_units": None}, Standing)


def test_one_rollout_is_shown_with_its_gates_and_decisions() -> None:
    started = start()
    there = applied(KNOWN, started)
    known = msgspec.json.encode(Known(because="open", reason="r", standings=(standing(),)))
    sources = Sources(
        lambda: there,
        None,  # type: ignore[arg-type]
        None,  # type: ignore[arg-type]
        Kept(*started.decisions),
        lambda _: known,
    )
    ready = {"a": frozenset({FIRST.id, SECOND.id}), "b": frozenset({FIRST.id})}
    shown = view(rollouts.one(sources, turn("roll_1", standing=ready), None, Ask(actor=ROOT, operation="")))
    assert (shown.state, shown.share, shown.step, shown.loaded) == ("loading", 0.0, 0, {"a": True, "b": False})
    assert [each.metric for each in shown.standings] == ["success"]
    assert [each.what for each in shown.decisions] == ["start"]
    with pytest.raises(PenstockError) as error:
        rollouts.one(sources, turn("roll_2"), None, Ask(actor=ROOT, operation=""))
    assert error.value.fault is NOT_FOUND


def test_people_pause_resume_and_abort() -> None:
    there = applied(KNOWN, start())
    with pytest.raises(PenstockError):
        rollouts.pause(there, turn("roll_1"), None)
    running = msgspec.structs.replace(there.rollouts[0], state="running")
    there = msgspec.structs.replace(there, rollouts=(running,))
    for act, state in ((rollouts.pause, "paused"), (rollouts.resume, "running")):
        outcome = act(there, turn("roll_1"), None)
        there = applied(there, outcome)
        assert there.rollouts[0].state == state
    outcome = rollouts.abort(there, turn("roll_1"), None)
    there = applied(there, outcome)
    assert (there.rollouts[0].state, there.splits[0].rollout, outcome.decisions[0].number) == ("aborted", "", 4)
    listed = rollouts.listed(there, turn(query={"state": "ended"}), None)
    assert [view(each).id for each in listed.data] == ["roll_1"]
    assert not rollouts.listed(there, turn(query={"state": "running"}), None).data
    asking = msgspec.structs.replace(running, state="asking")
    there = applied(applied(KNOWN, start()), Outcome(answer=KNOWN, put=(asking,), target=""))
    there = applied(there, rollouts.approve(there, turn("roll_1"), rollouts.Approve(everyone=True)))
    assert (there.rollouts[0].state, shares(there.splits[0].ranges)) == ("promoted", {SECOND.id: WHOLE})
