"""Who may open a WebSocket, and what a handshake is told."""

from __future__ import annotations

import asyncio
import json
import logging

import pytest
from websockets.exceptions import InvalidStatus

from penstock.core.errors import PenstockError
from penstock.edge.http.websocket import SocketTimes
from penstock.edge.http.websocket_handshake import check_origin, read
from tests.edge.http.serving import DEADLINE_S, Engine, Heard, heard, until, usual
from tests.edge.http.websocket_serving import SocketSite, asked, frame, socket_site

SECRET = "key"
NEEDED = {
    "host": "here:8080",
    "connection": "keep-alive, Upgrade",
    "upgrade": "websocket",
    "sec-websocket-version": "13",
    "sec-websocket-key": "dGhlIHNhbXBsZSBub25jZQ==",
}


async def shake(site: SocketSite, first: str = "GET /v1/websocket HTTP/1.1", **headers: str | None) -> Heard:
    """What a handshake is answered; a header that is None is left out."""
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    given = NEEDED | {"authorization": f"Bearer {SECRET}"} | named
    lines = [f"{name}: {value}" for name, value in given.items() if value is not None]
    reader, writer = await asyncio.open_connection("127.0.0.1", site.port)
    try:
        writer.write("\r\n".join([first, *lines, "", ""]).encode())
        async with asyncio.timeout(DEADLINE_S):
            head = await reader.readuntil(b"\r\n\r\n")
            return heard(head + (b"" if b" 101 " in head else await reader.read()))
    finally:
        writer.close()


async def test_the_handshake_of_the_specification() -> None:
    async with socket_site(Engine(usual)) as site:
        told = await shake(site)
        assert told.status == 101
        assert told.headers["Sec-WebSocket-Accept"] == "s3pPLMBiTxaQ9kYGzzhZRbK+xOo="
        assert told.headers["X-Request-Id"].startswith("req_")
        assert not {"Sec-WebSocket-Protocol", "Sec-WebSocket-Extensions"} & set(told.headers)


async def test_compression_is_not_taken_up() -> None:
    async with socket_site(Engine(usual)) as site:
        told = await shake(site, sec_websocket_extensions="permessage-deflate; client_max_window_bits")
        assert told.status == 101
        assert "Sec-WebSocket-Extensions" not in told.headers


@pytest.mark.parametrize(
    "headers",
    [
        {"authorization": "Bearer key"},
        {"authorization": "bearer  key"},
        {"authorization": None, "x_api_key": "key"},
        {"authorization": None, "api_key": "key"},
        {"authorization": None, "sec_websocket_protocol": "penstock, key.key"},
        {"authorization": None, "sec_websocket_protocol": "key.key,penstock"},
        {"authorization": "Bearer key", "sec_websocket_protocol": "penstock, key.wrong"},
    ],
)
async def test_the_key_comes_in_a_header_or_as_a_subprotocol(headers: dict[str, str | None]) -> None:
    async with socket_site(Engine(usual)) as site:
        told = await shake(site, **headers)
        assert told.status == 101
        offered = "sec_websocket_protocol" in headers
        assert told.headers.get("Sec-WebSocket-Protocol") == ("penstock" if offered else None)
        await until(lambda: site.lines)
        assert (site.lines[0].status, site.lines[0].key, site.lines[0].path) == (101, "k1", "/v1/websocket")


@pytest.mark.parametrize(
    "headers",
    [
        {"authorization": None},
        {"authorization": "Bearer wrong"},
        {"authorization": "Basic key"},
        {"authorization": None, "sec_websocket_protocol": "penstock"},
        {"authorization": None, "sec_websocket_protocol": "penstock, key."},
        {"authorization": None, "sec_websocket_protocol": "penstock, key.wrong"},
    ],
)
async def test_without_a_good_key_there_is_no_socket(headers: dict[str, str | None]) -> None:
    async with socket_site(Engine(usual)) as site:
        told = await shake(site, **headers)
        assert (told.status, told.error["code"]) == (401, "invalid_api_key")
        assert told.headers["www-authenticate"] == "Bearer"
        assert b"wrong" not in told.body
        await until(lambda: site.lines)
        line = site.lines[0]
        assert (line.status, line.code, line.method) == (401, "invalid_api_key", "GET")
        assert line.request_id == told.headers["x-request-id"]
        assert site.samples.total("penstock_http_responses", "/v1/websocket", "401") == 1


@pytest.mark.parametrize(
    ("first", "headers"),
    [
        ("GET /v1/websocket HTTP/1.1", {"sec_websocket_key": None}),
        ("GET /v1/websocket HTTP/1.1", {"sec_websocket_key": "short"}),
        ("GET /v1/websocket HTTP/1.1", {"sec_websocket_version": "8"}),
        ("GET /v1/websocket HTTP/1.1", {"connection": "close"}),
        ("GET /v1/websocket HTTP/1.1", {"upgrade": "h2c"}),
        ("POST /v1/websocket HTTP/1.1", {}),
        ("GET /v1/websocket HTTP/1.0", {}),
    ],
)
async def test_a_handshake_that_is_not_one(first: str, headers: dict[str, str | None]) -> None:
    async with socket_site(Engine(usual)) as site:
        told = await shake(site, first, **headers)
        assert (told.status, told.error["code"]) == (400, "bad_request")


