"""The transport against a server that misbehaves in every way a socket allows."""

from __future__ import annotations

import asyncio
import gzip
import socket
from collections.abc import AsyncIterator, Callable

import pytest

from penstock.core.errors import (
    BAD_DEPLOYMENT,
    STOPPING,
    UPSTREAM_BROKEN,
    UPSTREAM_GARBLED,
    UPSTREAM_TIMEOUT,
    UPSTREAM_UNREACHABLE,
    Fault,
    PenstockError,
)
from penstock.engines.http import Http
from tests.contracts.double import Asked, Double, Played


@pytest.fixture
async def http() -> AsyncIterator[Http]:
    http = Http(connect_timeout_s=5, read_timeout_s=5)
    yield http
    await http.aclose()


async def said(double: Double, http: Http, body: bytes = b"{}") -> bytes:
    return await (await http.post(http.prepared("POST", double.url), body)).read_all(1 << 24)


async def test_pieces_come_as_they_arrive_and_the_connection_is_used_again(http: Http) -> None:
    async with Double(lambda asked: Played(pieces=[b"one", b"two"])) as double:
        for _ in range(3):
            response = await http.post(http.prepared("POST", double.url, {"X-Mine": "1"}), b"{}")
            assert response.status == 200
            assert response.headers["TRANSFER-encoding"] == "chunked"
            got = b""
            while piece := await response.read():
                got += piece
            assert got == b"onetwo"
            assert await response.read() == b""
        assert double.connections == 1
        assert double.asked[0].headers["x-mine"] == "1"
        assert double.asked[0].headers["content-type"] == "application/json"


async def test_closing_is_seen_upstream(http: Http) -> None:
    async with Double(lambda asked: Played(pieces=[b"one"], then="hang")) as double:
        response = await http.post(http.prepared("POST", double.url), b"{}")
        assert await response.read() == b"one"
        waiting = asyncio.create_task(response.read())
        await asyncio.sleep(0)
        response.close()
        response.close()
        assert await waiting == b""
        assert await response.read() == b""
        await double.until(lambda it: it.left == 1)


async def test_a_cancelled_post_is_seen_upstream(http: Http) -> None:
    async with Double(lambda asked: Played(head=False, then="hang")) as double:
        posting = asyncio.create_task(http.post(http.prepared("POST", double.url), b"{}"))
        await double.until(lambda it: it.working == 1)
        posting.cancel()
        await asyncio.gather(posting, return_exceptions=True)
        await double.until(lambda it: it.left == 1)


async def test_a_pooled_connection_that_was_closed_meanwhile_is_replaced(http: Http) -> None:
    count = 0

    def script(asked: Asked) -> Played:
        nonlocal count
        count += 1
        # The second request meets a server that is just closing its idle connection.
        return Played(head=False, then="cut") if count == 2 else Played(pieces=[b"ok"])

    async with Double(script) as double:
        assert await said(double, http) == b"ok"
        assert await said(double, http) == b"ok"
        assert [asked.body for asked in double.asked] == [b"{}"] * 3
        assert double.connections == 2


async def test_a_fresh_connection_that_closes_is_not_tried_again(http: Http) -> None:
    async with Double(lambda asked: Played(head=False, then="cut")) as double:
        with pytest.raises(PenstockError) as caught:
            await said(double, http)
        assert caught.value.fault is UPSTREAM_BROKEN
        assert len(double.asked) == 1


async def test_large_bodies_arrive_whole(http: Http) -> None:
    body = bytes(range(256)) * 12_000
    async with Double(lambda asked: Played(pieces=[b"ok"])) as double:
        assert await said(double, http, body) == b"ok"
        assert double.asked[0].body == body


async def test_a_compressed_body_is_unpacked(http: Http) -> None:
    played = Played(headers={"Content-Encoding": "gzip"}, pieces=[gzip.compress(b"x" * 5000)])
    async with Double(lambda asked: played) as double:
        assert await said(double, http) == b"x" * 5000


async def test_no_redirect_is_followed_and_no_cookie_kept(http: Http) -> None:
    played = Played(status=302, headers={"Location": "/elsewhere", "Set-Cookie": "a=b"})
    async with Double(lambda asked: played) as double:
        for _ in range(2):
            response = await http.post(http.prepared("POST", double.url), b"{}")
            assert response.status == 302
            await response.finish(1)
        assert len(double.asked) == 2
        assert "cookie" not in double.asked[1].headers


async def test_more_than_the_limit_is_not_read(http: Http) -> None:
    async with Double(lambda asked: Played(pieces=[b"x" * 100] * 5, then="hang")) as double:
        response = await http.post(http.prepared("POST", double.url), b"{}")
        with pytest.raises(PenstockError) as caught:
            await response.read_all(300)
        assert caught.value.fault is UPSTREAM_GARBLED
        await double.idle()


