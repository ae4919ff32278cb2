"""What a client asks and what an engine answers, in the words every room shares.

Inside the house there is one wire for answers: OpenAI's JSON, one text per chunk, as bytes. Engines that speak
something else translate at their wall; dialects that show something else translate at theirs. In between, bytes
stay bytes: a chunk is parsed (``chunk_view``) only by who needs to look inside.
"""

from __future__ import annotations

import enum
from collections.abc import Callable, Mapping, Sequence
from typing import Protocol, runtime_checkable

import msgspec


class Kind(enum.Enum):
    """Which engine operation a call needs; the value is the path below an OpenAI base URL."""

    CHAT = "/chat/completions"
    COMPLETION = "/completions"
    EMBEDDING = "/embeddings"

    # Every request looks things up by its kind, and an enum's own hash is slow.
    __hash__ = object.__hash__


class Call(msgspec.Struct, frozen=True):
    """One client request, after its dialect has read it.

    ``fields`` are the top-level members of the request in OpenAI's shape for ``kind``, in the client's order,
    each value the client's own JSON bytes; whatever we do not own goes upstream from here untouched.
    ``stream`` is what the client asked of us, ``usage_chunk`` whether it wants the usage chunk of a stream.
    ``choices`` is ``n`` (at least 1). ``max_tokens`` is the client's own bound on output, if it gave one.
    ``dialect`` is the last words of the route that it came by, empty: those of ``kind``. ``internal``: the gateway
    asks it for itself, at the cost of a client. ``trace`` are header lines of W3C Trace Context for the upstream,
    each ended by CRLF.
    """

    request_id: str
    kind: Kind
    service: str
    fields: Mapping[str, msgspec.Raw]
    stream: bool = False
    usage_chunk: bool = False
    choices: int = 1
    max_tokens: int | None = None
    user: str | None = None
    dialect: str = ""
    internal: bool = False
    trace: bytes = b""


class Usage(msgspec.Struct, frozen=True):
    """Tokens as the engine counted them. ``cached`` is the part of ``prompt`` that a prefix cache served,
    ``cache_write`` the part that was put into one at a price of its own; audio is a part of either."""

    prompt: int = 0
    completion: int = 0
    cached: int = 0
    reasoning: int = 0
    cache_write: int = 0
    audio_prompt: int = 0
    audio_completion: int = 0


class Upstream(Protocol):
    """One running answer. It owns its connection; whoever holds it closes it, exactly once or more."""

    async def read(self) -> Sequence[bytes]:
        """The chunks that have arrived, in order, at least one; an empty sequence once the answer is complete.

        Each chunk is one JSON text without framing. A call with ``stream`` false yields exactly one chunk, the
        whole object. Raises ``PenstockError`` when the upstream fails or says something that is not its protocol.
        Not to be called from two tasks at once.
        """

    async def aclose(self) -> None:
        """Stops the work upstream and lets go of the connection. Idempotent; never raises; safe when cancelled."""


Sink = Callable[[Sequence[bytes]], bool]
"""Takes chunks at once; False asks for no more for now."""


class Pouring(Protocol):
    """What an ``Upstream`` may offer beside: chunks without a task that wakes for each of them."""

    async def pour(self, sink: Sink) -> None:
        """Hands chunks to ``sink`` as they arrive, from the event loop, as ``read`` would give them.

        Returns when ``sink`` has asked for no more, or when ``read`` has something to tell: the end, or why there is
        none; and may return whenever it likes. Raises what ``sink`` raises. What ``sink`` was given is not read
        again.
        """


@runtime_checkable
class Counting(Protocol):
    """What an ``Upstream`` may offer beside: how much the engine has counted of an answer that is broken off."""

    def so_far(self) -> Usage | None:
        """The prompt's tokens, and those of the answer up to the last chunk that was read; None when the engine has
        not said. May be asked at any time, closed or not."""


# -- looking inside a chunk --------------------------------------------------------------------------------------


