"""Questions that mean the same, through a real gateway with two workers: it learns from what it answers, begins to
give answers to other questions, keeps the wrong ones few, and gives none of another model."""

from __future__ import annotations

import asyncio
import collections
import os
import random
import re
import signal
import time
from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from tests.caches.semantic.stream import HOW, OBJECTS, VERBS
from tests.e2e.running import Penstock, running, wait_until

MAX_ERROR = 0.1
TRAINED_WITHIN_S = 90.0
AT_ONCE = 16
THINGS = OBJECTS[:12]


def told(verb: str, thing: str, by: str = "old") -> str:
    return f"The {by} hand says: to {verb} {thing} takes patience."


def file(by: str) -> str:
    """Knows how to do everything, as ``by`` says it; ``other`` says it as the other hand."""
    return f"""
server: {{workers: 2, access_log: "off"}}
models:
  hand: {{engine: fake, answers: [{answers(by)}]}}
  other: {{engine: fake, answers: [{answers("other")}]}}
  words: {{engine: fake, dimensions: 64}}
services:
  chat:
    model: hand
    cache:
      semantic: {{max_error: {MAX_ERROR}, agreement: {{check: exact}}}}
  equal: {{model: hand, cache: {{exact: {{}}}}}}
  embed: {{model: words}}
"""


def answers(by: str) -> str:
    return ", ".join(
        f'{{when: "{verb} {thing}", text: "{told(verb, thing, by)}"}}' for verb in VERBS for thing in THINGS
    )


class Asker:
    """Asks how to do things, in one of six wordings, and counts what comes."""

    def __init__(self, penstock: Penstock, seed: int) -> None:
        self.penstock = penstock
        self.draw = random.Random(seed)
        self.verdicts: collections.Counter[str] = collections.Counter()
        self.wrong = 0

    async def __aenter__(self) -> Asker:
        self.http = httpx.AsyncClient(
            base_url=self.penstock.url, headers={"authorization": f"Bearer {self.penstock.key}"}, timeout=30
        )
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.http.aclose()

    async def ask(self, text: str, stream: bool = False, cache_control: str = "", **fields: object) -> httpx.Response:
        message = {"role": "user", "content": text}
        body = {"model": "chat", "stream": stream, "messages": [message], **fields}
        headers = {"cache-control": cache_control} if cache_control else {}
        reply = await self.http.post("/v1/chat/completions", json=body, headers=headers)
        assert reply.status_code == 200, reply.text
        return reply

    async def one(self, by: str = "old") -> httpx.Response:
        verb, thing = self.draw.choice(VERBS), self.draw.choice(THINGS)
        reply = await self.ask(self.draw.choice(HOW).format(f"{verb} {thing}"))
        said = verdict(reply)
        self.verdicts[said] += 1
        right = text_of(reply) == told(verb, thing, by)
        assert right or said == "similar"
        assert text_of(reply).startswith(f"The {by} hand")
        self.wrong += not right
        return reply

    async def many(self, count: int, by: str = "old") -> None:
        left = iter(range(count))

        async def some() -> None:
            for _ in left:
                await self.one(by)

        await asyncio.gather(*(some() for _ in range(AT_ONCE)))

    async def hit(self) -> httpx.Response:
        """The next answer that was made for another question."""
        for _ in range(100):
            reply = await self.one()
            if verdict(reply) == "similar":
                return reply
        raise AssertionError(f"nothing hits: {self.verdicts}")

    async def admin(self, path: str, body: object) -> Any:
        reply = await self.http.post(f"/admin/v1{path}", json=body)
        assert reply.status_code in (200, 201), reply.text
        return reply.json()

    async def audited(self) -> None:
        """Returns once audits have come to their end: for half a second none has."""
        before, now = ["?"], [""]
        async with asyncio.timeout(30):
            while before != now:
                before = now
                await asyncio.sleep(0.5)
                now = re.findall(r"^penstock_cache_audits_total.*", (await self.http.get("/metrics")).text, re.M)

    async def figures(self) -> Any:
        """How the desk of the service stands."""
        reply = await self.http.get("/admin/v1/caches/semantic", params={"service": "chat"})
        return reply.json()["data"][0]


def verdict(reply: httpx.Response) -> str:
    return reply.headers["x-penstock-cache"].split(";")[0]


def text_of(reply: httpx.Response) -> str:
    return str(reply.json()["choices"][0]["message"]["content"])


@pytest.fixture(scope="module")
def penstock() -> Iterator[Penstock]:
    """Has learnt enough to hit."""
    with running(file("old")) as up:
        asyncio.run(_trained(up))
        yield up


async def _trained(penstock: Penstock) -> None:
    deadline = time.monotonic() + TRAINED_WITHIN_S
    async with Asker(penstock, 1) as asker:
        while asker.verdicts["similar"] < 100:
            await asker.many(100)
            assert time.monotonic() < deadline, (asker.verdicts, penstock.said())
        assert asker.wrong <= MAX_ERROR * asker.verdicts.total()