async def test_the_query_and_long_headers_are_no_obstacle() -> None:
    async with socket_site(Engine(usual)) as site:
        told = await shake(site, f"GET /v1/websocket?{'x' * 20_000} HTTP/1.1", cookie="y" * 20_000)
        assert told.status == 101
        await until(lambda: site.lines)
        assert site.lines[0].path == "/v1/websocket"


async def test_the_key_is_in_no_log_and_goes_back_to_nobody(caplog: pytest.LogCaptureFixture) -> None:
    secret = "very-secret"
    with caplog.at_level(logging.DEBUG):
        async with socket_site(Engine(usual)) as site:
            for key in (secret, "key"):
                for headers in ({"sec_websocket_protocol": f"penstock, key.{key}"}, {"x_api_key": key}):
                    told = await shake(site, authorization=None, x_note=None, **headers)
                    said = json.dumps(told.headers) + told.body.decode()
                    assert secret not in said
                    assert "key.key" not in said
        assert len(site.lines) == 4
        assert secret not in repr(site.lines)
    assert secret not in caplog.text
    upgrade = read(
        b"GET / HTTP/1.1\r\nauthorization: Bearer very-secret\r\nsec-websocket-protocol: key.very-secret\r\n\r\n"
    )
    assert upgrade.key == secret
    assert secret not in f"{upgrade!r}{upgrade.headers}{upgrade.needed!r}"


@pytest.mark.parametrize(
    ("origin", "origins", "welcome"),
    [
        (None, (), True),
        ("http://here:8080", (), True),
        ("https://HERE:8080", (), True),
        ("http://here", (), False),
        ("http://here:8080.evil.example", (), False),
        ("https://evil.example", (), False),
        ("null", (), False),
        ("https://app.example", ("https://app.example",), True),
        ("http://app.example", ("https://app.example",), False),
        ("http://here:8080", ("https://app.example",), True),
        ("https://any.example", ("*",), True),
    ],
)
async def test_pages_of_other_sites(origin: str | None, origins: tuple[str, ...], welcome: bool) -> None:
    async with socket_site(Engine(usual), origins=origins) as site:
        told = await shake(site, origin=origin)
        assert told.status == (101 if welcome else 403)
        if not welcome:
            assert told.error["code"] == "origin_forbidden"


def test_no_origin_is_at_home_where_no_host_is_named() -> None:
    with pytest.raises(PenstockError):
        check_origin({b"origin": b"null"}, ())


async def test_a_browser_s_way_in() -> None:
    async with socket_site(Engine(usual)) as site:
        async with site.connect("penstock", "key.key") as client:
            assert client.subprotocol == "penstock"
            assert (await asked(client, frame("a")))[-1]["done"] is True
        with pytest.raises(InvalidStatus, match="401"):
            async with site.connect("penstock", "key.wrong"):
                pass


async def test_frames_may_come_with_the_handshake() -> None:
    """A client that does not wait for the 101 has its first frame read all the same."""
    async with socket_site(Engine(usual)) as site:
        reader, writer = await asyncio.open_connection("127.0.0.1", site.port)
        text = frame("a").encode()
        lines = [f"{name}: {value}" for name, value in (NEEDED | {"authorization": "Bearer key"}).items()]
        head = "\r\n".join(["GET /v1/websocket HTTP/1.1", *lines, "", ""]).encode()
        writer.write(head + b"\x81\xfe" + len(text).to_bytes(2, "big") + bytes(4) + text)
        async with asyncio.timeout(DEADLINE_S):
            assert b'"done":true' in await reader.readuntil(b'"x-penstock-attempts":"1"')
        writer.close()


async def test_a_refused_client_has_one_answer_whatever_it_sends_on() -> None:
    async with socket_site(Engine(usual), times=SocketTimes(close_within_s=0.3)) as site:
        lines = [f"{name}: {value}" for name, value in (NEEDED | {"authorization": "Bearer wrong"}).items()]
        head = "\r\n".join(["GET /v1/websocket HTTP/1.1", *lines, "", ""]).encode()
        reader, writer = await asyncio.open_connection("127.0.0.1", site.port)
        writer.write(head)
        async with asyncio.timeout(DEADLINE_S):
            told = await reader.readuntil(b"}}")
            writer.write(head.replace(b"wrong", b"key"))
            assert await reader.read() == b""
        assert b" 401 " in told
        await until(lambda: site.side.sockets == 0)
        writer.close()
        assert [line.status for line in site.lines] == [401]
