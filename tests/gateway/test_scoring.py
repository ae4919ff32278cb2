"""What rollouts know of an answer: at once, later, or not at all."""

from __future__ import annotations

import asyncio
import json
import time

import msgspec
import pytest

from penstock.core import errors
from penstock.core.chat import Usage
from penstock.core.errors import Fault, PenstockError
from penstock.core.money import Price, Rates
from penstock.core.policy import Policy, Queue, Retry
from penstock.core.releases import Measure
from penstock.core.serving import Service
from penstock.core.trail import Ending
from penstock.gateway.scoring import at_once, counts
from penstock.gateway.settle import Summary
from penstock.quality.config import FeedbackSettings, FormatSettings, JudgeSettings, SimilaritySettings, measure
from tests.gateway.doubles import ROLE, Records, ScriptedEngine, piece
from tests.gateway.releasing import (
    CANDIDATE,
    CHAMPION,
    SUCCESS,
    OnePrice,
    Street,
    asked,
    made,
    said,
    shared,
    user_of,
    watched,
)

CHAMPIONS, CANDIDATES = user_of(CHAMPION), user_of(CANDIDATE)
JSON = measure("form", "format", FormatSettings(json=True))
JUDGE = made("good", JudgeSettings(service="judge", rubric="Is it kind?"))
PRICE = Price(model="next", rates=Rates(input=1_000_000, output=1_000_000))


def street(*measures: Measure, next: ScriptedEngine | None = None, **more: ScriptedEngine) -> Street:
    services = [
        shared(watched=watched(*measures)),
        *(Service(name, (name,), policy=Policy(retry=Retry(attempts=1))) for name in more),
    ]
    engines = {"main": ScriptedEngine(said("old"), said("old")), "next": next or ScriptedEngine(said("new")), **more}
    return Street(services, engines, prices=OnePrice(PRICE))


@pytest.mark.parametrize(("user", "release"), [(CHAMPIONS, CHAMPION), (CANDIDATES, CANDIDATE)])
async def test_both_arms_are_scored_in_one_record_when_the_reply_is_over(user: str, release: str) -> None:
    slow, fast = measure("slow", "latency", bound=0.5), measure("fast", "latency", bound=5.0)
    speed, cost = measure("speed", "speed", bound=4.0), measure("cost", "cost", bound=0.00002)
    here = street(SUCCESS, slow, fast, speed, cost)
    reply = await here.door.chat(asked(user), here.admission)
    here.clock.time += 2.0
    while await reply.read():
        pass
    await reply.aclose()
    scores = here.scores()
    # 10 tokens in 2 seconds; 17 tokens at a millionth of a dollar.
    values = {"success": 1.0, "slow": 0.0, "fast": 1.0, "speed": 1.0, "cost": pytest.approx(0.15)}
    assert {score.metric: score.value for score in scores} == values
    assert {(score.request_id, score.service, score.release, score.rollout, score.copied) for score in scores} == {
        ("req-1", "chat", release, "ro_1", False)
    }
    assert {score.version for score in scores} == {each.version for each in (SUCCESS, slow, fast, speed, cost)}
    assert (scores[0].at, scores[0].arrived_at) == (here.clock.time - 2.0, here.clock.time)
    assert len({score.unit for score in scores}) == 1
    assert [type(record).__name__ for record in here.journal] == ["Opened", "Settled", "Scored"]
    assert here.meter.total("penstock_scores", release) == 5


async def test_what_failed_scores_0_in_everything_but_what_clients_say() -> None:
    feedback = measure("thumb", "feedback", FeedbackSettings(name="feedback"))
    failing = ScriptedEngine(PenstockError(errors.UPSTREAM_FAILED, "500"))
    here = street(SUCCESS, measure("fast", "latency", bound=5.0), JSON, JUDGE, feedback, next=failing)
    with pytest.raises(PenstockError):
        await here.ask(asked(CANDIDATES))
    assert {(score.metric, score.value, score.note) for score in here.scores()} == {
        (metric, 0.0, "upstream_error") for metric in ("success", "fast", "form", "good")
    }


