"""Watch: what each chunk passes on its way to the client.

A watcher takes a chunk and gives back what may go on: the chunk, another one, or ``None`` to withhold it. An engine's
bytes are changed only where the deployment owns them: the name it serves under, the request's id, and a usage
chunk that the client did not ask for.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Callable

import msgspec

from penstock.core.chat import Call, ChunkView, Kind, WireUsage, chunk_view
from penstock.core.errors import UPSTREAM_GARBLED, PenstockError
from penstock.core.money import dollars
from penstock.core.serving import Service
from penstock.core.splice import joined, members
from penstock.gateway.tries import Try

Watcher = Callable[[bytes], bytes | None]

# The head of a chunk as OpenAI, vLLM and SGLang write it, down to the model, nothing escaped in it.
_HEAD = re.compile(rb'\{("id":"[^"\\]*"),"object":"[^"\\]*","created":\d+,("model":"[^"\\]*")')

# With `in`, Python tries first whether it is a number, which takes as long again.
_USAGE = b'"usage"'
_NO_CHOICES = b'"choices":[]'

_ID_PREFIX = {Kind.CHAT: "chatcmpl-", Kind.COMPLETION: "cmpl-"}


def watchers(
    call: Call,
    service: Service,
    tried: Try,
    cost: Callable[[], int],
    most: int | None,
    recorder: Watcher | None = None,
) -> tuple[Watcher, ...]:
    """The watchers of one attempt, in the order a chunk meets them. ``cost`` gives what the request comes to, in
    nano-dollars, once the attempt has told its usage; ``most`` is the output in tokens that it is held to;
    ``recorder`` hears what the engine says."""
    usual = Usual(
        Tally(tried, call.kind),
        Relabel(*labels(call, service)),
        hides=call.stream and not call.usage_chunk,
        cost=cost if call.usage_chunk else None,
    )
    held = () if most is None or not call.stream else (Held(tried, most),)
    return (*held, usual) if recorder is None else (recorder, *held, usual)


def shown(call: Call, model: str, id: str | None, cost_nano: int) -> Watcher:
    """The watcher of an answer that was made for another request, and costs this one ``cost_nano``; ``model`` and
    ``id`` as ``labels`` has them."""
    relabel = Relabel(model, id)
    hides, tells = call.stream and not call.usage_chunk, call.usage_chunk

    def show(chunk: bytes) -> bytes | None:
        passing: bytes | None = chunk
        if (hides or tells) and chunk.find(_USAGE) >= 0:
            passing = hide_usage(chunk) if hides else priced(chunk, cost_nano)
        return None if passing is None else relabel(passing)

    return show


def labels(call: Call, service: Service) -> tuple[str, str | None]:
    """The name and the id that a client sees in its answer; None where those of the call's kind have none."""
    prefix = _ID_PREFIX.get(call.kind)
    name = call.service if service.name == "*" else service.name
    return name, prefix + call.request_id.removeprefix("req_") if prefix else None


class Usual:
    """What every chunk passes, in one call for the many that say nothing of usage."""

    __slots__ = ("_cost", "_hides", "_relabel", "_tally", "_tried")

    def __init__(self, tally: Tally, relabel: Relabel, *, hides: bool, cost: Callable[[], int] | None = None) -> None:
        self._tally = tally
        self._tried = tally.tried
        self._relabel = relabel
        self._hides = hides
        self._cost = cost

    def __call__(self, chunk: bytes) -> bytes | None:
        tried = self._tried
        size = len(chunk)
        tried.chunks += 1
        tried.bytes += size
        tried.last = chunk
        if size < tried.least:
            tried.least, tried.shortest = size, chunk
        if chunk.find(_USAGE) < 0:
            return self._relabel(chunk)
        passing: bytes | None = self._tally(chunk)
        if self._hides:
            passing = hide_usage(chunk)
        elif self._cost is not None:
            passing = priced(chunk, self._cost())
        return None if passing is None else self._relabel(passing)


class Held:
    """Ends an answer of which there is more than the request was held to: an upstream may not know the bound that
    it was sent. A chunk is a token at least."""

    __slots__ = ("_most", "_tried")

    def __init__(self, tried: Try, most: int) -> None:
        self._tried = tried
        self._most = most

    def __call__(self, chunk: bytes) -> bytes:
        # Beside the tokens there are the role and the end of each choice, and the usage.
        if self._tried.chunks >= self._most + 2 * self._tried.choices + 1:
            raise PenstockError(
                UPSTREAM_GARBLED,
                f"The engine went on after the {self._most} tokens that the request was held to, because a limit or "
                "a budget applies. Ask for `max_tokens`, and see whether the upstream keeps to it.",
            )
        return chunk


