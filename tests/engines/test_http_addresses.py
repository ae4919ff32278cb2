"""From a name to a socket: names that move, hosts with several addresses of which some are dead."""

from __future__ import annotations

import asyncio
import itertools
import os
import socket
import time
from collections.abc import Iterator, Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from penstock.core.errors import UPSTREAM_TIMEOUT, UPSTREAM_UNREACHABLE, PenstockError
from penstock.engines.http import Http
from penstock.engines.http_addresses import Address, connected, interleaved, looked_up
from tests.contracts.double import Double, Played

HERE = "127.0.0.1"


class Names:
    """A resolver that says what it is told, and counts."""

    def __init__(self, *addresses: Address) -> None:
        self.addresses: Sequence[Address] = addresses
        self.asked: list[tuple[str, int]] = []

    async def __call__(self, host: str, port: int) -> Sequence[Address]:
        self.asked.append((host, port))
        return self.addresses


def at(port: int) -> Address:
    return socket.AF_INET, (HERE, port)


@pytest.fixture
def refusing() -> int:
    with socket.socket() as taken:
        taken.bind((HERE, 0))
        return int(taken.getsockname()[1])


@pytest.fixture
def silent() -> Iterator[int]:
    """A port whose connections are never answered: nobody takes those that wait, and no more may wait."""
    with socket.socket() as full, socket.socket() as one, socket.socket() as two:
        full.bind((HERE, 0))
        full.listen(0)
        for waiting in (one, two):
            waiting.setblocking(False)
            waiting.connect_ex(full.getsockname())
        yield int(full.getsockname()[1])


def pool(names: Names, connect_timeout_s: float = 5) -> Http:
    return Http(connect_timeout_s=connect_timeout_s, read_timeout_s=5, resolve=names)


async def said(http: Http) -> bytes:
    return await (await http.post(http.prepared("POST", "http://far.example:81/v1"), b"{}")).read_all(100)


async def test_a_name_that_has_moved_is_followed(monkeypatch: pytest.MonkeyPatch) -> None:
    async with (
        Double(lambda asked: Played(pieces=[b"old"])) as old,
        Double(lambda asked: Played(pieces=[b"new"])) as new,
    ):
        names = Names(at(old.port))
        http = pool(names)
        assert [await said(http), await said(http)] == [b"old", b"old"]
        assert names.asked == [("far.example", 81)]
        names.addresses = (at(new.port),)
        # What waits in the pool when it has become too old is not used again.
        monkeypatch.setattr("penstock.engines.http._OLDEST_S", -1.0)
        http._sweep()
        assert http.idle_sockets == 0
        assert await said(http) == b"new"
        assert names.asked == [("far.example", 81)] * 2
        # Nor is what is as old when its answer ends.
        assert http.idle_sockets == 0
        await http.aclose()


async def test_the_next_address_serves_when_one_refuses(refusing: int) -> None:
    async with Double(lambda asked: Played(pieces=[b"here"])) as double:
        http = pool(Names(at(refusing), at(refusing), at(double.port)))
        assert await said(http) == b"here"
        await http.aclose()


async def test_the_next_address_serves_when_one_is_silent(silent: int) -> None:
    async with Double(lambda asked: Played(pieces=[b"here"])) as double:
        http = pool(Names(at(silent), at(double.port)))
        before = len(os.listdir("/proc/self/fd"))
        began = time.monotonic()
        response = await http.post(http.prepared("POST", "http://far.example/v1"), b"{}")
        assert time.monotonic() - began < 3.0
        # The client's end and the server's, and nothing of the attempt that was given up.
        assert len(os.listdir("/proc/self/fd")) == before + 2
        assert await response.read_all(10) == b"here"
        await http.aclose()


@pytest.mark.parametrize("count", [1, 2])
async def test_when_no_address_answers(refusing: int, count: int) -> None:
    http = pool(Names(*[at(refusing)] * count))
    with pytest.raises(PenstockError) as caught:
        await said(http)
    assert caught.value.fault is UPSTREAM_UNREACHABLE
    assert "connection refused" in caught.value.message
    await http.aclose()


@pytest.mark.parametrize("count", [1, 2])
async def test_silence_has_a_limit_and_leaves_nothing_open(silent: int, count: int) -> None:
    http = pool(Names(*[at(silent)] * count), connect_timeout_s=0.4)
    before = len(os.listdir("/proc/self/fd"))
    with pytest.raises(PenstockError) as caught:
        await said(http)
    assert caught.value.fault is UPSTREAM_TIMEOUT
    assert len(os.listdir("/proc/self/fd")) == before
    await http.aclose()


async def test_of_two_that_answer_at_once_one_is_let_go(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("penstock.engines.http_addresses.AFTER_S", 0.0)
    async with Double(lambda asked: Played()) as double:
        before = len(os.listdir("/proc/self/fd"))
        with await connected([at(double.port)] * 5) as sock:
            assert sock.getpeername() == (HERE, double.port)
            await double.until(lambda it: it.connections >= 1)
        async with asyncio.timeout(5):
            while len(os.listdir("/proc/self/fd")) > before:  # noqa: ASYNC110 (a closed socket tells nobody)
                await asyncio.sleep(0.01)


async def test_the_machines_resolver() -> None:
    assert await looked_up(HERE, 80) == [(socket.AF_INET, (HERE, 80))]
    assert await looked_up("::1", 80) == [(socket.AF_INET6, ("::1", 80, 0, 0))]
    assert (socket.AF_INET, (HERE, 80)) in await looked_up("localhost", 80)
    with pytest.raises(socket.gaierror):
        await looked_up("nobody.invalid", 80)


@given(
    st.lists(st.tuples(st.sampled_from([int(socket.AF_INET), int(socket.AF_INET6)]), st.integers(1, 99)), min_size=1)
)
def test_families_take_turns_and_keep_their_order(given_: list[tuple[int, int]]) -> None:
    addresses: list[Address] = [(family, (HERE, port)) for family, port in given_]
    mixed = interleaved(addresses)
    assert mixed[0] == addresses[0]
    for family in (socket.AF_INET, socket.AF_INET6):
        assert [each for each in mixed if each[0] == family] == [each for each in addresses if each[0] == family]
    fewest = min(sum(each[0] == family for each in mixed) for family in (socket.AF_INET, socket.AF_INET6))
    turns = [each[0] for each in mixed[: 2 * fewest]]
    assert all(one != two for one, two in itertools.pairwise(turns))
