"""Entries as rows of the ledger, and back."""

from __future__ import annotations

import operator
from collections.abc import Iterator, Sequence

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
_texts = operator.attrgetter(*(field.name for field in fields(Entry) if field.type is str))
_tokens, _cost = operator.attrgetter("tokens"), operator.attrgetter("cost_nano")


def rows_of(entries: Sequence[Entry], run: int) -> Iterator[Row]:
    """By ``COLUMNS``, with texts and numbers that both databases take. One at a time: thousands at once would have
    the garbage collector walk through them."""
    rows = _made(entries, run)
    return rows if _storable(entries) else (tuple(map(_kept, row)) for row in rows)


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
    )


def tokens_of(counts: Sequence[int]) -> Tokens:
    """In the order of ``TOKENS``."""
    return Tokens(**dict(zip(Tokens.__struct_fields__, counts, strict=True)))


def _made(entries: Sequence[Entry], run: int) -> Iterator[Row]:
    for entry in entries:
        values = astuple(entry)
        yield (*values[:_TOKENS_AT], *astuple(values[_TOKENS_AT]), *values[_TOKENS_AT + 1 :], run)


def _storable(entries: Sequence[Entry]) -> bool:
    """Whether no value needs a look by itself, which is many times as dear."""
    return (
        "".join(map("".join, map(_texts, entries))).isprintable()
        and max(map(max, map(astuple, map(_tokens, entries)))) <= LARGEST
        and max(map(_cost, entries)) <= LARGEST
    )


def _kept(value: str | float) -> str | int | float:
    if isinstance(value, str):
        return storable(value)
    return min(value, LARGEST)
