"""The desks of a gateway: what is asked, learnt, kept, disowned, forgotten and saved."""

from __future__ import annotations

import asyncio
import os
import shutil
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from penstock.control.semantic.bounds import Bounds
from penstock.control.semantic.desks import Desks
from penstock.core.caching import DeskScope, Invalidation, Learnt, Semantic
from penstock.core.errors import PenstockError
from tests.control.semantic.house import (
    LOOSE,
    SCOPE,
    Walls,
    ask,
    entry,
    graph,
    learnt,
    taught,
    texts,
    vector,
)

CLEAN, BUILD = "How do I clean a kite?", "How do I build a telescope?"


@pytest.fixture
def clock() -> Walls:
    return Walls()


@pytest.fixture
async def hitting(trained: Path, tmp_path: Path, clock: Walls) -> AsyncIterator[Desks]:
    shutil.copytree(trained, tmp_path / "hitting")
    made = Desks(tmp_path / "hitting", clock, graph)
    await made.seek("w", ask("How do I clean a kite?"))
    yield made
    await made.aclose()


@pytest.fixture
async def desks(tmp_path: Path, clock: Walls) -> AsyncIterator[Desks]:
    made = Desks(tmp_path / "semantic", clock, graph)
    yield made
    await made.aclose()


async def nearest(desks: Desks, text: str, **more: object) -> bytes:
    return (await desks.seek("w", ask(text, **more))).entry  # type: ignore[arg-type]


async def test_the_nearest_answer_of_its_group_is_told(desks: Desks, clock: Walls) -> None:
    told = await desks.seek("w", ask(CLEAN))
    assert (told.hit, told.entry, told.distance, told.confidence, told.reason) == (False, b"", None, None, "alone")
    await desks.keep(taught(CLEAN, clock.at))
    await desks.keep(taught(BUILD, clock.at))
    again = await desks.seek("w", ask("How can I clean a kite?"))
    assert again.entry == taught(CLEAN, clock.at).entry
    assert again.reason == "learning"
    assert again.confidence is None
    assert again.distance is not None
    assert 0 <= again.distance < 0.2
    assert again.ticket != told.ticket
    assert await nearest(desks, CLEAN, release="v2") == b""
    assert await nearest(desks, CLEAN, rest=b"other") == b""
    assert await nearest(desks, CLEAN, scope=DeskScope("p2", "chat")) == b""


async def test_what_can_never_serve_teaches_nothing(desks: Desks, clock: Walls) -> None:
    await desks.seek("w", ask(CLEAN))
    await desks.keep(taught("How do I clean a kite in 2 hours?", clock.at))
    told = await desks.seek("w", ask("How do I clean a kite in 3 hours?"))
    assert (told.hit, told.reason, told.entry) == (False, "number", b"")


async def test_the_answer_to_the_same_text_takes_the_place_of_the_older(desks: Desks, clock: Walls) -> None:
    await desks.seek("w", ask(CLEAN))
    await desks.keep(taught(CLEAN, clock.at))
    newer = entry(CLEAN, clock.at + 1)
    await desks.keep(taught(CLEAN, clock.at, made=newer))
    await desks.tick()
    assert desks.figures()[0].entries == 1
    assert await nearest(desks, CLEAN) == taught(CLEAN, clock.at, made=newer).entry


async def test_an_answer_past_its_time_is_not_told(desks: Desks, clock: Walls) -> None:
    await desks.seek("w", ask(CLEAN))
    await desks.keep(taught(CLEAN, clock.at))
    clock.at += 3600
    assert await nearest(desks, CLEAN)
    sooner = Semantic(max_error=0.2, ttl_s=1800)
    assert await nearest(desks, CLEAN, semantic=sooner) == b""
    await desks.keep(taught(BUILD, clock.at))
    clock.at += LOOSE.ttl_s
    assert await nearest(desks, BUILD) == b""
    await desks.keep(taught(CLEAN, clock.at - LOOSE.ttl_s))
    await desks.tick(sweep=True)
    assert desks.figures()[0].entries == 0


@pytest.mark.parametrize(
    "record",
    [
        Invalidation(scope="all", at=2_000_000.0),
        Invalidation(scope="key", value=entry(CLEAN, 0).key.hex(), project="p1", at=2_000_000.0),
        Invalidation(scope="tag", value="kites", at=2_000_000.0),
        Invalidation(scope="subject", value="somebody", at=2_000_000.0),
    ],
)
async def test_what_is_invalidated_is_not_told_and_leaves_the_disk(
    desks: Desks, clock: Walls, tmp_path: Path, record: Invalidation
) -> None:
    made = entry(CLEAN, clock.at, tags=("kites",), subject="somebody")
    for scope in (SCOPE, DeskScope("p1", "chat", "c")):
        await desks.seek("w", ask(CLEAN, scope=scope))
        await desks.keep(taught(CLEAN, clock.at, scope=scope, made=made))
    await desks.tick()
    lying = list((tmp_path / "semantic").glob("*.entries"))
    assert len(lying) == 2
    assert all(CLEAN.encode() in path.read_bytes() for path in lying)
    desks._open.leave(SCOPE)
    desks.invalidate([record])
    assert await nearest(desks, CLEAN, scope=DeskScope("p1", "chat", "c")) == b""
    await desks.keep(taught(CLEAN, clock.at, scope=DeskScope("p1", "chat", "c"), made=made))
    await desks.tick()
    assert not any(CLEAN.encode() in path.read_bytes() for path in lying)


