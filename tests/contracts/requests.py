"""What every request log promises. An adapter's tests subclass ``RequestsContract`` and say how one is made."""

from __future__ import annotations

import datetime
import itertools
import random
import threading
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from penstock.core.requests import (
    AttemptMade,
    Erased,
    Marks,
    Place,
    RequestContent,
    RequestQuery,
    RequestRecord,
)
from penstock.core.usage import Tokens
from penstock.store import RequestStore

DAY = 86400.0
BEGIN = datetime.datetime(2026, 11, 20, tzinfo=datetime.UTC).timestamp()
NOON = BEGIN + DAY / 2


def record(request_id: str = "req", at: float = NOON, **changes: Any) -> RequestRecord:
    fields: dict[str, Any] = {
        "request_id": request_id,
        "at": at,
        "gateway": "gw",
        "project": "red",
        "key_id": "key",
        "service": "chat",
        "asked": "chat",
        "model": "gpt",
        "replica": "gpt/0",
        "kind": "chat",
        "dialect": "chat/completions",
        "ending": "complete",
        "status": 200,
        "tokens": Tokens(input=10, output=5),
        "cost_nano": 1000,
        "duration_s": 2.5,
        "content": "all",
    }
    return RequestRecord(**fields | changes)


def content(of: RequestRecord, said: str = "hello", reply: str = "world") -> RequestContent:
    return RequestContent(
        request_id=of.request_id,
        at=of.at,
        project=of.project,
        service=of.service,
        subject=of.subject,
        request=msgspec.json.encode({"messages": [{"role": "user", "content": said}]}),
        reply=msgspec.json.encode([{"content": reply}]),
    )


WHOLE = RequestRecord(
    request_id="日本 \"'%;--",
    at=NOON + 0.123456789,
    gateway="gw-1",
    worker=3,
    project="red",
    key_id="key_1",
    user="ann",
    team="t1",
    subject="sub 1",
    asked="chat@stable",
    service="chat",
    release="rel_1",
    rollout="ro_1",
    model="gpt",
    replica="gpt/1",
    kind="chat",
    dialect="responses",
    stream=True,
    purpose="internal",
    ending="failed",
    status=502,
    code="upstream_failed",
    message="it said: 'no' ☹",
    tokens=Tokens(input=2**40, cached_read=2, cached_write=3, output=4, reasoning=5, audio_input=6, images=8),
    estimated=True,
    cost_nano=10**15,
    duration_s=12.345678,
    first_chunk_s=0.25,
    queued_s=0.0,
    overhead_s=0.000321,
    between_s=0.012345,
    marks=Marks(0.0001, 0.0002, None, 0.0004, None, 0.25, 12.345678),
    attempts=(
        AttemptMade(1, "gpt", "gpt/0", 0.001, 0.1, None, "timeout", "too slow", b"12345678"),
        AttemptMade(2, "gpt", "gpt/1", 0.1, 12.3, 0.25),
    ),
    cache="miss",
    trace=bytes(range(16)),
    span=b"abcdefgh",
    parent=b"\xff" * 8,
    traced=True,
    content="masked",
)


def answers(query: RequestQuery, row: RequestRecord) -> bool:
    """The law in its own words, for records with lengths in whole milliseconds."""
    exact = ("project", "key_id", "user", "team", "subject", "service", "release", "model", "replica")
    exact += ("ending", "code", "cache", "stream", "request_id")
    for name in exact:
        if getattr(query, name) not in (None, getattr(row, name)):
            return False
    return (
        query.since <= row.at
        and (query.until is None or row.at < query.until)
        and query.purpose in ("", row.purpose)
        and query.status in (None, str(row.status), f"{row.status // 100}xx")
        and query.trace in (None, row.trace.hex() or "none")
        and row.cost_nano >= (query.min_cost_nano or 0)
        and row.duration_s >= (query.min_s or 0)
        and row.duration_s <= (1e9 if query.max_s is None else query.max_s)
        and (query.min_first_s is None or (row.first_chunk_s is not None and row.first_chunk_s >= query.min_first_s))
    )


def newest(rows: Sequence[RequestRecord]) -> list[RequestRecord]:
    return sorted(rows, key=lambda row: (row.at, row.request_id), reverse=True)


