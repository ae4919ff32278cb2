"""Tape: what was asked and what was answered, for the log of requests, where a policy keeps that.

Chunks are only laid by while they go to the client, and read when all is over: reading them together costs a fraction
of reading each on its way. Nothing here is hashed, as a hash of a text tells whoever has a guess whether it is right.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Literal

import msgspec

from penstock.core.chat import Call, Sink
from penstock.gateway.capture import KEPT_BYTES, Choice, Text, Transcript, without_keys

# Beyond it what has been laid by is read: the frames around words are longer than the words.
_LAID_BY = 256 << 10
TORN = 1024
"""Characters that are left out at the end of what was cut and is to be masked: half of an address, of a number or of
a key has no form to be found by."""

_NoText = Annotated[str, msgspec.Meta(max_length=0)] | None
_NoList = Annotated[list[msgspec.Raw], msgspec.Meta(max_length=0)] | None


class _Words(msgspec.Struct, frozen=True, gc=False):
    content: str | None = None
    reasoning_content: _NoText = None
    reasoning: _NoText = None
    refusal: _NoText = None
    tool_calls: _NoList = None
    function_call: None = None


class _Piece(msgspec.Struct, frozen=True, gc=False):
    index: Literal[0] = 0
    delta: _Words | None = None
    message: _Words | None = None
    text: str | None = None
    finish_reason: str | None = None


class _Plain(msgspec.Struct, frozen=True, gc=False):
    """A chunk with words of one choice, as nearly all are; of another form it cannot be decoded as this."""

    choices: tuple[_Piece, ...] | None = None


_plain = msgspec.json.Decoder(list[_Plain])
_encode = msgspec.json.Encoder().encode
_text = msgspec.json.Decoder(str).decode
_choices = msgspec.json.Decoder(list[Choice]).decode


class Tape:
    """The answer to one request, of its choices ``KEPT_BYTES`` altogether."""

    __slots__ = ("_chunks", "_transcript", "size")

    def __init__(self) -> None:
        self._transcript: Transcript | None = None
        self._chunks: list[bytes] = []
        self.size = 0
        """Bytes of chunks that are laid by."""

    def take(self, chunks: Sequence[bytes]) -> None:
        """These go to the client. Never raises."""
        self._chunks += chunks
        for chunk in chunks:
            self.size += len(chunk)
        if self.size > _LAID_BY:
            self._read()

    def through(self, sink: Sink) -> Sink:
        """``sink``, with what it is given taken down."""

        def taken(chunks: Sequence[bytes]) -> bool:
            self.take(chunks)
            return sink(chunks)

        return taken

    def reply(self) -> bytes:
        """JSON: what ``capture.Content`` has as ``reply``, without hashes."""
        if self._transcript is None and (said := _together(self._chunks)) is not None:
            return without_keys(_encode(said))
        return self._read().reply()

    def _read(self) -> Transcript:
        if self._transcript is None:
            self._transcript = Transcript(whole=True, hashed=False)
        chunks, self._chunks, self.size = self._chunks, [], 0
        self._transcript.take(chunks)
        return self._transcript


def _together(chunks: Sequence[bytes]) -> tuple[Choice, ...] | None:
    """What a transcript would have of chunks of the plainest form; None: they are not."""
    try:
        read = _plain.decode(b"[%b]" % (chunks[0] if len(chunks) == 1 else b",".join(chunks)))
    except (msgspec.DecodeError, UnicodeDecodeError):
        return None
    parts: list[str] = []
    finish = None
    for chunk in read:
        for piece in chunk.choices or ():
            words = piece.delta or piece.message
            if words is not None and words.content:
                parts.append(words.content)
            if piece.text:
                parts.append(piece.text)
            finish = piece.finish_reason or finish or ""
    if finish is None:
        return ()
    text = "".join(parts)
    size = len(text) if text.isascii() else len(text.encode())
    if size > KEPT_BYTES:
        return None
    return (Choice(0, Text(size, text=text) if text else None, finish_reason=finish),)


def asked(call: Call) -> bytes:
    """What the client sent, as JSON: an object in OpenAI's shape; of one that is longer than ``KEPT_BYTES`` the
    beginning, as a string. Without the secrets of Penstock's own keys."""
    data = without_keys(_encode(call.fields))
    if not data.isascii():
        # Nobody has looked whether the client's strings are UTF-8.
        data = data.decode(errors="replace").encode()
    if len(data) > KEPT_BYTES:
        return _encode(data[:KEPT_BYTES].decode(errors="ignore"))
    return data


def untorn_request(masked: bytes) -> bytes:
    """What ``asked`` has given, masked, without the end where it was cut."""
    return _encode(_text(masked)[:-TORN]) if masked.startswith(b'"') else masked


def untorn_reply(masked: bytes) -> bytes:
    """The same of what a tape has given."""
    # In the words of a text there are no quotation marks without a backslash before them.
    if b'"cut":true' not in masked:
        return masked
    replace = msgspec.structs.replace
    choices = [
        replace(
            each,
            content=_untorn(each.content),
            reasoning=_untorn(each.reasoning),
            refusal=_untorn(each.refusal),
            tool_calls=tuple(replace(call, arguments=_untorn(call.arguments)) for call in each.tool_calls),
        )
        for each in _choices(masked)
    ]
    return _encode(choices)


def _untorn(text: Text | None) -> Text | None:
    if text is None or not text.cut or not isinstance(text.text, str):
        return text
    return msgspec.structs.replace(text, text=text.text[:-TORN])
