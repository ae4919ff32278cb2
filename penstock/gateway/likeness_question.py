"""Which requests the semantic cache is asked about, and what of them must be alike before their questions are
compared: all but the wording of the question. Pure."""

from __future__ import annotations

import functools
import hashlib
from collections.abc import Mapping, Sequence
from typing import Final, Literal

import msgspec

from penstock.caches.canonical import TOOLS, canonical
from penstock.caches.semantic.past import Asked, Past, past
from penstock.core.chat import Call, Kind
from penstock.core.serving import Service
from penstock.core.splice import members, raw
from penstock.gateway.directory import resolve
from penstock.gateway.inside import inner
from penstock.gateway.snapshot import Admission, Snapshot
from penstock.gateway.vectors import serving

Unasked = Past | Literal["off", "kind", "choices", "logprobs", "form"]
"""Why the semantic cache is not asked about a request: one of ``Past``; its service has none; it is no chat; it wants
several answers, or the odds of each token; it cannot be read, or compared with others."""

_NOTHING: Final = (b"null", b"[]", b"false", b"0")
_UNREADABLE: Final = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)
_TEXTS: Final = ("text", "input_text")


class Question(msgspec.Struct, frozen=True):
    """``text`` is what was asked, ``rest`` a digest (16 bytes) of all else in the request that an engine may look
    at."""

    text: str
    rest: bytes


class _Part(msgspec.Struct, frozen=True):
    type: str = "text"
    text: str = ""


class _Message(msgspec.Struct, frozen=True):
    role: str = ""
    content: str | list[_Part] | None = None


# Looked at twice: before anything is asked, and to be compared.
_past = functools.lru_cache(256)(past)
_messages = msgspec.json.Decoder(list[_Message])
_raws = msgspec.json.Decoder(list[msgspec.Raw])


def question(call: Call, sent: Call, service: Service) -> Question | Unasked:
    """What is asked by a prepared call, ``sent`` as the client sent it; or why the cache is not asked about it. The
    messages of the service's prompt are no conversation that a question could lean on."""
    if service.policy.cache is None or service.policy.cache.semantic is None:
        return "off"
    if call.kind is not Kind.CHAT:
        return "kind"
    if call.choices > 1:
        return "choices"
    if _says(call.fields, ("logprobs", "top_logprobs")):
        return "logprobs"
    try:
        told = _messages.decode(call.fields["messages"])
        before = _messages.decode(sent.fields["messages"]) if "messages" in sent.fields else []
        raws = _raws.decode(call.fields["messages"])
    except (KeyError, *_UNREADABLE):
        return "form"
    if not told:
        return "form"
    text = _text(told[-1])
    asked = Asked(
        text=text,
        turns=sum(each.role not in ("system", "developer") for each in before[:-1]),
        tools=_says(call.fields, TOOLS),
        images=_says(call.fields, ("audio",)) or any(_more_than_text(each) for each in told),
    )
    if (why := _past(asked)) is not None:
        return why
    if told[-1].role != "user":
        # It goes on with what an assistant or a tool has said.
        return "leans"
    rest = _rest(call.fields, raws)
    return "form" if rest is None else Question(text, rest)


def space(embedder: str, on: Snapshot) -> bytes:
    """What makes vectors comparable with one another: who embeds. Raises ``PenstockError`` when there is nobody."""
    serves = serving(resolve(embedder, Admission(on, inner())))
    model = on.deployment.models.get(serves.models[0])
    return b"" if model is None else model.digest.encode()


def within(rest: bytes, space: bytes) -> bytes:
    """``rest``, of which only what was embedded alike is near."""
    return hashlib.blake2b(rest + space, digest_size=16, person=b"penstock within").digest()


def _rest(fields: Mapping[str, msgspec.Raw], raws: Sequence[msgspec.Raw]) -> bytes | None:
    try:
        last = members(bytes(raws[-1]))
        beside = _beside_text(bytes(last.pop("content", b"")))
    except _UNREADABLE:
        return None
    if beside:
        last["content"] = raw(beside)
    messages = msgspec.Raw(msgspec.json.encode([*raws[:-1], last]))
    text = canonical({**fields, "messages": messages})
    return None if text is None else hashlib.blake2b(text, digest_size=16, person=b"penstock rest").digest()


def _beside_text(content: bytes) -> Sequence[Mapping[str, msgspec.Raw]]:
    """What the parts say beside their texts. Whether a text came as such, or as parts of a list, is nothing to the
    engine."""
    if not content.lstrip().startswith(b"["):
        return ()
    parts = [members(bytes(part)) for part in _raws.decode(content)]
    said = [{name: value for name, value in part.items() if name not in ("type", "text")} for part in parts]
    return said if any(said) else ()


def _text(message: _Message) -> str:
    content = message.content
    return content if isinstance(content, str) else "\n".join(part.text for part in content or ())


def _more_than_text(message: _Message) -> bool:
    return isinstance(message.content, list) and any(part.type not in _TEXTS for part in message.content)


def _says(fields: Mapping[str, msgspec.Raw], names: Sequence[str] | frozenset[str]) -> bool:
    return any(name in fields and bytes(fields[name]).strip() not in _NOTHING for name in names)
