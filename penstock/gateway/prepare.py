"""Prepare: a chat request with what its service adds to it: the prompt, the defaults, and the bounds of its history.

The client's messages stay the bytes that it sent; what is added is put before them.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import msgspec

from penstock.core.chat import Call, Kind
from penstock.core.errors import (
    BAD_DEPLOYMENT,
    INVALID_TYPE,
    INVALID_VALUE,
    MISSING_PARAMETER,
    UNSUPPORTED_OPERATION,
    PenstockError,
)
from penstock.core.serving import Service
from penstock.core.splice import members
from penstock.gateway.history import Count, checked, conversation, joined, tokens
from penstock.gateway.snapshot import Admission
from penstock.gateway.summaries import Chat, Summaries
from penstock.prompts.templates import Compiled, compiled
from penstock.prompts.values import MEMBER, given

MOST_KEPT = 256
"""Prompts and defaults that a worker has at hand; one more, and the one that was not used for longest goes."""

_NO_DEFAULTS = (b"{}", b"")
_SAME = ({"max_tokens", "max_completion_tokens", "n_predict"}, {"n", "n_cmpl"})
"""Members that say one thing: whoever gives one has given all."""

_objects = msgspec.json.Decoder(dict[str, object])
_arrays = msgspec.json.Decoder(list[msgspec.Raw])
_integers = msgspec.json.Decoder(int)


class _Kept(NamedTuple):
    """``prompt`` None: there is none. ``defaults`` are the prompt's and, over them, the service's."""

    prompt: Compiled | None
    defaults: Mapping[str, msgspec.Raw]


class Preparing:
    """Prepares calls for what serves them; one object per worker, used by all its tasks at once. ``chat`` asks the
    services that write summaries, None: conversations are trimmed; ``count`` counts a message's tokens."""

    __slots__ = ("_count", "_kept", "_summaries")

    def __init__(self, chat: Chat | None = None, count: Count = tokens) -> None:
        self._count = count
        self._summaries = Summaries(chat, count)
        self._kept: OrderedDict[tuple[bytes, bytes], _Kept] = OrderedDict()

    async def __call__(self, call: Call, service: Service, admission: Admission) -> Call:
        """The call as the model gets it. Waits only for a summary, and at most ``history.within_s``.

        Embeddings have nothing of this. Raises ``PenstockError``: the client's faults (INVALID_TYPE, INVALID_VALUE,
        MISSING_PARAMETER, CONTEXT_LENGTH_EXCEEDED; UNSUPPORTED_OPERATION for a completion where there is a prompt),
        and BAD_DEPLOYMENT for a prompt that cannot be used.
        """
        if call.kind is not Kind.CHAT:
            _check_kind(call, service)
            return call
        ours = 0
        if service.prompt or service.defaults not in _NO_DEFAULTS:
            call, ours = self._filled(call, service)
        elif MEMBER in call.fields:
            raise _no_prompt(service)
        history = service.policy.history
        if history is None:
            return call
        raw = bytes(call.fields["messages"])
        # By the estimate a message has fewer tokens than bytes, but for parts that are no text.
        if self._count is tokens and len(raw) <= history.tokens and b'"type"' not in raw:
            return call
        found = checked(conversation(_split(raw), self._count, ours), history.tokens)
        if found.total <= history.tokens:
            return call
        messages = await self._summaries.shortened(call, found, history, admission)
        return msgspec.structs.replace(call, fields={**call.fields, "messages": joined(messages)})

    def _filled(self, call: Call, service: Service) -> tuple[Call, int]:
        """The call with prompt and defaults, and how many messages of the prompt come first."""
        kept = self._at_hand(service)
        fields = dict(call.fields)
        ours = 0
        if kept.prompt is not None:
            fields["messages"], ours = _messages(fields, kept.prompt)
        elif MEMBER in fields:
            raise _no_prompt(service)
        left_out = [name for name in kept.defaults if not _said(name, call.fields)]
        if not left_out:
            return msgspec.structs.replace(call, fields=fields), ours
        for name in left_out:
            fields[name] = kept.defaults[name]
        most = _integer(kept.defaults, left_out, ("max_completion_tokens", "max_tokens"), call.max_tokens)
        choices = _integer(kept.defaults, left_out, ("n",), call.choices) or 1
        return msgspec.structs.replace(call, fields=fields, max_tokens=most, choices=choices), ours

    def _at_hand(self, service: Service) -> _Kept:
        key = (service.prompt, service.defaults)
        kept = self._kept.get(key)
        if kept is not None:
            self._kept.move_to_end(key)
            return kept
        try:
            prompt = compiled(service.prompt) if service.prompt else None
            defaults = members(service.defaults) if service.defaults else {}
        except (PenstockError, msgspec.DecodeError) as error:
            raise PenstockError(
                BAD_DEPLOYMENT, f"The prompt of the service '{service.name}' cannot be used: {error}"
            ) from None
        below = {} if prompt is None else members(msgspec.json.encode(prompt.prompt.defaults))
        kept = _Kept(prompt, _over(below, defaults))
        self._kept[key] = kept
        if len(self._kept) > MOST_KEPT:
            self._kept.popitem(last=False)
        return kept


