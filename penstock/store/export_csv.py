"""Rows of the ledger as CSV."""

from __future__ import annotations

import csv
import datetime
import io
from collections.abc import Iterable, Iterator

from penstock.core.money import dollars
from penstock.core.usage import Entry
from penstock.store.export_columns import COLUMNS

LINES = 1000
"""In a piece, about."""

# What a spreadsheet takes for the beginning of a formula.
_FORMULA = ("=", "+", "-", "@", "\t", "\r")


def csv_chunks(entries: Iterable[Entry]) -> Iterator[bytes]:
    """A CSV file (RFC 4180, UTF-8) in pieces of about ``LINES`` lines, the first with the names of ``COLUMNS``.

    Times as ``2026-11-21T14:00:00.250000Z``, ``estimated`` as ``true`` or ``false``. A text that a spreadsheet would
    run as a formula gets a ``'`` in front: request ids are chosen by clients.
    """
    text = io.StringIO()
    writer = csv.writer(text)
    writer.writerow(COLUMNS)
    for count, entry in enumerate(entries, 1):
        writer.writerow(_line(entry))
        if count % LINES == 0:
            yield text.getvalue().encode()
            text.seek(0)
            text.truncate()
    yield text.getvalue().encode()


def _line(entry: Entry) -> tuple[str | int, ...]:
    tokens = entry.tokens
    return (
        _plain(entry.request_id),
        entry.attempt,
        _plain(entry.gateway),
        _utc(entry.received_at),
        _utc(entry.settled_at),
        _plain(entry.project),
        _plain(entry.team),
        _plain(entry.user),
        _plain(entry.key_id),
        _plain(entry.service),
        _plain(entry.model),
        _plain(entry.kind),
        entry.purpose,
        _plain(entry.ending),
        entry.status,
        *(getattr(tokens, name) for name in tokens.__struct_fields__),
        "true" if entry.estimated else "false",
        entry.cost_nano,
        dollars(entry.cost_nano),
        _plain(entry.price),
        _plain(entry.release),
        _plain(entry.cache),
        entry.saved_nano,
        dollars(entry.saved_nano),
    )


def _utc(at: float) -> str:
    told = datetime.datetime.fromtimestamp(at, datetime.UTC).isoformat(timespec="microseconds")
    return told.replace("+00:00", "Z")


def _plain(text: str) -> str:
    return f"'{text}" if text.startswith(_FORMULA) else text