class _Used(msgspec.Struct, frozen=True):
    usage: WireUsage | None = None


_used_decoder = msgspec.json.Decoder(_Used)


class Tally:
    """Notes the tokens that the engine reports, on whichever chunk it does that mentions usage. Usage that leaves
    them open is as good as none."""

    __slots__ = ("_kind", "tried")

    def __init__(self, tried: Try, kind: Kind) -> None:
        self.tried = tried
        self._kind = kind

    def __call__(self, chunk: bytes) -> bytes:
        try:
            usage = _used_decoder.decode(chunk).usage
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
            raise _garbled() from error
        if usage is not None and usage.tells(self._kind):
            said, before = usage.counted(), self.tried.usage
            # An answer only grows.
            if before is None or said.prompt + said.completion >= before.prompt + before.completion:
                self.tried.usage = said
            # What stands by itself is the last word; some say with every chunk how far they are.
            self.tried.final = chunk.find(_NO_CHOICES) >= 0
        return chunk


def hide_usage(chunk: bytes) -> bytes | None:
    """Withholds a chunk that carries only usage; takes usage off one that carries more."""
    view = _viewed(chunk)
    if view.usage is None:
        return chunk
    return joined(members(chunk), usage=None) if view.choices else None


def priced(chunk: bytes, cost_nano: int) -> bytes:
    """Adds ``cost``, in dollars, to the usage of a chunk that carries only that."""
    view = _viewed(chunk)
    if view.usage is None or view.choices:
        return chunk
    fields = members(chunk)
    usage = members(bytes(fields["usage"])) | {"cost": msgspec.Raw(dollars(cost_nano).encode())}
    return joined(fields, usage=usage)


class Relabel:
    """Puts the service's name and our id where the engine wrote its own.

    Both are the same bytes on every chunk of a stream, so they are learnt once and then replaced in place: a quote
    inside a JSON string is always escaped, so ``"model":"x"`` cannot occur in text. A chunk without the learnt
    bytes is taken apart by its top-level members instead.
    """

    __slots__ = ("_id", "_id_new", "_id_old", "_model", "_model_new", "_model_old")

    def __init__(self, model: str, id: str | None) -> None:
        self._model, self._id = model, id
        self._model_new = _written("model", model)
        self._id_new = b'"id":' + msgspec.json.encode(id) if id is not None else b""
        self._model_old = self._id_old = b""

    def __call__(self, chunk: bytes) -> bytes:
        if not self._model_old:
            self._learn(chunk)
        if self._model_old:
            named = chunk.replace(self._model_old, self._model_new, 1)
            if named is not chunk:
                if self._id is None:
                    return named
                labelled = named.replace(self._id_old, self._id_new, 1)
                if labelled is not named:
                    return labelled
        return self._taken_apart(chunk)

    def _learn(self, chunk: bytes) -> None:
        """Finds both without parsing where a chunk begins as OpenAI's do."""
        head = _HEAD.match(chunk)
        if head is not None and chunk.find(head[2], head.end()) < 0 and chunk.find(head[1], head.end()) < 0:
            self._id_old, self._model_old = head[1], head[2]

    def _taken_apart(self, chunk: bytes) -> bytes:
        try:
            fields = members(chunk)
        except msgspec.DecodeError as error:
            raise _garbled() from error
        self._model_old = _member_bytes(b"model", fields.get("model"), chunk)
        self._id_old = _member_bytes(b"id", fields.get("id"), chunk) if self._id is not None else b""
        if self._id is None:
            return joined(fields, model=self._model)
        if not self._id_old:
            self._model_old = b""
        return joined(fields, id=self._id, model=self._model)


def _member_bytes(name: bytes, value: msgspec.Raw | None, chunk: bytes) -> bytes:
    if value is None or not bytes(value).startswith(b'"'):
        return b""
    for colon in (b'":', b'": '):
        written = b'"' + name + colon + bytes(value)
        if chunk.count(written) == 1:
            return written
    return b""


@functools.lru_cache(1024)
def _written(name: str, value: str) -> bytes:
    return b'"%s":%s' % (name.encode(), msgspec.json.encode(value))


def _viewed(chunk: bytes) -> ChunkView:
    try:
        return chunk_view(chunk)
    except msgspec.DecodeError as error:
        raise _garbled() from error


def _garbled() -> PenstockError:
    return PenstockError(
        UPSTREAM_GARBLED,
        "The engine sent something that is not a JSON object of its protocol. See the gateway's log.",
    )
