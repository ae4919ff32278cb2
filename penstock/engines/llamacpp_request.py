"""What llama.cpp is asked for a call: one request for each choice, always streamed. Pure.

Streamed whatever the client asked, because llama.cpp notices that a client has gone only when it streams; one by one,
because it counts the tokens of several choices wrong.
"""

from __future__ import annotations

import re

import msgspec

from penstock.core.chat import Call, Kind
from penstock.core.errors import INVALID_TYPE, INVALID_VALUE, UNSUPPORTED_PARAMETER, PenstockError
from penstock.core.splice import joined
from penstock.engines.llamacpp_fields import given, member
from penstock.engines.llamacpp_tools import tools_of

MOST_CHOICES = 64
"""Choices that one call may ask for, prompts times ``n``: a quarter of the requests that a copy holds at once."""

_BOOL = msgspec.json.Decoder(bool)
_INT = msgspec.json.Decoder(int)
_ITEMS = msgspec.json.Decoder(list[msgspec.Raw])
_MESSAGES = msgspec.json.Decoder(list[dict[str, msgspec.Raw]])
_DEVELOPER = re.compile(rb'"role"\s*:\s*"developer"')
_USAGE = {"include_usage": True}
_MOST_ALTERNATIVES = 20
"""OpenAI's own bound; llama.cpp has none, and sorts its whole vocabulary for one token."""
_INPUTS_AT_ONCE = 16
"""Texts embedded in one request: what llama.cpp has begun of embeddings it also ends, whoever has gone."""
_COMPLETION_TOKENS = 16
"""What OpenAI's completions end after when the client does not say; llama.cpp's would not end."""
_NULL = b"null"


class Part(msgspec.Struct, frozen=True):
    """One upstream request. ``repeats``: its prompt is that of an earlier one. ``forced``: it is a tool call."""

    body: bytes
    repeats: bool = False
    forced: bool = False


def parts(call: Call, model: str) -> tuple[Part, ...]:
    """The requests of one chat or completion call, in the order of its choices.

    Raises ``PenstockError``, a client's fault, for what llama.cpp would not do or would silently leave out.
    """
    fields = {name: value for name, value in call.fields.items() if bytes(value).strip() != _NULL}
    owned: dict[str, object] = {
        "model": model,
        "stream": True,
        "stream_options": _USAGE,
        # While it reads a prompt it looks for a client that has gone once a second, or when it reports progress.
        "return_progress": True,
        "n": None,
        # Its own word for n, which would escape the counting.
        "n_cmpl": None,
        "best_of": None,
        "user": None,
        # How much it is so far, with each chunk: what an answer that is broken off has used.
        "timings_per_token": True,
        # Its own word for max_tokens, which would win over it.
        "n_predict": None,
    }
    if call.max_tokens is None and (most := member(call, "n_predict", _INT)) is not None and most >= 0:
        owned["max_tokens"] = most
    forced = False
    if call.kind is Kind.CHAT:
        forced = _chat(call, owned)
        prompts: list[msgspec.Raw | None] = [None]
    else:
        _completion(call, owned)
        prompts = list(_prompts(call))
    if len(prompts) * call.choices > MOST_CHOICES:
        raise PenstockError(
            INVALID_VALUE,
            f"{len(prompts)} prompts with n={call.choices} are more than the {MOST_CHOICES} choices that llama.cpp "
            "answers in one call; send several calls",
            param="n",
        )
    seed = member(call, "seed", _INT)
    made: list[Part] = []
    for prompt in prompts:
        for number in range(call.choices):
            if prompt is not None:
                owned["prompt"] = prompt
            if seed is not None and seed >= 0:
                # The same seed would say the same n times; a negative one asks for chance.
                owned["seed"] = (seed + number) % 2**32
            made.append(Part(joined(fields, **owned), repeats=number > 0, forced=forced))
    return tuple(made)


