"""What the gateway embeds for itself: as nobody's, once for each text, by one model only."""

from __future__ import annotations

import base64
import json
import struct

import msgspec
import pytest

from penstock.caches.answers import Answers
from penstock.caches.chain import Chain
from penstock.caches.embeddings import Embeddings
from penstock.caches.tier_memory import MemoryTier
from penstock.core.errors import MODEL_FORBIDDEN, MODEL_NOT_FOUND, PenstockError
from penstock.core.serving import Service
from penstock.gateway.inside import NOBODY
from penstock.gateway.vectors import Inside, serving
from tests.caches.doubles import Sums
from tests.gateway.doubles import ScriptedEngine
from tests.gateway.embedding import Embedder, numbers, vector
from tests.gateway.releasing import CANDIDATE, CHAMPION, Street, assignment

EMBED = Service("embed", ("main",))


def inside(*services: Service, **engines: ScriptedEngine) -> tuple[Inside, Street]:
    of = Street(services or [EMBED], {"main": Embedder(), **engines})
    chain = Chain(MemoryTier(1 << 20, of.clock), clock=of.clock, meter=Sums())
    embeddings, answers = Embeddings(chain, clock=of.clock, ttl_s=60), Answers(chain, clock=of.clock)
    return Inside(embeddings, answers, of.door.ask, lambda: of.snapshot), of


def asked(of: Street, model: str = "main") -> list[list[str]]:
    engine = of.engines[model]
    assert isinstance(engine, Embedder)
    return engine.asked


async def test_the_gateway_embeds_as_itself_and_each_text_once() -> None:
    embed, of = inside()
    assert await embed("embed", ["one", "two", "one"], None) == tuple(vector(each) for each in ("one", "two", "one"))
    assert await embed("embed", ["three", "two"], None) == (vector("three", 5), vector("two"))
    assert asked(of) == [["one", "two"], ["three"]]
    assert {(row.project, row.purpose, row.kind) for row in of.rows()} == {(NOBODY, "internal", "embedding")}
    assert len({row.request_id for row in of.rows()}) == 2


async def test_long_texts_are_not_asked_for_with_short_ones() -> None:
    embed, of = inside()
    long = "x" * 3000
    assert await embed("embed", [long, "short", "small"], None) == (
        vector(long, 3000),
        vector("short"),
        vector("small"),
    )
    assert sorted(map(len, asked(of))) == [1, 2]


async def test_only_the_first_model_of_the_release_that_most_get_is_asked() -> None:
    variants = {CHAMPION: ("main", "spare"), CANDIDATE: ("other",)}
    shared = assignment()
    embed, of = inside(
        msgspec.structs.replace(
            EMBED,
            assignment=msgspec.structs.replace(
                shared,
                variants={release: Service("embed", models, release=release) for release, models in variants.items()},
            ),
        ),
        spare=Embedder(),
        other=Embedder(),
    )
    main = serving(of.snapshot.deployment.services["embed"])
    for text in map(str, range(20)):
        await embed("embed", [text], None)
    assert len(asked(of, main.models[0])) == 20
    assert {row.model for row in of.rows()} == {main.models[0]}


async def test_it_asks_no_model_that_whoever_it_asks_for_may_not_use() -> None:
    embed, of = inside(spare=Embedder())
    with pytest.raises(PenstockError) as caught:
        await embed("embed", ["x"], frozenset({"spare"}))
    assert caught.value.fault is MODEL_FORBIDDEN
    await embed("embed", ["x"], frozenset({"main", "spare"}))
    assert asked(of) == [["x"]]


async def test_a_service_that_is_not_there() -> None:
    embed, _ = inside()
    with pytest.raises(PenstockError) as caught:
        await embed("nowhere", ["x"], None)
    assert caught.value.fault is MODEL_NOT_FOUND


async def test_an_answer_that_is_none_fails() -> None:
    embed, of = inside()
    engine = of.engines["main"]
    assert isinstance(engine, Embedder)
    engine.instead = "AAA="
    with pytest.raises(PenstockError, match="the service 'embed' gave no list"):
        await embed("embed", ["x"], None)
    engine.instead = base64.b64encode(struct.pack("<2f", *numbers("x"))).decode()
    assert await embed("embed", ["x"], None) == (vector("x", 1),)
    assert json.loads(bytes(engine.started[-1][0].fields["model"])) == "embed"
