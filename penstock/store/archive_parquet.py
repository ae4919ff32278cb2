"""Parts of the request log as Parquet, by pyarrow (``pip install 'penstock[parquet]'``).

Facts and, in a file of their own, contents are sorted newest first, in groups of rows whose least and greatest values
say which of them a search must read: one of times reads those alone, and the next only when the page is not full yet.
Both are for other readers, too.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import partial
from itertools import islice
from pathlib import Path

import pyarrow as arrow  # type: ignore[import-untyped]
from pyarrow import compute, parquet

from penstock.core.errors import STORE_UNAVAILABLE, PenstockError
from penstock.core.requests import Place, RequestContent, RequestQuery, RequestRecord
from penstock.store.archive import Objects
from penstock.store.archive_filter import may_have, wanted
from penstock.store.requests_live import Moved, Places
from penstock.store.requests_query import Source, key, merged
from penstock.store.requests_rows import COLUMNS, WORD_COLUMNS, Rows, record_of
from penstock.store.words import storable

ROWS = 1 << 14
"""In a group of facts, and so held in memory at once."""
CONTENTS = 512
"""In a group of contents."""

_FEW, _MANY = 64, 1024
_FOOTERS = 64
_FACTS = arrow.schema(
    [
        arrow.field("at", arrow.float64(), nullable=False),
        arrow.field("request_id", arrow.string(), nullable=False),
        *(arrow.field(name, arrow.string(), nullable=False) for name in WORD_COLUMNS),
        arrow.field("status", arrow.int32(), nullable=False),
        arrow.field("stream", arrow.bool_(), nullable=False),
        arrow.field("trace", arrow.binary(), nullable=False),
        arrow.field("cost_nano", arrow.int64(), nullable=False),
        arrow.field("duration_us", arrow.int64(), nullable=False),
        arrow.field("first_us", arrow.int64()),
        arrow.field("rest", arrow.binary(), nullable=False),
    ]
)
_SAID = arrow.schema(
    [
        arrow.field("at", arrow.float64(), nullable=False),
        *(
            arrow.field(name, arrow.string(), nullable=False)
            for name in ("request_id", "project", "service", "subject")
        ),
        arrow.field("masked", arrow.bool_(), nullable=False),
        arrow.field("request", arrow.binary(), nullable=False),
        arrow.field("reply", arrow.binary(), nullable=False),
    ]
)


class ParquetArchive:
    """``Archive`` in Parquet."""

    def __init__(self, objects: Objects) -> None:
        self._objects = objects
        self._footers: dict[str, parquet.FileMetaData] = {}

    @property
    def place(self) -> str:
        return self._objects.place

    def write_facts(
        self, path: Path, records: Iterable[RequestRecord], alive: Callable[[], None]
    ) -> tuple[int, float]:
        rows, last = 0, 0.0
        found = map(Rows(storable, storable).of, records)
        with parquet.ParquetWriter(path, _FACTS, compression="zstd") as writer:
            while group := list(islice(found, ROWS)):
                columns = [arrow.array(list(values), field.type) for values, field in zip(zip(*group), _FACTS)]  # noqa: B905
                writer.write_table(arrow.table(columns, schema=_FACTS), row_group_size=ROWS)
                rows, last = rows + len(group), max(last, *(row[0] for row in group))
                alive()
        return rows, last

    def write_contents(self, path: Path, contents: Iterable[RequestContent], alive: Callable[[], None]) -> int:
        rows = 0
        left = iter(contents)
        with parquet.ParquetWriter(path, _SAID, compression="zstd", use_dictionary=["project", "service"]) as writer:
            while group := list(islice(left, CONTENTS)):
                columns = [arrow.array([getattr(each, field.name) for each in group], field.type) for field in _SAID]
                writer.write_table(arrow.table(columns, schema=_SAID), row_group_size=CONTENTS)
                rows += len(group)
                alive()
        return rows

    def put(self, name: str, path: Path) -> None:
        self._objects.put(name, path)

    def delete(self, name: str) -> None:
        self._footers.pop(name, None)
        self._objects.delete(name)

    def rows(self, name: str, query: RequestQuery, before: Place | None) -> Iterator[RequestRecord]:
        with self._opened(name) as file:
            yield from merged(
                Source(newest, partial(_rows, file, group, query, before))
                for group in range(file.num_row_groups)
                if (newest := may_have(file.metadata.row_group(group), query, before)) is not None
            )

    def contents(self, name: str, places: Places) -> Mapping[tuple[float, str], RequestContent]:
        found: dict[tuple[float, str], RequestContent] = {}
        with self._opened(name) as file:
            for group in range(file.num_row_groups):
                least, most = _between(file, group)
                near = {place for place in places if least <= place[0] <= most}
                if near:
                    keys = file.read_row_group(group, columns=["at", "request_id"])
                    numbers = [number for number, place in enumerate(_places(keys)) if place in near]
                    if numbers:
                        chosen = file.read_row_group(group).take(numbers)
                        found |= {key(each): each for each in map(_content, chosen.to_pylist())}
        return found

    def of_subject(self, name: str, subject: str, project: str | None) -> Places:
        found: set[tuple[float, str]] = set()
        with self._opened(name) as file:
            for group in range(file.num_row_groups):
                if _may_have_subject(file, group, subject):
                    rows = file.read_row_group(group, columns=["at", "request_id", "subject", "project"])
                    found.update(_places(rows.filter(_is_of(rows, subject, project))))
        return found

    def said(self, name: str, places: Places) -> Places:
        wanted = set(places)
        found: set[tuple[float, str]] = set()
        with self._opened(name) as file:
            for group in range(file.num_row_groups):
                least, most = _between(file, group)
                if any(least <= at <= most for at, _ in wanted):
                    found |= wanted.intersection(_places(file.read_row_group(group, columns=["at", "request_id"])))
        return found

    def write_without_subject(self, name: str, path: Path, subject: str, project: str | None) -> None:
        with self._opened(name) as file, parquet.ParquetWriter(path, _FACTS, compression="zstd") as writer:
            for group in range(file.num_row_groups):
                rows = file.read_row_group(group)
                names = compute.if_else(_is_of(rows, subject, project), "", rows["subject"])
                at = _FACTS.get_field_index("subject")
                writer.write_table(rows.set_column(at, _FACTS.field(at), names), row_group_size=ROWS)

    def write_without_contents(self, name: str, path: Path, places: Places) -> int:
        left = 0
        gone = set(places)
        with self._opened(name) as file, parquet.ParquetWriter(path, _SAID, compression="zstd") as writer:
            for group in range(file.num_row_groups):
                rows = file.read_row_group(group)
                rows = rows.filter(arrow.array([place not in gone for place in _places(rows)], arrow.bool_()))
                if rows.num_rows:
                    writer.write_table(rows, row_group_size=CONTENTS)
                left += rows.num_rows
        return left

    @contextlib.contextmanager
    def _opened(self, name: str) -> Iterator[parquet.ParquetFile]:
        try:
            source = self._objects.open(name)
        except FileNotFoundError:
            self._footers.pop(name, None)
            raise Moved from None
        try:
            with source:
                file = parquet.ParquetFile(source, metadata=self._footers.get(name), pre_buffer=True)
                if name not in self._footers:
                    while len(self._footers) >= _FOOTERS:
                        self._footers.pop(next(iter(self._footers)), None)
                    self._footers[name] = file.metadata
                yield file
        except (arrow.ArrowInvalid, OSError) as error:
            raise PenstockError(
                STORE_UNAVAILABLE,
                f"{name} in the archive of the request log at {self.place} is damaged ({error}). "
                "Put back a copy of it.",
            ) from error


def _rows(
    file: parquet.ParquetFile, group: int, query: RequestQuery, before: Place | None
) -> Iterator[RequestRecord]:
    order = wanted(partial(file.read_row_group, group), query, before)
    if not order:
        return
    rows = file.read_row_group(group, columns=list(COLUMNS)).select(list(COLUMNS))
    at, size = 0, _FEW
    while at < len(order):
        columns = [column.to_pylist() for column in rows.take(order[at : at + size]).columns]
        for row in zip(*columns, strict=True):
            yield record_of(row, str, str)
        at, size = at + size, min(size * 2, _MANY)


def _between(file: parquet.ParquetFile, group: int) -> tuple[float, float]:
    times = file.metadata.row_group(group).column(0).statistics
    return times.min, times.max


def _may_have_subject(file: parquet.ParquetFile, group: int, subject: str) -> bool:
    column = file.metadata.row_group(group).column(file.schema_arrow.get_field_index("subject"))
    known = column.statistics
    return known is None or not known.has_min_max or known.min <= storable(subject) <= known.max


def _is_of(rows: arrow.Table, subject: str, project: str | None) -> arrow.ChunkedArray:
    found = compute.equal(rows["subject"], storable(subject))
    return found if project is None else compute.and_(found, compute.equal(rows["project"], storable(project)))


def _places(rows: arrow.Table) -> Sequence[tuple[float, str]]:
    return list(zip(rows["at"].to_pylist(), rows["request_id"].to_pylist(), strict=True))


def _content(row: Mapping[str, object]) -> RequestContent:
    return RequestContent(**row)  # type: ignore[arg-type]