def test_the_wait_for_a_place_counts_but_beside_a_copy() -> None:
    """Copies wait longer than anybody."""
    summary = Summary(
        request_id="r", wall=0.0, kind="chat", service="chat", model="m", replica="m-0", project="p", key_id="k",
        stream=True, attempts=1, queued_s=3.0, duration_s=4.0, first_chunk_s=3.5, usage=Usage(7, 10), cost_nano=0,
        ending=Ending.COMPLETE, status=200, code="",
    )  # fmt: skip
    latency, speed = measure("fast", "latency", bound=2.0), measure("speed", "speed", bound=5.0)
    assert [at_once(each, summary) for each in (latency, speed)] == [0.0, 0.0]
    assert [at_once(each, summary, paired=True) for each in (latency, speed)] == [1.0, 1.0]
    said_nothing = msgspec.structs.replace(summary, usage=Usage(7, 0))
    assert at_once(speed, said_nothing) == 0.0
    assert at_once(speed, msgspec.structs.replace(summary, usage=None)) is None


async def test_what_broke_in_the_middle_failed() -> None:
    broken = ScriptedEngine([[ROLE, piece("Hel")], PenstockError(errors.UPSTREAM_BROKEN, "reset")])
    here = street(next=broken)
    with pytest.raises(PenstockError):
        await here.ask(asked(CANDIDATES))
    assert [score.value for score in here.scores()] == [0.0]


@pytest.mark.parametrize(
    ("ending", "fault", "is_scored"),
    [
        (Ending.COMPLETE, None, True),
        (Ending.CLIENT_GONE, None, False),
        (Ending.FAILED, errors.UPSTREAM_TIMEOUT, True),
        (Ending.FAILED, errors.UPSTREAM_RATE_LIMITED, True),
        (Ending.FAILED, errors.NO_REPLICA, True),
        (Ending.FAILED, errors.QUEUE_TIMEOUT, True),
        (Ending.FAILED, errors.DEADLINE_EXCEEDED, True),
        (Ending.FAILED, errors.BAD_DEPLOYMENT, True),
        (Ending.FAILED, errors.BAD_REQUEST, False),
        (Ending.FAILED, errors.CONTEXT_LENGTH_EXCEEDED, False),
        (Ending.FAILED, errors.RATE_LIMITED, False),
        (Ending.FAILED, errors.BUDGET_EXCEEDED, False),
        (Ending.FAILED, errors.COUNTERS_UNAVAILABLE, False),
        (Ending.FAILED, errors.JOURNAL_FULL, False),
    ],
)
def test_what_says_nothing_of_a_release_is_not_scored(ending: Ending, fault: Fault | None, is_scored: bool) -> None:
    error = None if fault is None else PenstockError(fault, "")
    assert counts(ending, error) is is_scored


def test_a_copy_that_found_no_place_says_nothing() -> None:
    for fault in (errors.QUEUE_FULL, errors.SHED, errors.QUEUE_TIMEOUT):
        assert counts(Ending.FAILED, PenstockError(fault, ""))
        assert not counts(Ending.FAILED, PenstockError(fault, ""), copied=True)


async def test_a_client_that_leaves_is_not_scored() -> None:
    here = street(next=ScriptedEngine([[ROLE, piece("Hel")], asyncio.Event()]))
    reply = await here.door.chat(asked(CANDIDATES), here.admission)
    await reply.aclose()
    assert here.scores() == []


async def test_the_outcome_of_a_fallback_is_that_of_the_release() -> None:
    here = street(next=ScriptedEngine(PenstockError(errors.UPSTREAM_FAILED, "500")))
    service = here.snapshot.deployment.services["chat"]
    assert service.assignment is not None
    variant = msgspec.structs.replace(service.assignment.variants[CANDIDATE], models=("next", "main"))
    of = msgspec.structs.replace(service.assignment, variants={**service.assignment.variants, CANDIDATE: variant})
    deployment = msgspec.structs.replace(
        here.snapshot.deployment, services={"chat": msgspec.structs.replace(service, assignment=of)}
    )
    here.snapshot = msgspec.structs.replace(here.snapshot, deployment=deployment)
    here.admission = msgspec.structs.replace(here.admission, snapshot=here.snapshot)
    summary = await here.ask(asked(CANDIDATES))
    assert (summary.model, summary.release) == ("main", CANDIDATE)
    assert [(score.release, score.value) for score in here.scores()] == [(CANDIDATE, 1.0)]


