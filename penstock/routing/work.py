"""How much work a call is, before anybody has counted its tokens."""

from __future__ import annotations

from penstock.core.chat import Call, Kind

_BYTES_PER_TOKEN = 4
_OUTPUT = 256
"""Tokens of output that are expected of a client that gives no bound."""

_PROMPT = {Kind.CHAT: "messages", Kind.COMPLETION: "prompt", Kind.EMBEDDING: "input"}


def estimate(call: Call) -> int:
    """Tokens of prompt and output together, at least 1; right to a factor of two, which is enough to balance by."""
    prompt = call.fields.get(_PROMPT[call.kind])
    tokens = len(memoryview(prompt)) // _BYTES_PER_TOKEN if prompt is not None else 0
    if call.kind is not Kind.EMBEDDING:
        tokens += (call.max_tokens if call.max_tokens is not None else _OUTPUT) * call.choices
    return tokens or 1


def prompt_bytes(call: Call) -> bytes:
    """What a prefix cache would see: tools, then messages. A longer conversation begins with the shorter's bytes."""
    tools = call.fields.get("tools")
    prompt = call.fields.get(_PROMPT[call.kind])
    begin = bytes(tools) if tools is not None else b""
    return begin + (bytes(prompt).rstrip(b"] \n\r\t") if prompt is not None else b"")
