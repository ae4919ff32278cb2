"""kill -9 of a llama.cpp process in mid-stream, and of the supervisor above it: who hears of it, and what is left."""

from __future__ import annotations

import json
import os
import signal
import statistics
import threading
import time
from collections.abc import Iterator

import openai
import pytest

from tests.e2e.running import Penstock, alive, running, wait_until
from tests.models import chat_weights, embedding_weights

KILLS = 3
BACK_WITHIN_S = 5.0
ASK = [{"role": "user", "content": "Tell me a very long story about a river and its mill."}]


def deployment() -> str:
    return json.dumps(
        {
            "models": {
                "small": {"engine": "llamacpp", "weights": f"file:{chat_weights()}", "context": 2048},
                "embedder": {"engine": "llamacpp", "task": "embedding", "weights": f"file:{embedding_weights()}"},
                "script": {"engine": "fake"},
            },
            "services": {
                "assistant": {"model": "small"},
                "embed": {"model": "embedder"},
                "script": {"model": "script"},
                "backed": {"model": "small", "fallback": ["script"]},
            },
        }
    )


@pytest.fixture
def server() -> Iterator[Penstock]:
    with running(deployment()) as penstock:
        yield penstock


def client(server: Penstock) -> openai.OpenAI:
    return openai.OpenAI(base_url=server.base_url, api_key=server.key, max_retries=0, timeout=30)


class Others:
    """Requests to another service, one after another, for as long as the block lasts."""

    def __init__(self, server: Penstock) -> None:
        self._client = client(server)
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run)
        self.good = 0
        self.errors: list[str] = []

    def __enter__(self) -> Others:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join(30)

    def go_on(self) -> None:
        """Returns once one more has been answered."""
        served = self.good
        wait_until(lambda: self.good > served, 10.0)

    def _run(self) -> None:
        while not self._stop.is_set():
            try:
                self._client.embeddings.create(model="embed", input="water", encoding_format="float")
                self.good += 1
            except openai.APIError as error:
                self.errors.append(str(error))


def chat_engine(server: Penstock) -> int:
    """The process that serves the chat model: of the two, the one that its command's order put first to work."""
    before = {pid: _cpu(pid) for pid in server.engines()}
    client(server).chat.completions.create(model="assistant", messages=ASK, max_tokens=24)  # type: ignore[arg-type]
    return max(before, key=lambda pid: _cpu(pid) - before[pid])


def _cpu(pid: int) -> int:
    fields = open(f"/proc/{pid}/stat").read().rpartition(")")[2].split()  # noqa: SIM115
    return int(fields[11]) + int(fields[12])


def good(ask: openai.OpenAI) -> bool:
    try:
        reply = ask.chat.completions.create(model="assistant", messages=ASK, max_tokens=2)  # type: ignore[arg-type]
    except openai.InternalServerError:
        return False
    return bool(reply.choices[0].message.content)


def streamed_until_killed(ask: openai.OpenAI, victim: int) -> tuple[float, str | None]:
    """Kills the engine after 20 chunks of a long stream; when that was, and the code of the error in the stream."""
    stream = ask.chat.completions.create(
        model="assistant",
        messages=ASK,
        max_tokens=1500,
        stream=True,
        extra_body={"ignore_eos": True},  # type: ignore[arg-type]
    )
    for _ in range(20):
        next(stream)
    os.kill(victim, signal.SIGKILL)
    killed = time.monotonic()
    with pytest.raises(openai.APIError) as broken:
        list(stream)
    return killed, broken.value.code


def test_a_killed_engine_is_told_in_the_stream_and_is_back_while_others_go_on(server: Penstock) -> None:
    ask = client(server)
    back: list[float] = []
    for _ in range(KILLS):
        victim = chat_engine(server)
        with Others(server) as others:
            killed, code = streamed_until_killed(ask, victim)
            assert code == "upstream_disconnected"
            reply = ask.chat.completions.create(model="backed", messages=ASK, max_tokens=2)  # type: ignore[arg-type]
            assert reply.choices
            wait_until(lambda: good(ask), BACK_WITHIN_S, every_s=0.1)
            back.append(time.monotonic() - killed)
            others.go_on()
        assert others.errors == []
        assert not alive(victim)
        assert victim not in server.engines()
    print(f"\nback after a kill: median {statistics.median(back):.2f} s, worst {max(back):.2f} s of {KILLS}")
    assert max(back) < BACK_WITHIN_S


def test_a_killed_supervisor_takes_its_engines_with_it(server: Penstock) -> None:
    family = [process.pid for process in server.family()]
    assert len(server.engines()) == 2
    os.kill(server.pid, signal.SIGKILL)
    wait_until(lambda: not any(alive(pid) for pid in family), 3.0)
