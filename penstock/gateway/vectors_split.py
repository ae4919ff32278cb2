"""Split: an embedding request of which some texts are known, and the answer put together again."""

from __future__ import annotations

import base64
from collections.abc import Callable, Mapping, Sequence

import msgspec

from penstock.caches.embeddings import Dated, Vector
from penstock.core.caching import Entry
from penstock.core.chat import Call, Usage, WireUsage
from penstock.core.errors import UPSTREAM_GARBLED, PenstockError
from penstock.core.splice import joined, members


class _Item(msgspec.Struct, frozen=True):
    embedding: msgspec.Raw
    index: int | None = None


class _Answer(msgspec.Struct, frozen=True):
    data: list[_Item]
    usage: WireUsage | None = None


_answers = msgspec.json.Decoder(_Answer)
_floats = msgspec.json.Decoder(list[float])
_strings = msgspec.json.Decoder(str)

Made = Callable[[Sequence[str], Sequence[bytes], int | None], None]
"""Hears the vectors of texts as they are written, and how many tokens they have, None: nobody knows of each."""


class Split:
    """One request's texts: those that are known, and ``call``, which asks for the others; None: there are no others.
    ``age_s`` is that of the oldest vector that is known, 0: none is. ``made`` hears what the model brings."""

    __slots__ = ("_known", "_made", "_packed", "_texts", "age_s", "call", "wanted")

    def __init__(
        self, call: Call, texts: Sequence[str], known: Mapping[str, Dated], *, age_s: float, made: Made
    ) -> None:
        self._texts = texts
        self._known = known
        self._made = made
        self._packed = bytes(call.fields.get("encoding_format", b"")) == b'"base64"'
        self.age_s = age_s
        self.wanted = tuple(text for text in dict.fromkeys(texts) if text not in known)
        self.call: Call | None = call
        if not self.wanted:
            self.call = None
        elif not self._whole:
            fields = {**call.fields, "input": msgspec.Raw(msgspec.json.encode(self.wanted))}
            self.call = msgspec.structs.replace(call, fields=fields)

    @property
    def known(self) -> int:
        """How many of the texts are known."""
        return sum(text in self._known for text in self._texts)

    @property
    def _whole(self) -> bool:
        """Whether the model is asked for all that the client asks for."""
        return len(self.wanted) == len(self._texts)

    def merged(self, chunk: bytes) -> bytes:
        """The model's answer to ``call`` as that to the client's request. A watcher. The usage is what the model
        counted now. Raises ``PenstockError(UPSTREAM_GARBLED)`` when these are not as many embeddings as were
        wanted."""
        try:
            vectors, usage = items(chunk)
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            if self._whole:
                return chunk
            raise garbled("its answer is not a list of embeddings") from error
        if len(vectors) != len(self.wanted):
            if self._whole:
                return chunk
            raise garbled(f"it gave {len(vectors)} embeddings for {len(self.wanted)} texts")
        # Of several texts together nobody knows how many tokens each has.
        self._made(self.wanted, vectors, usage.prompt_tokens if usage is not None and len(vectors) == 1 else None)
        if self._whole:
            return chunk
        return joined(members(chunk), data=self._data(dict(zip(self.wanted, vectors, strict=True))))

    def entry(self, of: Entry) -> Entry:
        """``of`` with the answer that is known without the model; only where ``call`` is None. What it used when it
        was made is only known where each text was embedded alone."""
        tokens = [self._known[text].vector.tokens for text in self._texts]
        counted = sum(each or 0 for each in tokens)
        used = None if None in tokens else Usage(prompt=counted)
        said = 0 if used is None else counted
        whole = {
            "object": "list",
            "data": self._data({}),
            "model": of.model,
            "usage": {"prompt_tokens": said, "total_tokens": said},
        }
        return msgspec.structs.replace(of, chunks=(msgspec.json.encode(whole),), usage=used)

    def _data(self, made: Mapping[str, bytes]) -> Sequence[Mapping[str, object]]:
        shown = {text: msgspec.Raw(raw) for text, raw in made.items()}
        for text, dated in self._known.items():
            vector = dated.vector
            written: object = base64.b64encode(vector.floats).decode() if self._packed else vector.values()
            shown[text] = msgspec.Raw(msgspec.json.encode(written))
        return [{"object": "embedding", "index": n, "embedding": shown[text]} for n, text in enumerate(self._texts)]


def items(answer: bytes) -> tuple[Sequence[bytes], WireUsage | None]:
    """Vectors as they are written, in the order of their texts. Raises ``msgspec.DecodeError`` and
    ``UnicodeDecodeError``."""
    said = _answers.decode(answer)
    found = said.data
    if sorted(-1 if item.index is None else item.index for item in found) == list(range(len(found))):
        found = sorted(found, key=lambda item: item.index or 0)
    return [bytes(item.embedding) for item in found], said.usage


def vector(raw: bytes, tokens: int | None = None) -> Vector:
    """From an array of numbers, or a string of base64 of 32-bit floats. Raises ``ValueError`` (so are the errors of
    JSON, UTF-8 and base64) and ``OverflowError``."""
    if raw.startswith(b'"'):
        floats = base64.b64decode(_strings.decode(raw), validate=True)
    else:
        floats = Vector.of(_floats.decode(raw)).floats
    if not floats or len(floats) % 4:
        raise ValueError("these are no 32-bit floats")
    return Vector(floats, tokens)


def garbled(what: str) -> PenstockError:
    """The engine was asked for embeddings, and ``what`` came."""
    return PenstockError(
        UPSTREAM_GARBLED,
        f"The engine was asked for embeddings, and {what}. Check that the model behind this service is an embedding "
        "model.",
    )
