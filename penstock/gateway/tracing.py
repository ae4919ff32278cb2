"""Tracing: the ids of one request's spans, and what its upstreams are told of them.

Source: https://www.w3.org/TR/trace-context/. Whether a trace is recorded is decided at its head: as the caller says,
or for a share of the ids, by the id itself, so that all who see it decide alike.
"""

from __future__ import annotations

from binascii import hexlify
from random import getrandbits

import msgspec

from penstock.core.chat import Call
from penstock.core.policy import TraceParent
from penstock.observe.config import Traces

_LOW = (1 << 56) - 1
_SAMPLED = b"traceparent: 00-%b-%b-01\r\n"
_LEFT_OUT = b"traceparent: 00-%b-%b-00\r\n"


class Tracing(msgspec.Struct, frozen=True, gc=False):
    """One request's. ``id`` is the trace's, ``span`` the request's own, ``parent`` the caller's span, each empty
    where there is none; ``state`` the caller's ``tracestate``. ``sampled``: the trace is recorded, whatever becomes
    of the request."""

    id: bytes
    span: bytes
    parent: bytes
    sampled: bool
    state: bytes = b""

    def attempt(self, call: Call) -> tuple[Call, bytes]:
        """The call as an attempt sends it, and the span of that attempt; empty where the request has none: then the
        upstream hears what the caller said."""
        span = getrandbits(64).to_bytes(8, "big") if self.span else b""
        form = _SAMPLED if self.sampled else _LEFT_OUT
        lines = form % (hexlify(self.id), hexlify(span or self.parent))
        if self.state:
            lines += b"tracestate: %b\r\n" % self.state
        return msgspec.structs.replace(call, trace=lines), span


def traced(settings: Traces | None, caller: TraceParent | None) -> Tracing | None:
    """The trace of a request; ``settings`` None: nothing is recorded here, and what ``caller`` says is passed on as
    it is. None: there is none."""
    if settings is None:
        if caller is None:
            return None
        return Tracing(caller.trace, b"", caller.span, caller.sampled, caller.state)
    # That all bits of an id are zero, which makes it none, is not to be expected in the age of the universe.
    if caller is None:
        bits = getrandbits(192)
        ids = bits.to_bytes(24, "big")
        return Tracing(ids[8:], ids[:8], b"", _drawn(bits, settings.share))
    sampled = caller.sampled if settings.follow else _drawn(int.from_bytes(caller.trace, "big"), settings.share)
    return Tracing(caller.trace, getrandbits(64).to_bytes(8, "big"), caller.span, sampled, caller.state)


def _drawn(trace: int, share: float) -> bool:
    return share >= 1 or trace & _LOW < share * (_LOW + 1)
