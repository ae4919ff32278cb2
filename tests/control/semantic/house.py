"""Desks for tests: traffic of one scope, and answers to keep."""

from __future__ import annotations

from collections.abc import Iterable

import msgspec

from penstock.caches.answers import packed
from penstock.caches.semantic.index_usearch import UsearchIndex
from penstock.caches.semantic.nearest import Index
from penstock.control.semantic.desks import Desks
from penstock.core.caching import DeskScope, Entry, Learnt, Seek, Semantic, Taught
from penstock.core.chat import Kind
from tests.caches.semantic.stream import bags, stream

SCOPE = DeskScope("p1", "chat")
LOOSE = Semantic(max_error=0.2)
PAIRS = stream(2100, seed=3)
_SEEN = 1900
VECTORS = bags(sorted({text for pair in PAIRS for text in (pair.asked, pair.answered)}))


class Walls:
    """A clock that is set."""

    def __init__(self) -> None:
        self.at = 1_000_000.0

    def now(self) -> float:
        return self.at

    def wall(self) -> float:
        return self.at


def graph(dimensions: int) -> Index:
    return UsearchIndex(dimensions)


def vector(text: str) -> bytes:
    found = VECTORS.get(text)
    if found is None:
        found = bags([text])[text]
    return found.tobytes()


def ask(
    text: str, *, request: str = "r", scope: DeskScope = SCOPE, release: str = "v1", rest: bytes = b"",
    semantic: Semantic = LOOSE, may_hit: bool = True,
) -> Seek:  # fmt: skip
    return Seek(
        scope=scope, release=release, semantic=semantic, request_id=request, text=text, rest=rest,
        vector=vector(text), may_hit=may_hit,
    )  # fmt: skip


def entry(text: str, at: float, **more: object) -> Entry:
    made = Entry(
        key=text.encode()[:20].ljust(20, b"."), kind=Kind.CHAT, chunks=(f'"{text}"'.encode(),), streamed=False,
        usage=None, created_at=at, fresh_for_s=3600.0, service="chat", release="v1", project="p1",
    )  # fmt: skip
    return msgspec.structs.replace(made, **more)


def taught(
    text: str, at: float, *, scope: DeskScope = SCOPE, release: str = "v1", rest: bytes = b"",
    semantic: Semantic = LOOSE, made: Entry | None = None,
) -> Taught:  # fmt: skip
    return Taught(
        scope=scope, release=release, semantic=semantic, text=text, rest=rest, vector=vector(text),
        entry=packed(made or entry(text, at)),
    )  # fmt: skip


async def train(desks: Desks, clock: Walls) -> None:
    """Traffic of which labels come at once; the desk has learnt from it, and hits."""
    for number, pair in enumerate(PAIRS[:_SEEN]):
        rest = str(number).encode()
        if number == 0:
            await desks.seek("w", ask(pair.answered, rest=rest))
        await desks.keep(taught(pair.answered, clock.wall(), rest=rest))
        told = await desks.seek("w", ask(pair.asked, request=f"r{number}", rest=rest))
        if told.audited or not told.hit:
            await desks.learn(Learnt(told.ticket, pair.same))
        if number % 200 == 199:
            await learnt(desks)


async def learnt(desks: Desks) -> None:
    """Waits until what there is to learn has been learnt."""
    await desks.tick()
    assert desks._learning is not None
    await desks._learning


def texts(same: bool, many: int) -> Iterable[tuple[int, str, str]]:
    """Pairs that were not seen, with a number that none else has."""
    found = [(5000 + at, pair.asked, pair.answered) for at, pair in enumerate(PAIRS[_SEEN:]) if pair.same == same]
    return found[:many]
