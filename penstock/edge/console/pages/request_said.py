"""What was said in a request, as a conversation: from a request in OpenAI's shape, and a reply as it is kept.

Pure. What has another shape than is known here is shown as it was kept."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator, Sequence
from typing import Literal

import msgspec

from penstock.control.accounts.differences import readable
from penstock.control.observed.views import ContentView

LONGEST = 60_000
"""Characters of one thing that was said."""
MOST = 500
"""Things that are shown."""

_MARK = re.compile(r"\[[A-Z]{2,10}\]")
# What the conversation shows of a request; the rest are its parameters.
_SPOKEN = frozenset(("messages", "prompt", "input", "instructions", "model"))


class Bit(msgspec.Struct, frozen=True):
    """A stretch of a text; ``masked``: it stands in the place of personal data."""

    text: str
    masked: bool = False


class Piece(msgspec.Struct, frozen=True, kw_only=True):
    """``kind``: words; thought, what the model said to itself; refusal; call, of the tool ``name``; other, what is no
    text. ``left_out`` characters are not shown; ``cut``: no more of it was kept."""

    kind: Literal["words", "thought", "refusal", "call", "other"]
    bits: Sequence[Bit]
    name: str = ""
    left_out: int = 0
    cut: bool = False


class Turn(msgspec.Struct, frozen=True, kw_only=True):
    """Somebody who says something. ``reply``: it is the answer; ``about`` what else is known of it."""

    role: str
    pieces: Sequence[Piece]
    about: str = ""
    reply: bool = False


class Said(msgspec.Struct, frozen=True, kw_only=True):
    """``parameters`` and ``raw_reply`` are JSON in lines, empty where there is nothing else to show. ``body`` is the
    request as it was kept, for a program. ``left_out`` turns are not shown."""

    turns: Sequence[Turn]
    parameters: str
    raw_reply: str
    body: str
    masked: bool
    left_out: int = 0


class _Function(msgspec.Struct, frozen=True):
    name: str = ""
    arguments: object = ""


class _Call(msgspec.Struct, frozen=True):
    function: _Function = _Function()
    id: str = ""


class _Message(msgspec.Struct, frozen=True):
    role: str = ""
    content: object = None
    name: str | None = None
    tool_calls: list[_Call] | None = None
    tool_call_id: str | None = None
    refusal: str | None = None


class _Request(msgspec.Struct, frozen=True):
    messages: list[_Message] = []
    prompt: object = None
    input: object = None
    instructions: str | None = None


class _Text(msgspec.Struct, frozen=True):
    text: str | None = None
    length: int = msgspec.field(name="bytes", default=0)
    cut: bool = False


class _Called(msgspec.Struct, frozen=True):
    name: str = ""
    arguments: _Text = _Text()


class _Choice(msgspec.Struct, frozen=True):
    index: int = 0
    content: _Text | None = None
    reasoning: _Text | None = None
    refusal: _Text | None = None
    tool_calls: list[_Called] = []
    finish_reason: str = ""


class _Part(msgspec.Struct, frozen=True):
    type: str = ""
    text: str | None = None


def said(content: ContentView) -> Said:
    read = _Reading(content.masked)
    asked, known = read.asked(bytes(content.request))
    answered, told = read.answered(bytes(content.reply))
    turns = [*asked, *answered]
    body = bytes(content.request).decode("utf-8", "replace")
    return Said(
        # The end of a long conversation tells most.
        turns=turns[-MOST:],
        left_out=max(0, len(turns) - MOST),
        parameters=_parameters(bytes(content.request), _SPOKEN if known else frozenset()),
        raw_reply="" if told else _readable(bytes(content.reply)),
        body=body,
        masked=content.masked,
    )


def curl(said: Said, dialect: str) -> str:
    """A command for a shell that asks the same."""
    return (
        f'curl "$PENSTOCK_URL"/v1/{shlex.quote(dialect or "chat/completions")} \\\n'
        '  -H "authorization: Bearer $PENSTOCK_API_KEY" \\\n'
        '  -H "content-type: application/json" \\\n'
        f"  -d {shlex.quote(said.body)}"
    )


class _Reading:
    """Reads what was said; marks are only looked for where something was ``masked``."""

    def __init__(self, masked: bool) -> None:
        self._masked = masked

    def asked(self, request: bytes) -> tuple[Sequence[Turn], bool]:
        """And whether its shape is known."""
        try:
            found = msgspec.json.decode(request, type=_Request)
        except msgspec.MsgspecError:
            return (), False
        turns = [self._turn(each) for each in found.messages]
        if found.instructions:
            turns.insert(0, Turn(role="system", pieces=[self._piece("words", found.instructions)]))
        for value in (found.prompt, found.input):
            if value is not None:
                turns += self._inputs(value)
        return turns, bool(turns)

    def answered(self, reply: bytes) -> tuple[Sequence[Turn], bool]:
        """And whether it has all been told."""
        try:
            found = msgspec.json.decode(reply, type=list[_Choice])
        except msgspec.MsgspecError:
            return (), reply.strip() in (b"", b"null", b"{}")
        turns = []
        for choice in found:
            pieces = [
                piece
                for kind, text in (
                    ("thought", choice.reasoning),
                    ("words", choice.content),
                    ("refusal", choice.refusal),
                )
                if text is not None and (piece := self._kept(kind, text)) is not None
            ]
            pieces += [self._piece("call", each.arguments.text or "", each.name) for each in choice.tool_calls]
            about = f"choice {choice.index + 1}" if len(found) > 1 else ""
            ending = "" if choice.finish_reason in ("", "stop") else choice.finish_reason.replace("_", " ")
            turns.append(
                Turn(role="assistant", pieces=pieces, about=", ".join(filter(None, (about, ending))), reply=True)
            )
        return turns, True

    def _turn(self, message: _Message) -> Turn:
        pieces = list(self._contents(message.content))
        if message.refusal:
            pieces.append(self._piece("refusal", message.refusal))
        for call in message.tool_calls or ():
            arguments = call.function.arguments
            text = arguments if isinstance(arguments, str) else _lines(arguments)
            pieces.append(self._piece("call", text, call.function.name))
        return Turn(role=message.role or "user", pieces=pieces, about=message.name or message.tool_call_id or "")

    def _inputs(self, value: object) -> Iterator[Turn]:
        """Of a completion, an embedding or a response: texts, tokens, or turns."""
        if isinstance(value, list) and value and all(isinstance(each, dict) and "role" in each for each in value):
            try:
                yield from (self._turn(each) for each in msgspec.convert(value, type=list[_Message]))
                return
            except msgspec.ValidationError:
                pass
        if isinstance(value, list) and value and all(isinstance(each, str) for each in value):
            for place, each in enumerate(value):
                about = f"{place + 1} of {len(value)}" if len(value) > 1 else ""
                yield Turn(role="user", pieces=[self._piece("words", each)], about=about)
            return
        yield Turn(role="user", pieces=list(self._contents(value)))

    def _contents(self, value: object) -> Iterator[Piece]:
        if isinstance(value, str):
            yield self._piece("words", value)
        elif isinstance(value, list) and any(isinstance(each, dict) for each in value):
            for each in value[:MOST]:
                yield self._part(each)
        elif value is not None:
            # Tokens, say: thousands of numbers are one thing.
            yield self._piece("other", msgspec.json.encode(value).decode())

    def _part(self, value: object) -> Piece:
        try:
            part = msgspec.convert(value, type=_Part)
        except msgspec.ValidationError:
            return self._piece("other", _lines(value))
        if part.text is not None:
            return self._piece("words", part.text)
        return self._piece("other", _lines(value), part.type)

    def _kept(self, kind: str, text: _Text) -> Piece | None:
        if text.text is None:
            return None
        return msgspec.structs.replace(self._piece(kind, text.text), cut=text.cut)

    def _piece(self, kind: str, text: str, name: str = "") -> Piece:
        shown = text[:LONGEST]
        bits = tuple(self._bits(shown)) if self._masked else (Bit(shown),)
        return Piece(
            kind=kind,  # type: ignore[arg-type]
            bits=bits,
            name=name,
            left_out=len(text) - len(shown),
        )

    def _bits(self, text: str) -> Iterator[Bit]:
        begin = 0
        for mark in _MARK.finditer(text):
            if mark.start() > begin:
                yield Bit(text[begin : mark.start()])
            yield Bit(mark[0], True)
            begin = mark.end()
        if begin < len(text):
            yield Bit(text[begin:])


def _parameters(request: bytes, spoken: frozenset[str]) -> str:
    try:
        found = msgspec.json.decode(request, type=dict[str, msgspec.Raw])
    except msgspec.MsgspecError:
        return _readable(request)
    rest = {name: value for name, value in found.items() if name not in spoken}
    return _readable(msgspec.json.encode(rest)) if rest else ""


def _readable(source: bytes) -> str:
    try:
        text = readable(source)
    except msgspec.MsgspecError:
        text = source.decode("utf-8", "replace")
    return text if len(text) <= LONGEST else f"{text[:LONGEST]}\n…"


def _lines(value: object) -> str:
    return _readable(msgspec.json.encode(value))
