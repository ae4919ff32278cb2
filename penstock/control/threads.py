"""Blocking work beside the event loop."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import Executor
from functools import partial
from typing import ParamSpec, TypeVar

_P = ParamSpec("_P")
_T = TypeVar("_T")


async def in_thread(call: Callable[_P, _T], *args: _P.args, **kwargs: _P.kwargs) -> _T:
    """In a thread, to its end: when this is cancelled meanwhile, only then. Nobody is to close the store under it."""
    return await _to_its_end(asyncio.ensure_future(asyncio.to_thread(call, *args, **kwargs)))


async def in_thread_of(threads: Executor, call: Callable[_P, _T], *args: _P.args, **kwargs: _P.kwargs) -> _T:
    """The same in one of these threads: what works all the time has its memory in one place then."""
    return await _to_its_end(asyncio.get_running_loop().run_in_executor(threads, partial(call, *args, **kwargs)))


async def _to_its_end(running: asyncio.Future[_T]) -> _T:
    try:
        return await asyncio.shield(running)
    except asyncio.CancelledError:
        await asyncio.wait((running,))
        raise
