"""Changes under traffic, with replicas that are processes: what works goes on, and no request is lost."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from threading import Event

import openai
import pytest

from tests.e2e.open_loop import drive
from tests.e2e.running import Penstock, running, wait_until
from tests.models import chat_weights

ROOT = Path(__file__).resolve().parents[2]
QUICK = 1000
ASK = [{"role": "user", "content": "Say something."}]


def deployment(context: int = 1, *, weights: str = "whole", **model: object) -> str:
    small = {"engine": "llamacpp", "weights": f"file:{weights_file(weights)}", "context": context, **model}
    return json.dumps({"models": {"small": small}, "services": {"assistant": {"model": "small"}}})


def weights_file(name: str) -> Path:
    return Path(os.environ["WEIGHTS_HERE"]) / f"{name}.gguf"


@pytest.fixture(autouse=True)
def _weights(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WEIGHTS_HERE", str(tmp_path))
    for name in ("whole", "broken"):
        (tmp_path / f"{name}.gguf").write_bytes(b"GGUF")


@contextlib.contextmanager
def up(config: str) -> Iterator[Penstock]:
    with running(config, program="tests.e2e.replica", env={"PYTHONPATH": str(ROOT)}) as server:
        yield server


def hang_up(server: Penstock, config: str) -> None:
    """Changes the file, and has it read again."""
    said = server.said().count("pplied")
    server.file.write_text(config)
    os.kill(server.pid, signal.SIGHUP)
    wait_until(lambda: server.said().count("pplied") > said, 5.0, server.said)


def ask(server: Penstock, **more: object) -> openai.Stream:
    client = openai.OpenAI(base_url=server.base_url, api_key=server.key, max_retries=0, timeout=30)
    return client.chat.completions.create(model="assistant", messages=ASK, stream=True, **more)  # type: ignore


def text(stream: openai.Stream) -> str:
    return "".join(chunk.choices[0].delta.content or "" for chunk in stream if chunk.choices)


def test_a_changed_model_is_replaced_and_a_stream_in_progress_ends_as_it_began() -> None:
    with up(deployment(1, params={"word_s": 0.2, "words": 10})) as server:
        stream = iter(ask(server))
        begun = [next(stream), next(stream)]
        hang_up(server, deployment(2))
        wait_until(lambda: text(ask(server)).startswith("from 2"), 5.0, server.said)
        wait_until(lambda: "small-0: takes no more requests" in server.said(), 2.0)
        rest = text([*begun, *stream])
        assert rest == "from 1 0 1 2 3 4 5 6 7 8"


def test_a_change_that_cannot_start_leaves_what_works() -> None:
    with up(deployment(1)) as server:
        hang_up(server, deployment(2, weights="broken"))
        wait_until(lambda: "given up" in server.said(), 10.0, server.said)
        assert text(ask(server)).startswith("from 1")
        hang_up(server, deployment(1))
        assert text(ask(server)).startswith("from 1")


async def _changed(server: Penstock, config: str) -> None:
    await asyncio.to_thread(hang_up, server, config)


async def test_no_request_is_lost_while_copies_are_replaced_and_the_deployment_changes() -> None:
    with up(deployment(1, replicas=2)) as server:
        changes = [deployment(2, replicas=2), deployment(2, replicas=3), deployment(3, replicas=2)]
        events = [(150 + 250 * at, partial(_changed, server, change)) for at, change in enumerate(changes)]
        tally = await drive([server], service="assistant", count=QUICK, per_s=100, events=events)
        print(f"\n{tally.good} good, first byte after at most {tally.slow_s:.2f} s")
        assert tally.lost == {}
        assert tally.elsewhere == 0
        assert tally.good == QUICK
        # Whole answers of every deployment there was, and of no mixture.
        assert {said.split(" 0")[0] for said in tally.said} >= {"from 1", "from 2"}


def test_real_copies_are_replaced_under_traffic() -> None:
    def real(context: int) -> str:
        small = {"engine": "llamacpp", "weights": f"file:{chat_weights()}", "context": context, "slots": 2}
        return json.dumps({"models": {"small": small}, "services": {"assistant": {"model": "small"}}})

    with running(real(512)) as server, ThreadPoolExecutor(2) as pool:
        (old,) = server.engines()
        asking = Event()

        def going_on() -> list[str]:
            said = []
            while not asking.is_set():
                said.append(text(ask(server, max_tokens=8)))
            return said

        clients = [pool.submit(going_on) for _ in range(2)]
        try:
            hang_up(server, real(1024))
            wait_until(lambda: "small-0: takes no more requests" in server.said(), 30.0, server.said)
            text(ask(server, max_tokens=8))
        finally:
            asking.set()
        assert all(client.result(30) for client in clients)
        wait_until(lambda: old not in server.engines(), 10.0, server.said)
        assert len(server.engines()) == 1
