"""Desks with many entries: how long they take to fill, how large they are, and how soon and how well one is found.

    python -m benchmarks semantic-index [--entries 1000000] [--gateway http://HOST:PORT/v1 --model NAME]

Vectors are made: 384 dimensions, twenty around each of as many centres, which lie in forty directions. Questions are
new points of the same clusters, asked one after the other of whole desks, as a worker's link does: threads, profile,
index, decision, and the record of a hit. A lookup with an embedding is the question's text embedded by the gateway,
and then asked.
"""

from __future__ import annotations

import argparse
import asyncio
import datetime
import os
import tempfile
import time
from collections.abc import Coroutine, Iterator
from pathlib import Path

import httpx
import numpy as np
from numpy.typing import NDArray

from benchmarks import machine
from penstock.caches.answers import packed
from penstock.caches.semantic.index_usearch import UsearchIndex
from penstock.control.semantic.bounds import Bounds
from penstock.control.semantic.desks import Desks
from penstock.core.caching import DeskScope, Entry, Learnt, Seek, Semantic, Taught
from penstock.core.chat import Kind
from penstock.core.clock import SystemClock

WIDE = 384
_BATCH = 10_000
_TOGETHER = 250
_SCOPE = DeskScope("p", "chat")
_SEMANTIC = Semantic(max_error=0.05)
_LABELS = 1_200
_IDLE_S = 3.0
_WORDS = (
    *("garden", "kitchen", "engine", "river", "mountain", "keyboard", "winter", "bicycle", "recipe", "planet", "tax"),
    *("violin", "compiler", "vaccine", "bridge", "harvest", "mortgage", "painting", "battery", "glacier", "novel"),
    *("treaty", "enzyme", "camera", "desert", "wallet", "sailing", "cheese", "satellite", "grammar", "orchard"),
)
_ANSWER = " ".join(_WORDS * 2).encode()

Vectors = NDArray[np.float32]


def parse(parser: argparse.ArgumentParser) -> None:
    """Adds what the command line may say."""
    parser.add_argument("--entries", type=int, default=1_000_000)
    parser.add_argument("--questions", type=int, default=2_000)
    parser.add_argument("--sample", type=int, default=1_000, help="questions that are compared with exact search")
    parser.add_argument("--gateway", help="http://HOST:PORT/v1, with its key in $PENSTOCK_API_KEY")
    parser.add_argument("--model", default="minilm", help="its embedding service")


def main(asked: argparse.Namespace) -> None:
    """Prints a table."""
    print(f"{datetime.date.today().isoformat()}; {machine.described()}; {asked.entries:,} entries", flush=True)
    with tempfile.TemporaryDirectory() as folder:
        asyncio.run(_measured(asked, Path(folder)))


