"""A part of a page that may be missing without the rest: what it holds, or why nobody knows it."""

from __future__ import annotations

from collections.abc import Awaitable
from typing import Generic, TypeVar

import msgspec

from penstock.core.errors import PERMISSION_DENIED, PenstockError

T = TypeVar("T")


class Part(msgspec.Struct, Generic[T], frozen=True):
    """``value`` None: it is not known, for the reason ``why``. ``hidden``: whoever looks may not see it."""

    value: T | None = None
    why: str = ""
    hidden: bool = False


async def part(asked: Awaitable[T]) -> Part[T]:
    """What was asked for. What an operation refuses is the reason."""
    try:
        return Part(await asked)
    except PenstockError as error:
        return Part(None, error.message, error.fault is PERMISSION_DENIED)
