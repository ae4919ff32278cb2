"""Proxies in front: whose word for the client's address is taken."""

from __future__ import annotations

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from websockets.asyncio.client import connect

from penstock.edge.http.config import ServerSettings
from penstock.edge.http.forwarded import Proxies, chain
from tests.edge.http.serving import request, site, until, usual

OURS = Proxies(["10.0.0.0/8", "127.0.0.1", "fd00::/8"])


@pytest.mark.parametrize(
    ("forwarded", "client"),
    [
        (None, "10.1.1.1"),
        (b"", "10.1.1.1"),
        (b"203.0.113.7", "203.0.113.7"),
        (b"198.51.100.1, 203.0.113.7", "203.0.113.7"),
        (b"198.51.100.1,203.0.113.7, 10.2.2.2 ,127.0.0.1", "203.0.113.7"),
        (b"10.3.3.3, 10.2.2.2", "10.3.3.3"),
        (b"203.0.113.7:5678", "203.0.113.7"),
        (b"[2001:db8::1]:443", "2001:db8::1"),
        (b'"[2001:db8::1]"', "2001:db8::1"),
        (b"2001:DB8:0::1, fd00::5", "2001:db8::1"),
        (b"::ffff:203.0.113.7, ::ffff:10.0.0.9", "203.0.113.7"),
        (b"203.0.113.7, unknown, 10.2.2.2", "10.2.2.2"),
        (b"203.0.113.7, \xff, 10.2.2.2", "10.2.2.2"),
        (b"1.2.3.4.5", "10.1.1.1"),
    ],
)
def test_the_first_from_the_right_that_is_no_proxy(forwarded: bytes | None, client: str) -> None:
    assert OURS.client("10.1.1.1", forwarded) == client


def test_who_is_trusted() -> None:
    for peer in ("10.255.0.1", "127.0.0.1", "fd12::1", "::ffff:10.0.0.1"):
        assert OURS.trust(peer)
    for peer in ("11.0.0.1", "127.0.0.2", "::1", "", "unix"):
        assert not OURS.trust(peer)
    assert not Proxies([]).trust("127.0.0.1")


@given(st.binary(max_size=300))
def test_whatever_a_client_writes_is_an_address_or_is_left(forwarded: bytes) -> None:
    named = OURS.client("10.1.1.1", forwarded + b", 203.0.113.7, 10.2.2.2")
    assert named == "203.0.113.7"
    OURS.client("10.1.1.1", forwarded)


def test_the_chain_of_a_head() -> None:
    head = b"GET / HTTP/1.1\r\nX-Forwarded-For: 1.1.1.1\r\nhost: x\r\nx-forwarded-for: 2.2.2.2, 3.3.3.3\r\n\r\n"
    assert chain(head).replace(b" ", b"") == b"1.1.1.1,2.2.2.2,3.3.3.3"
    assert chain(b"GET / HTTP/1.1\r\n\r\n") == b""


@pytest.mark.parametrize(
    ("proxies", "client"),
    [([], "127.0.0.1"), (["127.0.0.0/8"], "203.0.113.7"), (["192.0.2.0/24"], "127.0.0.1")],
)
async def test_the_access_log_has_the_client(proxies: list[str], client: str) -> None:
    async with site(usual, settings=ServerSettings(trusted_proxies=proxies)) as here:
        await here.get("/healthz", x_forwarded_for="6.6.6.6, 203.0.113.7")
        await here.raw(
            request("GET", "/healthz").replace(
                b"\r\n\r\n", b"\r\nx-forwarded-for: 6.6.6.6\r\nx-forwarded-for: 203.0.113.7\r\n\r\n"
            )
        )
        lines = await here.logged(2)
        assert [line.client for line in lines] == [client, client]


async def test_a_websocket_has_the_client() -> None:
    async with site(usual, settings=ServerSettings(trusted_proxies=["127.0.0.1"])) as here:
        headers = {"authorization": "Bearer key", "x-forwarded-for": "203.0.113.7"}
        async with connect(f"ws://127.0.0.1:{here.port}/v1/websocket", additional_headers=headers, proxy=None):
            pass
        await until(lambda: here.lines)
        assert here.lines[0].client == "203.0.113.7"


@pytest.mark.parametrize("text", ["10.0.0.0/33", "proxy.example", "", "10.0.0"])
def test_what_is_no_network_is_refused(text: str) -> None:
    with pytest.raises(msgspec.ValidationError, match="neither an address nor a network"):
        msgspec.convert({"trusted_proxies": [text]}, ServerSettings)