class FunctionDelta(msgspec.Struct, frozen=True):
    name: str | None = None
    arguments: str | None = None


class ToolCallDelta(msgspec.Struct, frozen=True):
    """``index`` orders the tool calls of one choice; a piece without ``id`` continues the one before."""

    index: int = 0
    id: str | None = None
    type: str | None = None
    function: FunctionDelta | None = None


class Delta(msgspec.Struct, frozen=True):
    """What one chunk adds to one message; also reads the whole ``message`` of a reply that was not streamed."""

    role: str | None = None
    content: str | None = None
    reasoning_content: str | None = None
    refusal: str | None = None
    tool_calls: tuple[ToolCallDelta, ...] | None = None
    function_call: FunctionDelta | None = None


class Choice(msgspec.Struct, frozen=True):
    """One choice of a chunk (``delta``), a whole reply (``message``) or a legacy completion (``text``).

    ``logprobs`` is JSON as it came, ``null`` when there is none.
    """

    index: int = 0
    delta: Delta | None = None
    message: Delta | None = None
    text: str | None = None
    finish_reason: str | None = None
    logprobs: msgspec.Raw = msgspec.Raw(b"null")


class _PromptDetails(msgspec.Struct, frozen=True):
    cached_tokens: int | None = None
    cache_write_tokens: int | None = None
    audio_tokens: int | None = None


class _CompletionDetails(msgspec.Struct, frozen=True):
    reasoning_tokens: int | None = None
    audio_tokens: int | None = None


_MOST = 2**31 - 1
_NO_DETAILS = _PromptDetails()
_NOTHING_MORE = _CompletionDetails()


class WireUsage(msgspec.Struct, frozen=True):
    """OpenAI's ``usage`` object, as far as we read it."""

    prompt_tokens: int | None = None
    completion_tokens: int | None = None
    total_tokens: int | None = None
    prompt_tokens_details: _PromptDetails | None = None
    completion_tokens_details: _CompletionDetails | None = None

    def tells(self, kind: Kind) -> bool:
        """Whether it says how much was read and, unless nothing is, how much was made. No prompt has no tokens."""
        made = kind is Kind.EMBEDDING or self.completion_tokens is not None or self.total_tokens is not None
        return made and (self.prompt_tokens or 0) > 0

    def counted(self) -> Usage:
        """The same in our words; what the engine left out is 0, and more than anybody has (2**31) is not believed.

        Some servers leave the tokens of a model's reasoning out of ``completion_tokens`` and count them in
        ``total_tokens`` only; they are output all the same.
        """
        details, out = self.prompt_tokens_details or _NO_DETAILS, self.completion_tokens_details or _NOTHING_MORE
        prompt = _count(self.prompt_tokens)
        return Usage(
            prompt=prompt,
            completion=max(_count(self.completion_tokens), _count(self.total_tokens) - prompt),
            cached=_count(details.cached_tokens),
            reasoning=_count(out.reasoning_tokens),
            cache_write=_count(details.cache_write_tokens),
            audio_prompt=_count(details.audio_tokens),
            audio_completion=_count(out.audio_tokens),
        )


def _count(said: int | None) -> int:
    return min(max(0, said or 0), _MOST)


class ChunkView(msgspec.Struct, frozen=True):
    """What we read of a chunk or a whole reply; everything else in it is the client's business."""

    id: str = ""
    model: str = ""
    created: int = 0
    object: str = ""
    choices: tuple[Choice, ...] = ()
    usage: WireUsage | None = None


_view_decoder = msgspec.json.Decoder(ChunkView)


def chunk_view(chunk: bytes) -> ChunkView:
    """Reads one chunk. Raises ``msgspec.DecodeError`` (``ValidationError`` included) when it is not one."""
    try:
        return _view_decoder.decode(chunk)
    except UnicodeDecodeError as error:
        raise msgspec.DecodeError("A string of the chunk is not UTF-8.") from error
    except RecursionError as error:
        raise msgspec.DecodeError("The chunk is nested too deep.") from error
