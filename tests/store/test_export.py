"""Exports open in pandas and add up to the ledger."""

from __future__ import annotations

import csv
import io
import subprocess
import sys
from collections.abc import Iterable, Iterator
from decimal import Decimal
from pathlib import Path

import pandas
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import penstock.store.export as exported
import penstock.store.export_csv as written
import penstock.store.export_parquet as packed
from penstock.core.errors import UNSUPPORTED_PARAMETER, PenstockError
from penstock.core.money import dollars
from penstock.core.usage import Entry, Tokens, UsageQuery
from penstock.store.database import open_database, sqlite_url
from penstock.store.export import ExportFormat, every_entry, export_as
from penstock.store.export_columns import COLUMNS
from penstock.store.export_csv import csv_chunks
from penstock.store.ledger import SqlLedger
from penstock.store.ledger_table import TOKENS
from penstock.store.migrations import migrate
from tests.contracts.ledger import NOON, entry


@pytest.fixture
def ledger(tmp_path: Path) -> Iterator[SqlLedger]:
    database = open_database(sqlite_url(tmp_path / "state.db"))
    migrate(database, now=0.0)
    ledger = SqlLedger(database)
    ledger.append(
        [
            entry(
                f'request, "{n}"\n日本',
                received_at=NOON + n / 3,
                project=("red", "blue", "007")[n % 3],
                user="" if n % 2 else "ann",
                tokens=Tokens(input=n, cached_read=1, output=2 * n, reasoning=3, images=n % 5),
                estimated=n % 7 == 0,
                cost_nano=10**15 - n,
            )
            for n in range(2500)
        ]
    )
    yield ledger
    database.close()


def read_csv(data: bytes) -> pandas.DataFrame:
    texts = dict.fromkeys(("project", "cost_usd", "user", "request_id"), str)
    return pandas.read_csv(io.BytesIO(data), dtype=texts, keep_default_na=False, parse_dates=["received_at"])


@pytest.mark.parametrize("form", ["csv", "parquet"])
def test_it_opens_in_pandas_and_adds_up(
    ledger: SqlLedger, form: ExportFormat, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(exported, "PAGE", 400)
    monkeypatch.setattr(written, "LINES", 300)
    monkeypatch.setattr(packed, "ROWS", 700)
    entries = every_entry(ledger, UsageQuery())
    pieces = list(export_as(form)(entries))
    assert len(pieces) > 3
    data = b"".join(pieces)
    table = read_csv(data) if form == "csv" else pandas.read_parquet(io.BytesIO(data))
    assert list(table.columns) == list(COLUMNS)
    assert len(table) == 2500
    (whole,) = ledger.sums(UsageQuery(), [])
    assert int(table["cost_nano"].sum()) == whole.cost_nano
    assert dollars(whole.cost_nano) == f"{sum(map(Decimal, table['cost_usd'])):f}".rstrip("0").ljust(2, "0")
    assert int(table["estimated"].sum()) == whole.estimated_rows
    assert table["request_id"].nunique() == whole.requests
    for name, field in zip(TOKENS, Tokens.__struct_fields__, strict=True):
        assert int(table[name].sum()) == getattr(whole.tokens, field)
    grouped = table.groupby("project")["cost_nano"].sum()
    assert {name: int(cost) for name, cost in grouped.items()} == dict(ledger.spent("project", "", 0.0))
    assert str(table["received_at"].dt.tz) == "UTC"
    assert table["received_at"][0] == pandas.Timestamp("2026-11-21T12:00:00Z")
    assert abs(table["received_at"][1].timestamp() - (NOON + 1 / 3)) < 1e-6
    assert table["request_id"][1] == 'request, "1"\n日本'
    assert table["user"][1] == ""


def test_an_export_is_of_its_query(ledger: SqlLedger) -> None:
    some = list(every_entry(ledger, UsageQuery(project="blue", until=NOON + 100)))
    assert len(some) == 100
    assert {each.project for each in some} == {"blue"}


@pytest.mark.parametrize("form", ["csv", "parquet"])
def test_an_empty_one_opens_too(form: ExportFormat) -> None:
    data = b"".join(export_as(form)([]))
    table = read_csv(data) if form == "csv" else pandas.read_parquet(io.BytesIO(data))
    assert list(table.columns) == list(COLUMNS)
    assert len(table) == 0


@given(st.lists(st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=8)))
@settings(max_examples=60, deadline=None)
def test_no_text_breaks_out_of_its_field(words: list[str]) -> None:
    data = b"".join(csv_chunks(entry(word, model=word) for word in words)).decode()
    read = list(csv.DictReader(io.StringIO(data, newline="")))
    assert [row["request_id"].removeprefix("'") for row in read] == [word.removeprefix("'") for word in words]
    for row in read:
        assert not row["model"].startswith(("=", "+", "-", "@", "\t", "\r"))


def test_an_export_holds_a_page_at_a_time() -> None:
    read = 0

    def many() -> Iterable[Entry]:
        nonlocal read
        for n in range(10 * written.LINES):
            read += 1
            yield entry(str(n))

    next(csv_chunks(many()))
    assert read == written.LINES


def test_without_pyarrow_there_is_csv(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, "penstock.store.export_parquet", raising=False)
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    assert b"".join(export_as("csv")([entry()])).count(b"\n") == 2
    with pytest.raises(PenstockError, match=r"pip install 'penstock\[parquet\]'") as caught:
        export_as("parquet")
    assert caught.value.fault is UNSUPPORTED_PARAMETER


def test_pyarrow_is_loaded_by_nothing_else() -> None:
    code = "import sys, penstock.store.ledger, penstock.store.audit, penstock.store.export; print('pyarrow' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout.strip() == "False"
