"""What a kept answer was made for: a release, a model, its settings; and what serves when every attempt fails."""

from __future__ import annotations

import asyncio

import msgspec
import pytest

from penstock.core.caching import CacheFallback, CachePolicy, Exact, Invalidation
from penstock.core.chat import Call
from penstock.core.errors import (
    BAD_REQUEST,
    RATE_LIMITED,
    UPSTREAM_FAILED,
    PenstockError,
)
from penstock.core.policy import Policy, Retry
from penstock.core.releases import WHOLE, Range
from penstock.core.serving import Service
from penstock.gateway.reserve import Reserving
from tests.gateway.doubles import OWNER, ScriptedEngine
from tests.gateway.recalling import EXACT, asked, chat_service, heard, street, terms, text
from tests.gateway.releasing import ALL, CANDIDATE, CHAMPION, assignment, said, user_of


async def test_what_a_fallback_answers_is_not_kept_as_the_models_own() -> None:
    policy = Policy(retry=Retry(attempts=1), cache=CachePolicy(exact=EXACT))
    service = Service("chat", ("main", "spare"), policy=policy)
    down = PenstockError(UPSTREAM_FAILED, "down")
    of = street(down, said("main"), services=[service], spare=ScriptedEngine(said("spare")))
    assert text((await heard(of))[1]) == "spare"
    assert text((await heard(of))[1]) == "main"


async def test_a_changed_prompt_or_model_is_another_answer() -> None:
    of = street(said("old"), said("new"))
    await heard(of)
    changed = chat_service(CachePolicy(exact=EXACT), defaults=b'{"top_p":0.5}')
    deployment = msgspec.structs.replace(of.snapshot.deployment, services={"chat": changed})
    of.snapshot = msgspec.structs.replace(of.snapshot, deployment=deployment)
    of.admission = msgspec.structs.replace(of.admission, snapshot=of.snapshot)
    assert text((await heard(of))[1]) == "new"


async def test_what_changes_while_an_answer_is_made_anew_is_not_kept_for_what_was_before() -> None:
    of = street(said("old"), said("other"), said("third"))
    await heard(of)
    of.clock.time += 70
    changed = chat_service(CachePolicy(exact=EXACT), defaults=b'{"top_p":0.5}')
    before = of.admission
    deployment = msgspec.structs.replace(of.snapshot.deployment, services={"chat": changed})
    of.snapshot = msgspec.structs.replace(of.snapshot, deployment=deployment)
    assert text((await heard(of, asked("req-2")))[1]) == "old"
    of.snapshot = before.snapshot
    reply, chunks = await heard(of, asked("req-3"))
    assert (reply.headers["x-penstock-cache"].split(";")[0], text(chunks)) == ("stale", "old")


async def test_releases_never_share_answers_and_their_hits_are_no_scores() -> None:
    policy = Policy(retry=Retry(attempts=1), cache=CachePolicy(exact=EXACT))
    variants = {
        CHAMPION: Service("chat", ("main",), policy=policy, release=CHAMPION),
        CANDIDATE: Service("chat", ("next",), policy=policy, release=CANDIDATE),
    }
    shared = Service("chat", ("main",), policy=policy, assignment=assignment(variants=variants))
    of = street(said("old"), services=[shared], next=ScriptedEngine(said("new")))

    def by(release: str, id: str) -> Call:
        return msgspec.structs.replace(asked(id), user=user_of(release))

    for n in range(3):
        assert text((await heard(of, by(CHAMPION, f"a{n}")))[1]) == "old"
        assert text((await heard(of, by(CANDIDATE, f"b{n}")))[1]) == "new"
    assert [row.release for row in of.rows() if not row.cache] == [CHAMPION, CANDIDATE]


