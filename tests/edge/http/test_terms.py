"""What a client may ask of the way by headers: what is understood, what is refused, and that it is heeded."""

from __future__ import annotations

import asyncio
import contextlib
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from penstock.core.errors import INVALID_VALUE, PenstockError
from penstock.core.policy import Priority
from penstock.edge.http.terms import terms
from tests.edge.http.serving import heard, request, site, usual

CHAT = {"model": "chat", "messages": [{"role": "user", "content": "Hi"}]}
CHAT_PATH = "/v1/chat/completions"


def test_no_wishes() -> None:
    headers = {b"x-session": b"7"}
    wishes = terms(headers)
    assert (wishes.timeout_s, wishes.priority) == (None, None)
    assert wishes.headers is headers


@pytest.mark.parametrize(
    ("given", "seconds"),
    [(b"30", 30.0), (b"0.5", 0.5), (b".5", 0.5), (b"5.", 5.0), (b" 7\t", 7.0), (b"86400", 86400.0), (b"007", 7.0)],
)
def test_a_timeout(given: bytes, seconds: float) -> None:
    assert terms({b"x-penstock-timeout": given}).timeout_s == seconds


NO_TIMEOUTS = [
    *(b"", b" ", b"0", b"0.0", b"-1", b"+1", b"86400.1", b"1e3", b"1_0", b"inf", b"nan", b"0x10", b"1.2.3", b"."),
    *(b"1,5", b"5s", b"1 0", b"\xb2", "\u0665".encode(), b"9" * 60_000, b"0." + b"0" * 60_000 + b"1"),
]


@pytest.mark.parametrize("given", NO_TIMEOUTS, ids=lambda given: repr(given[:8]))
def test_no_timeout(given: bytes) -> None:
    with pytest.raises(PenstockError, match="'x-penstock-timeout' must be a number of seconds") as refused:
        terms({b"x-penstock-timeout": given})
    assert (refused.value.fault, refused.value.param) == (INVALID_VALUE, "x-penstock-timeout")


@given(st.binary(max_size=12))
def test_any_bytes_for_a_timeout(given: bytes) -> None:
    with contextlib.suppress(PenstockError):
        seconds = terms({b"x-penstock-timeout": given}).timeout_s
        assert seconds is not None
        assert 0 < seconds <= 86_400


@pytest.mark.parametrize(
    ("given", "priority"),
    [(b"high", Priority.HIGH), (b"NORMAL", Priority.NORMAL), (b" low ", Priority.LOW), (b"Low", Priority.LOW)],
)
def test_a_priority(given: bytes, priority: Priority) -> None:
    assert terms({b"x-penstock-priority": given}).priority is priority


@pytest.mark.parametrize("given", [b"", b"urgent", b"1", b"high, low", b"h\xefgh", b"high\0"])
def test_no_priority(given: bytes) -> None:
    with pytest.raises(PenstockError, match="'high', 'normal' or 'low'") as refused:
        terms({b"x-penstock-priority": given})
    assert (refused.value.fault, refused.value.param) == (INVALID_VALUE, "x-penstock-priority")


@pytest.mark.parametrize("header", ["x-penstock-timeout", "x-penstock-priority"])
@pytest.mark.parametrize("stream", [True, False])
async def test_a_wish_that_is_refused_names_its_header(header: str, stream: bool) -> None:
    async with site(usual) as here:
        body = json.dumps(CHAT | {"stream": stream}).encode()
        reply = heard(
            await here.raw(request("POST", CHAT_PATH, body).replace(b"host", header.encode() + b": soon\r\nhost", 1))
        )
        assert (reply.status, reply.error["code"], reply.error["param"]) == (400, "invalid_value", header)
        assert not here.engine.calls


@pytest.mark.parametrize("stream", [True, False])
async def test_a_timeout_is_heeded(stream: bool) -> None:
    async with site(usual) as here:
        here.engine.hold = asyncio.Event()
        began = asyncio.get_running_loop().time()
        reply = await here.post(CHAT_PATH, CHAT | {"stream": stream}, x_penstock_timeout="0.2")
        took = asyncio.get_running_loop().time() - began
        assert reply.status == 504
        assert 0.2 <= took < 2
        assert here.engine.cancelled == 1
