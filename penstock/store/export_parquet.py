"""Rows of the ledger as Parquet, by pyarrow (``pip install 'penstock[parquet]'``)."""

from __future__ import annotations

import io
from collections.abc import Iterable, Iterator, Sequence
from decimal import Decimal
from itertools import islice
from typing import TYPE_CHECKING

import pyarrow as arrow  # type: ignore[import-untyped]
from pyarrow import parquet

from penstock.core.usage import Entry, Tokens
from penstock.store.export_columns import COLUMNS
from penstock.store.ledger_columns import TOKENS

if TYPE_CHECKING:
    from _typeshed import ReadableBuffer

ROWS = 10_000
"""In a row group, and so held in memory at once."""

_TIME = arrow.timestamp("us", tz="UTC")
_TYPES = {
    "attempt": arrow.int32(),
    "status": arrow.int32(),
    "received_at": _TIME,
    "settled_at": _TIME,
    **{name: arrow.int64() for name in TOKENS},
    "estimated": arrow.bool_(),
    "cost_nano": arrow.int64(),
    "cost_usd": arrow.decimal128(38, 9),
    "saved_nano": arrow.int64(),
    "saved_usd": arrow.decimal128(38, 9),
}
_SCHEMA = arrow.schema([arrow.field(name, _TYPES.get(name, arrow.string()), nullable=False) for name in COLUMNS])


def parquet_chunks(entries: Iterable[Entry]) -> Iterator[bytes]:
    """A Parquet file of the columns of ``export_columns.COLUMNS`` in pieces of ``ROWS`` rows, then its end. Times in
    microseconds of UTC, ``cost_usd`` and ``saved_usd`` decimal numbers with nine places."""
    sink = _Sink()
    rows = iter(entries)
    with parquet.ParquetWriter(sink, _SCHEMA, compression="zstd") as writer:
        while group := list(islice(rows, ROWS)):
            writer.write_table(_table(group))
            yield sink.take()
    yield sink.take()


class _Sink(io.RawIOBase):
    """Keeps what is written until it is taken. Arrow counts the bytes by itself."""

    def __init__(self) -> None:
        self._parts: list[bytes] = []

    def writable(self) -> bool:
        return True

    def write(self, data: ReadableBuffer, /) -> int:
        self._parts.append(bytes(data))
        return len(self._parts[-1])

    def take(self) -> bytes:
        taken = b"".join(self._parts)
        self._parts.clear()
        return taken


def _table(entries: Sequence[Entry]) -> arrow.Table:
    tokens = [[getattr(entry.tokens, field) for entry in entries] for field in Tokens.__struct_fields__]
    columns = {
        **{name: [getattr(entry, name) for entry in entries] for name in COLUMNS if name in Entry.__struct_fields__},
        **dict(zip(TOKENS, tokens, strict=True)),
        "received_at": [_micros(entry.received_at) for entry in entries],
        "settled_at": [_micros(entry.settled_at) for entry in entries],
        "cost_usd": [Decimal(entry.cost_nano).scaleb(-9) for entry in entries],
        "saved_usd": [Decimal(entry.saved_nano).scaleb(-9) for entry in entries],
    }
    return arrow.table([arrow.array(columns[field.name], field.type) for field in _SCHEMA], schema=_SCHEMA)


def _micros(at: float) -> int:
    return round(at * 1_000_000)
