"""Quotations: what an error's message repeats of what the client has said, left out. Pure.

Upstreams like to show the value that they do not take. The log keeps messages with the facts, which outlive what was
said, and are there where nothing of it is to be kept.
"""

from __future__ import annotations

import re

import msgspec

from penstock.core.chat import Call

QUOTED = "[...]"
SHORTEST = 12
"""Characters: what is shorter may be anybody's words."""

_FIELDS = ("messages", "prompt", "input", "instructions")
_LOOKED_AT = 64 << 10
_WORD = re.compile(r"\w+")


def unquoted(message: str, call: Call) -> str:
    """The message without runs of ``SHORTEST`` characters and more that stand in the beginning or the end, 64 KiB
    each, of what was said."""
    if len(message) < SHORTEST:
        return message
    said = _said(call)
    out: list[str] = []
    kept = 0
    for word in _WORD.finditer(message):
        begin = word.start()
        if begin < kept:
            continue
        at = said.find(message[begin : begin + SHORTEST]) if begin + SHORTEST <= len(message) else -1
        if at >= 0:
            end = begin + SHORTEST
            while end < len(message) and said[at + end - begin : at + end - begin + 1] == message[end]:
                end += 1
            out += (message[kept:begin], QUOTED)
            kept = end
    return "".join(out) + message[kept:] if out else message


def _said(call: Call) -> str:
    texts: list[str] = []
    for name in _FIELDS:
        raw = bytes(call.fields.get(name, b""))
        if len(raw) > 2 * _LOOKED_AT:
            raw = raw[:_LOOKED_AT] + b"\n" + raw[-_LOOKED_AT:]
            texts.append(raw.decode(errors="replace"))
            continue
        try:
            _gather(msgspec.json.decode(raw), texts)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            texts.append(raw.decode(errors="replace"))
    return "\n".join(texts)


def _gather(value: object, texts: list[str]) -> None:
    if isinstance(value, str):
        texts.append(value)
    elif isinstance(value, list):
        for each in value:
            _gather(each, texts)
    elif isinstance(value, dict):
        for each in value.values():
            _gather(each, texts)