@pytest.mark.parametrize(("text", "value", "note"), [('{\\"a\\":1}', 1.0, ""), ("no", 0.0, "no JSON")])
async def test_a_form_is_looked_at_when_the_client_has_its_answer(text: str, value: float, note: str) -> None:
    here = street(SUCCESS, JSON, next=ScriptedEngine(said(text)))
    await here.ask(asked(CANDIDATES))
    assert [(score.metric, score.value, score.note) for score in here.scores()] == [
        ("success", 1.0, ""),
        ("form", value, note),
    ]


async def test_a_judge_is_asked_as_the_gateway_itself() -> None:
    judge = ScriptedEngine([[piece("It is kind. GRADE: 4", "stop")]])
    here = street(SUCCESS, JUDGE, judge=judge)
    await here.ask(asked(CANDIDATES))
    assert [(score.metric, score.value) for score in here.scores()] == [("success", 1.0), ("good", 0.75)]
    assert here.scores()[1].note == "It is kind. GRADE: 4"
    question = judge.started[0][0]
    assert question.request_id == "req-1:good"
    messages = json.loads(bytes(question.fields["messages"]))
    assert "Is it kind?" in messages[0]["content"]
    assert "<request>\nhi\n</request>" in messages[1]["content"]
    assert "<reply>\nnew\n</reply>" in messages[1]["content"]
    (row,) = [row for row in here.rows() if row.model == "judge"]
    assert (row.purpose, row.project, row.key_id) == ("internal", "_internal", "_internal")


@pytest.mark.parametrize(
    "judge",
    [
        ScriptedEngine(PenstockError(errors.UPSTREAM_FAILED, "500")),
        ScriptedEngine([[piece("I will not say.", "stop")]]),
    ],
    ids=["down", "without a grade"],
)
async def test_a_judge_that_fails_gives_no_score(judge: ScriptedEngine) -> None:
    here = street(SUCCESS, JUDGE, judge=judge)
    await here.ask(asked(CANDIDATES))
    assert [score.metric for score in here.scores()] == ["success"]
    assert here.meter.total("penstock_scores_missed", "good", "failed") == 1


async def test_a_pattern_without_end_holds_nobody_up_and_is_not_tried_again(caplog: pytest.LogCaptureFixture) -> None:
    endless = measure("form", "format", FormatSettings(regex="^(a+)+$"))
    here = street(SUCCESS, endless, next=ScriptedEngine(*[said("a" * 60 + "b")] * 3))
    began = time.monotonic()
    for _ in range(3):
        await here.ask(asked(CANDIDATES))
    assert time.monotonic() - began < 2.0
    assert {score.metric for score in here.scores()} == {"success"}
    assert here.meter.total("penstock_scores_missed", "form", "failed") == 3
    assert "takes more than 0.1 s" in caplog.text


async def test_a_judge_that_is_down_is_told_of_once_until_it_answers_again(caplog: pytest.LogCaptureFixture) -> None:
    down = PenstockError(errors.UPSTREAM_FAILED, "500")
    judge = ScriptedEngine(down, down, said("Fine. GRADE: 5"), down)
    here = street(JUDGE, judge=judge, next=ScriptedEngine(*[said("new")] * 4))
    for count in (1, 1, 1, 2):
        await here.ask(asked(CANDIDATES))
        assert len([each for each in caplog.records if "no score good" in each.getMessage()]) == count
    assert here.meter.total("penstock_scores_missed", "good", "failed") == 3


async def test_a_judge_sees_a_share_of_the_requests_and_the_rest_is_not_missed() -> None:
    some = made("good", JudgeSettings(service="judge", rubric="?", share=0.5))
    here = street(SUCCESS, some, judge=ScriptedEngine(*([[piece("GRADE: 5", "stop")]] for _ in range(60))))
    here.engines["next"] = ScriptedEngine(*(said("new") for _ in range(60)))
    here.snapshot.engines["next"] = here.engines["next"]  # type: ignore[index]
    for number in range(60):
        await here.ask(asked(CANDIDATES, id=f"r{number}"))
    assert 15 < sum(score.metric == "good" for score in here.scores()) < 45
    assert here.meter.total("penstock_scores_missed") == 0


