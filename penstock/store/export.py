"""The ledger for other programs."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Iterable, Iterator
from typing import Literal

from penstock.core.errors import UNSUPPORTED_PARAMETER, PenstockError
from penstock.core.usage import Entry, UsageQuery
from penstock.store import LedgerStore
from penstock.store.export_csv import csv_chunks

PAGE = 1000
"""Rows read at once."""

ExportFormat = Literal["csv", "parquet"]
Export = Callable[[Iterable[Entry]], Iterator[bytes]]
"""Makes a file, in pieces, of rows that it takes a few thousand at a time."""

_PARQUET = "penstock.store.export_parquet"


def export_as(form: ExportFormat) -> Export:
    """The export in this format. Raises ``PenstockError(UNSUPPORTED_PARAMETER)`` when what it needs is not installed,
    before anything of the file is made."""
    if form == "csv":
        return csv_chunks
    try:
        export: Export = importlib.import_module(_PARQUET).parquet_chunks
    except ModuleNotFoundError as error:
        if str(error.name).startswith("penstock"):
            raise
        raise PenstockError(
            UNSUPPORTED_PARAMETER,
            "An export as Parquet needs the package pyarrow, which is not installed with this gateway. "
            "Install it: pip install 'penstock[parquet]'; or ask for CSV.",
        ) from error
    return export


def every_entry(ledger: LedgerStore, query: UsageQuery) -> Iterator[Entry]:
    """All rows of the query by (received_at, request_id, attempt), read in pages: rows that are written meanwhile may
    or may not be among them."""
    after: tuple[float, str, int] | None = None
    while page := ledger.entries(query, after, PAGE):
        yield from page
        last = page[-1]
        after = (last.received_at, last.request_id, last.attempt)
