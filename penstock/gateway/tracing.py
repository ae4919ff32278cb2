"""Tracing: the ids of one request's spans, and what its upstreams are told of them.

Source: https://www.w3.org/TR/trace-context/. Whether a trace is recorded is decided at its head: as the caller says,
or for a share of the ids, by the id itself, so that all who see it decide alike.
"""

from __future__ import annotations

import random

import msgspec

from penstock.core.chat import Call
from penstock.core.policy import TraceParent
from penstock.observe.config import Traces

_LOW = (1 << 56) - 1


class Tracing:
    """One request's. ``id`` is the trace's, ``span`` the request's own, ``parent`` the caller's span, each empty
    where there is none. ``sampled``: the trace is recorded, whatever becomes of the request."""

    __slots__ = ("_after", "_before", "id", "parent", "sampled", "span")

    def __init__(self, id: bytes, span: bytes, parent: bytes, sampled: bool, state: bytes) -> None:
        self.id = id
        self.span = span
        self.parent = parent
        self.sampled = sampled
        self._before = b"traceparent: 00-%b-" % id.hex().encode()
        flags = b"-01\r\n" if sampled else b"-00\r\n"
        self._after = b"%btracestate: %b\r\n" % (flags, state) if state else flags

    def attempt(self, call: Call) -> tuple[Call, bytes]:
        """The call as an attempt sends it, and the span of that attempt; empty where the request has none: then the
        upstream hears what the caller said."""
        span = _id(8) if self.span else b""
        lines = b"%b%b%b" % (self._before, (span or self.parent).hex().encode(), self._after)
        return msgspec.structs.replace(call, trace=lines), span


def traced(settings: Traces | None, caller: TraceParent | None) -> Tracing | None:
    """The trace of a request; ``settings`` None: nothing is recorded here, and what ``caller`` says is passed on as
    it is. None: there is none."""
    if settings is None:
        if caller is None:
            return None
        return Tracing(caller.trace, b"", caller.span, caller.sampled, caller.state)
    if caller is None:
        ids = _id(24)
        return Tracing(ids[8:], ids[:8], b"", _drawn(ids, settings.share), b"")
    sampled = caller.sampled if settings.follow else _drawn(caller.trace, settings.share)
    return Tracing(caller.trace, _id(8), caller.span, sampled, caller.state)


def _id(size: int) -> bytes:
    # That all bits of one are zero, which makes it no id, is not to be expected in the age of the universe.
    return random.getrandbits(8 * size).to_bytes(size, "big")


def _drawn(trace: bytes, share: float) -> bool:
    return share >= 1 or int.from_bytes(trace[-7:], "big") < share * (_LOW + 1)