def _check_kind(call: Call, service: Service) -> None:
    if MEMBER in call.fields:
        raise PenstockError(
            INVALID_VALUE,
            f"'{MEMBER}' go with a prompt, and only chat has prompts. Ask /v1/chat/completions, or leave it out.",
            param=MEMBER,
        )
    if service.prompt and call.kind is Kind.COMPLETION:
        raise PenstockError(
            UNSUPPORTED_OPERATION,
            f"The service '{service.name}' has a prompt, which goes before the messages of a chat; a completion has "
            "none. Ask /v1/chat/completions.",
            param="model",
        )


def _no_prompt(service: Service) -> PenstockError:
    return PenstockError(
        INVALID_VALUE,
        f"'{MEMBER}' were sent, and the service '{service.name}' has no prompt to put them into. Leave them out, or "
        "have the service name a `prompt`.",
        param=MEMBER,
    )


def _messages(fields: dict[str, msgspec.Raw], prompt: Compiled) -> tuple[msgspec.Raw, int]:
    """The prompt's messages and the client's, and how many are the prompt's. Takes ``prompt_variables`` out of
    ``fields``."""
    raw = fields.pop(MEMBER, None)
    try:
        said = {} if raw is None or bytes(raw) == b"null" else _objects.decode(raw)
    except msgspec.DecodeError:
        raise PenstockError(
            INVALID_TYPE, f"'{MEMBER}' must be an object of names and values.", param=MEMBER
        ) from None
    values = given(prompt.prompt, said)
    before = [msgspec.json.encode(message) for message in prompt.before(values)]
    sent = bytes(fields.get("messages", b"")).strip()
    inner = sent[1:-1].strip() if sent.startswith(b"[") else b""
    if not inner:
        asked = prompt.asked(values)
        if asked is None:
            raise PenstockError(
                MISSING_PARAMETER,
                "'messages' is missing. The service's prompt has no message of the user's own; add the messages to "
                "the request.",
                param="messages",
            )
        inner = msgspec.json.encode(asked)
    return msgspec.Raw(b"[" + b",".join([*before, inner]) + b"]"), len(before)


def _said(name: str, fields: Mapping[str, msgspec.Raw]) -> bool:
    """Whether the client has given this member, or another that says the same; ``null`` says nothing."""
    names = next((same for same in _SAME if name in same), (name,))
    return any(each in fields and bytes(fields[each]) != b"null" for each in names)


def _over(below: Mapping[str, msgspec.Raw], above: Mapping[str, msgspec.Raw]) -> Mapping[str, msgspec.Raw]:
    return {name: value for name, value in below.items() if not _said(name, above)} | dict(above)


def _integer(
    defaults: Mapping[str, msgspec.Raw], left_out: Sequence[str], names: Sequence[str], said: int | None
) -> int | None:
    for name in names:
        if name in left_out:
            return _integers.decode(defaults[name])
    return said


def _split(messages: bytes) -> Sequence[bytes]:
    try:
        return [bytes(message) for message in _arrays.decode(messages)]
    except msgspec.DecodeError:
        raise PenstockError(INVALID_TYPE, "'messages' must be an array of messages.", param="messages") from None
