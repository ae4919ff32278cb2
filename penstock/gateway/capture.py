"""Capture: what was asked and what was said, for the audit, where the policy on a request's project wants it kept.

The answer is kept as the gateway hands it to the edge, chunk by chunk: as text, reasoning, refusals and tool calls of
each choice, the same whether it was streamed, broken off or sent whole. Each hash is SHA-256, unsalted, so that
whoever has a text can tell whether it was this one; the audit's chain salts what it signs for.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence

import msgspec
from msgspec import UNSET, Raw, UnsetType

from penstock.core.chat import Call, Sink
from penstock.core.identity import Capture
from penstock.core.usage import Act
from penstock.gateway.snapshot import Admission

KEPT_BYTES = 256 << 10
"""Of the request, and of all that was answered to it, before JSON's escapes; hashes and lengths are of all of it."""
MOST_CHOICES = 128
MOST_CALLS = 1024
_LONGEST_NAME = 1024
_ACTIONS = {"complete": "requests.answered", "failed": "requests.failed", "client_gone": "requests.left"}

# An API key of ours with enough of its secret to be one. A key's id may be read by anybody.
_KEY = re.compile(rb"\bpk-([a-z0-9._-]{1,64}?)-[A-Za-z0-9_-]{24,}")


# -- what the audit keeps ----------------------------------------------------------------------------------------


class Request(msgspec.Struct, frozen=True, omit_defaults=True):
    """The request's fields in OpenAI's shape, as one JSON object of the client's own bytes. ``json`` is all of it, or
    ``beginning`` what there is room for; neither where only hashes are kept."""

    length: int = msgspec.field(name="bytes")
    sha256: str
    json: Raw | UnsetType = UNSET
    beginning: str | UnsetType = UNSET


class Text(msgspec.Struct, frozen=True, omit_defaults=True):
    """``bytes`` and ``sha256`` of all of it, in UTF-8; empty where nothing is hashed. ``cut``: ``text`` is its
    beginning."""

    length: int = msgspec.field(name="bytes")
    sha256: str = ""
    text: str | UnsetType = UNSET
    cut: bool = False


class ToolCall(msgspec.Struct, frozen=True):
    id: str
    name: str
    arguments: Text


class Choice(msgspec.Struct, frozen=True, omit_defaults=True):
    index: int
    content: Text | None = None
    reasoning: Text | None = None
    refusal: Text | None = None
    tool_calls: tuple[ToolCall, ...] = ()
    finish_reason: str = ""


class Content(msgspec.Struct, frozen=True, omit_defaults=True):
    """The content of an act of the kind ``content``. ``unread`` are chunks whose form is not known here, as they
    came. ``more``: there were more choices or tool calls than are kept. Secrets of Penstock's own keys are left
    out."""

    request: Request
    reply: tuple[Choice, ...]
    unread: Text | None = None
    more: bool = False


# -- what is read of a chunk -------------------------------------------------------------------------------------


class _Function(msgspec.Struct, frozen=True):
    name: str | None = None
    arguments: str | None = None


class _Call(msgspec.Struct, frozen=True):
    index: int | None = None
    id: str | None = None
    function: _Function | None = None


class _Said(msgspec.Struct, frozen=True):
    content: str | None = None
    reasoning_content: str | None = None
    reasoning: str | None = None
    refusal: str | None = None
    tool_calls: tuple[_Call, ...] | None = None
    function_call: _Function | None = None


class _Piece(msgspec.Struct, frozen=True):
    index: int = 0
    delta: _Said | None = None
    message: _Said | None = None
    text: str | None = None
    finish_reason: str | None = None


class _Chunk(msgspec.Struct, frozen=True):
    choices: tuple[_Piece, ...] | None = None


_decoder = msgspec.json.Decoder(_Chunk)


# -- what was said -----------------------------------------------------------------------------------------------


class _Strand:
    """One text that grows."""

    __slots__ = ("_hash", "_kept", "_length")

    def __init__(self, hashed: bool) -> None:
        self._hash = hashlib.sha256() if hashed else None
        self._length = 0
        self._kept = bytearray()

    def add(self, data: bytes, room: int) -> int:
        """How much of ``room`` it takes."""
        if self._hash is not None:
            self._hash.update(data)
        self._length += len(data)
        if len(data) > room:
            data = data[:room]
        self._kept += data
        return len(data)

    def text(self, whole: bool) -> Text:
        digest = "" if self._hash is None else self._hash.hexdigest()
        if not whole:
            return Text(self._length, digest)
        cut = len(self._kept) < self._length
        return Text(self._length, digest, self._kept.decode(errors="ignore"), cut)


class _CallSaid:
    __slots__ = ("arguments", "id", "name")

    def __init__(self, hashed: bool) -> None:
        self.id = self.name = ""
        self.arguments = _Strand(hashed)


class _ChoiceSaid:
    __slots__ = ("calls", "finish", "strands")

    def __init__(self) -> None:
        self.strands: dict[str, _Strand] = {}
        self.calls: dict[int, _CallSaid] = {}
        self.finish = ""


