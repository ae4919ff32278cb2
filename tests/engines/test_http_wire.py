"""The wire of one connection: any split of the bytes says the same, junk ends in one of our errors, races leave nothing."""

from __future__ import annotations

import asyncio
import itertools
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from penstock.core.errors import UPSTREAM_BROKEN, UPSTREAM_GARBLED, PenstockError
from penstock.engines.http import Http
from penstock.engines.http_wire import Connection
from tests.contracts.double import Asked, Double, Played

CHUNKED = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nX-A: b\r\n\r\n3\r\none\r\n5\r\n two \r\n0\r\n\r\n"
ANSWERS = {
    CHUNKED: (b"one two ", True),
    b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello": (b"hello", True),
    b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\n" + CHUNKED: (b"one two ", True),
    b"HTTP/1.1 204 No Content\r\n\r\n": (b"", True),
    b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nConnection: close\r\n\r\nhello": (b"hello", False),
    b"HTTP/1.0 200 OK\r\nContent-Length: 5\r\n\r\nhello": (b"hello", False),
    b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhelloHTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nno": (
        b"hello",
        False,
    ),
    b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhello": (b"he", False),
}


class Wire:
    """A transport that goes nowhere."""

    def __init__(self) -> None:
        self.aborted = False
        self.reading = True
        self.connection: Connection | None = None

    def abort(self) -> None:
        self.aborted = True

    def is_closing(self) -> bool:
        return self.aborted

    def get_write_buffer_size(self) -> int:
        return 0

    def pause_reading(self) -> None:
        self.reading = False

    def resume_reading(self) -> None:
        self.reading = True


def _connected() -> tuple[Connection, Wire]:
    connection, wire = Connection("http://up", _Loop()), Wire()  # type: ignore[arg-type]
    connection.connection_made(wire)  # type: ignore[arg-type]
    connection.begin(60.0)
    return connection, wire


class _Loop:
    """What a connection needs of a loop while nobody waits."""

    def time(self) -> float:
        return 1.0

    def call_later(self, *_: object) -> _Timer:
        return _Timer()


class _Timer:
    def cancel(self) -> None:
        """Nothing was set."""


def _fed(connection: Connection, data: bytes, cuts: list[int]) -> None:
    places = sorted({cut % (len(data) + 1) for cut in cuts} | {0, len(data)})
    for start, stop in itertools.pairwise(places):
        connection.data_received(data[start:stop])


@given(st.sampled_from(sorted(ANSWERS)), st.lists(st.integers(0, 400), max_size=12))
def test_any_split_says_the_same(answer: bytes, cuts: list[int]) -> None:
    connection, _ = _connected()
    _fed(connection, answer, cuts)
    body, reusable = ANSWERS[answer]
    assert connection.complete
    assert connection.error is None
    assert b"".join(connection.pieces)[: len(body)] == body
    assert sum(map(len, connection.pieces)) == len(body)
    connection.end()
    assert connection.reusable is reusable


@given(
    st.sampled_from(sorted(ANSWERS)),
    st.lists(st.tuples(st.integers(0, 400), st.binary(max_size=4)), max_size=4),
    st.integers(0, 400),
)
def test_what_is_mangled_ends_in_an_answer_or_in_our_error(
    answer: bytes, mangled: list[tuple[int, bytes]], cut: int
) -> None:
    for place, junk in mangled:
        place %= len(answer) + 1
        answer = answer[:place] + junk + answer[place + 1 :]
    connection, wire = _connected()
    _fed(connection, answer, [cut])
    connection.connection_lost(None)
    assert connection.complete or connection.error is not None
    if connection.error is not None:
        assert connection.error.fault in (UPSTREAM_GARBLED, UPSTREAM_BROKEN)
        assert wire.aborted
    assert not connection.reusable


@given(st.binary(min_size=20, max_size=400))
def test_noise_is_no_answer(noise: bytes) -> None:
    connection, _ = _connected()
    _fed(connection, noise, [7])
    connection.connection_lost(None)
    assert connection.error is not None or connection.complete


def test_a_head_has_a_bound() -> None:
    connection, wire = _connected()
    connection.data_received(b"HTTP/1.1 200 OK\r\n")
    for _ in range(100):
        connection.data_received(b"X-Long: " + b"x" * 1000 + b"\r\n")
    assert connection.error is not None
    assert connection.error.fault is UPSTREAM_GARBLED
    assert wire.aborted


