"""Entries as rows of the ledger, and back."""

from __future__ import annotations

import operator
from collections.abc import Iterable, Iterator, Sequence

import sqlalchemy as sql
from msgspec.structs import astuple, fields

from penstock.core.usage import Entry, Tokens
from penstock.store.ledger_table import TOKENS
from penstock.store.words import storable

LARGEST = 10**15
"""The largest count, or cost in nano, that is written for one attempt: a million dollars. An upstream that tells more
is not believed; one absurd number must neither stop the ledger nor overflow its sums."""

Row = tuple[str | int | float, ...]

_NAMES = {"user": "user_id"}
_TOKENS_AT = Entry.__struct_fields__.index("tokens")
_BEFORE = tuple(_NAMES.get(name, name) for name in Entry.__struct_fields__[:_TOKENS_AT])
COLUMNS = (*_BEFORE, *TOKENS, *Entry.__struct_fields__[_TOKENS_AT + 1 :], "run")
"""Those of the table, in the order of an entry's fields."""
_texts = operator.itemgetter(
    *(COLUMNS.index(_NAMES.get(each.name, each.name)) for each in fields(Entry) if each.type is str)
)
_counts = operator.itemgetter(*map(COLUMNS.index, (*TOKENS, "cost_nano", "saved_nano")))


def rows_of(entries: Iterable[Entry], run: int) -> Iterator[Row]:
    """By ``COLUMNS``, with texts and numbers that both databases take. One at a time: of thousands at once the first
    would be out of the processor's caches when they are used."""
    for entry in entries:
        values = astuple(entry)
        row = (*values[:_TOKENS_AT], *astuple(values[_TOKENS_AT]), *values[_TOKENS_AT + 1 :], run)
        # To look at each value by itself is many times as dear.
        if "".join(_texts(row)).isprintable() and max(_counts(row)) <= LARGEST:
            yield row
        else:
            yield tuple(map(_kept, row))


def entry_of(row: sql.Row[tuple[object, ...]]) -> Entry:
    """The entry that the row was made from."""
    kept = row._mapping
    return Entry(
        request_id=kept["request_id"],
        attempt=kept["attempt"],
        gateway=kept["gateway"],
        received_at=kept["received_at"],
        settled_at=kept["settled_at"],
        project=kept["project"],
        key_id=kept["key_id"],
        user=kept["user_id"],
        team=kept["team"],
        service=kept["service"],
        model=kept["model"],
        kind=kept["kind"],
        purpose=kept["purpose"],
        ending=kept["ending"],
        status=kept["status"],
        tokens=tokens_of([kept[name] for name in TOKENS]),
        estimated=kept["estimated"],
        cost_nano=kept["cost_nano"],
        price=kept["price"],
        release=kept["release"],
        cache=kept["cache"],
        saved_nano=kept["saved_nano"],
    )


def tokens_of(counts: Sequence[int]) -> Tokens:
    """In the order of ``TOKENS``."""
    return Tokens(**dict(zip(Tokens.__struct_fields__, counts, strict=True)))


def _kept(value: str | float) -> str | int | float:
    if isinstance(value, str):
        return storable(value)
    return min(value, LARGEST)
