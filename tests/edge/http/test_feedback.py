"""What clients say of answers: taken by the id of the request, once it is in the journal; and what they are told of
the release that answered."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator

import pytest

from penstock.core.errors import JOURNAL_FULL, OUT_OF_RESOURCES, RATE_LIMITED, PenstockError
from penstock.core.releases import WHOLE, Range, Score, Scored
from penstock.core.serving import Assignment, Service
from penstock.core.usage import JournalRecord
from penstock.edge.http.feedback import Pace
from tests.edge.http.serving import Site, site
from tests.gateway.doubles import ROLE, USAGE, piece

PATH = "/v1/feedback"
VARIANT = Service("rolled", ("m",), release="rel_a")
ROLLED = Service(
    "rolled",
    ("m",),
    assignment=Assignment(ranges=(Range(WHOLE, "rel_a"),), salt="s", sticky="user", variants={"rel_a": VARIANT}),
)


@pytest.fixture
async def here() -> AsyncIterator[Site]:
    async with site(lambda _: [[ROLE, piece("hi", "stop")], [USAGE]], services=[ROLLED]) as one:
        yield one


def scores(here: Site) -> list[Score]:
    return [score for record in here.journal if isinstance(record, Scored) for score in record.scores]


@pytest.mark.parametrize(
    ("said", "metric", "value"),
    [
        ({"thumb": "up"}, "feedback", 1.0),
        ({"thumb": "down"}, "feedback", 0.0),
        ({"rating": 1}, "feedback", 0.0),
        ({"rating": 4}, "feedback", 0.75),
        ({"score": 0.3}, "feedback", 0.3),
        ({"outcome": {"name": "resolved", "value": 0.5}}, "feedback.resolved", 0.5),
        ({"outcome": {"name": "resolved", "value": True}}, "feedback.resolved", 1.0),
        ({"correction": "It is 7."}, "feedback.correction", 0.0),
        ({"tag": "rude"}, "feedback.tag.rude", 1.0),
    ],
)
async def test_what_is_said_is_a_score_in_the_journal(
    here: Site, said: dict[str, object], metric: str, value: float
) -> None:
    reply = await here.post(PATH, {"request_id": "req-1", **said})
    assert (reply.status, json.loads(reply.body)) == (202, {"request_id": "req-1", "metrics": [metric]})
    (score,) = scores(here)
    assert (score.request_id, score.metric, score.value) == ("req-1", metric, value)
    # What is not known here is for the store to look up.
    assert (score.service, score.release, score.rollout, score.unit, score.version) == ("", "", "", "", "")
    assert json.loads(score.note)["project"] == "default"


class Cache:
    """Knows of what ``gave`` got, by project and request, and takes it back."""

    def __init__(self) -> None:
        self.gave = {("default", "req-1")}
        self.away = False
        self.asked: list[tuple[str, str, str]] = []

    async def disown(self, request_id: str, project: str, key_id: str) -> bool:
        self.asked.append((request_id, project, key_id))
        if self.away:
            raise PenstockError(OUT_OF_RESOURCES, "The supervisor process has not answered.")
        known = (project, request_id) in self.gave
        self.gave.discard((project, request_id))
        return known


async def test_a_cached_answer_that_is_wrong_is_removed() -> None:
    cache = Cache()
    async with site(lambda _: [[ROLE]], disown=cache.disown) as here:
        reply = await here.post(PATH, {"request_id": "req-1", "cached": "wrong"})
        assert (reply.status, json.loads(reply.body)) == (
            202,
            {"request_id": "req-1", "metrics": [], "cached": "removed"},
        )
        reply = await here.post(PATH, {"request_id": "req-1", "cached": "wrong", "thumb": "down"})
        assert json.loads(reply.body) == {"request_id": "req-1", "metrics": ["feedback"], "cached": "unknown"}
        assert cache.asked == [("req-1", "default", "k1")] * 2
        assert [score.metric for score in scores(here)] == ["feedback"]
        cache.away = True
        reply = await here.post(PATH, {"request_id": "req-1", "cached": "wrong"})
        assert (reply.status, reply.error["code"]) == (OUT_OF_RESOURCES.status, OUT_OF_RESOURCES.code)


async def test_where_nothing_is_cached_nothing_is_known(here: Site) -> None:
    reply = await here.post(PATH, {"request_id": "req-1", "cached": "wrong"})
    assert (reply.status, json.loads(reply.body)["cached"]) == (202, "unknown")
    assert scores(here) == []


async def test_several_things_may_be_said_at_once(here: Site) -> None:
    said = {
        "rating": 2,
        "outcome": {"name": "solved", "value": 0},
        "correction": "7",
        "tag": "short",
        "comment": "Hm.",
    }
    reply = await here.post(PATH, {"request_id": "req-1", **said})
    metrics = ["feedback", "feedback.solved", "feedback.correction", "feedback.tag.short"]
    assert json.loads(reply.body)["metrics"] == metrics
    assert len([record for record in here.journal if isinstance(record, Scored)]) == 1
    assert json.loads(scores(here)[0].note) == {
        "project": "default",
        "key": "k1",
        "comment": "Hm.",
        "correction": "7",
    }


@pytest.mark.parametrize(
    ("said", "param"),
    [
        ({}, None),
        ({"comment": "Hm."}, None),
        ({"thumb": "sideways"}, "thumb"),
        ({"rating": 6}, "rating"),
        ({"score": 1.5}, "score"),
        ({"thumb": "up", "rating": 5}, "rating"),
        ({"outcome": {"name": "Bad Name", "value": 1}}, "outcome.name"),
        ({"outcome": {"name": "correction", "value": 1}}, "outcome.name"),
        ({"outcome": {"name": "fine", "value": 7}}, "outcome.value"),
        ({"cached": "right"}, "cached"),
        ({"ratings": 5}, None),
        ({"request_id": "two words", "thumb": "up"}, "request_id"),
        ({"request_id": None, "thumb": "up"}, "request_id"),
    ],
)
async def test_what_cannot_be_used_is_refused_by_name(here: Site, said: dict[str, object], param: str | None) -> None:
    reply = await here.post(PATH, {"request_id": "req-1", **said})
    assert (reply.status, reply.error["param"]) == (400, param)
    assert scores(here) == []


async def test_nobody_without_a_key_is_heard(here: Site) -> None:
    assert (await here.post(PATH, {"request_id": "r", "thumb": "up"}, authorization="")).status == 401


def test_a_key_says_no_more_than_the_journal_has_room_for() -> None:
    pace = Pace()
    for _ in range(Pace.AT_ONCE):
        pace.check("chatty", 100.0)
    with pytest.raises(PenstockError) as told:
        pace.check("chatty", 100.0)
    assert told.value.fault is RATE_LIMITED
    assert told.value.retry_after == pytest.approx(Pace.EACH_S)
    pace.check("other", 100.0)
    pace.check("chatty", 100.0 + Pace.EACH_S)
    with pytest.raises(PenstockError):
        pace.check("chatty", 100.0 + Pace.EACH_S)
    for number in range(60 * int(1 / Pace.EACH_S)):
        pace.check("chatty", 101.0 + number * Pace.EACH_S)


async def test_what_is_not_in_the_journal_is_not_taken(here: Site) -> None:
    def full(record: JournalRecord) -> None:
        raise PenstockError(JOURNAL_FULL, "The journal is full.")

    here.journal.write = full  # type: ignore[method-assign]
    reply = await here.post(PATH, {"request_id": "r", "thumb": "up"})
    assert (reply.status, reply.error["code"]) == (503, "journal_full")


@pytest.mark.parametrize("stream", [True, False])
async def test_clients_and_the_access_log_are_told_the_release(here: Site, stream: bool) -> None:
    whole = [[b'{"id":"x","choices":[{"index":0,"message":{"content":"hi"},"finish_reason":"stop"}]}']]
    if not stream:
        here.engine.script = lambda _: whole
    body = {"model": "rolled", "messages": [{"role": "user", "content": "hi"}], "stream": stream}
    reply = await here.post("/v1/chat/completions", body)
    assert (reply.status, reply.headers["x-penstock-release"]) == (200, "rel_a")
    (line,) = await here.logged()
    assert (line.service, line.release) == ("rolled", "rel_a")


async def test_a_release_that_the_key_may_not_choose_is_refused(here: Site) -> None:
    body = {"model": "rolled", "messages": [{"role": "user", "content": "hi"}]}
    reply = await here.post("/v1/chat/completions", body, x_penstock_release="rel_a")
    assert (reply.status, reply.error["code"]) == (403, "permission_denied")
