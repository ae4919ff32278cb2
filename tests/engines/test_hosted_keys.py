"""Several keys of one upstream, on the wire: who is throttled rests alone, and the request goes on."""

from __future__ import annotations

import logging

import pytest

from penstock.core import errors
from penstock.core.errors import PenstockError
from penstock.core.serving import Replica
from penstock.engines import config
from penstock.engines.anthropic import Anthropic
from penstock.engines.openai import OpenAI
from tests.contracts.double import Asked, Double, Played
from tests.contracts.engine import call, drained
from tests.engines.recorded import recorded

FIRST, SECOND = "sk-first-secret", "sk-second-secret"
JSON = {"Content-Type": "application/json"}


class Hand:
    """A clock that moves when it is told."""

    def __init__(self) -> None:
        self.at = 100.0

    def now(self) -> float:
        return self.at

    def wall(self) -> float:
        return 1.7e9 + self.at


class Upstream:
    """Answers each key as ``says`` has it: a status and its headers; the others are served."""

    def __init__(self) -> None:
        self.says: dict[str, tuple[int, dict[str, str]]] = {}
        self.used: list[str] = []

    def script(self, asked: Asked) -> Played:
        key = asked.headers.get("x-api-key") or asked.headers["authorization"].removeprefix("Bearer ")
        if asked.path.endswith("/models"):
            return Played(status=self.says.get(key, (200, {}))[0], headers=JSON, pieces=[b"{}"])
        self.used.append(key)
        if key in self.says:
            status, headers = self.says[key]
            body = b'{"error":{"message":"no more for %s"}}' % key.encode()
            return Played(status=status, headers=JSON | headers, pieces=[body])
        name = ("anthropic", "text.json") if asked.path == "/v1/messages" else ("openai", "chat.json")
        return Played(headers=JSON, pieces=[recorded(*name)])


def engine_of(name: str, clock: Hand) -> OpenAI | Anthropic:
    if name == "openai":
        return OpenAI("mine", config.OpenAI(api_key=[FIRST, SECOND, FIRST]), clock)
    return Anthropic("mine", config.Anthropic(api_key=[FIRST, SECOND, FIRST]), clock)


@pytest.mark.parametrize("name", ["openai", "anthropic"])
async def test_a_throttled_key_rests_and_the_next_serves_the_same_request(
    name: str, caplog: pytest.LogCaptureFixture
) -> None:
    clock, upstream = Hand(), Upstream()
    engine = engine_of(name, clock)
    async with Double(upstream.script) as double:
        replica = Replica("r", "mine", f"{double.url}/v1")
        upstream.says = {FIRST: (429, {"retry-after": "20"})}
        with caplog.at_level(logging.WARNING):
            for _ in range(3):
                assert len(await drained(await engine.start(call(), replica))) == 1
        assert upstream.used == [FIRST, SECOND, SECOND, SECOND]
        assert "key 1 of 2 of model 'mine' rests for 20 s" in caplog.text
        assert FIRST not in caplog.text
        upstream.says = {}
        clock.at += 20
        for _ in range(2):
            await drained(await engine.start(call(), replica))
        assert set(upstream.used[4:]) == {FIRST, SECOND}
        assert engine.sockets()[0] == 0
    await engine.aclose()


@pytest.mark.parametrize("status", [401, 403])
async def test_a_refused_key_rests_long(status: int) -> None:
    clock, upstream = Hand(), Upstream()
    engine = engine_of("openai", clock)
    async with Double(upstream.script) as double:
        replica = Replica("r", "mine", f"{double.url}/v1")
        upstream.says = {FIRST: (status, {})}
        for _ in range(3):
            await drained(await engine.start(call(stream=True), replica))
            clock.at += 90
        assert upstream.used == [FIRST, SECOND, SECOND, SECOND]
        clock.at += 30
        for _ in range(2):
            await drained(await engine.start(call(), replica))
        assert upstream.used[4:].count(FIRST) == 1
    await engine.aclose()


@pytest.mark.parametrize("name", ["openai", "anthropic"])
async def test_an_upstream_can_serve_while_it_takes_one_of_the_keys(name: str) -> None:
    clock, upstream = Hand(), Upstream()
    engine = engine_of(name, clock)
    async with Double(upstream.script) as double:
        replica = Replica("r", "mine", f"{double.url}/v1")
        upstream.says = {FIRST: (401, {})}
        for _ in range(4):
            await engine.probe(replica)
        upstream.says = {FIRST: (401, {}), SECOND: (403, {})}
        with pytest.raises(PenstockError) as caught:
            await engine.probe(replica)
        assert caught.value.fault is errors.UPSTREAM_REFUSED_KEY
    await engine.aclose()


async def test_when_all_rest_nothing_is_asked_and_the_error_says_when() -> None:
    clock, upstream = Hand(), Upstream()
    engine = engine_of("openai", clock)
    async with Double(upstream.script) as double:
        replica, other = (Replica("r", "mine", f"{double.url}/{path}") for path in ("v1", "v2"))
        upstream.says = {FIRST: (429, {"retry-after": "20"}), SECOND: (429, {"retry-after": "8"})}
        for waited in (0, 3):
            clock.at += waited
            with pytest.raises(PenstockError) as caught:
                await engine.start(call(), replica)
            assert caught.value.fault is errors.UPSTREAM_RATE_LIMITED
            assert caught.value.retry_after == pytest.approx(8 - waited)
            assert "secret" not in caught.value.message
        assert upstream.used == [FIRST, SECOND]
        upstream.says = {}
        # Another server of the model knows nothing of it.
        await drained(await engine.start(call(), other))
        assert len(upstream.used) == 3
    await engine.aclose()


async def test_what_every_key_is_refused_is_raised_and_rests_none() -> None:
    clock, upstream = Hand(), Upstream()
    engine = engine_of("openai", clock)
    async with Double(upstream.script) as double:
        replica = Replica("r", "mine", f"{double.url}/v1")
        upstream.says = {FIRST: (403, {}), SECOND: (403, {})}
        with pytest.raises(PenstockError) as caught:
            await engine.start(call(), replica)
        assert caught.value.fault is errors.UPSTREAM_REFUSED_KEY
        assert "secret" not in caught.value.message
        assert sorted(upstream.used) == [FIRST, SECOND]
        upstream.says = {}
        for _ in range(2):
            await drained(await engine.start(call(), replica))
        assert sorted(upstream.used[2:]) == [FIRST, SECOND]
    await engine.aclose()


async def test_other_failures_are_not_the_keys() -> None:
    clock, upstream = Hand(), Upstream()
    engine = engine_of("openai", clock)
    async with Double(upstream.script) as double:
        replica = Replica("r", "mine", f"{double.url}/v1")
        upstream.says = {FIRST: (500, {})}
        with pytest.raises(PenstockError) as caught:
            await engine.start(call(), replica)
        assert caught.value.fault is errors.UPSTREAM_FAILED
        assert upstream.used == [FIRST]
    await engine.aclose()


async def test_a_lone_key_never_rests() -> None:
    clock, upstream = Hand(), Upstream()
    engine = OpenAI("mine", config.OpenAI(api_key=FIRST), clock)
    async with Double(upstream.script) as double:
        replica = Replica("r", "mine", f"{double.url}/v1")
        upstream.says = {FIRST: (429, {"retry-after": "20"})}
        with pytest.raises(PenstockError):
            await engine.start(call(), replica)
        upstream.says = {}
        await drained(await engine.start(call(), replica))
        assert upstream.used == [FIRST, FIRST]
    await engine.aclose()
