"""Each text is embedded once, short with short, whoever asks for it at the same time."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Sequence

import hypothesis.strategies as st
import pytest
from hypothesis import given, settings

from penstock.caches.chain import Chain
from penstock.caches.embeddings import Dated, Embeddings, Vector
from penstock.caches.tier_memory import MemoryTier
from penstock.core.errors import UPSTREAM_GARBLED, PenstockError
from tests.caches.doubles import SetClock, Sums


def vector(text: str) -> Vector:
    return Vector.of([float(len(text)), float(sum(map(ord, text)))], len(text))


class Model:
    """Remembers its batches; waits for ``gate``, and fails where it is told to."""

    def __init__(self) -> None:
        self.batches: list[list[str]] = []
        self.begun = asyncio.Event()
        self.gate = asyncio.Event()
        self.gate.set()
        self.fails_on = ""
        self.short_of = 0

    async def __call__(self, texts: Sequence[str]) -> Sequence[Vector]:
        self.batches.append(list(texts))
        self.begun.set()
        await self.gate.wait()
        if self.fails_on and self.fails_on in texts:
            raise PenstockError(UPSTREAM_GARBLED, "as told")
        return [vector(text) for text in texts[self.short_of :]]

    @property
    def asked(self) -> list[str]:
        return sorted(text for batch in self.batches for text in batch)


def made(**settings: int) -> tuple[Embeddings, SetClock]:
    clock = SetClock()
    chain = Chain(MemoryTier(1 << 20, clock), clock=clock, meter=Sums())
    return Embeddings(chain, clock=clock, ttl_s=60, wait_s=5, **settings), clock


async def test_what_is_known_is_not_asked_for() -> None:
    embeddings, clock = made()
    model = Model()
    first = await embeddings.get("mini@1", ["a", "bb", "a"], model)
    assert first.vectors == (vector("a"), vector("bb"), vector("a"))
    assert first.made == (0, 1)
    second = await embeddings.get("mini@1", ["bb", "ccc"], model)
    assert second.vectors == (vector("bb"), vector("ccc"))
    assert second.made == (1,)
    assert model.asked == ["a", "bb", "ccc"]
    assert (await embeddings.get("mini@2", ["a"], model)).made == (0,)
    clock.pass_by(60)
    assert (await embeddings.get("mini@1", ["a"], model)).made == (0,)


async def test_nothing() -> None:
    embeddings, _ = made()
    assert (await embeddings.get("m", [], Model())).vectors == ()


async def test_texts_and_spaces_do_not_run_into_one_another() -> None:
    embeddings, _ = made()
    model = Model()
    await embeddings.get("m", ["ab", "\ud800"], model)
    assert (await embeddings.get("ma", ["b"], model)).made == (0,)


async def test_a_hundred_at_once_ask_once() -> None:
    embeddings, _ = made()
    model = Model()
    model.gate.clear()
    tasks = [asyncio.create_task(embeddings.get("m", ["x", f"y{n % 2}"], model)) for n in range(100)]
    await model.begun.wait()
    model.gate.set()
    done = await asyncio.gather(*tasks)
    assert model.asked == ["x", "y0", "y1"]
    assert all(each.vectors[0] == vector("x") for each in done)
    assert sum(len(each.made) for each in done) == 3


async def test_calls_that_lead_what_the_other_waits_for_come_to_an_end() -> None:
    embeddings, _ = made()
    model = Model()
    texts = ["a", "b", "c", "d"]
    asks = [embeddings.get("m", texts[n % 4 :] + texts[: n % 4], model) for n in range(20)]
    async with asyncio.timeout(5):
        await asyncio.gather(*asks)
    assert model.asked == texts


async def test_a_failure_is_that_of_who_asked_and_what_came_is_kept() -> None:
    embeddings, _ = made(most_texts=1, at_once=1)
    model = Model()
    model.fails_on = "bbb"
    with pytest.raises(PenstockError, match="as told"):
        await embeddings.get("m", ["bbb", "a"], model)
    model.fails_on = ""
    again = await embeddings.get("m", ["bbb", "a"], model)
    assert again.made == (0,)


async def test_a_failure_is_not_that_of_who_waits() -> None:
    embeddings, _ = made()
    failing, working = Model(), Model()
    failing.fails_on = "x"
    failing.gate.clear()
    first = asyncio.create_task(embeddings.get("m", ["x"], failing))
    await failing.begun.wait()
    second = asyncio.create_task(embeddings.get("m", ["x"], working))
    await asyncio.sleep(0)
    failing.gate.set()
    with pytest.raises(PenstockError):
        await first
    assert (await second).vectors == (vector("x"),)


async def test_a_call_that_is_cancelled_stops_its_batches_and_frees_its_texts() -> None:
    embeddings, _ = made()
    model = Model()
    model.gate.clear()
    task = asyncio.create_task(embeddings.get("m", ["x"], model))
    await model.begun.wait()
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    model.gate.set()
    assert (await embeddings.get("m", ["x"], model)).made == (0,)


async def test_an_engine_that_gives_too_few() -> None:
    embeddings, _ = made()
    model = Model()
    model.short_of = 1
    with pytest.raises(PenstockError, match="gave 1 embeddings for 2 texts"):
        await embeddings.get("m", ["x", "y"], model)


@settings(deadline=None)
@given(st.lists(st.text(max_size=300), max_size=40, unique=True), st.integers(1, 9), st.integers(100, 2000))
def test_batches_hold_every_text_once_short_with_short(texts: list[str], most: int, characters: int) -> None:
    embeddings, _ = made(most_texts=most, most_characters=characters)
    keyed = {b"%d" % number: text for number, text in enumerate(texts)}
    batches = embeddings.batches(keyed)
    assert sorted(key for batch in batches for key in batch) == sorted(keyed)
    lengths = [[len(keyed[key]) for key in batch] for batch in batches]
    assert all(one[-1] <= two[0] for one, two in itertools.pairwise(lengths))
    for each in lengths:
        assert len(each) <= most
        assert len(each) == 1 or len(each) * each[-1] <= characters
        assert each[-1] <= 2 * each[0] + 64


@settings(deadline=None)
@given(st.lists(st.floats(width=32, allow_nan=False), min_size=1, max_size=20), st.none() | st.integers(0, 9999))
async def test_a_vector_comes_back_as_it_was(values: list[float], tokens: int | None) -> None:
    embeddings, _ = made()

    async def model(texts: Sequence[str]) -> Sequence[Vector]:
        return [Vector.of(values, tokens) for _ in texts]

    await embeddings.get("m", ["x"], model)
    (found,) = (await embeddings.get("m", ["x"], model)).vectors
    assert list(found.values()) == values
    assert found.tokens == tokens


async def test_what_is_kept_is_known_with_when_and_for_whom_it_was_made() -> None:
    embeddings, clock = made()
    who = "0f" * 16
    embeddings.keep("m", "a", Dated(vector("a"), clock.wall() - 5, who), for_s=20)
    assert await embeddings.known("m", ["a", "b", "a"]) == [
        Dated(vector("a"), clock.wall() - 5, who), None, Dated(vector("a"), clock.wall() - 5, who),
    ]  # fmt: skip
    assert (await embeddings.get("m", ["a"], Model())).made == ()
    clock.pass_by(15)
    assert await embeddings.known("m", ["a"]) == [None]


async def test_what_was_made_before_a_moment_is_made_anew() -> None:
    embeddings, clock = made()
    await embeddings.get("m", ["a"], Model())
    assert (await embeddings.get("m", ["a"], Model(), since=clock.wall())).made == (0,)
    began = clock.wall()
    clock.pass_by(1)
    assert (await embeddings.get("m", ["a"], Model(), since=began)).made == (0,)
    assert (await embeddings.get("m", ["a"], Model(), since=began)).made == ()


async def test_what_is_made_has_the_time_at_which_it_was_begun() -> None:
    embeddings, clock = made()
    model = Model()
    model.gate.clear()
    task = asyncio.create_task(embeddings.get("m", ["a"], model, subject="ab" * 16))
    await model.begun.wait()
    began = clock.wall()
    clock.pass_by(9)
    model.gate.set()
    await task
    assert await embeddings.known("m", ["a"]) == [Dated(vector("a"), began, "ab" * 16)]
