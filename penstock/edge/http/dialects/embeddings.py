"""POST /v1/embeddings. Whatever form an engine gives its vectors in, the client gets the one it asked for."""

from __future__ import annotations

import base64
import binascii
import sys
from array import array
from collections.abc import Sequence
from typing import Annotated, Literal

import msgspec

from penstock.core.chat import Call, Kind
from penstock.core.errors import UNSUPPORTED_PARAMETER, UPSTREAM_GARBLED, PenstockError
from penstock.core.splice import joined, members
from penstock.edge.http.dialects import Asked
from penstock.edge.http.dialects.checked import Head, Name
from penstock.edge.http.dialects.completions import Text
from penstock.edge.http.dialects.wire import PLAIN


class EmbeddingRequest(msgspec.Struct, frozen=True):
    """The fields that are checked here; any other that OpenAI or the engine knows may be sent too."""

    model: Name
    input: Text
    encoding_format: Literal["float", "base64"] | None = None
    dimensions: Annotated[int, msgspec.Meta(ge=1, le=2**31 - 1)] | None = None
    user: str | None = None
    stream: bool | None = None


_head = Head(EmbeddingRequest)


def read(request_id: str, body: bytes) -> Asked:
    asked, fields = _head.read(body)
    if asked.stream:
        raise PenstockError(
            UNSUPPORTED_PARAMETER,
            "Embeddings are not streamed. Leave 'stream' out or set it to false.",
            param="stream",
        )
    fields.pop("stream", None)
    call = Call(request_id=request_id, kind=Kind.EMBEDDING, service=asked.model, fields=fields, user=asked.user)
    return Asked(call, VectorWire(packed=asked.encoding_format == "base64"))


class _Item(msgspec.Struct, frozen=True):
    embedding: msgspec.Raw


class _Answer(msgspec.Struct, frozen=True):
    data: list[_Item]


_answers = msgspec.json.Decoder(_Answer)
_objects = msgspec.json.Decoder(list[dict[str, msgspec.Raw]])
_vectors = msgspec.json.Decoder(list[float])
_texts = msgspec.json.Decoder(str)


class VectorWire:
    """``packed`` asks for base64 of little-endian 32-bit floats, as OpenAI's SDKs do; else for arrays of numbers."""

    __slots__ = ("_packed",)

    def __init__(self, packed: bool) -> None:
        self._packed = packed

    def whole(self, answer: bytes) -> bytes:
        try:
            given = [bytes(item.embedding) for item in _answers.decode(answer).data]
            if all(vector.startswith(b'"') is self._packed for vector in given):
                return answer
            fields = members(answer)
            items = _objects.decode(fields["data"])
            convert = pack if self._packed else unpack
            data = [{**item, "embedding": msgspec.Raw(convert(bytes(item["embedding"])))} for item in items]
        except (msgspec.DecodeError, binascii.Error, ValueError, OverflowError) as error:
            raise PenstockError(
                UPSTREAM_GARBLED,
                "The engine's answer is not a list of embeddings. See the gateway's log, and check that the "
                "model behind this service is an embedding model.",
            ) from error
        return joined(fields, data=data)

    def chunks(self, chunks: Sequence[bytes]) -> bytes:
        return PLAIN.chunks(chunks)

    def end(self) -> bytes:
        return PLAIN.end()

    def failure(self, error: PenstockError) -> bytes:
        return PLAIN.failure(error)


def pack(vector: bytes) -> bytes:
    """A JSON array of numbers as a JSON string of base64; one that is a string already stays as it is."""
    if vector.startswith(b'"'):
        return vector
    floats = array("f", _vectors.decode(vector))
    if sys.byteorder == "big":
        floats.byteswap()
    return b'"' + base64.b64encode(floats.tobytes()) + b'"'


def unpack(vector: bytes) -> bytes:
    """A JSON string of base64 as a JSON array of numbers; one that is an array already stays as it is."""
    if not vector.startswith(b'"'):
        return vector
    floats = array("f")
    floats.frombytes(base64.b64decode(_texts.decode(vector), validate=True))
    if sys.byteorder == "big":
        floats.byteswap()
    return msgspec.json.encode(floats.tolist())