class _Made:
    """Vectors and texts, the same each time."""

    def __init__(self, entries: int) -> None:
        self.entries = entries
        random = np.random.default_rng(1)
        far = random.standard_normal((40, WIDE)).astype(np.float32)
        centres = 0.7 * random.standard_normal((max(40, entries // 20), WIDE)).astype(np.float32)
        self._centres = centres + far[random.integers(0, 40, len(centres))]

    def batches(self) -> Iterator[tuple[int, Vectors]]:
        """All entries, each batch with its first number."""
        for first in range(0, self.entries, _BATCH):
            yield first, self._points(min(_BATCH, self.entries - first), first + 7)

    def questions(self, count: int) -> Vectors:
        """Other points of the same clusters."""
        return self._points(count, 3)

    def _points(self, count: int, seed: int) -> Vectors:
        random = np.random.default_rng(seed)
        points = self._centres[random.integers(0, len(self._centres), count)]
        points += 0.5 * random.standard_normal((count, WIDE), dtype=np.float32)
        found: Vectors = points / np.linalg.norm(points, axis=1, keepdims=True)
        return found


def _text(number: int) -> str:
    """A question of 9 to 30 words."""
    words = [_WORDS[(number // len(_WORDS) ** place + 7 * place) % len(_WORDS)] for place in range(4 + number % 22)]
    return f"How do I explain the {' '.join(words)} to somebody?"


async def _measured(asked: argparse.Namespace, folder: Path) -> None:
    made = _Made(asked.entries)
    bounds = Bounds(entries=2 * asked.entries, entry_bytes=1 << 40)
    desks = Desks(folder / "semantic", SystemClock(), UsearchIndex, bounds)
    try:
        before = _resident()
        began = time.perf_counter()
        await _filled(desks, made)
        took = time.perf_counter() - began
        size = (_resident() - before) / made.entries
        print(f"filled in {took:,.0f} s, {took / made.entries * 1e3:.2f} ms an entry; {size:,.0f} bytes an entry")
        await _trained(desks, made)
        questions = made.questions(asked.questions)
        idle = await _beaten(asyncio.sleep(_IDLE_S))  # pace: how late the loop is when nothing is asked
        times: list[float] = []
        found: list[float] = []
        late = await _beaten(_looked(desks, questions, times, found))
        print(f"lookup: {_percentiles(times)}", flush=True)
        print(
            f"the event loop late by {_percentiles(late)}; when nothing is asked by {_percentiles(idle)}", flush=True
        )
        await _recalled(made, questions[: asked.sample], np.array(found[: asked.sample]))
        if asked.gateway:
            print(f"lookup with the embedding: {_percentiles(await _embedding(desks, asked))}")
    finally:
        await desks.aclose()


async def _filled(desks: Desks, made: _Made) -> None:
    now = time.time()
    await desks.seek("w", _seek(0, made.questions(1)[0]))
    for first, vectors in made.batches():
        for at in range(0, len(vectors), _TOGETHER):
            part = enumerate(vectors[at : at + _TOGETHER], first + at)
            await asyncio.gather(*(desks.keep(_taught(number, vector, now)) for number, vector in part))
        await desks.tick()


async def _trained(desks: Desks, made: _Made) -> None:
    """Labels that say nothing, so that there is a model to ask."""
    for number, question in enumerate(made.questions(4 * _LABELS)):
        told = await desks.seek("w", _seek(number, question))
        if told.entry:
            await desks.learn(Learnt(told.ticket, number % 3 == 0))
    await desks.tick()


async def _looked(desks: Desks, questions: Vectors, times: list[float], found: list[float]) -> None:
    for number, question in enumerate(questions):
        start = time.perf_counter()
        told = await desks.seek("w", _seek(number, question))
        times.append(time.perf_counter() - start)
        found.append(told.distance if told.distance is not None else 2.0)


async def _recalled(made: _Made, questions: Vectors, found: NDArray[np.float64]) -> None:
    """How often what was found is as near as the nearest there is, but for the rounding of half precision."""
    best = np.full(len(questions), -1.0, np.float32)
    for _, vectors in made.batches():
        best = np.maximum(best, (questions @ vectors.T).max(axis=1))
    print(f"recall@1 of {len(questions):,}: {np.mean(1.0 - found >= best - 2e-4):.1%}")


async def _embedding(desks: Desks, asked: argparse.Namespace) -> list[float]:
    headers = {"authorization": f"Bearer {os.environ.get('PENSTOCK_API_KEY', '')}"}
    times = []
    async with httpx.AsyncClient(base_url=asked.gateway, headers=headers, timeout=60) as client:
        for number in range(min(500, asked.questions)):
            start = time.perf_counter()
            reply = await client.post("/embeddings", json={"model": asked.model, "input": _text(number)})
            reply.raise_for_status()
            vector = np.array(reply.json()["data"][0]["embedding"], np.float32)
            await desks.seek("w", _seek(number, vector / np.linalg.norm(vector)))
            times.append(time.perf_counter() - start)
    return times


async def _beaten(while_this: Coroutine[object, object, None]) -> list[float]:
    """How late the loop comes to what it should do each millisecond meanwhile."""
    lags = []
    work = asyncio.create_task(while_this)
    while not work.done():
        start = time.perf_counter()
        await asyncio.sleep(0.001)  # pace: it is this wait that is measured
        lags.append(max(0.0, time.perf_counter() - start - 0.001))
    work.result()
    return lags


def _seek(number: int, vector: Vectors) -> Seek:
    return Seek(
        scope=_SCOPE, release="r", semantic=_SEMANTIC, request_id=f"q{number}", text=_text(number), rest=b"",
        vector=vector.astype("<f4").tobytes(),
    )  # fmt: skip


def _taught(number: int, vector: Vectors, now: float) -> Taught:
    entry = Entry(
        key=number.to_bytes(20, "big"), kind=Kind.CHAT, chunks=(_ANSWER,), streamed=False, usage=None, created_at=now,
        fresh_for_s=86400.0, service="chat", release="r", project="p",
    )  # fmt: skip
    return Taught(
        scope=_SCOPE, release="r", semantic=_SEMANTIC, text=f"{_text(number)} ({number})", rest=b"",
        vector=vector.astype("<f4").tobytes(), entry=packed(entry),
    )  # fmt: skip


def _percentiles(seconds: list[float]) -> str:
    middle, late = np.percentile(seconds, (50, 99)) * 1e3
    return f"p50 {middle:.2f} ms, p99 {late:.2f} ms"


def _resident() -> int:
    with Path("/proc/self/statm").open(encoding="ascii") as file:
        return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")