def vectors(*of: list[float]) -> bytes:
    return json.dumps({"data": [{"index": n, "embedding": each} for n, each in enumerate(of)]}).encode()


@pytest.mark.parametrize(
    ("settings", "other"),
    [
        (SimilaritySettings(service="embed", text="a kind word"), "a kind word"),
        (SimilaritySettings(service="embed", to="prompt"), "hi"),
    ],
)
async def test_similarity_is_that_of_two_embeddings(settings: SimilaritySettings, other: str) -> None:
    embed = ScriptedEngine([[vectors([1.0, 0.0], [3.0, 4.0])]])
    here = street(SUCCESS, made("near", settings), embed=embed)
    await here.ask(asked(CANDIDATES))
    assert here.scores()[1].value == pytest.approx(0.6)
    assert sorted(json.loads(bytes(embed.started[0][0].fields["input"]))) == sorted(["new", other])


async def test_embeddings_that_are_none_give_no_score() -> None:
    embed = ScriptedEngine([[b'{"data":[{"embedding":[1.0]}]}']])
    here = street(SUCCESS, made("near", SimilaritySettings(service="embed", text="x")), embed=embed)
    await here.ask(asked(CANDIDATES))
    assert here.meter.total("penstock_scores_missed", "near", "failed") == 1


async def test_a_judge_whose_own_service_is_shared_is_not_scored_itself() -> None:
    """It would judge itself for ever."""
    judge = made("good", JudgeSettings(service="chat", rubric="?"))
    answers = [said("new"), said("GRADE: 5"), said("GRADE: 5")]
    here = street(SUCCESS, judge, next=ScriptedEngine(*answers))
    here.engines["main"]._answers[:] = [said("GRADE: 5"), said("GRADE: 5")]
    await here.ask(asked(CANDIDATES))
    assert [score.request_id for score in here.scores()] == ["req-1", "req-1"]


async def test_what_has_no_room_to_wait_is_shed_and_counted() -> None:
    held = asyncio.Event()
    here = street(SUCCESS, JUDGE, judge=ScriptedEngine(*([[piece("GRADE: 5", "stop")], held] for _ in range(400))))
    here.engines["next"]._answers[:] = [said("new") for _ in range(400)]
    for number in range(300):
        reply = await here.door.chat(asked(CANDIDATES, id=f"r{number}"), here.admission)
        while await reply.read():
            pass
        await reply.aclose()
    shed = here.meter.total("penstock_scores_missed", "good", "shed")
    assert shed == 300 - 4 - 256
    await here.trials.aclose()
    assert sum(score.metric == "success" for score in here.scores()) == 300


async def test_a_full_journal_loses_scores_and_no_request() -> None:
    here = street()

    class Full(Records):
        def write(self, record: object) -> None:
            raise PenstockError(errors.JOURNAL_FULL, "full")

    here.trials._scoring._journal = Full()
    await here.ask(asked(CANDIDATES))
    assert here.meter.total("penstock_scores_missed", "success", "unwritten") == 1


async def test_what_waits_in_the_queue_of_a_judge_comes_after_everybody() -> None:
    """Its place is asked for with a priority below every client's."""
    judge = ScriptedEngine([[piece("GRADE: 5", "stop")]])
    here = street(SUCCESS, JUDGE, judge=judge)
    asked_for: list[tuple[str, str, int]] = []
    acquire = here.places.acquire

    async def noted(service: str, project: str, priority: int, queue: Queue, concurrency: int | None) -> object:
        asked_for.append((service, project, priority))
        return await acquire(service, project, priority, queue, concurrency)

    here.places.acquire = noted  # type: ignore[method-assign, assignment]
    services = here.snapshot.deployment.services
    bound = msgspec.structs.replace(services["judge"], policy=Policy(queue=Queue(concurrency=1)))
    here.snapshot = msgspec.structs.replace(
        here.snapshot,
        deployment=msgspec.structs.replace(here.snapshot.deployment, services={**services, "judge": bound}),
    )
    await here.ask(asked(CANDIDATES))
    assert asked_for == [("judge", "_internal", 3)]
