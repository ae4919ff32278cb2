"""Embeddings of many texts, a few at a time: a client that goes away leaves at most one group to be finished."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence

import msgspec

from penstock.core.chat import Upstream
from penstock.core.errors import UPSTREAM_GARBLED, PenstockError
from penstock.core.splice import joined, members


class _Vector(msgspec.Struct, frozen=True):
    embedding: msgspec.Raw
    index: int = 0


class _Usage(msgspec.Struct, frozen=True):
    prompt_tokens: int = 0
    total_tokens: int = 0


class _Group(msgspec.Struct, frozen=True):
    data: list[_Vector]
    usage: _Usage = _Usage()


_group = msgspec.json.Decoder(_Group)


class Embedded:
    """One reply from several groups, asked for in turn; see ``core.chat.Upstream``. ``first`` is under way."""

    def __init__(self, first: Upstream, rest: Sequence[bytes], ask: Callable[[bytes], Awaitable[Upstream]]) -> None:
        self._running = first
        self._rest = list(rest)
        self._ask = ask
        self._done = self._closed = False

    async def read(self) -> Sequence[bytes]:
        if self._done or self._over():
            return ()
        self._done = True
        texts = list(await self._running.read())
        while self._rest and not self._over():
            await self._running.aclose()
            self._running = await self._ask(self._rest.pop(0))
            texts += await self._running.read()
        if self._over():
            await self._running.aclose()
            return ()
        return texts if len(texts) == 1 else (_together(texts),)

    def _over(self) -> bool:
        return self._closed

    async def aclose(self) -> None:
        self._closed = True
        await self._running.aclose()


def _together(texts: Sequence[bytes]) -> bytes:
    """The groups as one reply: their vectors in order, their tokens added up."""
    data: list[dict[str, object]] = []
    prompt = total = 0
    try:
        for text in texts:
            group = _group.decode(text)
            start = len(data)
            for vector in sorted(group.data, key=lambda each: each.index):
                place = start + vector.index
                data.append({"object": "embedding", "index": place, "embedding": vector.embedding})
            prompt, total = prompt + group.usage.prompt_tokens, total + group.usage.total_tokens
        head = members(texts[0])
    except msgspec.DecodeError as error:
        raise PenstockError(UPSTREAM_GARBLED, "llama.cpp sent embeddings that are none; try again") from error
    return joined(head, data=data, usage={"prompt_tokens": prompt, "total_tokens": total})
