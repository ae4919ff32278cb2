"""A new deployment under traffic: taken whole or refused whole, one at a time."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import json
import sys
from collections.abc import AsyncIterator

import pytest

from penstock.assembly import engines
from penstock.assembly.apply import Applying
from penstock.assembly.engines import Crew
from penstock.assembly.serving import Serving
from penstock.config import ConfigErrors, Loaded, Mistake, loaded, models_of
from penstock.control.board import Board
from penstock.control.health import Watch
from penstock.control.upkeep import Upkeep
from penstock.core.accounts import Directory
from penstock.core.errors import BAD_DEPLOYMENT, STOPPING, PenstockError
from penstock.core.serving import Applied, Deployment, ReplicaState
from penstock.core.usage import Act
from penstock.fleet.fake import FakeSubstrate
from tests.control.house import Weights
from tests.control.timing import ManualTime, until

FIRST = """
models:
  quick: {engine: fake}
  big: {engine: openai, base_url: "http://127.0.0.1:9/v1", health: {every_s: 60}}
services:
  quick: {model: quick}
  big: {model: big}
"""
ACT = Act(at=5.0, actor="admin", project="*", action="deployment.apply", address="192.0.2.9", request_id="req-1")
NOW = 1_800_000_000.0
SECOND = FIRST + "  also: {model: quick, aliases: [more]}\n"


class File:
    """The file that the server was started with. ``lies`` is what it says now."""

    name = "penstock.yaml"

    def __init__(self, lies: str) -> None:
        self.lies: str | None = lies

    def text(self) -> bytes:
        if self.lies is None:
            raise ConfigErrors(self.name, [Mistake(0, 0, "", "there is no such file")])
        return self.lies.encode()

    def load(self, text: bytes, name: str) -> Loaded:
        return loaded(text, name, {"KEY": "sk-hush"})


class Server:
    """The supervisor's half, without processes."""

    def __init__(self) -> None:
        self.file, self.heard, self.said = File(FIRST), list[Deployment](), list[str]()
        self.crew = Crew()
        self.noted: list[Act] = []

    async def apply(self, text: str, dry_run: bool) -> Applied:
        return await self.applying.apply(text, dry_run, ACT)

    @contextlib.asynccontextmanager
    async def serving(self) -> AsyncIterator[Server]:
        first = self.file.load(FIRST.encode(), "first")
        self.releasing = Serving(self.file, created_at=7, wall=lambda: NOW, say=self.said.append)
        deployment = await self.releasing.first(first, Directory())
        self.crew = self.releasing.now.crew
        self.board = Board(deployment, self.crew.wanted, self.heard.append)
        self.time, self.substrate = ManualTime(), FakeSubstrate()
        self.upkeep = Upkeep(
            self.crew.wanted.values(), board=self.board, substrate=self.substrate, weights=Weights(),
            clock=self.time, sleep=self.time.sleep,
        )  # fmt: skip
        self.watch = Watch(self.board, self.time.sleep)
        self.watch.want(self.crew.watched.values())
        self.releasing.onto(self.board, self.upkeep, self.watch)
        self.applying = Applying(
            self.releasing, source=self.file, board=self.board, say=self.said.append, note=self.noted.append
        )
        tasks = [asyncio.create_task(self.upkeep.run()), asyncio.create_task(self.watch.run())]
        try:
            yield self
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.wait(tasks)


@pytest.fixture
async def server() -> AsyncIterator[Server]:
    async with Server().serving() as server:
        yield server


async def test_a_new_service_is_one_change_of_the_deployment(server: Server) -> None:
    before = server.board.deployment
    applied = await server.apply(SECOND, False)
    assert applied.changed == ("added service also: quick",)
    assert (applied.needs_restart, applied.version) == ((), 2)
    assert [each.version for each in server.heard] == [2]
    assert set(server.board.deployment.services) == {"quick", "big", "also"}
    assert server.board.deployment.services["also"].created == 7
    # What a request began with is as it was.
    assert set(before.services) == {"quick", "big"}
    assert server.said == ["Applied: added service also: quick."]


async def test_a_dry_run_changes_nothing_and_the_same_again_neither(server: Server) -> None:
    assert (await server.apply(SECOND, True)).changed == ("added service also: quick",)
    assert server.heard == []
    await server.apply(SECOND, False)
    again = await server.apply(SECOND, False)
    assert (again.changed, again.version) == ((), 2)
    assert len(server.heard) == 1


async def test_a_bad_file_is_refused_with_every_mistake_by_its_line(server: Server) -> None:
    bad = FIRST.replace("model: big", "model: bigg").replace("base_url", "base_urll")
    with pytest.raises(PenstockError) as refused:
        await server.apply(bad, False)
    assert refused.value.fault is BAD_DEPLOYMENT
    assert refused.value.message.splitlines() == [
        'the deployment:4: models.big.base_urll: unknown key; did you mean "base_url"?',
        'the deployment:7: services.big.model: there is no model `bigg`; did you mean "big"?',
    ]
    assert server.heard == []
    assert (await server.apply(SECOND, False)).changed


async def test_an_engine_that_cannot_be_built_refuses_all_of_it(server: Server) -> None:
    bad = SECOND.replace("health:", "ca_file: /no/such/file, health:")
    with pytest.raises(PenstockError, match="/no/such/file") as refused:
        await server.apply(bad, False)
    assert refused.value.fault is BAD_DEPLOYMENT
    assert server.heard == []


