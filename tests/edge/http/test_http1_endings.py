"""How connections end: refusals that are still read, replies that are still taken, stops, and clients out of time."""

from __future__ import annotations

import time

import pytest

from penstock.edge.http import http1
from penstock.edge.http.http1 import Http1Connection
from penstock.edge.http.listening import Patience
from tests.edge.http.wire import LIMIT, Room, Wire, room

GET = b"GET /echo HTTP/1.1\r\nhost: x\r\n\r\n"
EARLY = b"POST /early HTTP/1.1\r\nhost: x\r\n"
POST = b"POST /echo HTTP/1.1\r\nhost: x\r\n"
WAIT = b"GET /wait HTTP/1.1\r\nhost: x\r\n\r\n"
CHUNKED = b"transfer-encoding: chunked\r\n\r\n"
PATIENCE = Patience()


class Clock:
    """The connection's, so many seconds ``ahead``."""

    ahead = 0.0

    def monotonic(self) -> float:
        return time.monotonic() + self.ahead


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(http1, "time", clock)
    return clock


def connection(wire: Wire) -> Http1Connection:
    found = wire.get_protocol()
    assert isinstance(found, Http1Connection)
    return found


def statuses(wire: Wire) -> list[int]:
    return [int(part[:3]) for part in wire.came.split(b"HTTP/1.1 ")[1:] if not part.startswith(b"100 ")]


async def over(here: Room, wire: Wire) -> None:
    await here.settled(wire)
    assert wire.closed
    assert here.empty()


# -- refusals --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("sent", "status"),
    [
        (b"garbage\r\n\r\n", 400),
        (POST + CHUNKED + b"zz\r\n", 400),
        (GET.replace(b"host", b"pad: " + b"x" * 70_000 + b"\r\nhost"), 431),
        (EARLY + CHUNKED, 200),
        (POST + b"content-length: 10000000\r\n\r\n" + b"x" * (LIMIT + 1), 413),
    ],
    ids=["garbage", "a broken body", "a long head", "answered early", "a long body"],
)
async def test_who_still_sends_is_listened_to_for_a_while(sent: bytes, status: int) -> None:
    async with room() as here:
        wire = here.connected()
        wire.sends(sent)
        await here.settled(wire)
        assert statuses(wire) == [status]
        assert wire.ended
        for _ in range(8):
            wire.sends(b"x" * 100_000)
            await here.settled(wire)
        assert not wire.closed
        await here.later(wire, PATIENCE.linger_s * 0.9)
        assert not wire.closed
        await here.later(wire, PATIENCE.linger_s + 0.1)
        await over(here, wire)
        assert statuses(wire) == [status]


async def test_who_sends_on_and_on_is_not() -> None:
    async with room() as here:
        wire = here.connected()
        wire.sends(b"garbage\r\n\r\n")
        while not wire.closed and wire.delivered < 4 << 20:
            wire.sends(b"x" * 100_000)
            await here.settled(wire)
        assert wire.reset
        assert wire.delivered < 2 << 20
        assert here.empty()


async def test_who_leaves_after_a_refusal_is_gone_at_once() -> None:
    async with room() as here:
        wire = here.connected()
        wire.sends(b"garbage\r\n\r\n")
        wire.leaves()
        await over(here, wire)
        assert not wire.reset


@pytest.mark.parametrize("sent", [WAIT, WAIT + GET, WAIT + POST + CHUNKED])
async def test_what_came_whole_before_garbage_is_answered_first(sent: bytes) -> None:
    async with room() as here:
        wire = here.connected()
        wire.sends(sent + b"\x00garbage\r\n\r\n")
        await here.settled(wire)
        assert not wire.came
        here.app.go.set()
        await here.settled(wire)
        assert statuses(wire) == [200]
        assert b"connection: close\r\n" in wire.came
        wire.leaves()
        await over(here, wire)
        assert [one.path for one in here.app.asked] == ["/wait"]


# -- replies that are still taken ------------------------------------------------------------------------------------


async def half_taken(here: Room) -> Wire:
    """A reply that is the last, of which the client has taken some, with some of the next request on its way."""
    wire = here.connected()
    here.listening.closing = True
    wire.reads = False
    wire.sends(POST + b"content-length: 200000\r\n\r\n" + b"x" * 200_000)
    await here.settled(wire)
    wire.takes(10_000)
    return wire


async def test_a_long_reply_is_not_cut_short_by_the_end_of_the_connection() -> None:
    async with room() as here:
        wire = await half_taken(here)
        for _ in range(5):
            await here.later(wire, PATIENCE.linger_s + 0.1)
            wire.takes(30_000)
        assert not wire.reset
        wire.takes(1_000_000)
        await here.settled(wire)
        assert wire.came.endswith(b'x"]')
        await here.later(wire, PATIENCE.linger_s + 0.1)
        await over(here, wire)


async def test_but_by_who_takes_nothing() -> None:
    async with room() as here:
        wire = await half_taken(here)
        await here.later(wire, PATIENCE.linger_s + 0.1)
        assert not wire.closed
        await here.later(wire, PATIENCE.write_s + 1)
        await here.later(wire, 2 * PATIENCE.write_s + 2)
        await over(here, wire)
        assert wire.reset


# -- stops -----------------------------------------------------------------------------------------------------------


