"""What the scripted engine reads of a request, and what it decides to say. Pure."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import TypeVar

import msgspec

from penstock.core.chat import Call, Kind
from penstock.core.errors import INVALID_TYPE, PenstockError
from penstock.engines.config import FakeAnswer, FakeToolCall
from penstock.engines.fake_replies import Spoken
from penstock.engines.fake_schema import instance

_WORD = re.compile(r"\s*\S+\s*$|\s*\S+|\s+$")
_PLACE = re.compile(r"`\$\.([^`]+)`")
T = TypeVar("T")


class _Part(msgspec.Struct, frozen=True):
    type: str = ""
    text: str | None = None


class _Message(msgspec.Struct, frozen=True):
    role: str
    content: str | list[_Part] | None = None

    def text(self) -> str:
        if isinstance(self.content, list):
            return "\n".join(part.text for part in self.content if part.text)
        return self.content or ""


class _Function(msgspec.Struct, frozen=True):
    name: str = ""
    parameters: msgspec.Raw = msgspec.Raw(b"{}")


class _Tool(msgspec.Struct, frozen=True):
    type: str = "function"
    function: _Function | None = None


class _Named(msgspec.Struct, frozen=True):
    function: _Function | None = None
    type: str = ""


class _Schema(msgspec.Struct, frozen=True):
    schema: msgspec.Raw = msgspec.Raw(b"{}")


class _Format(msgspec.Struct, frozen=True):
    type: str = "text"
    json_schema: _Schema | None = None


class Asked(msgspec.Struct, frozen=True, kw_only=True):
    """What of a request decides the answer. ``last`` is the last user message or the prompt."""

    last: str = ""
    prompt_words: int = 1
    prompts: int = 1
    choices: int = 1
    after_tool: bool = False
    tools: Mapping[str, msgspec.Raw] = {}
    must_call: str | None = None
    may_call: bool = True
    format: _Format = _Format()
    limit: int | None = None
    stops: tuple[str, ...] = ()
    logprobs: int | None = None

    def spoken(self, answer: FakeAnswer) -> Spoken:
        """What is said in each choice."""
        calls = self._calls(answer)
        text = answer.text
        if calls and text == FakeAnswer().text:
            text = ""
        elif not calls:
            text = self._formatted(text)
        cut = min((at for stop in self.stops if (at := text.find(stop)) >= 0), default=len(text))
        pieces = tuple(_WORD.findall(text[:cut]))
        limit = len(pieces) if self.limit is None else self.limit
        if limit < len(pieces):
            pieces, calls, finish = pieces[:limit], (), "length"
        else:
            finish = "tool_calls" if calls else "stop"
        return Spoken(
            pieces=pieces,
            calls=calls,
            finish=finish,
            choices=self.choices * self.prompts,
            prompt_words=self.prompt_words,
            logprobs=self.logprobs,
        )

    def _calls(self, answer: FakeAnswer) -> tuple[FakeToolCall, ...]:
        if not self.may_call:
            return ()
        scripted = tuple(
            call for call in answer.tool_calls if self.must_call in (None, "", call.name) and not self.after_tool
        )
        if scripted or self.must_call is None:
            return scripted
        name = self.must_call or next(iter(self.tools), "")
        schema: object = msgspec.json.decode(self.tools.get(name, b"{}"))
        arguments = instance(schema) if isinstance(schema, dict) and schema else {}
        return (FakeToolCall(name=name, arguments=msgspec.json.encode(arguments).decode()),) if name else ()

    def _formatted(self, text: str) -> str:
        if self.format.type not in ("json_object", "json_schema"):
            return text
        try:
            msgspec.json.decode(text)
        except msgspec.DecodeError:
            schema: object = msgspec.json.decode(self.format.json_schema.schema) if self.format.json_schema else {}
            return msgspec.json.encode(instance(schema) if schema else {}).decode()
        return text


def answer_to(asked: Asked, answers: Sequence[FakeAnswer]) -> FakeAnswer:
    """The first whose ``when`` is in the last user message; a greeting when there is none."""
    return next((answer for answer in answers if answer.when in asked.last), FakeAnswer())


def words(text: str) -> int:
    """Tokens, as this engine counts them."""
    return len(text.split())


class _Common(msgspec.Struct, frozen=True):
    stop: str | list[str] | None = None
    max_tokens: int | None = None
    max_completion_tokens: int | None = None

    def stops(self) -> tuple[str, ...]:
        given = [self.stop] if isinstance(self.stop, str) else self.stop or []
        return tuple(stop for stop in given if stop)

    def limit(self) -> int | None:
        return self.max_tokens if self.max_completion_tokens is None else self.max_completion_tokens


class _Chat(_Common, frozen=True, kw_only=True):
    messages: list[_Message]
    tools: list[_Tool] | None = None
    tool_choice: str | _Named | None = None
    response_format: _Format | None = None
    logprobs: bool | None = None
    top_logprobs: int | None = None


class _Completion(_Common, frozen=True, kw_only=True):
    prompt: str | list[str | int | list[int]] | None = None
    logprobs: int | None = None


def asked_in(call: Call) -> Asked:
    """Reads a request. Raises ``PenstockError`` (INVALID_TYPE) when a field that decides the answer is malformed."""
    if call.kind is Kind.EMBEDDING:
        return Asked()
    return _chat_asked(call) if call.kind is Kind.CHAT else _completion_asked(call)


def _chat_asked(call: Call) -> Asked:
    chat = _read(call, _Chat)
    texts = [message.text() for message in chat.messages]
    users = (message.text() for message in reversed(chat.messages) if message.role == "user")
    return Asked(
        last=next(users, ""),
        prompt_words=max(1, sum(map(words, texts))),
        choices=call.choices,
        after_tool=bool(chat.messages) and chat.messages[-1].role in ("tool", "function"),
        tools={tool.function.name: tool.function.parameters for tool in chat.tools or () if tool.function},
        may_call=chat.tool_choice != "none",
        must_call=_must_call(chat.tool_choice),
        format=chat.response_format or _Format(),
        limit=chat.limit(),
        stops=chat.stops(),
        logprobs=(chat.top_logprobs or 0) if chat.logprobs else None,
    )


def _completion_asked(call: Call) -> Asked:
    completion = _read(call, _Completion)
    prompt = completion.prompt
    listed = prompt if isinstance(prompt, list) else [prompt or ""]
    texts = [one for one in listed if isinstance(one, str)]
    return Asked(
        last="\n".join(texts),
        prompt_words=max(1, sum(map(words, texts))),
        # A list of numbers is one prompt in tokens.
        prompts=1 if not listed or isinstance(listed[0], int) else len(listed),
        choices=call.choices,
        limit=completion.limit(),
        stops=completion.stops(),
        logprobs=completion.logprobs,
    )


def _must_call(choice: str | _Named | None) -> str | None:
    """The tool that must be called, ``""`` for any of them, None for none."""
    if isinstance(choice, _Named):
        return choice.function.name if choice.function else None
    return "" if choice in ("required", "any") else None


def _read(call: Call, kind: type[T]) -> T:
    try:
        return msgspec.json.decode(msgspec.json.encode(call.fields), type=kind)
    except msgspec.DecodeError as exc:
        place = _PLACE.search(str(exc))
        raise PenstockError(INVALID_TYPE, f"The request is malformed: {exc}", param=place and place[1]) from exc