async def test_it_learns_hits_and_counts(hitting: Desks, clock: Walls) -> None:
    hits = 0
    for number, asked, answered in texts(same=True, many=40):
        rest = str(number).encode()
        await hitting.keep(taught(answered, clock.at, rest=rest))
        withheld = await hitting.seek("w", ask(asked, rest=rest, may_hit=False))
        assert not withheld.hit
        told = await hitting.seek("w", ask(asked, rest=rest))
        if told.hit:
            hits += 1
            assert withheld.reason == "budget"
            assert withheld.entry == told.entry == taught(answered, clock.at, rest=rest).entry
            assert told.reason == "serves"
            assert told.confidence is not None
            assert told.confidence > 0.5
    assert hits > 20
    await hitting.tick()
    (figures,) = hitting.figures()
    assert figures.scope == SCOPE
    assert figures.hits >= hits
    assert figures.wrong_at_most <= 0.2 * figures.requests
    rows = {name: series[0].values[0] for name, series in hitting.measured().items()}
    assert rows["penstock_cache_semantic_requests"] == 81
    assert rows["penstock_cache_semantic_hits"] == hits
    assert 0 < rows["penstock_cache_semantic_bound_ratio"] <= 1
    assert {series[0].labels for series in hitting.measured().values()} == {("chat",)}


async def test_limits_change_and_the_ledger_stays(hitting: Desks, clock: Walls) -> None:
    number, asked, answered = next(iter(texts(same=True, many=1)))
    rest = str(number).encode()
    await hitting.keep(taught(answered, clock.at, rest=rest))
    assert (await hitting.seek("w", ask(asked, rest=rest))).hit
    await hitting.tick()
    before = hitting.figures()[0]
    strict = Semantic(max_error=0.00001)
    told = await hitting.seek("w", ask(asked, rest=rest, semantic=strict))
    assert (told.hit, told.reason) == (False, "bound")
    await hitting.tick()
    after = hitting.figures()[0]
    assert (after.max_error, after.hits, after.labels) == (0.00001, before.hits, before.labels)


async def test_other_embeddings_are_learnt_anew_and_the_ledger_stays(hitting: Desks, clock: Walls) -> None:
    number, asked, answered = next(iter(texts(same=True, many=1)))
    rest = str(number).encode()
    await hitting.keep(taught(answered, clock.at, rest=rest))
    assert (await hitting.seek("w", ask(asked, rest=rest))).hit
    await hitting.tick()
    before = hitting.figures()[0]
    other = Semantic(max_error=0.2, embedder="other")
    told = await hitting.seek("w", ask(asked, rest=rest, semantic=other))
    assert told.reason == "alone"
    await hitting.keep(taught(answered, clock.at, rest=rest))
    assert await nearest(hitting, asked, rest=rest, semantic=other) == b""
    await hitting.tick()
    after = hitting.figures()[0]
    assert (after.requests, after.hits, after.entries, after.labels) == (before.requests + 2, before.hits, 0, 0)


async def test_a_wrong_answer_is_served_no_more(hitting: Desks, clock: Walls) -> None:
    number, asked, answered = next(iter(texts(same=True, many=1)))
    rest = str(number).encode()
    await hitting.keep(taught(answered, clock.at, rest=rest))
    told = await hitting.seek("w", ask(asked, request="r-wrong", rest=rest))
    assert told.hit
    assert await hitting.wrong("r-wrong", "p2") is None
    assert await hitting.wrong("r-wrong", "p1") == entry(answered, clock.at).key.hex()
    assert await hitting.wrong("r-wrong", "p1") == entry(answered, clock.at).key.hex()
    assert (await hitting.seek("w", ask(asked, rest=rest))).reason == "alone"


async def test_what_somebody_says_proves_nothing_where_an_audit_is_under_way(hitting: Desks, clock: Walls) -> None:
    await hitting.tick()
    before = hitting.figures()
    audited = 0
    for number, asked, answered in texts(same=True, many=40):
        rest = f"said {number}".encode()
        await hitting.keep(taught(answered, clock.at, rest=rest))
        told = await hitting.seek("w", ask(asked, request=f"said-{number}", rest=rest))
        if told.hit:
            assert await hitting.wrong(f"said-{number}", "p1") is not None
        if told.audited:
            audited += 1
            await hitting.learn(Learnt(told.ticket, True))
    assert audited
    await hitting.tick()
    wrong = before[0].wrong_seen if before else 0
    assert hitting.figures()[0].wrong_seen == wrong


