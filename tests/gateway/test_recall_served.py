"""What a kept answer was made for: a release, a model, its settings; and what serves when every attempt fails."""

from __future__ import annotations

import msgspec
import pytest

from penstock.core.caching import CacheFallback, CachePolicy, Exact
from penstock.core.chat import Call
from penstock.core.errors import (
    BAD_REQUEST,
    UPSTREAM_FAILED,
    PenstockError,
)
from penstock.core.policy import Policy, Retry
from penstock.core.releases import WHOLE, Range
from penstock.core.serving import Service
from tests.gateway.doubles import ScriptedEngine
from tests.gateway.recalling import EXACT, asked, chat_service, heard, street, text
from tests.gateway.releasing import CANDIDATE, CHAMPION, assignment, said, user_of


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