class Transcript:
    """What a request's client was told, as far as ``most`` bytes go; with ``whole`` false only its hashes, with
    ``hashed`` false none."""

    __slots__ = ("_calls", "_choices", "_hashed", "_more", "_room", "_unread", "_whole")

    def __init__(self, whole: bool, most: int = KEPT_BYTES, *, hashed: bool = True) -> None:
        self._whole = whole
        self._hashed = hashed
        self._room = most if whole else 0
        self._choices: dict[int, _ChoiceSaid] = {}
        self._calls = 0
        self._unread: _Strand | None = None
        self._more = False

    def take(self, chunks: Sequence[bytes]) -> None:
        """These go to the client. Never raises."""
        for chunk in chunks:
            try:
                pieces = _decoder.decode(chunk).choices
            except (msgspec.DecodeError, UnicodeDecodeError):
                if self._unread is None:
                    self._unread = _Strand(self._hashed)
                self._add(self._unread, chunk)
                continue
            for piece in pieces or ():
                self._hear(piece)

    def through(self, sink: Sink) -> Sink:
        """``sink``, with what it is given taken down."""

        def taken(chunks: Sequence[bytes]) -> bool:
            self.take(chunks)
            return sink(chunks)

        return taken

    def first(self) -> Choice | None:
        """The choice of the lowest index, None: nothing was said that can be read."""
        return self._choice(min(self._choices)) if self._choices else None

    def reply(self) -> bytes:
        """What was said, by choice, as JSON."""
        return without_keys(msgspec.json.encode(self._replies()))

    def content(self, call: Call) -> bytes:
        """What the audit keeps of it, as JSON."""
        reply = self._replies()
        unread = None if self._unread is None else self._unread.text(self._whole)
        content = Content(_request(call, self._whole), reply, unread, self._more)
        return without_keys(msgspec.json.encode(content))

    def _replies(self) -> tuple[Choice, ...]:
        return tuple(self._choice(index) for index in sorted(self._choices))

    def _hear(self, piece: _Piece) -> None:
        choice = self._choices.get(piece.index)
        if choice is None:
            if len(self._choices) >= MOST_CHOICES:
                self._more = True
                return
            choice = self._choices[piece.index] = _ChoiceSaid()
        if piece.finish_reason:
            choice.finish = piece.finish_reason[:_LONGEST_NAME]
        self._say(choice, "content", piece.text)
        said = piece.delta or piece.message
        if said is None:
            return
        self._say(choice, "content", said.content)
        # Two names that engines have for the same; some send both.
        self._say(choice, "reasoning", said.reasoning_content or said.reasoning)
        self._say(choice, "refusal", said.refusal)
        if said.function_call is not None:
            self._called(choice, 0, "", said.function_call)
        for place, call in enumerate(said.tool_calls or ()):
            self._called(choice, place if call.index is None else call.index, call.id or "", call.function)

    def _say(self, choice: _ChoiceSaid, name: str, text: str | None) -> None:
        if text:
            strand = choice.strands.get(name)
            if strand is None:
                strand = choice.strands[name] = _Strand(self._hashed)
            self._add(strand, text.encode())

    def _called(self, choice: _ChoiceSaid, index: int, id: str, function: _Function | None) -> None:
        call = choice.calls.get(index)
        if call is None:
            if self._calls >= MOST_CALLS:
                self._more = True
                return
            self._calls += 1
            call = choice.calls[index] = _CallSaid(self._hashed)
        call.id = call.id or id[:_LONGEST_NAME]
        if function is not None:
            if function.name and len(call.name) < _LONGEST_NAME:
                call.name = (call.name + function.name)[:_LONGEST_NAME]
            if function.arguments:
                self._add(call.arguments, function.arguments.encode())

    def _add(self, strand: _Strand, data: bytes) -> None:
        self._room -= strand.add(data, self._room)

    def _choice(self, index: int) -> Choice:
        choice, whole = self._choices[index], self._whole
        texts = {name: strand.text(whole) for name, strand in choice.strands.items()}
        calls = tuple(
            ToolCall(call.id, call.name, call.arguments.text(whole)) for _, call in sorted(choice.calls.items())
        )
        return Choice(
            index,
            texts.get("content"),
            texts.get("reasoning"),
            texts.get("refusal"),
            calls,
            choice.finish,
        )


def without_keys(data: bytes) -> bytes:
    """The same without the secrets of Penstock's own keys."""
    return _KEY.sub(rb"pk-\1-***", data) if b"pk-" in data else data


def transcript(admission: Admission, policy: Capture) -> Transcript | None:
    """Where the project of the caller, or else the gateway's ``policy``, wants what is said to be kept."""
    wanted = admission.principal.capture or policy
    return Transcript(wanted == "content") if wanted in ("hashes", "content") else None


def act(
    said: Transcript, call: Call, admission: Admission, service: str, *, at: float, ending: str, code: str
) -> Act:
    """One request for the audit, however it ended; ``code`` is the error's, if one ended it."""
    principal = admission.principal
    return Act(
        at=at,
        kind="content",
        actor=principal.key_id,
        project=principal.project,
        action=_ACTIONS[ending],
        target=service,
        outcome="ok" if ending == "complete" else code or ending,
        address=admission.address,
        request_id=call.request_id,
        content=said.content(call),
    )


def _request(call: Call, whole: bool) -> Request:
    """The fields are hashed one by one: together they may be long."""
    digest = hashlib.sha256()
    length, kept = 0, bytearray()
    for data in _written(call):
        digest.update(data)
        length += len(data)
        if whole and len(kept) <= KEPT_BYTES:
            # One byte more than is kept tells that there is more.
            kept += data[: KEPT_BYTES + 1 - len(kept)]
    if not whole:
        return Request(length, digest.hexdigest())
    if length <= KEPT_BYTES:
        return Request(length, digest.hexdigest(), json=Raw(bytes(kept)))
    return Request(length, digest.hexdigest(), beginning=kept[:KEPT_BYTES].decode(errors="ignore"))


def _written(call: Call) -> Sequence[bytes | memoryview]:
    parts: list[bytes | memoryview] = []
    for name, value in call.fields.items():
        parts.append((b"," if parts else b"{") + msgspec.json.encode(name) + b":")
        parts.append(memoryview(value))
    parts.append(b"}" if parts else b"{}")
    return parts