async def test_an_old_answer_serves_when_every_attempt_fails() -> None:
    down = PenstockError(UPSTREAM_FAILED, "down")
    of = street(said("old"), down, down, cache=CachePolicy(exact=EXACT, fallback=CacheFallback(within_s=600)))
    await heard(of)
    of.clock.time += 300
    reply, chunks = await heard(of, asked("req-2"))
    assert text(chunks) == "old"
    assert reply.headers["x-penstock-cache"] == "fallback; source=exact; age=300"
    assert reply.summary is not None
    assert (reply.summary.cache, reply.summary.status) == ("fallback", 200)
    assert of.meter.total("penstock_attempts_failed") == 1
    of.clock.time += 400
    with pytest.raises(PenstockError) as failed:
        await heard(of, asked("req-3"))
    assert failed.value.fault is UPSTREAM_FAILED
    assert of.places.held == 0


async def test_another_release_of_the_split_may_serve_as_fallback() -> None:
    policy = Policy(retry=Retry(attempts=1), cache=CachePolicy(exact=EXACT, fallback=CacheFallback(within_s=600)))
    variants = {
        CHAMPION: Service("chat", ("main",), policy=policy, release=CHAMPION),
        CANDIDATE: Service("chat", ("next",), policy=policy, release=CANDIDATE),
    }
    shared = Service("chat", ("main",), policy=policy, assignment=assignment(variants=variants))
    down = PenstockError(UPSTREAM_FAILED, "down")
    of = street(said("old"), services=[shared], next=ScriptedEngine(down, down))
    await heard(of, msgspec.structs.replace(asked(), user=user_of(CHAMPION)))
    _, chunks = await heard(of, msgspec.structs.replace(asked("req-2"), user=user_of(CANDIDATE)))
    assert text(chunks) == "old"
    gone = msgspec.structs.replace(
        shared, assignment=msgspec.structs.replace(assignment(variants=variants), ranges=(Range(WHOLE, CANDIDATE),))
    )
    deployment = msgspec.structs.replace(of.snapshot.deployment, services={"chat": gone})
    of.admission = msgspec.structs.replace(
        of.admission, snapshot=msgspec.structs.replace(of.snapshot, deployment=deployment)
    )
    with pytest.raises(PenstockError):
        await heard(of, asked("req-3"))


async def test_a_clients_own_fault_has_no_fallback() -> None:
    of = street(
        said("old"),
        PenstockError(BAD_REQUEST, "no"),
        cache=CachePolicy(exact=Exact(ttl_s=60), fallback=CacheFallback()),
    )
    await heard(of)
    of.clock.time += 61
    with pytest.raises(PenstockError) as refused:
        await heard(of)
    assert refused.value.fault is BAD_REQUEST


async def test_a_key_that_may_not_use_a_releases_model_gets_none_of_its_answers() -> None:
    policy = Policy(retry=Retry(attempts=1), cache=CachePolicy(exact=EXACT))
    variants = {CHAMPION: Service("chat", ("main", "spare"), policy=policy, release=CHAMPION)}
    shared = Service("chat", ("main", "spare"), policy=policy, assignment=assignment(variants=variants, ranges=ALL))
    of = street(said("main"), services=[shared], spare=ScriptedEngine(said("spare")))
    everything = of.admission
    few = msgspec.structs.replace(OWNER, key_id="k2", models=frozenset({"spare"}))
    for n in range(2):
        of.admission = everything
        assert text((await heard(of, asked(f"a{n}")))[1]) == "main"
        of.admission = msgspec.structs.replace(everything, principal=few)
        assert text((await heard(of, asked(f"b{n}")))[1]) == "spare"


async def test_nor_another_releases_in_the_place_of_an_error() -> None:
    policy = Policy(retry=Retry(attempts=1), cache=CachePolicy(exact=EXACT, fallback=CacheFallback(within_s=600)))
    variants = {
        CHAMPION: Service("chat", ("main",), policy=policy, release=CHAMPION),
        CANDIDATE: Service("chat", ("next",), policy=policy, release=CANDIDATE),
    }
    shared = Service("chat", ("main",), policy=policy, assignment=assignment(variants=variants))
    of = street(said("old"), services=[shared], next=ScriptedEngine(PenstockError(UPSTREAM_FAILED, "down")))
    await heard(of, msgspec.structs.replace(asked(), user=user_of(CHAMPION)))
    few = msgspec.structs.replace(OWNER, key_id="k2", models=frozenset({"next"}))
    of.admission = msgspec.structs.replace(of.admission, principal=few)
    with pytest.raises(PenstockError):
        await heard(of, msgspec.structs.replace(asked("req-2"), user=user_of(CANDIDATE)))


