"""Several answers as one: for ``n`` above 1 and for several prompts, a request each, choices re-indexed."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import msgspec

from penstock.core.chat import Counting, Upstream, Usage, WireUsage, chunk_view
from penstock.core.errors import UPSTREAM_GARBLED, PenstockError
from penstock.core.splice import joined, members


class Fanout:
    """Reads all its parts at once and gives their chunks as they come; see ``core.chat.Upstream``.

    Part ``i`` answers as choice ``i``. The parts' usage is withheld and added up on one last chunk: a part that
    repeats the prompt of another (``repeats[i]``) does not count it again. One part that fails ends them all.
    """

    def __init__(self, parts: Sequence[Upstream], repeats: Sequence[bool]) -> None:
        self._parts = tuple(parts)
        self._repeats = tuple(repeats)
        self._reads: dict[asyncio.Task[Sequence[bytes]], int] = {}
        self._begun = self._closed = False
        self._usage = [WireUsage() for _ in self._parts]
        self._last: bytes | None = None

    async def read(self) -> Sequence[bytes]:
        if not self._begun:
            self._begun = True
            for index in range(len(self._parts)):
                self._ask(index)
        while self._reads and not self._closed:
            done, _ = await asyncio.wait(self._reads, return_when=asyncio.FIRST_COMPLETED)
            chunks: list[bytes] = []
            for task in done:
                index = self._reads.pop(task)
                if read := task.result():
                    chunks += self._taken(index, read)
                    self._ask(index)
            if chunks:
                return chunks
        last, self._last = self._last, None
        return () if last is None or self._closed else (self._summed(last),)

    def so_far(self) -> Usage | None:
        """The parts' own counts, added up; None unless each has one."""
        counted = [part.so_far() if isinstance(part, Counting) else None for part in self._parts]
        known = [each for each in counted if each is not None]
        if len(known) < len(counted):
            return None
        first = [each for each, again in zip(known, self._repeats, strict=True) if not again]
        return Usage(
            prompt=sum(each.prompt for each in first),
            completion=sum(each.completion for each in known),
            cached=sum(each.cached for each in first),
        )

    async def aclose(self) -> None:
        self._closed = True
        for task in self._reads:
            task.cancel()
        await asyncio.gather(*self._reads, *(part.aclose() for part in self._parts), return_exceptions=True)
        self._reads.clear()

    def _ask(self, index: int) -> None:
        self._reads[asyncio.create_task(_read(self._parts[index]))] = index

    def _taken(self, index: int, chunks: Sequence[bytes]) -> list[bytes]:
        kept: list[bytes] = []
        for chunk in chunks:
            if b'"usage"' not in chunk:
                # The choice's own index is the first of that name: text has its quotes escaped.
                kept.append(chunk.replace(b'"index":0', b'"index":%d' % index, 1))
                continue
            try:
                view = chunk_view(chunk)
            except msgspec.DecodeError as error:
                raise PenstockError(UPSTREAM_GARBLED, "llama.cpp sent a chunk that is not JSON; try again") from error
            if view.usage is not None:
                self._usage[index] = view.usage
                self._last = chunk
            if view.choices:
                rest = joined(members(chunk), usage=None)
                kept.append(rest.replace(b'"index":0', b'"index":%d' % index, 1))
        return kept

    def _summed(self, last: bytes) -> bytes:
        counted = [usage.counted() for usage in self._usage]
        prompt = sum(each.prompt for each, again in zip(counted, self._repeats, strict=True) if not again)
        cached = sum(each.cached for each, again in zip(counted, self._repeats, strict=True) if not again)
        completion = sum(each.completion for each in counted)
        usage = {
            "prompt_tokens": prompt,
            "completion_tokens": completion,
            "total_tokens": prompt + completion,
            "prompt_tokens_details": {"cached_tokens": cached},
        }
        return joined(members(last), choices=[], usage=usage, timings=None)


async def _read(part: Upstream) -> Sequence[bytes]:
    return await part.read()