WORDS = st.sampled_from(["", "a", "b", "gpt", "ü"])
LENGTHS = st.integers(0, 4000).map(lambda ms: ms / 1000)
RECORDS = st.builds(
    record,
    st.text("abcü", min_size=1, max_size=3),
    st.integers(0, int(3 * DAY) * 4 - 1).map(lambda quarter: quarter / 4)
    | st.sampled_from([0.0, DAY, 2 * DAY, 100.0]),
    **dict.fromkeys(("project", "key_id", "user", "team", "subject", "service", "release", "model"), WORDS),
    replica=WORDS,
    ending=st.sampled_from(["complete", "failed", "client_gone"]),
    code=WORDS,
    cache=WORDS,
    stream=st.booleans(),
    purpose=st.sampled_from(["client", "internal"]),
    status=st.sampled_from([200, 400, 404, 429, 502]),
    trace=st.sampled_from([b"", b"a" * 16, b"b" * 16]),
    cost_nano=st.integers(0, 4000),
    duration_s=LENGTHS,
    first_chunk_s=st.none() | LENGTHS,
)
_MAYBE = st.none() | WORDS
QUERIES = st.fixed_dictionaries(
    {},
    optional={
        **dict.fromkeys(("project", "key_id", "user", "team", "subject", "service", "release", "model"), _MAYBE),
        "replica": _MAYBE,
        "ending": st.sampled_from(["complete", "failed"]),
        "code": _MAYBE,
        "cache": _MAYBE,
        "stream": st.booleans(),
        "purpose": st.sampled_from(["client", "internal"]),
        "status": st.sampled_from(["200", "4xx", "404", "5XX", "1xx"]).map(str.lower),
        "trace": st.sampled_from(["61" * 16, "00", "62" * 16]),
        "request_id": st.text("abcü", min_size=1, max_size=2),
        "min_cost_nano": st.integers(0, 4000),
        "min_s": LENGTHS,
        "max_s": LENGTHS,
        "min_first_s": LENGTHS,
        "since": st.integers(0, int(3 * DAY)).map(float),
        "until": st.integers(0, int(3 * DAY)).map(float),
    },
)


