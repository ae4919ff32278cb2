"""What a search of the request log means: which records match, in which order, and where a text is looked for.

Pure; every adapter is measured against it. Lengths of time are kept to the microsecond.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass

import msgspec

from penstock.core.requests import AttemptMade, Marks, Place, RequestContent, RequestQuery, RequestRecord
from penstock.store.words import storable

DAY_S = 86400
WORDS = (
    "project",
    "key_id",
    "user",
    "team",
    "subject",
    "service",
    "release",
    "model",
    "replica",
    "ending",
    "code",
    "cache",
)
"""What a query names one value of, spelled alike in queries and records."""

_HIGHEST = (1 << 63) - 1


def day_of(at: float) -> int:
    """The UTC day, counted from 1970-01-01."""
    return int(at // DAY_S)


def key(record: RequestRecord | RequestContent) -> tuple[float, str]:
    """What names a request, and by which pages go, newest first."""
    return record.at, record.request_id


def statuses(wanted: str) -> tuple[int, int] | None:
    """The lowest and the highest status of ``404`` or ``4xx``; None: no status is called that."""
    if wanted.isascii() and wanted.isdigit() and len(wanted) <= 3:
        return int(wanted), int(wanted)
    if len(wanted) == 3 and wanted[0].isascii() and wanted[0].isdigit() and wanted[1:].lower() == "xx":
        return int(wanted[0]) * 100, int(wanted[0]) * 100 + 99
    return None


def trace_bytes(wanted: str) -> bytes | None:
    """A trace's id from hexadecimal; None: it is none."""
    try:
        return bytes.fromhex(wanted)
    except ValueError:
        return None


def matches(query: RequestQuery, record: RequestRecord) -> bool:
    """Whether the facts are what the query asks for; ``query.text`` is not looked at."""
    if record.at < query.since or (query.until is not None and record.at >= query.until):
        return False
    for name in WORDS:
        wanted = getattr(query, name)
        if wanted is not None and getattr(record, name) != storable(wanted):
            return False
    if query.request_id is not None and record.request_id != storable(query.request_id):
        return False
    if query.purpose and record.purpose != query.purpose:
        return False
    if query.stream is not None and record.stream != query.stream:
        return False
    if query.status is not None:
        between = statuses(query.status)
        if between is None or not between[0] <= record.status <= between[1]:
            return False
    if query.trace is not None and (not record.trace or record.trace != trace_bytes(query.trace)):
        return False
    return _measures(query, record)


def _measures(query: RequestQuery, record: RequestRecord) -> bool:
    if query.min_cost_nano is not None and record.cost_nano < query.min_cost_nano:
        return False
    if query.min_s is not None and record.duration_s < query.min_s:
        return False
    if query.max_s is not None and record.duration_s > query.max_s:
        return False
    first = record.first_chunk_s
    return query.min_first_s is None or (first is not None and first >= query.min_first_s)


def has_content(record: RequestRecord) -> bool:
    """Whether the facts say that something was kept of what was said: only then a text is looked for in it."""
    return record.content not in ("", "none")


def says(content: RequestContent, text: str) -> bool:
    """Whether a text of the request or the reply has this, case folded. The names of JSON's members are no text."""
    needle = text.casefold()
    return any(needle in found.casefold() for body in (content.request, content.reply) for found in _texts(body))


def _texts(body: bytes) -> Iterator[str]:
    try:
        waiting: list[object] = [msgspec.json.decode(body)] if body else []
    except msgspec.DecodeError:
        # What was cut short is no JSON any more, but may still be what is looked for.
        waiting = [body.decode(errors="replace")]
    while waiting:
        value = waiting.pop()
        if isinstance(value, str):
            yield value
        elif isinstance(value, dict):
            waiting.extend(value.values())
        elif isinstance(value, list):
            waiting.extend(value)


def kept(record: RequestRecord) -> RequestRecord:
    """The record as a store has it: lengths to the microsecond, words and numbers that every database can hold. A
    number that is none must not keep everything behind it out of the store."""
    changes: dict[str, object] = {
        name: storable(value)
        for name in RequestRecord.__struct_fields__
        if isinstance(value := getattr(record, name), str)
    }
    for name in ("duration_s", "overhead_s", "first_chunk_s", "queued_s", "between_s"):
        changes[name] = seconds(micros(getattr(record, name)))
    if record.tokens is not None:
        counts = {name: _whole(getattr(record.tokens, name)) for name in record.tokens.__struct_fields__}
        changes["tokens"] = msgspec.structs.replace(record.tokens, **counts)
    changes["cost_nano"] = _whole(record.cost_nano)
    marks = {name: seconds(micros(getattr(record.marks, name))) for name in Marks.__struct_fields__}
    changes["marks"] = msgspec.structs.replace(record.marks, **marks)
    changes["attempts"] = tuple(map(_attempt, record.attempts))
    return msgspec.structs.replace(record, **changes)


def _attempt(made: AttemptMade) -> AttemptMade:
    words = {name: storable(getattr(made, name)) for name in ("model", "replica", "code", "message")}
    times = {name: seconds(micros(getattr(made, name))) for name in ("began_s", "ended_s", "first_s")}
    return msgspec.structs.replace(made, **words, **times)


def _whole(value: int) -> int:
    return min(max(value, -_HIGHEST), _HIGHEST)


def micros(length_s: float | None) -> int | None:
    """A length in whole microseconds; of one that is no number, 0."""
    if length_s is None:
        return None
    if not -9e12 < length_s < 9e12:
        return 0
    return round(length_s * 1e6)


def seconds(length_us: int | None) -> float | None:
    """A length in seconds."""
    return None if length_us is None else length_us / 1e6


@dataclass(frozen=True)
class Source:
    """Some of the log, none of it arrived after ``newest``. ``rows`` begins to read it: what a query leaves of it,
    newest first."""

    newest: float
    rows: Callable[[], Iterator[RequestRecord]]


def merged(sources: Iterable[Source]) -> Iterator[RequestRecord]:
    """The rows of all sources, newest first, each once. A source is not read before its turn comes."""
    waiting = sorted(sources, key=lambda source: source.newest)
    heads: list[tuple[RequestRecord, Iterator[RequestRecord]]] = []
    last: tuple[float, str] | None = None
    while heads or waiting:
        while waiting and (not heads or waiting[-1].newest >= max(head.at for head, _ in heads)):
            rows = waiting.pop().rows()
            heads += ((row, rows) for row in [next(rows, None)] if row is not None)
        if not heads:
            return
        at = max(range(len(heads)), key=lambda index: key(heads[index][0]))
        record, rows = heads[at]
        following = next(rows, None)
        if following is None:
            del heads[at]
        else:
            heads[at] = (following, rows)
        if key(record) != last:
            last = key(record)
            yield record


def is_before(record: RequestRecord | RequestContent, before: Place | None) -> bool:
    """Whether it belongs on the page that ``before`` begins."""
    return before is None or key(record) < (before.at, before.request_id)


def newest_first(records: Iterable[RequestRecord]) -> Sequence[RequestRecord]:
    """In the order of pages."""
    return sorted(records, key=key, reverse=True)