def test_what_nobody_reads_is_bounded() -> None:
    connection, wire = _connected()
    connection.data_received(b"HTTP/1.1 200 OK\r\nContent-Length: 1000000\r\n\r\n")
    sent = 0
    while wire.reading:
        connection.data_received(b"x" * 10_000)
        sent += 10_000
    assert sent < 300_000
    assert len(connection.taken()) == sent
    assert wire.reading


def test_bytes_that_nobody_asked_for_end_the_connection() -> None:
    connection, wire = _connected()
    connection.data_received(CHUNKED)
    connection.end()
    connection.data_received(b"HTTP/1.1 200 OK\r\n")
    assert wire.aborted


async def test_races_leave_no_connection_in_use() -> None:
    """Answers that come, break off or never end, to callers that read, close and are cancelled at any moment."""
    rng = Random(4)
    kinds = (
        Played(pieces=[b"one", b"two"]),
        Played(pieces=[b"one"], then="cut"),
        Played(head=False, then="cut"),
        Played(pieces=[b"one"], then="hang"),
        Played(raw=b"nonsense\r\n\r\n", keep=False),
        Played(pieces=[b"x"], keep=False),
    )

    def script(asked: Asked) -> Played:
        return rng.choice(kinds)

    http = Http(connect_timeout_s=5, read_timeout_s=5)

    async def one() -> None:
        response = await http.post(http.prepared("POST", double.url), b"{}")
        try:
            for _ in range(rng.randrange(4)):
                if not await response.read():
                    break
            if rng.random() < 0.5:
                await response.finish(0.001)
        finally:
            response.close()

    async with Double(script) as double:
        for _ in range(60):
            tasks = [asyncio.create_task(one()) for _ in range(20)]
            for task in rng.sample(tasks, 8):
                for _ in range(rng.randrange(6)):
                    await asyncio.sleep(0)
                task.cancel()
            _, late = await asyncio.wait(tasks, timeout=0.05)
            for task in late:
                task.cancel()
            for result in await asyncio.gather(*tasks, return_exceptions=True):
                assert result is None or isinstance(result, (PenstockError, asyncio.CancelledError)), result
        assert http.sockets == 0
    await http.aclose()
    assert http.idle_sockets == 0


@pytest.mark.parametrize("when", ["head", "body"])
async def test_a_cancelled_caller_leaves_no_socket(when: str) -> None:
    played = Played(head=when == "body", pieces=[b"x"], then="hang")
    http = Http(connect_timeout_s=5, read_timeout_s=5)

    async def one() -> None:
        response = await http.post(http.prepared("POST", double.url), b"{}")
        try:
            await response.read_all(100)
        finally:
            response.close()

    async with Double(lambda asked: played) as double:
        tasks = [asyncio.create_task(one()) for _ in range(50)]
        await double.until(lambda it: it.working == 50)
        assert http.sockets == 50
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        assert http.sockets == 0
        await double.idle()
    await http.aclose()


async def test_idle_connections_are_kept_for_a_while_and_old_ones_are_not(monkeypatch: pytest.MonkeyPatch) -> None:
    http = Http(connect_timeout_s=5, read_timeout_s=5)
    async with Double(lambda asked: Played(pieces=[b"ok"])) as double:
        for _ in range(2):
            await (await http.post(http.prepared("POST", double.url), b"{}")).read_all(10)
        assert (double.connections, http.idle_sockets, http.sockets) == (1, 1, 0)
        monkeypatch.setattr("penstock.engines.http._OLDEST_S", -1.0)
        await (await http.post(http.prepared("POST", double.url), b"{}")).read_all(10)
        assert http.idle_sockets == 0
        monkeypatch.setattr("penstock.engines.http._OLDEST_S", 300.0)
        await (await http.post(http.prepared("POST", double.url), b"{}")).read_all(10)
        assert (double.connections, http.idle_sockets) == (2, 1)
        monkeypatch.setattr("penstock.engines.http._IDLE_S", 0.0)
        http._sweep()
        assert http.idle_sockets == 0
    await http.aclose()
