"""The scripted engine's replies on the wire: whole and in chunks, chat and legacy completions. Pure but for ids."""

from __future__ import annotations

import uuid

import msgspec

from penstock.engines.config import FakeToolCall

_LOGPROB = -0.1


class Spoken(msgspec.Struct, frozen=True, kw_only=True):
    """What every choice says: ``pieces`` of text, then ``calls``. ``logprobs`` None: not asked for."""

    pieces: tuple[str, ...]
    calls: tuple[FakeToolCall, ...] = ()
    finish: str = "stop"
    choices: int = 1
    prompt_words: int = 1
    logprobs: int | None = None

    def usage(self) -> dict[str, object]:
        """Words as tokens, in OpenAI's shape."""
        called = sum(max(1, len(call.arguments.split())) for call in self.calls)
        said = self.choices * (len(self.pieces) + called)
        return {
            "prompt_tokens": self.prompt_words,
            "completion_tokens": said,
            "total_tokens": self.prompt_words + said,
            "prompt_tokens_details": {"cached_tokens": 0, "audio_tokens": 0},
            "completion_tokens_details": {
                "reasoning_tokens": 0,
                "audio_tokens": 0,
                "accepted_prediction_tokens": 0,
                "rejected_prediction_tokens": 0,
            },
        }


def chat_object(spoken: Spoken, model: str, made: int) -> list[bytes]:
    """A whole ``chat.completion``."""
    choices: list[object] = []
    for index in range(spoken.choices):
        message: dict[str, object] = {
            "role": "assistant",
            "content": "".join(spoken.pieces) if spoken.pieces or not spoken.calls else None,
            "refusal": None,
            "annotations": [],
        }
        if spoken.calls:
            message["tool_calls"] = [
                {"id": _id("call_"), "type": "function", "function": {"name": call.name, "arguments": call.arguments}}
                for call in spoken.calls
            ]
        choices.append(
            {
                "index": index,
                "message": message,
                "logprobs": _chat_logprobs(spoken, spoken.pieces),
                "finish_reason": spoken.finish,
            }
        )
    head = _head("chatcmpl-", "chat.completion", model, made)
    return [msgspec.json.encode({**head, "choices": choices, "usage": spoken.usage()})]


def chat_chunks(spoken: Spoken, model: str, made: int) -> list[bytes]:
    """The same in ``chat.completion.chunk``: role, a word at a time, calls, finish, and the usage by itself."""
    head = _head("chatcmpl-", "chat.completion.chunk", model, made)
    chunks: list[bytes] = []

    def add(index: int, delta: dict[str, object], logprobs: object = None, finish: str | None = None) -> None:
        choice = {"index": index, "delta": delta, "logprobs": logprobs, "finish_reason": finish}
        chunks.append(msgspec.json.encode({**head, "choices": [choice]}))

    for index in range(spoken.choices):
        content = None if spoken.calls and not spoken.pieces else ""
        add(index, {"role": "assistant", "content": content, "refusal": None})
        for piece in spoken.pieces:
            add(index, {"content": piece}, _chat_logprobs(spoken, (piece,)))
        for number, call in enumerate(spoken.calls):
            named = {"index": number, "id": _id("call_"), "type": "function"}
            add(index, {"tool_calls": [{**named, "function": {"name": call.name, "arguments": ""}}]})
            half = (len(call.arguments) + 1) // 2
            for part in (call.arguments[:half], call.arguments[half:]):
                if part:
                    add(index, {"tool_calls": [{"index": number, "function": {"arguments": part}}]})
        add(index, {}, finish=spoken.finish)
    chunks.append(msgspec.json.encode({**head, "choices": [], "usage": spoken.usage()}))
    return chunks


def completion_object(spoken: Spoken, model: str, made: int) -> list[bytes]:
    """A whole ``text_completion``."""
    choices = [
        _completion(index, "".join(spoken.pieces), _text_logprobs(spoken, spoken.pieces), spoken.finish)
        for index in range(spoken.choices)
    ]
    head = _head("cmpl-", "text_completion", model, made)
    return [msgspec.json.encode({**head, "choices": choices, "usage": spoken.usage()})]


def completion_chunks(spoken: Spoken, model: str, made: int) -> list[bytes]:
    """The same a word at a time."""
    head = _head("cmpl-", "text_completion", model, made)
    choices: list[dict[str, object]] = []
    for index in range(spoken.choices):
        choices += [_completion(index, piece, _text_logprobs(spoken, (piece,)), None) for piece in spoken.pieces]
        choices.append(_completion(index, "", None, spoken.finish))
    chunks = [msgspec.json.encode({**head, "choices": [choice]}) for choice in choices]
    return [*chunks, msgspec.json.encode({**head, "choices": [], "usage": spoken.usage()})]


def _completion(index: int, text: str, logprobs: object, finish: str | None) -> dict[str, object]:
    # The reference calls finish_reason required and lists no null; streams of the real API have null all the same.
    return {"index": index, "text": text, "logprobs": logprobs, "finish_reason": finish}


def _head(prefix: str, kind: str, model: str, made: int) -> dict[str, object]:
    return {"id": _id(prefix), "object": kind, "created": made, "model": model, "system_fingerprint": "fp_fake"}


def _id(prefix: str) -> str:
    return prefix + uuid.uuid4().hex


def _chat_logprobs(spoken: Spoken, pieces: tuple[str, ...]) -> dict[str, object] | None:
    if spoken.logprobs is None:
        return None
    return {"content": [_token(piece, spoken.logprobs) for piece in pieces], "refusal": None}


def _token(piece: str, top: int) -> dict[str, object]:
    one: dict[str, object] = {"token": piece, "logprob": _LOGPROB, "bytes": list(piece.encode())}
    others = [{**one, "token": piece + "'" * rank, "logprob": _LOGPROB - rank} for rank in range(top)]
    return {**one, "top_logprobs": others}


def _text_logprobs(spoken: Spoken, pieces: tuple[str, ...]) -> dict[str, object] | None:
    if spoken.logprobs is None:
        return None
    starts = [sum(map(len, pieces[:at])) for at in range(len(pieces))]
    tops = [{piece + "'" * rank: _LOGPROB - rank for rank in range(spoken.logprobs)} for piece in pieces]
    return {
        "tokens": list(pieces),
        "token_logprobs": [_LOGPROB] * len(pieces),
        "top_logprobs": tops,
        "text_offset": starts,
    }
