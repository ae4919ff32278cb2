"""Pairs of questions as traffic through a whole gateway: what of the tokens and the money caches save, audits paid.

    python -m benchmarks replay [--pairs FILE] [--requests 20000] [--max-error .02] [--clients 8]

The gateway runs MiniLM in the box for the meaning of questions; the upstream knows which questions have one answer
and gives each group a text of its own, so that every wrong answer is seen. Of each pair the question that was
answered before is asked first and the other one some hundred requests later. What the upstream was asked for behind
clients' backs is spent, too; tokens of embeddings are shown apart, as they cost another price.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import gzip
import json
import math
import random
import statistics
import threading
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx

from benchmarks import machine, semantic_pairs
from tests.e2e.running import Penstock, running
from tests.models import embedding_weights

BATCH = 500
"""Requests, of which the share is taken for the interval."""
PRICE = {"input": 2.5, "output": 10.0}
"""Dollars a million tokens."""
_APART = 100
_WAIT_S = 10.0


def parse(parser: argparse.ArgumentParser) -> None:
    """Adds what the command line may say."""
    parser.add_argument("--pairs", type=Path, default=semantic_pairs.place(), help="JSON lines, gzipped")
    parser.add_argument("--requests", type=int, default=20_000)
    parser.add_argument("--max-error", type=float, default=0.02)
    parser.add_argument("--clients", type=int, default=8)


@dataclass
class Truth:
    """Which questions have one answer, and what it is."""

    of: Mapping[str, str]

    def answer(self, question: str) -> str:
        """20 to 120 words, the same for all questions of a group."""
        group = self.of[question]
        draw = random.Random(group)
        return " ".join(f"{draw.choice(_WORDS)}{draw.randrange(100)}" for _ in range(draw.randint(20, 120)))


_WORDS = ("river", "stone", "garden", "letter", "window", "market", "planet", "silver", "forest", "engine", "harbor")


def truth(rows: Sequence[Mapping[str, Any]]) -> Truth:
    """By the pairs that are the same, and those that are the same as either."""
    above: dict[str, str] = {}

    def top(text: str) -> str:
        while (over := above.setdefault(text, text)) != text:
            above[text] = text = above[over]
        return text

    for row in rows:
        one, other = top(row["asked"]), top(row["answered"])
        if row["same"]:
            above[one] = other
    return Truth({text: top(text) for text in above})


def traffic(rows: Sequence[Mapping[str, Any]], requests: int, seed: int) -> list[str]:
    """The questions, in the order in which they are asked."""
    draw = random.Random(seed)
    pairs = list(rows)
    draw.shuffle(pairs)
    queue: list[tuple[float, str]] = []
    for number, row in enumerate(pairs[: requests // 2]):
        queue.append((2 * number, row["answered"]))
        queue.append((2 * number + 1 + draw.uniform(0.2, 1.8) * _APART, row["asked"]))
    return [question for _, question in sorted(queue)]


@dataclass
class Upstream:
    """What it was asked for."""

    url: str = ""
    spent: dict[str, int] = field(default_factory=lambda: {"input": 0, "output": 0, "requests": 0})


@dataclass
class Seen:
    """What the clients got, and per batch what would have been spent and what was."""

    verdicts: Counter[str] = field(default_factory=Counter)
    wrong: Counter[str] = field(default_factory=Counter)
    failed: int = 0
    batches: list[tuple[Mapping[str, int], Mapping[str, int]]] = field(default_factory=list)


def main(asked: argparse.Namespace) -> None:
    """Prints the table."""
    with gzip.open(asked.pairs, "rt", encoding="utf-8") as file:
        rows = [json.loads(line) for line in file]
    known = truth(rows)
    questions = traffic(rows, asked.requests, seed=1)
    with upstream(known) as served:
        deployment = {
            "server": {"workers": 1, "access_log": "off"},
            "models": {
                "mock": {"engine": "openai", "base_url": served.url, "model": "mock", "api_key": "none"},
                "minilm": {"engine": "llamacpp", "task": "embedding", "weights": f"file:{embedding_weights()}"},
            },
            "services": {
                "chat": {
                    "model": "mock",
                    "cache": {
                        "exact": {"sampled": True},
                        "semantic": {
                            "max_error": asked.max_error,
                            "audit_tokens": 1 << 40,
                            "agreement": {"check": "exact"},
                        },
                    },
                },
                "embed": {"model": "minilm"},
            },
        }
        with running(json.dumps(deployment), ready_within_s=120) as penstock:
            seen = asyncio.run(_asked(penstock, known, questions, served, asked.clients))
    print(machine.described())
    _told(seen, len(questions), asked.max_error)


async def _asked(penstock: Penstock, known: Truth, questions: Sequence[str], served: Upstream, clients: int) -> Seen:
    seen, waiting = Seen(), iter(enumerate(questions))
    would = {"input": 0, "output": 0}
    marks = {"input": 0, "output": 0}

    def batch(number: int) -> None:
        if (number + 1) % BATCH:
            return
        spent = {name: served.spent[name] - marks[name] for name in marks}
        marks.update({name: served.spent[name] for name in marks})
        seen.batches.append((dict(would), spent))
        would.update(dict.fromkeys(would, 0))
        print(f"{number + 1:,} of {len(questions):,}: {dict(seen.verdicts)}", flush=True)

    async def client(http: httpx.AsyncClient) -> None:
        for number, question in waiting:
            messages = [{"role": "user", "content": question}]
            reply = await http.post("/chat/completions", json={"model": "chat", "messages": messages})
            if reply.status_code != 200:
                seen.failed += 1
                continue
            verdict = reply.headers.get("x-penstock-cache", "none").split(";")
            name = "similar" if "source=semantic" in reply.headers.get("x-penstock-cache", "") else verdict[0]
            seen.verdicts[name] += 1
            answer = known.answer(question)
            would["input"] += tokens(question)
            would["output"] += tokens(answer)
            if reply.json()["choices"][0]["message"]["content"] != answer:
                seen.wrong[name] += 1
            batch(number)

    headers = {"authorization": f"Bearer {penstock.key}"}
    async with httpx.AsyncClient(base_url=penstock.base_url, headers=headers, timeout=60) as http:
        await asyncio.gather(*(client(http) for _ in range(clients)))
    return seen


def tokens(text: str) -> int:
    """As the upstream counts them: a word is one."""
    return len(text.split())


def _told(seen: Seen, requests: int, max_error: float) -> None:
    print(f"\n{requests:,} requests, {seen.failed} failed; max_error {max_error:g}")
    print("| verdict | requests | wrong |\n| --- | ---: | ---: |")
    for name, count in seen.verdicts.most_common():
        print(f"| {name} | {count:,} | {seen.wrong[name]:,} |")
    wrong = sum(seen.wrong.values())
    print(f"\nwrong of all requests: {wrong / max(1, requests):.3%}")
    print("\n| saved, net of audits | all | last half |\n| --- | ---: | ---: |")
    half = seen.batches[len(seen.batches) // 2 :]
    for name, weights in (("tokens", {"input": 1.0, "output": 1.0}), ("money", PRICE)):
        print(f"| {name} | {_interval(seen.batches, weights)} | {_interval(half, weights)} |")


def _interval(batches: Sequence[tuple[Mapping[str, int], Mapping[str, int]]], weights: Mapping[str, float]) -> str:
    """The share that was not spent, and its 95 % interval by the jackknife over batches."""
    pairs = [tuple(sum(weights[name] * of[name] for name in weights) for of in batch) for batch in batches]
    if len(pairs) < 3:
        return "too few"

    def share(some: Sequence[tuple[float, ...]]) -> float:
        return 1 - sum(spent for _, spent in some) / sum(would for would, _ in some)

    whole = share(pairs)
    left = [share(pairs[:at] + pairs[at + 1 :]) for at in range(len(pairs))]
    middle, count = statistics.fmean(left), len(left)
    wide = 1.96 * math.sqrt((count - 1) / count * sum((each - middle) ** 2 for each in left))
    return f"{whole:.1%} +- {wide:.1%}"


@contextlib.contextmanager
def upstream(known: Truth) -> Iterator[Upstream]:
    """OpenAI's wire, whole answers and streams, answered at once."""
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever)
    thread.start()
    served = Upstream()

    async def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError):
            while head := (await reader.readuntil(b"\r\n\r\n")).lower():
                lengths = (each[15:] for each in head.split(b"\r\n") if each.startswith(b"content-length:"))
                body = await reader.readexactly(int(next(lengths, 0)))
                writer.write(_answered(known, served, json.loads(body)) if body else _reply({}, b"404 Not Found"))
        writer.close()

    server = asyncio.run_coroutine_threadsafe(asyncio.start_server(connected, "127.0.0.1", 0), loop).result(_WAIT_S)
    served.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/v1"
    try:
        yield served
    finally:
        loop.call_soon_threadsafe(server.close)
        loop.call_soon_threadsafe(loop.stop)
        thread.join(_WAIT_S)


def _answered(known: Truth, served: Upstream, asked: Mapping[str, Any]) -> bytes:
    question = asked["messages"][-1]["content"]
    answer = known.answer(question)
    usage = {"prompt_tokens": tokens(question), "completion_tokens": tokens(answer)}
    served.spent["input"] += usage["prompt_tokens"]
    served.spent["output"] += usage["completion_tokens"]
    served.spent["requests"] += 1
    choice = {"index": 0, "message": {"role": "assistant", "content": answer}, "finish_reason": "stop"}
    usage["total_tokens"] = sum(usage.values())
    said = {"id": "up", "object": "chat.completion", "created": 1, "model": "mock"}
    return _reply(said | {"choices": [choice], "usage": usage}, b"200 OK")


def _reply(said: Mapping[str, Any], status: bytes) -> bytes:
    body = json.dumps(said).encode()
    return b"HTTP/1.1 %s\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n%s" % (
        status,
        len(body),
        body,
    )
