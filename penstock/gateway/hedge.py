"""Hedge: a second try beside a slow first one; the first to come through wins, the other is undone."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Protocol, TypeVar

from penstock.core.errors import PenstockError


class Closable(Protocol):
    async def aclose(self) -> None: ...


T = TypeVar("T", bound=Closable)


async def first_of(start: Callable[[], Coroutine[object, object, T]], more: Callable[[], bool], after_s: float) -> T:
    """What the first ``start()`` to come through gives. The second is started when the first has not ended after
    ``after_s`` seconds and ``more()`` says that there is something to try.

    A winner that is not needed is closed; everything started has ended on return. Raises the later ``PenstockError``
    when both fail.
    """
    rows = [asyncio.create_task(start())]
    best: list[T] = []
    try:
        done, _ = await asyncio.wait(rows, timeout=after_s)
        if not done and more():
            rows.append(asyncio.create_task(start()))
        failure: BaseException | None = None
        running = set(rows)
        while running and not best:
            done, running = await asyncio.wait(running, return_when=asyncio.FIRST_COMPLETED)
            for row in done:
                failure = row.exception()
                if failure is None:
                    best.append(row.result())
                elif not isinstance(failure, PenstockError):
                    raise failure
        if not best:
            assert failure is not None
            raise failure
    except BaseException:
        await _undone(rows, None)
        raise
    try:
        await _undone(rows, best[0])
    except BaseException:
        await asyncio.shield(best[0].aclose())
        raise
    return best[0]


async def _undone(rows: list[asyncio.Task[T]], kept: T | None) -> None:
    for row in rows:
        row.cancel()
    await asyncio.wait(rows)
    for row in rows:
        if not row.cancelled() and row.exception() is None and row.result() is not kept:
            await asyncio.shield(row.result().aclose())
