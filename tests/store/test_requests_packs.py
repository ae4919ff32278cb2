"""What was said comes back as it was, each once, whoever wrote it together with what and however often."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from pathlib import Path

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from penstock.core.requests import RequestContent
from penstock.store import requests_packs
from penstock.store.requests_file import opened, reading
from penstock.store.requests_packs import BYTES, MANY, ContentsWriter
from penstock.store.requests_postings import tag
from penstock.store.requests_said import COLUMNS, said_of

AT = 1_700_000_000.0
# As it was before there were packs.
ROWS = f"""
CREATE TABLE IF NOT EXISTS contents ({", ".join(COLUMNS)}, tag INTEGER NOT NULL);
CREATE UNIQUE INDEX IF NOT EXISTS contents_at ON contents (at, tag);
CREATE INDEX IF NOT EXISTS contents_subject ON contents (subject) WHERE subject <> '';
"""

times = st.integers(0, 20).map(lambda tenths: AT + tenths / 10)
said = st.builds(
    RequestContent,
    request_id=st.sampled_from(["a", "b", "c"]),
    at=times,
    project=st.sampled_from(["red", "blue"]),
    service=st.just("s"),
    subject=st.sampled_from(["", "ada", "bo\0b"]),
    masked=st.booleans(),
    request=st.binary(max_size=40) | st.just(b"x" * 5000),
    reply=st.binary(max_size=40),
)


def place(content: RequestContent) -> tuple[float, str]:
    return content.at, content.request_id


def first(contents: Sequence[RequestContent]) -> dict[tuple[float, str], RequestContent]:
    """Of each place the one that came first, as a store has it."""
    found: dict[tuple[float, str], RequestContent] = {}
    for each in contents:
        found.setdefault(place(each), msgspec.structs.replace(each, subject=each.subject.replace("\0", "\ufffd")))
    return found


def lay_rows(path: Path, contents: Sequence[RequestContent]) -> None:
    connection = opened(path, ROWS)
    marks = ", ".join("?" * (len(COLUMNS) + 1))
    connection.executemany(
        f"INSERT INTO contents VALUES ({marks}) ON CONFLICT DO NOTHING",
        [(*said_of(each), tag(each.request_id)) for each in contents],
    )
    connection.close()


@settings(max_examples=40, deadline=None)
@given(
    old=st.lists(said, max_size=5),
    batches=st.lists(st.lists(said, max_size=12), max_size=4),
    gone=st.sets(st.tuples(times, st.sampled_from("abc"))),
)
def test_it_is_read_as_it_was_written_first_and_what_is_erased_is_gone(
    tmp_path_factory: pytest.TempPathFactory,
    old: list[RequestContent],
    batches: list[list[RequestContent]],
    gone: set[tuple[float, str]],
) -> None:
    path = tmp_path_factory.mktemp("packs") / "day.db"
    if old:
        lay_rows(path, old)
    writer = ContentsWriter(path)
    for batch in batches:
        writer.append(batch)
    wanted = first([*old, *(each for batch in batches for each in batch)])
    for erased in (False, True):
        if erased:
            writer.erase(gone)
            wanted = {where: content for where, content in wanted.items() if where not in gone}
        with reading(path) as connection:
            assert requests_packs.read(connection, [*wanted, (AT, "nobody")]) == wanted
            assert list(requests_packs.rows(connection)) == [wanted[each] for each in sorted(wanted, reverse=True)]
    writer.close()


def test_what_is_erased_beside_it_leaves_the_first_of_two_the_first(tmp_path: Path) -> None:
    def content(id: str, at: float, request: bytes) -> RequestContent:
        return RequestContent(request_id=id, at=at, project="p", service="s", request=request)

    writer = ContentsWriter(tmp_path / "day.db")
    writer.append([content("a", AT, b"first"), content("b", AT + 0.1, b"")])
    writer.append([content("a", AT, b"second")])
    writer.erase({(AT + 0.1, "b")})
    writer.close()
    with reading(tmp_path / "day.db") as connection:
        assert requests_packs.read(connection, [(AT, "a")])[AT, "a"].request == b"first"
        assert [each.request for each in requests_packs.rows(connection)] == [b"first"]


def test_whose_they_are_is_known_by_the_subject_or_by_the_facts(tmp_path: Path) -> None:
    path, people = tmp_path / "day.db", ("", "ada", "bob")
    contents = [
        RequestContent(request_id=str(n), at=AT + n, project="rb"[n % 2], service="s", subject=people[n % 3])
        for n in range(12)
    ]
    lay_rows(path, contents[:4])
    writer = ContentsWriter(path)
    writer.append(contents[4:])
    hers = {place(each) for each in contents if each.subject == "ada"}
    in_red = {place(each) for each in contents if each.subject == "ada" and each.project == "r"}
    by_facts = {place(contents[0]), place(contents[8])}
    with reading(path) as connection:
        assert set(requests_packs.of_subject(connection, "ada", None, ())) == hers
        some = requests_packs.of_subject(connection, "ada", "r", [*by_facts, (AT, "nobody")])
    assert in_red < hers
    assert set(some) == by_facts | in_red
    writer.erase(hers)
    writer.close()
    assert b"ada" not in path.read_bytes()
    assert b"bob" in path.read_bytes()


def test_a_pack_has_room_for_so_many_and_for_what_is_long_by_itself(tmp_path: Path) -> None:
    short = [RequestContent(request_id=str(n), at=AT, project="p", service="s") for n in range(MANY * 2 + 1)]
    long = [
        RequestContent(request_id=f"l{n}", at=AT + 1, project="p", service="s", request=bytes(BYTES * (n + 2) // 3))
        for n in range(3)
    ]
    writer = ContentsWriter(tmp_path / "day.db")
    writer.append([*short, *long])
    writer.close()
    with sqlite3.connect(tmp_path / "day.db") as connection:
        packs = connection.execute("SELECT second, length(places) / 12 FROM packs ORDER BY id").fetchall()
    assert sorted(count for second, count in packs if second == int(AT)) == [1, MANY, MANY]
    assert [count for second, count in packs if second != int(AT)] == [1, 1, 1]
    with reading(tmp_path / "day.db") as connection:
        assert requests_packs.read(connection, [place(each) for each in long]) == first(long)


def test_a_file_without_packs_is_read(tmp_path: Path) -> None:
    content = RequestContent(request_id="r", at=AT, project="p", service="s", subject="ada", request=b"{}")
    lay_rows(tmp_path / "day.db", [content])
    with reading(tmp_path / "day.db") as connection:
        assert requests_packs.read(connection, [place(content)]) == {place(content): content}
        assert list(requests_packs.rows(connection)) == [content]
        assert set(requests_packs.of_subject(connection, "ada", "p", ())) == {place(content)}
