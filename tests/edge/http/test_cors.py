"""Web pages of other origins: what a browser is told, over real sockets and as the pure decision."""

from __future__ import annotations

import asyncio
import json

import msgspec
import pytest
from websockets.asyncio.client import connect
from websockets.exceptions import InvalidStatus

from penstock.core.errors import UPSTREAM_BROKEN, PenstockError
from penstock.edge.http.config import Cors as Settings
from penstock.edge.http.config import ServerSettings
from penstock.edge.http.cors import Cors
from tests.edge.http.serving import DEADLINE_S, Script, Site, failing, site, usual

CHAT = {"model": "chat", "messages": [{"role": "user", "content": "Hi"}]}
APP = "https://app.example"
OURS = ServerSettings(cors=Settings(origins=[APP, "http://localhost:3000"]))
ANY = ServerSettings(cors=Settings(origins=["*"], max_age_s=5))
ASKING = {"access_control_request_method": "POST", "access_control_request_headers": "authorization,content-type"}


def cors_of(headers: dict[str, str]) -> set[str]:
    return {name for name in headers if name.startswith("access-control-")}


async def preflight(here: Site, path: str = "/v1/chat/completions", origin: str = APP) -> dict[str, str]:
    reply = await here.get(path, "OPTIONS", authorization="", origin=origin, **ASKING)
    assert (reply.status, reply.body) == (204, b"")
    return reply.headers


async def test_nothing_is_said_unless_it_is_asked_for() -> None:
    async with site(usual) as here:
        assert not cors_of(await preflight(here))
        reply = await here.post("/v1/chat/completions", CHAT, origin=APP)
        assert not cors_of(reply.headers)
        assert "vary" not in reply.headers


@pytest.mark.parametrize("path", ["/v1/chat/completions", "/v1/models", "/v1/embeddings", "/healthz"])
async def test_a_preflight_needs_no_key(path: str) -> None:
    async with site(usual, settings=OURS) as here:
        told = await preflight(here, path)
    assert told["access-control-allow-origin"] == APP
    assert told["access-control-allow-headers"] == "authorization,content-type"
    assert "POST" in told["access-control-allow-methods"]
    assert told["access-control-max-age"] == "600"
    assert told["vary"] == "origin"


async def test_any_origin() -> None:
    async with site(usual, settings=ANY) as here:
        told = await preflight(here, origin="null")
        assert told["access-control-allow-origin"] == "*"
        assert told["access-control-max-age"] == "5"
        assert "vary" not in told
        reply = await here.get("/healthz", origin="http://elsewhere")
        assert reply.headers["access-control-allow-origin"] == "*"


@pytest.mark.parametrize(
    "origin", ["https://evil.example", "http://app.example", "https://app.example:444", "null", "", "https://app"]
)
async def test_other_origins_are_not_let_in(origin: str) -> None:
    async with site(usual, settings=OURS) as here:
        told = await preflight(here, origin=origin)
        assert not cors_of(told)
        assert told["vary"] == "origin"


def read_by_script(headers: dict[str, str]) -> set[str]:
    return {name.strip() for name in headers["access-control-expose-headers"].split(",")}


@pytest.mark.parametrize(
    ("script", "body", "headers", "status"),
    [
        (usual, CHAT, {}, 200),
        (usual, CHAT | {"stream": True}, {}, 200),
        (usual, CHAT, {"authorization": "Bearer wrong"}, 401),
        (usual, b"junk", {}, 400),
        (usual, CHAT | {"model": 5}, {}, 400),
        (failing(PenstockError(UPSTREAM_BROKEN, "It broke.", retry_after=1.0)), CHAT, {}, 502),
    ],
)
async def test_every_reply_may_be_read(script: Script, body: object, headers: dict[str, str], status: int) -> None:
    async with site(script, settings=OURS) as here:
        reply = await here.post("/v1/chat/completions", body, origin="HTTP://LocalHost:3000", **headers)
    assert reply.status == status
    assert reply.headers["access-control-allow-origin"] == "HTTP://LocalHost:3000"
    exposed = read_by_script(reply.headers)
    ours = {name for name in reply.headers if name.startswith(("x-penstock-", "x-request", "x-should", "retry-"))}
    assert ours <= exposed
    assert {"x-request-id", "retry-after", "x-penstock-attempts"} <= exposed
    assert "access-control-allow-credentials" not in reply.headers


async def test_what_is_nowhere_may_be_read_too() -> None:
    async with site(usual, settings=OURS) as here:
        reply = await here.get("/v1/nowhere", origin=APP)
    assert (reply.status, reply.headers["access-control-allow-origin"]) == (404, APP)


async def test_a_websocket_of_a_listed_page() -> None:
    async with site(usual, settings=OURS) as here:
        address = f"ws://127.0.0.1:{here.port}/v1/websocket"
        key = {"authorization": "Bearer key"}
        async with connect(address, additional_headers=key | {"origin": APP}, proxy=None) as client:
            await client.send(json.dumps({"id": "1", "body": CHAT}))
            assert "there" in str(await asyncio.wait_for(client.recv(), DEADLINE_S))
        with pytest.raises(InvalidStatus) as refused:
            await connect(address, additional_headers=key | {"origin": "https://evil.example"}, proxy=None)
        assert refused.value.response.status_code == 403


@pytest.mark.parametrize(
    ("asked", "allowed"),
    [
        (b"authorization, x-stainless-os", b"authorization, x-stainless-os"),
        (b"", None),
        (b"a\x00b", None),
        ("é".encode(), None),
        (b"x" * 3000, None),
    ],
)
def test_header_names_are_sent_back_when_they_are_names(asked: bytes, allowed: bytes | None) -> None:
    headers = {b"origin": b"https://a", b"access-control-request-method": b"POST"}
    headers[b"access-control-request-headers"] = asked
    said = dict(Cors(["*"], 1).beside("OPTIONS", headers))
    assert said.get(b"access-control-allow-headers") == allowed


def test_an_options_request_that_is_no_preflight() -> None:
    said = dict(Cors(["*"], 1).beside("OPTIONS", {b"origin": b"https://a"}))
    assert b"access-control-expose-headers" in said
    assert b"access-control-allow-methods" not in said


@pytest.mark.parametrize(
    "origin", ["app.example", "https://app.example/", "https://", "https://u@x", "https://x:99999", "", "https://é"]
)
def test_what_is_no_origin_is_refused(origin: str) -> None:
    with pytest.raises(msgspec.ValidationError, match="is no origin"):
        msgspec.convert({"origins": [origin]}, Settings)


@pytest.mark.parametrize("origin", ["*", "https://a.example", "http://localhost:3000", "http://[::1]:80"])
def test_what_is_an_origin(origin: str) -> None:
    assert msgspec.convert({"origins": [origin]}, Settings).origins == [origin]
