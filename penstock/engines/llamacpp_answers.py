"""What llama.cpp's events mean, and where they differ from OpenAI's wire. Pure.

Reports on how far a prompt has been read, and on how much has been said, are left out; other chunks are passed on as
they came. Taken apart are only those of a forced tool call, which arrives as text, and the log probabilities of a
text completion, which llama.cpp writes in the shape of chat.
"""

from __future__ import annotations

import itertools

import msgspec

from penstock.core.chat import Call, Choice, ChunkView, Kind, Usage, WireUsage, chunk_view
from penstock.core.errors import UPSTREAM_GARBLED, PenstockError
from penstock.core.splice import joined, members
from penstock.engines.faults import Origin
from penstock.engines.llamacpp_fields import given
from penstock.engines.llamacpp_tools import CallFromText
from penstock.engines.openai_answers import Events


class _Top(msgspec.Struct, frozen=True):
    token: str
    logprob: float | None = None


class _Token(msgspec.Struct, frozen=True):
    token: str
    logprob: float | None = None
    top_logprobs: tuple[_Top, ...] = ()


class _Logprobs(msgspec.Struct, frozen=True):
    content: tuple[_Token, ...] | None = None


class _Timings(msgspec.Struct, frozen=True):
    """``cache_n`` tokens of the prompt were there already, ``prompt_n`` were read."""

    cache_n: int = 0
    prompt_n: int = 0
    predicted_n: int = 0


class _Progress(msgspec.Struct, frozen=True):
    total: int = 0


class _Told(msgspec.Struct, frozen=True):
    usage: WireUsage | None = None
    timings: _Timings | None = None
    prompt_progress: _Progress | None = None


_logprobs = msgspec.json.Decoder(_Logprobs)
_told = msgspec.json.Decoder(_Told)
_TIMINGS = b',"timings":{'
_USAGE = b'"usage":'


class LlamaEvents:
    """What the events of one stream mean; see ``hosted_answers.Reading``."""

    def __init__(self, call: Call, forced: bool, origin: Origin) -> None:
        self._events = Events(1, origin)
        self._calls = CallFromText() if forced else None
        self._scored = call.kind is Kind.COMPLETION and given(call, "logprobs") is not None
        self._offset = 0
        self._reading_prompt = True
        self._wanted = given(call, "timings_per_token") == b"true"
        self._heard = b""

    @property
    def complete(self) -> bool:
        return self._events.complete

    @complete.setter
    def complete(self, value: bool) -> None:
        self._events.complete = value

    def take(self, name: bytes, data: bytes, chunks: list[bytes]) -> None:
        if self._reading_prompt:
            if b'"prompt_progress":' in data:
                self._heard = data
                return
            self._reading_prompt = not data.startswith(b"{")
        at = data.rfind(_TIMINGS)
        if at >= 0:
            self._heard = data
            if not self._wanted and data.find(_USAGE) < 0:
                data = data[:at] + b"}"
        if self._calls is None and not self._scored:
            self._events.take(name, data, chunks)
            return
        came: list[bytes] = []
        self._events.take(name, data, came)
        for chunk in came:
            try:
                view = chunk_view(chunk)
                chunks.append(self._called(chunk, view) if self._calls is not None else self._old_style(chunk, view))
            except msgspec.DecodeError as error:
                raise PenstockError(UPSTREAM_GARBLED, "llama.cpp sent a chunk that is not JSON; try again") from error

    def end(self) -> None:
        self._events.end()

    def so_far(self) -> Usage | None:
        """By the last chunk that said it; while the prompt is read, all of the prompt."""
        try:
            told = _told.decode(self._heard) if self._heard else _Told()
        except (msgspec.DecodeError, UnicodeDecodeError):
            return None
        if told.usage is not None:
            return told.usage.counted()
        if (timings := told.timings) is not None:
            prompt = timings.cache_n + timings.prompt_n
            return Usage(prompt=prompt, completion=timings.predicted_n, cached=timings.cache_n)
        return None if told.prompt_progress is None else Usage(prompt=told.prompt_progress.total)

    def _called(self, chunk: bytes, view: ChunkView) -> bytes:
        """The chunk of a forced call: its text as pieces of the call, its end as the end of one."""
        if not view.choices or self._calls is None:
            return chunk
        choice = view.choices[0]
        pieces = self._calls.feed(choice.delta.content) if choice.delta and choice.delta.content else []
        if choice.finish_reason:
            pieces += self._calls.end(choice.finish_reason == "stop")
        delta: dict[str, object] = {}
        if choice.delta is not None and choice.delta.role is not None:
            delta = {"role": choice.delta.role, "content": None}
        if pieces:
            delta["tool_calls"] = pieces
        finish = "tool_calls" if choice.finish_reason == "stop" else choice.finish_reason
        written = {"index": choice.index, "delta": delta, "logprobs": None, "finish_reason": finish}
        return joined(members(chunk), choices=[written])

    def _old_style(self, chunk: bytes, view: ChunkView) -> bytes:
        """The chunk of a completion, its log probabilities in the shape that completions have."""
        if not view.choices or bytes(view.choices[0].logprobs) == b"null":
            return chunk
        choice: Choice = view.choices[0]
        tokens = _logprobs.decode(choice.logprobs).content or ()
        lengths = [len(token.token) for token in tokens]
        offsets = list(itertools.accumulate(lengths, initial=self._offset))[:-1]
        self._offset += sum(lengths)
        shaped = {
            "tokens": [token.token for token in tokens],
            "token_logprobs": [token.logprob for token in tokens],
            "top_logprobs": [{top.token: top.logprob for top in token.top_logprobs} for token in tokens],
            "text_offset": offsets,
        }
        written = {
            "text": choice.text or "",
            "index": choice.index,
            "logprobs": shaped,
            "finish_reason": choice.finish_reason,
        }
        return joined(members(chunk), choices=[written])