@pytest.mark.parametrize("said_of_it", ["no-cache", "max-age=299", "min-fresh=1", "max-stale=240"])
async def test_in_the_place_of_an_error_nobody_gets_what_is_older_than_he_takes(said_of_it: str) -> None:
    down = PenstockError(UPSTREAM_FAILED, "down")
    of = street(said("old"), down, down, cache=CachePolicy(exact=EXACT, fallback=CacheFallback(within_s=600)))
    await heard(of)
    of.clock.time += 300
    with pytest.raises(PenstockError):
        await heard(of, asked("req-2"), terms(said_of_it))
    assert text((await heard(of, asked("req-3"), terms("max-stale=241, max-age=300")))[1]) == "old"


async def test_what_cannot_be_made_anew_behind_saves_nothing() -> None:
    down = PenstockError(UPSTREAM_FAILED, "down")
    of = street(said("old"), down, cache=CachePolicy(exact=EXACT, fallback=CacheFallback(within_s=600)))
    await heard(of)
    of.clock.time += 70
    assert text((await heard(of, asked("req-2")))[1]) == "old"
    assert [(row.cache, row.purpose) for row in of.rows() if row.cache] == [("stale", "client")]


async def test_what_is_made_anew_keeps_its_tags() -> None:
    of = street(said("old"), said("new"), said("third"), cache=CachePolicy(exact=EXACT, tags=["faq"]))
    await heard(of, on=terms(**{"x-penstock-cache-tags": "mine"}))
    of.clock.time += 70
    await heard(of, asked("req-2"))
    assert text((await heard(of, asked("req-3")))[1]) == "new"
    of.answers.invalidate((Invalidation(scope="tag", value="mine", at=of.clock.wall()),))  # type: ignore[attr-defined]
    assert text((await heard(of, asked("req-4")))[1]) == "third"


async def test_who_waits_gets_nothing_that_was_invalidated_meanwhile_and_one_makes_it_for_all() -> None:
    wait, again = asyncio.Event(), asyncio.Event()
    of = street([wait, *said("old")], [again, *said("new")])
    first = asyncio.create_task(heard(of))
    await of.engines["main"].until_started(1)
    before = asyncio.create_task(heard(of, asked("req-2")))
    await asyncio.sleep(0)
    of.clock.time += 1
    of.answers.invalidate((Invalidation(scope="all", at=of.clock.wall()),))  # type: ignore[attr-defined]
    of.clock.time += 1
    late = [asyncio.create_task(heard(of, asked(f"late-{n}"))) for n in range(5)]
    await asyncio.sleep(0)
    wait.set()
    assert text((await first)[1]) == "old"
    await of.engines["main"].until_started(2)
    again.set()
    assert {text(chunks) for _, chunks in await asyncio.gather(before, *late)} == {"new"}
    assert len(of.engines["main"].started) == 2


async def test_who_waits_gets_nothing_older_than_he_takes() -> None:
    wait = asyncio.Event()
    of = street([wait, *said("old")], said("new"))
    first = asyncio.create_task(heard(of))
    await of.engines["main"].until_started(1)
    of.clock.time += 20
    late = asyncio.create_task(heard(of, asked("req-2"), terms("max-age=10")))
    await asyncio.sleep(0)
    wait.set()
    await first
    reply, chunks = await late
    assert (reply.headers["x-penstock-cache"], text(chunks)) == ("miss", "new")


async def test_who_is_refused_by_a_limit_was_given_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    async def refuse(*_: object, **__: object) -> None:
        raise PenstockError(RATE_LIMITED, "no more")

    of = street(said())
    await heard(of)
    monkeypatch.setattr(Reserving, "open", refuse)
    with pytest.raises(PenstockError):
        await heard(of, asked("req-2"))
    assert of.meter.total("penstock_cache_requests", "hit") == 0
    assert of.meter.total("penstock_cache_saved_dollars") == 0