BROKEN: dict[str, tuple[Played, Fault]] = {
    "cut in the body": (Played(pieces=[b"x"], then="cut"), UPSTREAM_BROKEN),
    "short body": (
        Played(raw=b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nshort", keep=False),
        UPSTREAM_BROKEN,
    ),
    "bad chunk": (
        Played(raw=b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n", keep=False),
        UPSTREAM_GARBLED,
    ),
    "not HTTP": (Played(raw=b"SSH-2.0-OpenSSH_9.2\r\n\r\n", keep=False), UPSTREAM_GARBLED),
    "bad gzip": (Played(headers={"Content-Encoding": "gzip"}, pieces=[b"not gzip"]), UPSTREAM_BROKEN),
    "silent": (Played(head=False, then="hang"), UPSTREAM_TIMEOUT),
    "silent in the body": (Played(pieces=[b"x"], then="hang"), UPSTREAM_TIMEOUT),
}


@pytest.mark.parametrize("name", BROKEN)
async def test_what_breaks_is_named(name: str) -> None:
    played, fault = BROKEN[name]
    http = Http(connect_timeout_s=5, read_timeout_s=0.1)
    async with Double(lambda asked: played) as double:
        with pytest.raises(PenstockError) as caught:
            await said(double, http)
        assert caught.value.fault is fault, caught.value.message
        assert "127.0.0.1" in caught.value.message
        await double.idle()
    await http.aclose()


def closed_port() -> str:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        return f"http://127.0.0.1:{taken.getsockname()[1]}"


@pytest.mark.parametrize(
    "url",
    [
        closed_port,
        lambda: "http://user:hush-hush@nobody.invalid/v1",
        lambda: "gopher://x",
        lambda: "http://",
        lambda: "no",
    ],
)
async def test_what_cannot_be_reached_is_named(http: Http, url: Callable[[], str]) -> None:
    with pytest.raises(PenstockError) as caught:
        await http.post(http.prepared("POST", url()), b"{}")
    assert caught.value.fault is UPSTREAM_UNREACHABLE, caught.value.message
    assert "hush-hush" not in caught.value.message


async def test_a_malformed_header_is_ours_to_mend_and_not_shown(http: Http) -> None:
    async with Double(lambda asked: Played()) as double:
        with pytest.raises(PenstockError) as caught:
            await http.post(http.prepared("POST", double.url, {"Authorization": "Bearer hush\r\nhush"}), b"{}")
    assert caught.value.fault is UPSTREAM_UNREACHABLE
    assert "hush" not in caught.value.message


async def test_a_proxy_is_used_and_blamed() -> None:
    async with Double(lambda asked: Played(pieces=[b"ok"])) as double:
        http = Http(connect_timeout_s=5, read_timeout_s=5, proxy=f"http://me:hush@127.0.0.1:{double.port}")
        response = await http.post(http.prepared("POST", "http://far.invalid/v1"), b"{}")
        assert await response.read_all(10) == b"ok"
        assert double.asked[0].path == "http://far.invalid/v1"
        assert double.asked[0].headers["proxy-authorization"].startswith("Basic ")
        await http.aclose()
    http = Http(connect_timeout_s=5, read_timeout_s=5, proxy=closed_port())
    with pytest.raises(PenstockError) as caught:
        await http.post(http.prepared("POST", "http://far.invalid/v1"), b"{}")
    assert caught.value.fault is UPSTREAM_UNREACHABLE
    assert "proxy" in caught.value.message
    await http.aclose()


async def test_a_get_has_one_deadline_for_all(http: Http) -> None:
    async with Double(lambda asked: Played(head=False, then="hang")) as double:
        with pytest.raises(PenstockError) as caught:
            await http.get(http.prepared("GET", double.url), 0.05)
        assert caught.value.fault is UPSTREAM_TIMEOUT
        await double.idle()


def test_a_ca_file_that_cannot_be_read_is_named() -> None:
    with pytest.raises(PenstockError) as caught:
        Http(connect_timeout_s=5, read_timeout_s=5, ca_file="/nowhere/ca.pem")
    assert caught.value.fault is BAD_DEPLOYMENT
    assert "/nowhere/ca.pem" in caught.value.message


async def test_after_closing_nothing_starts_and_what_runs_ends_on_its_own(http: Http) -> None:
    async with Double(lambda asked: Played(pieces=[b"one", b"two"])) as double:
        response = await http.post(http.prepared("POST", double.url), b"{}")
        await http.aclose()
        await http.aclose()
        assert await response.read_all(100) == b"onetwo"
        with pytest.raises(PenstockError) as caught:
            await http.post(http.prepared("POST", double.url), b"{}")
        assert caught.value.fault is STOPPING
        await http.aclose()
