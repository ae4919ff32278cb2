"""Every request that was let in is recorded, whatever it came by and whether it could be read."""

from __future__ import annotations

import json

import pytest

from penstock.core.clock import SystemClock
from penstock.core.requests import RequestRecord
from penstock.gateway.chat import Gateway
from penstock.gateway.recording import Recording
from penstock.observe.config import ObserveSettings
from penstock.observe.spool import Put, made
from tests.edge.http.serving import Engine, request, site, until, usual
from tests.edge.http.websocket_serving import asked, frame, socket_site

TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"
PARENT = f"00-{TRACE}-00f067aa0ba902b7-01"
CHAT = {"model": "chat", "messages": [{"role": "user", "content": "hi"}]}


def recording(gateway: Gateway) -> list[RequestRecord]:
    kept: list[RequestRecord] = []

    def put(what: Put) -> None:
        (record,) = made([what])
        assert isinstance(record, RequestRecord)
        kept.append(record)

    gateway._recording = Recording(put, SystemClock(), gateway="gw", worker=0, settings=ObserveSettings())
    return kept


@pytest.mark.parametrize(
    ("path", "body", "dialect"),
    [
        ("/v1/chat/completions", CHAT, "chat/completions"),
        ("/v1/completions", {"model": "chat", "prompt": "hi"}, "completions"),
        ("/v1/embeddings", {"model": "vectors", "input": "hi"}, "embeddings"),
        ("/v1/responses", {"model": "chat", "input": "hi"}, "responses"),
    ],
)
async def test_each_route_is_told_by_its_last_words(path: str, body: object, dialect: str) -> None:
    async with site(usual) as here:
        kept = recording(here.app._gateway)
        heard = await here.post(path, body, traceparent=PARENT)
        (record,) = kept
        assert (record.dialect, record.status, record.request_id) == (dialect, 200, heard.headers["x-request-id"])
        assert record.trace.hex() == TRACE


@pytest.mark.parametrize(
    ("body", "headers", "status"),
    [
        (b"{", {}, 400),
        (b"{}", {}, 400),
        (b"x" * 2_000_000, {}, 413),
        (json.dumps(CHAT).encode(), {"x_penstock_timeout": "soon"}, 400),
    ],
)
async def test_what_cannot_be_read_is_told_too(body: bytes, headers: dict[str, str], status: int) -> None:
    async with site(usual) as here:
        kept = recording(here.app._gateway)
        heard = await here.post("/v1/chat/completions", body, traceparent=PARENT, **headers)
        assert heard.status == status
        (record,) = kept
        assert (record.status, record.ending, record.dialect) == (status, "failed", "chat/completions")
        assert (record.key_id, record.service, record.code) == ("k1", "", heard.error["code"])
        assert record.trace.hex() == TRACE


async def test_who_is_not_let_in_is_not_recorded() -> None:
    async with site(usual) as here:
        kept = recording(here.app._gateway)
        heard = await here.post("/v1/chat/completions", CHAT, authorization="Bearer wrong")
        assert heard.status == 401
        assert not kept


async def test_of_two_parents_none_counts() -> None:
    async with site(usual) as here:
        kept = recording(here.app._gateway)
        body = json.dumps(CHAT).encode()
        sent = request("POST", "/v1/chat/completions", body, traceparent=PARENT)
        again = sent.replace(b"traceparent:", b"traceparent: " + PARENT.encode() + b"\r\ntraceparent:", 1)
        await here.raw(again)
        assert kept[0].trace == b""


async def test_requests_of_a_socket_are_recorded_one_by_one() -> None:
    async with socket_site(Engine(usual)) as here, here.connect() as client:
        kept = recording(here.side.gateway)
        await asked(client, frame("a"))
        await asked(client, json.dumps({"id": "v", "path": "/v1/embeddings", "body": {"model": "vectors"}}))
        await until(lambda: len(kept) == 2)
        assert [(record.dialect, record.status) for record in kept] == [
            ("chat/completions", 200),
            ("embeddings", 400),
        ]