def _chat(call: Call, owned: dict[str, object]) -> bool:
    """Settles the tools; whether a tool call is forced."""
    for name in ("functions", "function_call"):
        if given(call, name) not in (None, b'"none"'):
            raise PenstockError(
                UNSUPPORTED_PARAMETER, f"llama.cpp does not know {name}; use tools and tool_choice", param=name
            )
    for name in ("audio", "web_search_options"):
        if given(call, name) is not None:
            raise PenstockError(UNSUPPORTED_PARAMETER, f"llama.cpp does not do {name}; leave it out", param=name)
    if _DEVELOPER.search(given(call, "messages") or b""):
        owned["messages"] = _renamed(call)
    if member(call, "logprobs", _BOOL):
        # Without a number llama.cpp gives 20 alternatives, and with 0 no log probabilities at all.
        owned["top_logprobs"] = max(_alternatives(call, "top_logprobs"), 1)
        if given(call, "tools") not in (None, b"[]"):
            raise PenstockError(
                UNSUPPORTED_PARAMETER,
                "llama.cpp gives no log probabilities beside tools; leave one out",
                param="logprobs",
            )
    tools = tools_of(call)
    owned["tools"] = list(tools.offered) or None
    owned["tool_choice"] = None
    if not tools.offered:
        owned["parallel_tool_calls"] = None
    if tools.schema is None:
        return False
    if given(call, "response_format") is not None and b"json" in (given(call, "response_format") or b""):
        raise PenstockError(
            UNSUPPORTED_PARAMETER,
            "A tool that must be called and a response_format contradict each other; send one of them",
            param="response_format",
        )
    owned["tool_choice"] = "none"
    schema = {"name": "tool_call", "schema": tools.schema}
    owned["response_format"] = {"type": "json_schema", "json_schema": schema}
    owned["parallel_tool_calls"] = None
    return True


def _alternatives(call: Call, name: str) -> int:
    wanted = member(call, name, _INT) or 0
    if not 0 <= wanted <= _MOST_ALTERNATIVES:
        raise PenstockError(INVALID_VALUE, f"{name} is between 0 and {_MOST_ALTERNATIVES}", param=name)
    return wanted


def _renamed(call: Call) -> list[dict[str, msgspec.Raw]]:
    """The messages, the developer's as the system's: no chat template knows the role by its new name."""
    renamed = {b'"developer"': msgspec.Raw(b'"system"')}
    return [
        {name: renamed.get(bytes(value).strip(), value) if name == "role" else value for name, value in each.items()}
        for each in member(call, "messages", _MESSAGES) or ()
    ]


def _completion(call: Call, owned: dict[str, object]) -> None:
    if given(call, "max_tokens") is None and "max_tokens" not in owned:
        owned["max_tokens"] = _COMPLETION_TOKENS
    if given(call, "logprobs") is not None:
        owned["logprobs"] = max(_alternatives(call, "logprobs"), 1)
    if member(call, "echo", _BOOL):
        raise PenstockError(UNSUPPORTED_PARAMETER, "llama.cpp does not echo the prompt; leave echo out", param="echo")
    if given(call, "suffix") not in (None, b'""'):
        raise PenstockError(UNSUPPORTED_PARAMETER, "llama.cpp does not fill in before a suffix here", param="suffix")
    if (member(call, "best_of", _INT) or 1) > call.choices:
        raise PenstockError(
            UNSUPPORTED_PARAMETER, "llama.cpp does not choose among answers; leave best_of out", param="best_of"
        )


def _prompts(call: Call) -> list[msgspec.Raw]:
    """Each prompt as the client wrote it: a text or an array of token numbers."""
    text = given(call, "prompt") or b'""'
    if text.startswith(b'"'):
        return [msgspec.Raw(text)]
    try:
        items = _ITEMS.decode(text)
    except msgspec.DecodeError as error:
        raise PenstockError(
            INVALID_TYPE, "prompt is a text, an array of texts or an array of token numbers", param="prompt"
        ) from error
    if not items:
        raise PenstockError(INVALID_VALUE, "prompt is an empty array; send at least one", param="prompt")
    if bytes(items[0]).lstrip()[:1] in (b'"', b"["):
        return items
    return [msgspec.Raw(text)]


def embedding_bodies(call: Call, model: str) -> tuple[bytes, ...]:
    """An embeddings call as requests of a few texts each, to be sent one after the other.

    Raises ``PenstockError`` (UNSUPPORTED_PARAMETER, INVALID_TYPE).
    """
    if given(call, "dimensions") is not None:
        raise PenstockError(
            UNSUPPORTED_PARAMETER, "llama.cpp gives vectors of one length; leave dimensions out", param="dimensions"
        )
    text = given(call, "input") or b""
    if not text.startswith(b"["):
        return (joined(call.fields, model=model, user=None),)
    try:
        items = _ITEMS.decode(text)
    except msgspec.DecodeError as error:
        raise PenstockError(INVALID_TYPE, "input is a text, an array of texts or of tokens", param="input") from error
    if not items or bytes(items[0]).lstrip()[:1] not in (b'"', b"["):
        return (joined(call.fields, model=model, user=None),)
    groups = (items[at : at + _INPUTS_AT_ONCE] for at in range(0, len(items), _INPUTS_AT_ONCE))
    return tuple(joined(call.fields, model=model, user=None, input=group) for group in groups)
