"""A long download over a line that breaks: what has come is kept, and the next attempt, even of another process, asks
for the rest only.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Protocol

import msgspec

from penstock.weights import Progress
from penstock.weights.disk import need_room, write_durably

_ATTEMPTS = 6
_FIRST_PAUSE_S, _LONGEST_PAUSE_S, _LONGEST_ASKED_S = 0.5, 15.0, 60.0


class Broken(Exception):
    """An attempt failed in a way that another may cure. ``retry_after``: seconds that the other side asks for."""

    def __init__(self, why: str, retry_after: float | None = None) -> None:
        super().__init__(why)
        self.why = why
        self.retry_after = retry_after


class Stale(Broken):
    """What is kept of an earlier attempt does not fit; the next one must begin again."""


class Body(msgspec.Struct, frozen=True):
    """What a source is about to send: the bytes from ``start`` on, of ``total`` (None: it does not say).

    ``validator`` names this very version of the bytes (a strong ETag, say); None when there is no such name, and
    then a broken download begins again.
    """

    start: int
    total: int | None
    validator: str | None
    chunks: Iterator[bytes]


class Source(Protocol):
    def open(self, offset: int, validator: str | None) -> AbstractContextManager[Body]:
        """Asks for the bytes from ``offset`` on if ``validator`` still names them, else for all of them.

        The body starts at ``offset`` or at 0. Raises ``Broken`` for what may pass, now or from ``chunks``, and
        ``PenstockError`` for what will not.
        """


class _State(msgspec.Struct, frozen=True):
    """What is known of a half file, kept beside it. ``of`` is what was asked for."""

    of: str
    validator: str
    total: int | None


def download(
    source: Source,
    target: Path,
    *,
    of: str,
    progress: Progress,
    pause: Callable[[float], None] = time.sleep,
) -> None:
    """Brings the bytes of ``source`` to ``target``, which appears only when they are all there.

    Gives up with the last ``Broken`` after 6 attempts in a row that brought nothing new; ``of`` tells the download
    from another into the same place. Raises whatever ``source`` and ``progress`` raise, and ``OSError`` for the
    local disk; ``target.partial`` then waits for the next call.
    """
    failures, furthest = 0, 0
    while True:
        try:
            _attempt(source, target, of, progress)
            return
        except Broken as fault:
            if isinstance(fault, Stale):
                _partial(target).unlink(missing_ok=True)
            reached = _size(_partial(target))
            failures = 1 if reached > furthest else failures + 1
            furthest = max(furthest, reached)
            if failures >= _ATTEMPTS:
                raise
            wait = min(_FIRST_PAUSE_S * 2 ** (failures - 1), _LONGEST_PAUSE_S) * random.uniform(0.5, 1.0)
            progress.step(f"trying {target.name} again: {fault.why}", reached, None)
            pause(max(wait, min(fault.retry_after or 0.0, _LONGEST_ASKED_S)))


def _attempt(source: Source, target: Path, of: str, progress: Progress) -> None:
    partial, note = _partial(target), target.with_name(f"{target.name}.state")
    state = _read(note)
    offset = _size(partial) if state is not None and state.of == of else 0
    if state is not None and state.total is not None:
        # The last byte is asked for again: a range that begins at the very end is an error in HTTP.
        offset = max(0, min(offset, state.total - 1))
    validator = state.validator if state is not None and offset else None
    with source.open(offset if validator else 0, validator) as body:
        if body.validator is None:
            note.unlink(missing_ok=True)
        else:
            write_durably(note, msgspec.json.encode(_State(of, body.validator, body.total)))
        if body.total is not None:
            need_room(target.parent, body.total - body.start)
        with partial.open("r+b" if body.start else "wb") as file:
            file.seek(body.start)
            file.truncate()
            done = body.start
            for chunk in body.chunks:
                file.write(chunk)
                done += len(chunk)
                progress.step(f"downloading {target.name}", done, body.total)
    if body.total is not None and done < body.total:
        raise Broken(f"the connection closed after {done} of {body.total} bytes")
    if body.total is not None and done > body.total:
        partial.unlink()
        raise Broken(f"{done} bytes came where {body.total} were announced")
    partial.replace(target)
    note.unlink(missing_ok=True)


def _partial(target: Path) -> Path:
    return target.with_name(f"{target.name}.partial")


def _read(note: Path) -> _State | None:
    try:
        return msgspec.json.decode(note.read_bytes(), type=_State)
    except (FileNotFoundError, msgspec.DecodeError):
        return None


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except FileNotFoundError:
        return 0
