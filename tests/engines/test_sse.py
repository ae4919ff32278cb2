"""Events come out the same however their bytes are cut."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from penstock.core.errors import UPSTREAM_GARBLED, PenstockError
from penstock.engines.sse import SseSplitter


def events(*pieces: bytes, max_event: int = 1 << 20) -> list[tuple[bytes, bytes]]:
    splitter = SseSplitter(max_event)
    out = [event for piece in pieces for event in splitter.feed_named(piece)]
    return out + splitter.flush()


@pytest.mark.parametrize(
    ("wire", "expected"),
    [
        (b"data: a\n\n", [(b"", b"a")]),
        (b"data:a\n\ndata:  b\n\n", [(b"", b"a"), (b"", b" b")]),
        (b"data: a\r\n\r\ndata: b\r\n\r\n", [(b"", b"a"), (b"", b"b")]),
        (b"data: a\r\rdata: b\r\r", [(b"", b"a"), (b"", b"b")]),
        (b"data: a\ndata: b\n\n", [(b"", b"a\nb")]),
        (b"event: ping\ndata: {}\n\n", [(b"ping", b"{}")]),
        (b": OPENROUTER PROCESSING\n\ndata: a\n\n", [(b"", b"a")]),
        (b"id: 1\nretry: 5\n: note\ndata: a\n\n", [(b"", b"a")]),
        (b"event: only\n\ndata: a\n\n", [(b"", b"a")]),
        (b"\n\n\n\ndata: a\n\n\n\n\ndata: b\n\n", [(b"", b"a"), (b"", b"b")]),
        (b"\xef\xbb\xbfdata: a\n\n", [(b"", b"a")]),
        (b"data\n\n", [(b"", b"")]),
        (b"data: a\n\ndata: [DONE]", [(b"", b"a"), (b"", b"[DONE]")]),
        (b"", []),
    ],
)
def test_the_standard_and_the_habits(wire: bytes, expected: list[tuple[bytes, bytes]]) -> None:
    assert events(wire) == expected
    assert events(*(wire[at : at + 1] for at in range(len(wire)))) == expected


LINES = st.sampled_from(
    [
        b"data: x",
        b"data:",
        b"data",
        b"data: \xc3\xa9",
        b": c",
        b"event: e",
        b"id: 7",
        b"",
        b"",
        b"junk",
        b"data: a\tb",
    ]
)


@given(
    lines=st.lists(st.tuples(LINES, st.sampled_from([b"\n", b"\r\n", b"\r"])), max_size=25),
    cuts=st.lists(st.integers(0, 200), max_size=12),
)
def test_any_split_gives_the_same_events(lines: list[tuple[bytes, bytes]], cuts: list[int]) -> None:
    wire = b"".join(line + end for line, end in lines)
    at = [0, *sorted(min(cut, len(wire)) for cut in cuts), len(wire)]
    pieces = [wire[a:b] for a, b in itertools.pairwise(at)]
    assert events(*pieces) == events(wire)
    assert [data for _, data in events(*pieces)] == fed(pieces)


def fed(pieces: list[bytes]) -> list[bytes]:
    splitter = SseSplitter()
    out = [data for piece in pieces for data in splitter.feed(piece)]
    return out + [data for _, data in splitter.flush()]


@pytest.mark.parametrize("wire", [b"data: " + b"x" * 200 + b"\n\n", b"y" * 200, b"data: z\n" * 40])
@pytest.mark.parametrize("size", [1, 7, 1000])
def test_an_event_has_a_bound(wire: bytes, size: int) -> None:
    splitter = SseSplitter(100)
    with pytest.raises(PenstockError) as caught:
        [splitter.feed(wire[at : at + size]) for at in range(0, len(wire), size)]
    assert caught.value.fault is UPSTREAM_GARBLED


def test_many_small_events_may_be_larger_than_the_bound_together() -> None:
    splitter = SseSplitter(100)
    assert len(splitter.feed(b"data: x\n\n" * 1000)) == 1000
