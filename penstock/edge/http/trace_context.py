"""What a client says of the trace that its request is part of. Pure.

Source: https://www.w3.org/TR/trace-context/, Recommendation of 23 November 2021. A ``traceparent`` that is not sound
is as if it had not been sent, and so is ``tracestate`` with it; an unsound ``tracestate`` is left out alone.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

from penstock.core.policy import TraceParent

# Section 3.2.2: lower case only. A version that is not known yet may say more behind another dash.
_PARENT = re.compile(rb"([0-9a-f]{2})-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})(-.*)?", re.DOTALL)
_SAMPLED = 1
_NO_TRACE = bytes(16)
_NO_SPAN = bytes(8)

# Section 3.3.1.3: a member's key, and a value of printable characters without a space at its end.
_MEMBER = re.compile(
    rb"(?:[a-z][a-z0-9_\-*/]{0,255}|[a-z0-9][a-z0-9_\-*/]{0,240}@[a-z][a-z0-9_\-*/]{0,13})"
    rb"=[\x20-\x2b\x2d-\x3c\x3e-\x7e]{0,255}[\x21-\x2b\x2d-\x3c\x3e-\x7e]"
)
_MOST_MEMBERS = 32
_MOST_BYTES = 512
_LONG_MEMBER = 128


def trace_parent(headers: Mapping[bytes, bytes]) -> TraceParent | None:
    """By the headers, under lower-case names, several of one name joined by commas. None: there is none, or it is
    not sound. Never raises."""
    found = _PARENT.fullmatch(headers.get(b"traceparent", b"").strip(b" \t"))
    if found is None:
        return None
    version, trace, span, flags, more = found.groups()
    if version == b"ff" or (more is not None and version == b"00"):
        return None
    trace_id, span_id = bytes.fromhex(trace.decode()), bytes.fromhex(span.decode())
    if trace_id == _NO_TRACE or span_id == _NO_SPAN:
        return None
    sampled = bool(int(flags, 16) & _SAMPLED)
    return TraceParent(trace_id, span_id, sampled, _state(headers.get(b"tracestate", b"")))


def _state(said: bytes) -> bytes:
    """As it is passed on: without empty members, and cut to 512 bytes as section 3.3.1.5 has it."""
    if not said:
        return b""
    members = [member for part in said.split(b",") if (member := part.strip(b" \t"))]
    keys = {member.partition(b"=")[0] for member in members}
    if len(members) > _MOST_MEMBERS or len(keys) != len(members) or not all(map(_MEMBER.fullmatch, members)):
        return b""
    for place in range(len(members) - 1, -1, -1):
        if _size(members) <= _MOST_BYTES:
            break
        if len(members[place]) > _LONG_MEMBER:
            del members[place]
    while _size(members) > _MOST_BYTES:
        members.pop()
    return b",".join(members)


def _size(members: list[bytes]) -> int:
    return sum(map(len, members)) + max(0, len(members) - 1)