async def test_other_wordings_get_the_same_answer_and_the_wrong_ones_stay_few(penstock: Penstock) -> None:
    async with Asker(penstock, 2) as asker:
        await asker.many(200)
        assert asker.verdicts["similar"] > 100
        assert set(asker.verdicts) == {"similar", "miss"}
        # What was served is told a second later.
        figures = await asker.figures()
        assert figures["hits"] > 100
        assert figures["labels"] >= 1000
        assert 0 < figures["audits"] <= figures["hits"]
        assert asker.wrong <= figures["wrong_at_most"] <= figures["allowed"]
        page = (await asker.http.get("/metrics")).text
        audits = re.findall(r'^penstock_cache_audits_total\{outcome="(\w+)",service="chat"\} (\d+)', page, re.M)
        assert sum(int(count) for _, count in audits) > 0
        assert dict(audits).get("failed") is None


@pytest.mark.parametrize("stream", [False, True])
async def test_a_client_is_told_how_near_and_how_sure(penstock: Penstock, stream: bool) -> None:
    async with Asker(penstock, 3) as asker:
        for wording in HOW * 20:
            reply = await asker.ask(wording.format(f"{VERBS[0]} {THINGS[0]}"), stream)
            if verdict(reply) == "similar":
                break
        shape = r"similar; source=semantic; age=\d+; distance=0\.\d{3}; confidence=[01]\.\d{3}"
        assert re.fullmatch(shape, reply.headers["x-penstock-cache"])
        assert re.fullmatch(r"[0-9a-f]{40}", reply.headers["x-penstock-cache-key"])
        assert reply.headers["x-penstock-attempts"] == "0"
        said = re.findall(r'"content":"([^"]*)"', reply.text)
        assert "".join(said) == told(VERBS[0], THINGS[0])
        assert reply.text.endswith("data: [DONE]\n\n") == stream


async def test_what_is_past_it_says_why(penstock: Penstock) -> None:
    async with Asker(penstock, 4) as asker:
        for text, why in (("Where is my order?", "own"), ("What is the weather in Oslo?", "now")):
            assert (await asker.ask(text)).headers["x-penstock-cache"] == f"bypass; why={why}"
        told_so = await asker.ask(HOW[0].format(f"{VERBS[0]} {THINGS[0]}"), cache_control="no-cache")
        assert told_so.headers["x-penstock-cache"] == "bypass; why=control"


async def test_who_says_that_it_was_wrong_is_not_given_it_again_and_nobody_else(penstock: Penstock) -> None:
    async with Asker(penstock, 5) as asker:
        reply = await asker.hit()
        gone = reply.headers["x-penstock-cache-key"]
        for request_id, found in ((reply.headers["x-request-id"], "removed"), ("req_nobody", "unknown")):
            heard = await asker.http.post("/v1/feedback", json={"request_id": request_id, "cached": "wrong"})
            assert heard.json() == {"request_id": request_id, "metrics": [], "cached": found}
        keys = {(await asker.one()).headers.get("x-penstock-cache-key") for _ in range(200)}
        assert len(keys) > 20
        assert gone not in keys


async def test_so_it_is_with_the_answer_to_an_equal_request(penstock: Penstock) -> None:
    async with Asker(penstock, 7) as asker:
        # Each worker has a memory of its own, and any of them may hear of it.
        replies = [await asker.ask("Who wrote Hamlet?", model="equal", temperature=0) for _ in range(8)]
        hit = next(reply for reply in replies if verdict(reply) == "hit")
        said = {"request_id": hit.headers["x-request-id"], "cached": "wrong"}
        assert (await asker.http.post("/v1/feedback", json=said)).json()["cached"] == "removed"
        reply = await asker.ask("Who wrote Hamlet?", model="equal", temperature=0)
        assert verdict(reply) == "miss"


async def test_nothing_of_another_model_or_release_is_given(penstock: Penstock) -> None:
    async with Asker(penstock, 6) as asker:
        await asker.hit()
        # Before the service has releases, what is made behind is made as the file says then.
        await asker.audited()
        penstock.file.write_text(file("new"))
        os.kill(penstock.pid, signal.SIGHUP)
        wait_until(lambda: "Applied" in penstock.said(), 10.0, penstock.said)
        await changed(asker, "new")
        await asker.audited()
        release = (await asker.admin("/releases", {"service": "chat", "model": "other"}))["id"]
        await asker.admin("/services/chat/rollback", {"to": release})
        async with asyncio.timeout(10):
            while (await asker.ask("How do I get there?")).headers.get("x-penstock-release") != release:
                pass
        await changed(asker, "other")
        failed = re.search(r'penstock_cache_audits_total\{outcome="failed"', (await asker.http.get("/metrics")).text)
        # Each was made by the release that had answered.
        assert failed is None


async def changed(asker: Asker, by: str) -> None:
    """It is answered as ``by`` says it from the first request on; what was learnt is known: the first answers serve
    at once."""
    asker.verdicts.clear()
    wrong = asker.wrong
    await asker.many(300, by)
    assert asker.verdicts["miss"] > 0
    assert asker.verdicts["similar"] > 0
    assert asker.wrong - wrong <= MAX_ERROR * 300
