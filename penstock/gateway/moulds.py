"""Moulds: answers from the cache as they are given again and again, with two holes for what differs each time: the id
of the request, and the name that the client knows the model by."""

from __future__ import annotations

import secrets
from collections import OrderedDict
from collections.abc import Sequence

import msgspec

from penstock.caches.recorded import again
from penstock.core.caching import Entry
from penstock.core.chat import Call
from penstock.core.serving import Service
from penstock.gateway.watch import labels, shown

MOST_BYTES = 16 << 20
"""Of all moulds of a worker."""
_LARGEST = 256 << 10


class _Mould(msgspec.Struct, frozen=True):
    chunks: tuple[bytes, ...]
    size: int


class Moulds:
    """Those that were used last, ``most_bytes`` of them. For one event loop."""

    def __init__(self, most_bytes: int = MOST_BYTES) -> None:
        self._most_bytes = most_bytes
        self.used = 0
        """Bytes of all."""
        self._kept: OrderedDict[tuple[bytes, float, bool, bool, int], _Mould] = OrderedDict()
        self._encode = msgspec.json.Encoder().encode
        # Nobody can write into an answer what is not known before it is made.
        self._model = f"model-{secrets.token_hex(16)}"
        self._id = f"id-{secrets.token_hex(16)}"

    def chunks(self, entry: Entry, call: Call, service: Service, cost_nano: int) -> Sequence[bytes]:
        """What a client is told who has sent ``call`` and pays ``cost_nano`` for it, at least one chunk. Raises
        ``msgspec.DecodeError`` when the entry's chunks are no answer."""
        model, id = labels(call, service)
        key = (entry.key, entry.created_at, call.stream, call.usage_chunk, cost_nano)
        mould = self._kept.get(key)
        if mould is None:
            mould = self._cast(key, entry, call, cost_nano, id is not None)
        else:
            self._kept.move_to_end(key)
        holes = {b"model": self._encode(model), b"id": self._encode(id)}
        if len(mould.chunks) == 1:
            return (mould.chunks[0] % holes,)
        return [chunk % holes for chunk in mould.chunks]

    def _cast(
        self, key: tuple[bytes, float, bool, bool, int], entry: Entry, call: Call, cost_nano: int, has_id: bool
    ) -> _Mould:
        show = shown(call, self._model, self._id if has_id else None, cost_nano)
        told = [passed for chunk in again(entry, stream=call.stream) if (passed := show(chunk)) is not None]
        chunks = tuple(map(self._open, told))
        mould = _Mould(chunks, sum(map(len, chunks)))
        if mould.size <= _LARGEST:
            self._kept[key] = mould
            self.used += mould.size
            while self.used > self._most_bytes:
                self.used -= self._kept.popitem(last=False)[1].size
        return mould

    def _open(self, chunk: bytes) -> bytes:
        """A chunk with the holes in it."""
        solid = chunk.replace(b"%", b"%%")
        return solid.replace(f'"{self._model}"'.encode(), b"%(model)b").replace(f'"{self._id}"'.encode(), b"%(id)b")