class RequestsContract:
    EXAMPLES = 25

    def make(self) -> RequestStore:
        """A new, empty log."""
        raise NotImplementedError

    @pytest.fixture
    def log(self) -> RequestStore:
        return self.make()

    @pytest.fixture(params=["live", "archived"])
    def archived(self, request: pytest.FixtureRequest) -> bool:
        return bool(request.param == "archived")

    def test_a_record_and_what_was_said_come_back_whole(self, log: RequestStore, archived: bool) -> None:
        said = msgspec.structs.replace(content(WHOLE, "hi"), masked=True)
        assert log.append_requests([WHOLE], [said]) == 1
        if archived:
            assert log.archive(NOON + DAY) == 1
        assert list(log.find(RequestQuery(), None, 10)) == [WHOLE]
        assert list(log.request(WHOLE.request_id)) == [WHOLE]
        assert log.content(WHOLE.request_id, WHOLE.at) == said
        assert log.content(WHOLE.request_id, WHOLE.at + 1) is None
        assert log.content("other", WHOLE.at) is None
        assert list(log.request("other")) == []

    def test_it_is_written_once(self, log: RequestStore, archived: bool) -> None:
        rows = [record(str(n), NOON + n) for n in range(5)]
        assert log.append_requests(rows[:3], [content(rows[0], "first")]) == 3
        assert log.append_requests(rows[1:], [content(rows[0], "second")]) == 2
        if archived:
            log.archive(NOON + 2 * DAY)
            log.append_requests(rows[2:], [content(rows[1], "late")])
        assert list(log.find(RequestQuery(), None, 10)) == newest(rows)
        assert log.content("0", NOON) == content(rows[0], "first")
        if archived:
            assert log.content("1", NOON + 1) == content(rows[1], "late")

    def test_nothing_is_nothing(self, log: RequestStore) -> None:
        assert log.append_requests([], []) == 0
        assert list(log.find(RequestQuery(), None, 10)) == []
        assert log.archive(NOON) == 0
        assert log.forget_requests(NOON, NOON) == 0
        assert log.about("ann", None) == (0, 0, None, None)
        assert log.erase("ann", None) == Erased()

    def test_what_no_database_can_hold_does_not_keep_the_rest_out(self, log: RequestStore) -> None:
        strange = record("a\0b", message="\ud800", duration_s=float("nan"), cost_nano=2**80, user="x\0")
        assert log.append_requests([strange, record("b")], []) == 2
        found = {row.request_id: row for row in log.find(RequestQuery(), None, 10)}
        assert found.keys() == {"a\ufffdb", "b"}
        assert found["a\ufffdb"].user == "x\ufffd"
        assert list(log.find(RequestQuery(user="x\0"), None, 10)) == [found["a\ufffdb"]]

    def test_pages_hold_each_row_once_across_days_and_the_border_of_the_archive(self, log: RequestStore) -> None:
        rows = [record(f"{n % 7}-{n}", NOON - n // 4 * DAY / 8, service="ab"[n % 2]) for n in range(120)]
        random.Random(7).shuffle(rows)
        log.append_requests(rows, [])
        log.archive(NOON - DAY)
        for query in (RequestQuery(), RequestQuery(service="a"), RequestQuery(since=NOON - 2 * DAY, until=NOON)):
            for size in (1, 7, 50):
                found: list[RequestRecord] = []
                before = None
                while page := log.find(query, before, size):
                    assert len(page) <= size
                    found += page
                    before = Place(page[-1].at, page[-1].request_id)
                assert found == newest([row for row in rows if answers(query, row)])

    def test_find_agrees_with_a_filter_over_a_list(self, log: RequestStore) -> None:
        windows = itertools.count(1)

        @settings(max_examples=self.EXAMPLES, deadline=None, suppress_health_check=list(HealthCheck))
        @given(st.lists(RECORDS, max_size=40), st.lists(QUERIES, min_size=1, max_size=6), st.integers(0, 3))
        def agree(records: list[RequestRecord], queries: list[dict[str, Any]], days: int) -> None:
            # Each example has days of its own.
            begin = BEGIN + next(windows) * 5 * DAY
            rows = {(each.at, each.request_id): each for each in reversed(records)}
            shifted = [msgspec.structs.replace(each, at=begin + each.at) for each in rows.values()]
            log.append_requests(shifted, [])
            log.archive(begin + days * DAY)
            for asked in ({}, *queries):
                since, until = begin + asked.get("since", 0.0), begin + asked.get("until", 4 * DAY)
                query = RequestQuery(**{**asked, "since": since, "until": until})
                wanted = newest([row for row in shifted if answers(query, row)])
                assert list(log.find(query, None, 1000)) == wanted
                if wanted:
                    place = Place(wanted[0].at, wanted[0].request_id)
                    assert list(log.find(query, place, 2)) == wanted[1:3]

        agree()

    def test_a_text_is_found_in_what_was_said(self, log: RequestStore, archived: bool) -> None:
        rows = [record(str(n), NOON + n, service="ab"[n % 2]) for n in range(4)]
        quiet = record("quiet", NOON + 9, content="none")
        escaped = msgspec.structs.replace(content(rows[1]), reply=b'["\\u00c4rger"]')
        broken = msgspec.structs.replace(content(rows[2]), reply=b'["cut OFF')
        log.append_requests([*rows, quiet], [content(rows[0], "Straße\nNord"), escaped, broken])
        if archived:
            log.archive(NOON + DAY)

        def found(text: str, **more: Any) -> list[str]:
            return [row.request_id for row in log.find(RequestQuery(text=text, **more), None, 10)]

        assert found("STRASSE\nnord") == ["0"]
        assert found("ärger") == ["1"]
        assert found("cut off") == ["2"]
        assert found("hello") == ["2", "1"]
        assert found("hello", service="b") == ["1"]
        assert found("role") == found("messages") == []

    def test_days_that_are_over_go_to_the_archive_once(self, log: RequestStore) -> None:
        rows = [record(str(n), NOON + n * DAY / 2) for n in range(8)]
        log.append_requests(rows, [content(row) for row in rows])
        assert log.archive(BEGIN + 2 * DAY + 5) == 2
        assert log.archive(BEGIN + 2 * DAY + 5) == 0
        assert list(log.find(RequestQuery(), None, 100)) == newest(rows)
        late = record("late", NOON + 1)
        assert log.append_requests([late], [content(late)]) == 1
        assert list(log.find(RequestQuery(), None, 100)) == newest([*rows, late])
        assert log.archive(BEGIN + 2 * DAY) in (0, 1)
        assert list(log.find(RequestQuery(), None, 100)) == newest([*rows, late])
        assert log.content("late", late.at) == content(late)
        assert log.content("0", NOON) == content(rows[0])

    def test_days_are_forgotten_and_contents_before_them(self, log: RequestStore, archived: bool) -> None:
        rows = [record(str(n), NOON + n * DAY) for n in range(4)]
        log.append_requests(rows, [content(row) for row in rows])
        if archived:
            log.archive(BEGIN + 3 * DAY)
        assert log.forget_requests(BEGIN + DAY + 1, BEGIN + 2 * DAY + 1) > 0
        assert list(log.find(RequestQuery(), None, 10)) == newest(rows[1:])
        assert [log.content(row.request_id, row.at) is not None for row in rows] == [False, False, True, True]
        assert log.forget_requests(BEGIN + DAY + 1, BEGIN + 2 * DAY + 1) == 0
        assert log.append_requests([record("new", NOON + DAY)], []) == 1
        log.forget_requests(BEGIN + 9 * DAY, BEGIN)
        assert list(log.find(RequestQuery(), None, 10)) == []
        assert log.content("3", NOON + 3 * DAY) is None

    def test_a_subject_is_found_and_erased(self, log: RequestStore, archived: bool) -> None:
        rows = [
            record(str(n), NOON + n * DAY / 2, subject=["ann", "bob"][n % 2], user="ann", project="rg"[n // 4])
            for n in range(8)
        ]
        alone = record("alone", NOON + 1, content="none")
        log.append_requests([*rows, alone], [content(row) for row in rows[:6]])
        if archived:
            assert log.archive(BEGIN + 3 * DAY) == 3
        assert log.about("ann", None) == (4, 3, NOON, NOON + 3 * DAY)
        assert log.about("ann", "g") == (2, 1, NOON + 2 * DAY, NOON + 3 * DAY)
        gone = log.erase("ann", "r")
        assert (gone.requests, gone.contents, gone.archived_days) == (2, 2, 2 if archived else 0)
        assert log.about("ann", None) == (2, 1, NOON + 2 * DAY, NOON + 3 * DAY)
        gone = log.erase("ann", None)
        assert (gone.requests, gone.contents) == (2, 1)
        assert log.erase("ann", None) == Erased()
        assert log.about("ann", None) == (0, 0, None, None)
        assert log.about("bob", None)[:2] == (4, 3)
        nameless = [msgspec.structs.replace(row, subject="") if row.subject == "ann" else row for row in rows]
        assert list(log.find(RequestQuery(), None, 20)) == newest([*nameless, alone])
        assert list(log.find(RequestQuery(subject=""), None, 20)) == newest([*nameless[::2], alone])
        assert list(log.find(RequestQuery(user="ann"), None, 20)) == newest(nameless)
        assert [log.content(row.request_id, row.at) is not None for row in rows] == [False, True] * 3 + [False] * 2

    def test_nobody_has_no_name(self, log: RequestStore) -> None:
        log.append_requests([record("a")], [content(record("a"))])
        assert log.about("", None) == (0, 0, None, None)
        assert log.erase("", None) == Erased()
        assert log.content("a", NOON) is not None

    def test_reading_goes_on_while_others_write_and_archive(self, log: RequestStore) -> None:
        old = [record(f"old-{n}", NOON - n * DAY / 20, service="old") for n in range(100)]
        log.append_requests(old, [])
        done = threading.Event()

        def write() -> None:
            for turn in range(8):
                log.append_requests([record(f"{turn}-{n}", NOON + turn) for n in range(20)], [])
                log.archive(BEGIN - (4 - turn // 2) * DAY)
            done.set()

        def read() -> None:
            while not done.is_set():
                assert list(log.find(RequestQuery(service="old"), None, 1000)) == old

        with ThreadPoolExecutor(3) as pool:
            for each in [pool.submit(write), pool.submit(read), pool.submit(read)]:
                each.result(60)
        assert len(log.find(RequestQuery(), None, 1000)) == 260