async def test_what_a_semantic_cache_needs_is_missed_at_once(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "usearch.compiled", None)
    monkeypatch.delitem(sys.modules, "penstock.caches.semantic.index_usearch", raising=False)
    text = SECOND.replace("aliases: [more]", "cache: {semantic: {max_error: 0.02, embedder: also}}")
    with pytest.raises(PenstockError, match=r"penstock\[semantic\]"):
        await server.apply(text, True)
    assert server.board.deployment.version == 1


async def test_the_environment_is_the_servers_and_its_values_are_not_told(server: Server) -> None:
    new = FIRST.replace("health:", 'api_key: "${KEY}", health:')
    assert server.applying.text() == FIRST
    assert (await server.apply(new, False)).changed == ("changed model big: api_key",)
    assert server.applying.text() == new
    settings = server.board.deployment.models["big"].settings
    assert b"sk-hush" in settings


async def test_what_is_unchanged_keeps_its_engine(server: Server) -> None:
    watched = server.crew.watched["big"]
    await server.apply(SECOND, False)
    assert (await engines.crew(models_of(loaded(SECOND.encode(), "", {}).file), server.crew)).watched[
        "big"
    ] is watched


async def test_what_the_server_is_made_with_is_said_each_time_and_not_taken(server: Server) -> None:
    new = "server: {port: 9999}\n" + SECOND
    for changed in (("added service also: quick",), ()):
        applied = await server.apply(new, False)
        assert applied.changed == changed
        assert applied.needs_restart == ("server.port 8080 -> 9999",)


async def test_a_model_that_runs_here_is_started_and_stopped(server: Server) -> None:
    new = SECOND.replace("services:", "  small: {engine: llamacpp, weights: 'file:/a.gguf'}\nservices:")
    applied = await server.apply(new, False)
    assert "added model small (llamacpp); 1 copy is started" in applied.changed
    await until(lambda: server.substrate.started == ["small-0"])
    states = [each.state for each in server.board.deployment.replicas["small"]]
    assert states == [ReplicaState.STARTING]
    assert server.board.deployment.settled
    await server.apply(FIRST, False)
    await until(lambda: "small" not in server.board.deployment.replicas)
    assert "small" not in server.board.deployment.models


async def test_they_are_taken_one_at_a_time_in_their_order(server: Server) -> None:
    texts = [FIRST + f"  s{number}: {{model: quick}}\n" for number in range(5)]
    done = await asyncio.gather(*(server.apply(text, False) for text in texts))
    assert [each.version for each in done] == [2, 3, 4, 5, 6]
    assert done[-1].changed == ("added service s4: quick", "removed service s3")
    assert set(server.board.deployment.services) == {"quick", "big", "s4"}


async def test_the_file_is_read_again_when_asked_to(server: Server) -> None:
    await server.applying.reread(ACT)
    assert server.said == ["penstock.yaml says nothing new."]
    server.file.lies = FIRST + "cache: {memory: 1MiB}\n"
    await server.applying.reread(ACT)
    assert server.said[1:] == ["Not applied before the next start: cache.memory 67108864 -> 1048576."]
    server.file.lies = SECOND
    await server.applying.reread(ACT)
    assert "also" in server.board.deployment.services
    server.file.lies = SECOND.replace("quick}", "quik}")
    await server.applying.reread(ACT)
    server.file.lies = None
    await server.applying.reread(ACT)
    refused = "penstock.yaml is not applied; what was served before is served on."
    assert server.said[-4:] == [
        'penstock.yaml:6: services.quick.model: there is no model `quik`; did you mean "quick"?', refused,
        "penstock.yaml: there is no such file", refused,
    ]  # fmt: skip
    assert "also" in server.board.deployment.services


async def test_a_server_that_is_stopping_takes_nothing(server: Server) -> None:
    server.applying.end()
    with pytest.raises(PenstockError) as refused:
        await server.apply(SECOND, False)
    assert refused.value.fault is STOPPING
    assert server.heard == []


async def test_the_audit_hears_who_changed_what_and_of_no_secret(server: Server) -> None:
    new = FIRST.replace("health:", 'api_key: "sk-planted", health:')
    await server.apply(new, True)
    assert not server.noted, "it was only tried"
    await server.apply(new, False)
    (act,) = server.noted
    assert (act.at, act.actor, act.action, act.outcome) == (5.0, "admin", "deployment.apply", "ok")
    assert (act.address, act.request_id) == ("192.0.2.9", "req-1")
    assert json.loads(act.content) == {
        "sha256": hashlib.sha256(new.encode()).hexdigest(),
        "bytes": len(new),
        "version": 2,
        "changed": ["changed model big: api_key"],
    }
    assert b"planted" not in act.content


async def test_the_audit_hears_of_what_was_refused_and_of_what_was_read_again(server: Server) -> None:
    bad = FIRST.replace("engine: fake", "engine: sk-planted")
    with pytest.raises(PenstockError):
        await server.apply(bad, False)
    server.file.lies = SECOND
    await server.applying.reread(ACT)
    refused, read = server.noted
    assert refused.outcome == BAD_DEPLOYMENT.code
    assert set(json.loads(refused.content)) == {"sha256", "bytes"}
    assert json.loads(read.content)["changed"] == ["added service also: quick"]