async def test_a_stop_between_a_reply_and_the_end_of_its_body() -> None:
    """The next request comes in one go with that end: it is not begun."""
    async with room() as here:
        wire = here.connected()
        wire.sends(EARLY + b"content-length: 100\r\n\r\n")
        await here.settled(wire)
        connection(wire).retire()
        wire.sends(b"x" * 100 + GET)
        await here.settled(wire)
        assert statuses(wire) == [200]
        assert len(here.app.asked) == 1
        wire.leaves()
        await over(here, wire)


async def test_what_was_sent_ahead_is_answered_before_a_stop() -> None:
    async with room() as here:
        wire = here.connected()
        wire.reads = False
        wire.sends(POST + b"content-length: 100000\r\n\r\n" + b"x" * 100_000 + GET * 3)
        await here.settled(wire)
        assert len(here.app.asked) == 1
        connection(wire).retire()
        connection(wire).retire()
        wire.reads = True
        wire.takes(1 << 20)
        await here.settled(wire)
        assert statuses(wire) == [200] * 4
        assert wire.came.count(b"connection: close\r\n") == 1
        wire.leaves()
        await over(here, wire)


async def test_a_refusal_is_still_read_while_the_gateway_stops(clock: Clock) -> None:
    async with room() as here:
        wire = here.connected()
        wire.sends(EARLY + CHUNKED)
        await here.settled(wire)
        clock.ahead = 5
        connection(wire).retire()
        await here.settled(wire)
        assert not wire.closed
        await here.later(wire, 5 + PATIENCE.linger_s + 0.1)
        await over(here, wire)


@pytest.mark.parametrize("sent", [b"", GET])
async def test_an_idle_connection_is_closed_by_a_stop(sent: bytes) -> None:
    async with room() as here:
        wire = here.connected()
        wire.sends(GET + sent[:10])
        await here.settled(wire)
        connection(wire).retire()
        if sent:
            assert not wire.closed
            wire.sends(sent[10:])
            await here.settled(wire)
            assert b"connection: close" in wire.came
            wire.leaves()
        await over(here, wire)


# -- clients out of time ---------------------------------------------------------------------------------------------


async def test_a_body_that_stops_is_refused_and_the_connection_with_it() -> None:
    async with room() as here:
        wire = here.connected()
        wire.sends(POST + b"content-length: 100\r\n\r\nx")
        await here.settled(wire)
        await here.later(wire, PATIENCE.body_s + 1)
        assert statuses(wire) == [408]
        assert b"connection: close\r\n" in wire.came
        await here.later(wire, PATIENCE.linger_s + 0.1)
        await over(here, wire)


async def test_the_wait_for_a_body_begins_anew_when_it_is_read_again(clock: Clock) -> None:
    """Its client could not send while nobody asked."""
    async with room() as here:
        wire = here.connected()
        wire.sends(b"POST /wait HTTP/1.1\r\nhost: x\r\ncontent-length: 70000\r\n\r\n")
        for _ in range(66):
            wire.sends(b"x" * 1000)
        await here.settled(wire)
        assert wire.paused
        clock.ahead = PATIENCE.body_s + 1
        here.app.go.set()
        await here.settled(wire)
        await here.later(wire, clock.ahead + 1)
        wire.sends(b"x" * 4000)
        await here.settled(wire)
        assert statuses(wire) == [200]
        wire.leaves()
        await over(here, wire)


async def test_what_is_left_of_a_body_is_waited_for_once() -> None:
    async with room() as here:
        wire = here.connected()
        wire.sends(EARLY + b"content-length: 100\r\n\r\nx")
        await here.settled(wire)
        assert statuses(wire) == [200]
        await here.later(wire, PATIENCE.body_s - 1)
        assert not wire.closed
        await here.later(wire, PATIENCE.body_s + 1)
        await over(here, wire)


@pytest.mark.parametrize(
    ("sent", "seconds"), [(b"", PATIENCE.head_s), (GET, PATIENCE.idle_s), (GET + GET[:5], PATIENCE.head_s)]
)
async def test_who_asks_nothing_is_let_go(sent: bytes, seconds: float) -> None:
    async with room() as here:
        wire = here.connected()
        if sent:
            wire.sends(sent)
        await here.settled(wire)
        await here.later(wire, seconds - 1)
        assert not wire.closed
        await here.later(wire, seconds + 1)
        await over(here, wire)


# -- clients that reset ----------------------------------------------------------------------------------------------

STAGES = {
    "before the first byte": b"",
    "in the request line": GET[:3],
    "in a header": GET[:25],
    "in a body": POST + b"content-length: 100\r\n\r\nx",
    "in a body that waits": WAIT + POST + b"content-length: 1000000\r\n\r\n" + b"x" * 100_000,
    "in a chunk's size": POST + CHUNKED + b"1",
    "in the work": WAIT,
    "in the work, with others ahead": WAIT + GET * 5,
    "in a stream": GET.replace(b"echo", b"stream"),
    "in the rest of a body": EARLY + b"content-length: 100\r\n\r\nx",
    "while lingering": b"garbage\r\n\r\n",
    "between two": GET,
}


@pytest.mark.parametrize("stage", STAGES)
@pytest.mark.parametrize("how", ["resets", "leaves", "aborted"])
@pytest.mark.parametrize("reads", [True, False])
async def test_a_client_may_go_at_any_time(stage: str, how: str, reads: bool) -> None:
    async with room() as here:
        wire = here.connected()
        wire.reads = reads
        if STAGES[stage]:
            wire.sends(STAGES[stage])
        await here.settled(wire)
        if how == "aborted":
            connection(wire).abort()
        elif how == "leaves" and not wire.paused:
            wire.leaves()
            wire.takes(1 << 20)
        else:
            wire.resets()
        await over(here, wire)
