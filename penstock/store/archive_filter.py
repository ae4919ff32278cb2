"""A search of the request log as conditions on Parquet: which groups may have what it asks for, and which rows do."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import reduce

import pyarrow as arrow  # type: ignore[import-untyped]
from pyarrow import compute, parquet

from penstock.core.requests import Place, RequestQuery
from penstock.store.requests_query import WORDS, statuses, trace_bytes
from penstock.store.words import storable

_Read = Callable[[list[str]], arrow.Table]


def may_have(group: parquet.RowGroupMetaData, query: RequestQuery, before: Place | None) -> float | None:
    """When the newest of a group's rows arrived; None: by the least and the greatest of its values, it has nothing
    that the query asks for."""
    known = {}
    for number in range(group.num_columns):
        column = group.column(number)
        if column.statistics is not None and column.statistics.has_min_max:
            known[column.path_in_schema] = (column.statistics.min, column.statistics.max)
    first, last = known["at"]
    if last < query.since or (query.until is not None and first >= query.until):
        return None
    if before is not None and first > before.at:
        return None
    ranges = [*_named(query), *_measured(query)]
    if any(column in known and _apart(column, known[column], low, high) for column, low, high in ranges):
        return None
    return float(last)


def wanted(read: _Read, query: RequestQuery, before: Place | None) -> Sequence[int]:
    """The numbers of a group's rows that are what the query asks for, in order. ``read`` reads columns of it."""
    ranges = [*_named(query), *_measured(query)]
    columns = {"at", *(column for column, _, _ in ranges)}
    columns |= {"request_id"} if before is not None else set()
    columns |= {"purpose"} if query.purpose else set()
    columns |= {"stream"} if query.stream is not None else set()
    columns |= {"content"} if query.text is not None else set()
    rows = read(sorted(columns))
    parts = [compute.greater_equal(rows["at"], query.since)]
    if query.until is not None:
        parts.append(compute.less(rows["at"], query.until))
    if before is not None:
        earlier_name = compute.less(rows["request_id"], storable(before.request_id))
        same = compute.and_(compute.equal(rows["at"], before.at), earlier_name)
        parts.append(compute.or_(compute.less(rows["at"], before.at), same))
    for column, low, high in ranges:
        parts += _within(rows[column], column, low, high)
    if query.purpose:
        parts.append(compute.equal(rows["purpose"], query.purpose))
    if query.stream is not None:
        parts.append(compute.equal(rows["stream"], query.stream))
    if query.text is not None:
        parts.append(compute.invert(compute.is_in(rows["content"], arrow.array(["", "none"]))))
    found: list[int] = compute.indices_nonzero(compute.fill_null(reduce(compute.and_, parts), False)).to_pylist()
    return found


_Range = tuple[str, object, object]


def _named(query: RequestQuery) -> Iterator[_Range]:
    """Columns that have one value."""
    for name in (*WORDS, "request_id"):
        if (value := getattr(query, name)) is not None:
            yield "user_id" if name == "user" else name, storable(value), storable(value)
    if query.trace is not None:
        # That of a request without a trace is empty.
        trace = trace_bytes(query.trace) or b"\0"
        yield "trace", trace, trace


def _measured(query: RequestQuery) -> Iterator[_Range]:
    """Columns that have a value between two; None: without an end."""
    if query.status is not None:
        low, high = statuses(query.status) or (1, 0)
        yield "status", low, high
    if query.min_cost_nano is not None:
        yield "cost_nano", query.min_cost_nano, None
    if query.min_s is not None or query.max_s is not None:
        yield "duration_us", query.min_s, query.max_s
    if query.min_first_s is not None:
        yield "first_us", query.min_first_s, None


def _apart(column: str, known: tuple[object, object], low: object, high: object) -> bool:
    least, most = known
    if column.endswith("_us"):
        least, most = least / 1e6, most / 1e6  # type: ignore[operator]
    return (low is not None and most < low) or (high is not None and least > high)  # type: ignore[operator]


def _within(values: arrow.ChunkedArray, column: str, low: object, high: object) -> list[arrow.ChunkedArray]:
    if column.endswith("_us"):
        # As it is read: the quotient is that of Python.
        values = compute.divide(values.cast(arrow.float64()), 1e6)
    elif low == high:
        return [compute.equal(values, low)]
    found = []
    if low is not None:
        found.append(compute.greater_equal(values, low))
    if high is not None:
        found.append(compute.less_equal(values, high))
    return found