async def test_audits_of_a_worker_that_ended_and_late_ones_are_wrong(hitting: Desks, clock: Walls) -> None:
    for worker in ("ends", "stays", "late"):
        found = 0
        for number, asked, answered in texts(same=True, many=40):
            rest = f"{worker}{number}".encode()
            await hitting.keep(taught(answered, clock.at, rest=rest))
            told = await hitting.seek(worker, ask(asked, rest=rest))
            found += told.audited
            if told.audited and worker == "stays":
                await hitting.learn(Learnt(told.ticket, True))
        assert found
        await hitting.tick()
        before = hitting.figures()[0]
        if worker == "ends":
            await hitting.ended(worker)
        clock.at += 901 if worker == "late" else 0
        await hitting.tick()
        after = hitting.figures()[0]
        assert after.audits - before.audits == (0 if worker == "stays" else found)
        assert after.wrong_seen - before.wrong_seen == (0 if worker == "stays" else found)


async def test_a_vector_that_is_none_is_refused(desks: Desks) -> None:
    for wrong in (b"", b"abc", b"\0" * 48, b"\xff" * 48):
        asked = ask(CLEAN)
        asked = type(asked)(**{name: getattr(asked, name) for name in asked.__struct_fields__} | {"vector": wrong})
        with pytest.raises(PenstockError, match="embedder"):
            await desks.seek("w", asked)
    assert (await desks.seek("w", ask(CLEAN))).reason == "alone"


async def test_entries_are_bounded_and_who_has_most_gives(tmp_path: Path, clock: Walls) -> None:
    made = Desks(tmp_path / "semantic", clock, graph, Bounds(entries=6))
    small = DeskScope("p2", "chat")
    try:
        for scope, many in ((small, 2), (SCOPE, 8)):
            for number in range(many):
                rest = str(number).encode()
                await made.seek("w", ask(CLEAN, scope=scope, rest=rest))
                await made.keep(taught(CLEAN, clock.at, scope=scope, rest=rest))
        await made.tick()
        assert {each.scope: each.entries for each in made.figures()} == {small: 2, SCOPE: 4}
        assert await nearest(made, CLEAN, rest=b"3") == b""
        assert await nearest(made, CLEAN, rest=b"7")
    finally:
        await made.aclose()


async def test_scopes_that_were_asked_long_ago_are_put_away_and_come_back(tmp_path: Path, clock: Walls) -> None:
    made = Desks(tmp_path / "semantic", clock, graph, Bounds(scopes=2))
    scopes = [DeskScope("p", "chat", str(number)) for number in range(5)]
    try:
        for _ in range(2):
            for scope in scopes:
                await made.seek("w", ask(CLEAN, scope=scope))
                await made.keep(taught(CLEAN, clock.at, scope=scope))
                assert len(made._open) <= 3
        await made.tick()
        assert len(made._open) == 2
        told = await made.seek("w", ask(CLEAN, scope=scopes[0]))
        await made.tick()
        assert {each.scope: each.requests for each in made.figures()}[scopes[0]] == 3
        assert told.reason in ("alone", "learning")
    finally:
        await made.aclose()


async def test_many_seek_while_it_learns_saves_and_evicts(tmp_path: Path, clock: Walls) -> None:
    made = Desks(tmp_path / "semantic", clock, graph, Bounds(entries=300, scopes=2))
    scopes = [DeskScope("p", "chat", str(number)) for number in range(4)]
    pairs = list(texts(same=True, many=90))

    async def traffic(scope: DeskScope) -> int:
        for _, asked, answered in pairs:
            told = await made.seek("w", ask(asked, scope=scope))
            await made.learn(Learnt(told.ticket, True))
            await made.keep(taught(answered, clock.at, scope=scope))
        return len(pairs)

    async def ticking(done: asyncio.Event) -> None:
        while not done.is_set():
            await made.tick(save=True, sweep=True)

    done = asyncio.Event()
    other = asyncio.create_task(ticking(done))
    try:
        async with asyncio.timeout(20):
            counts = await asyncio.gather(*map(traffic, scopes))
        done.set()
        await other
        await made.tick()
        assert sum(each.entries for each in made.figures()) <= 300
    finally:
        await made.aclose()
    again = Desks(tmp_path / "semantic", clock, graph)
    try:
        for scope, count in zip(scopes, counts, strict=True):
            await again.seek("w", ask(CLEAN, scope=scope))
            await again.tick()
            assert next(each.requests for each in again.figures() if each.scope == scope) == count + 1
    finally:
        await again.aclose()


async def test_its_files_are_for_nobody_else(desks: Desks, clock: Walls, tmp_path: Path) -> None:
    await desks.seek("w", ask(CLEAN))
    await desks.keep(taught(CLEAN, clock.at))
    await desks.tick(save=True)
    files = list((tmp_path / "semantic").iterdir())
    assert {path.suffix for path in files} == {".desk", ".entries", ".hits"}
    assert {os.stat(path).st_mode & 0o777 for path in files} == {0o600}
    assert (tmp_path / "semantic").stat().st_mode & 0o777 == 0o700
    assert vector(CLEAN)
    await learnt(desks)
