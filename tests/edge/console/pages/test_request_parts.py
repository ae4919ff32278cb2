"""What pages of requests are made of: filters, courses, conversations; whatever is put into them."""

from __future__ import annotations

import shlex

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from penstock.control.observed.views import ContentView, SpanView
from penstock.edge.console.pages.request_filters import NAMES, question, sought, trace_in
from penstock.edge.console.pages.request_said import MOST, curl, said
from penstock.edge.console.pages.request_waterfall import of_request, of_trace, ticks
from tests.edge.console.canned import NOW
from tests.edge.console.pages.request_paper import SPANS, content, detail

times = st.floats(0, 1e7)
spans = st.lists(
    st.builds(
        SpanView,
        name=st.text(max_size=9),
        begin_ms=times,
        ms=times,
        depth=st.integers(0, 2),
    ),
    max_size=9,
).map(tuple)
values = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.text(max_size=9),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=9), inner, max_size=4),
    max_leaves=12,
)


def kept(request: object, reply: object = None, masked: bool = False) -> ContentView:
    raw = [msgspec.Raw(msgspec.json.encode(each)) for each in (request, reply)]
    return ContentView(id="r", at=NOW, masked=masked, request=raw[0], reply=raw[1])


# -- filters -----------------------------------------------------------------------------------------------------


@given(st.dictionaries(st.sampled_from((*NAMES, "since", "until", "window")), st.text(max_size=20)))
def test_an_address_says_again_what_it_said(query: dict[str, str]) -> None:
    asked = question(query)
    again = question(dict(asked.said))
    assert again.filters == asked.filters
    assert (again.since, again.until) == (asked.since, asked.until)
    assert asked.since or again.window == asked.window


@pytest.mark.parametrize("text", ["service:chat", "status:5xx user:ann"])
def test_filters_can_be_typed(text: str) -> None:
    assert sought(text) == dict(each.split(":") for each in text.split())


@pytest.mark.parametrize("text", ["", "chat", "service:", "color:red", "service:chat x"])
def test_what_is_no_filter_is_something_else(text: str) -> None:
    assert sought(text) is None


def test_a_trace_is_known_by_its_form() -> None:
    assert trace_in("A" * 32) == "a" * 32
    assert trace_in("00-" + "1" * 32 + "-" + "2" * 16 + "-01") == "1" * 32
    assert not any(map(trace_in, ("", "g" * 32, "1" * 31, "1" * 33, "1" * 32 + "\n")))


# -- courses -----------------------------------------------------------------------------------------------------


@given(spans)
def test_bars_stay_inside_and_are_wide_enough_to_be_seen(found: tuple[SpanView, ...]) -> None:
    drawn = of_request(detail(spans=found, stream=False))
    assert len(drawn.steps) == len(found)
    for each in drawn.steps:
        assert 0 <= each.x <= each.x + each.width <= 100.02
        assert each.width >= 0.4
    assert drawn.total_ms == max((each.begin_ms + each.ms for each in found), default=0.0)


@given(st.floats(1e-6, 1e9))
def test_ticks_are_few_and_in_order(total: float) -> None:
    found = ticks(total)
    assert 3 <= len(found) <= 7
    assert [each.x for each in found] == sorted(each.x for each in found)
    assert found[0].text == "0"
    assert found[-1].x <= 100


def test_the_first_token_stands_where_it_came() -> None:
    drawn = of_request(detail())
    assert drawn.first_x == pytest.approx(100 * 1_460 / 4_812, abs=0.01)
    assert of_request(detail(stream=False)).first_x is None
    assert of_request(detail(first_chunk_ms=None)).first_x is None


def test_of_several_requests_each_stands_at_its_time_without_rooms() -> None:
    drawn = of_trace([detail(id="a"), detail(id="b", at=NOW - 62.482117 + 10)])
    assert [each.kind for each in drawn.steps] == ["request", "attempt", "attempt"] * 2
    assert drawn.steps[3].begin_ms == pytest.approx(10_000)
    assert drawn.total_ms == pytest.approx(14_812)
    assert [each.href.partition("?")[0] for each in drawn.steps if each.href] == [
        "/console/requests/a",
        "/console/requests/b",
    ]
    assert len(of_trace([detail()]).steps) == len(SPANS)


# -- conversations -----------------------------------------------------------------------------------------------


@given(values, values, st.booleans())
def test_anything_that_was_kept_is_shown_somehow(request: object, reply: object, masked: bool) -> None:
    found = said(kept(request, reply, masked))
    assert found.body == msgspec.json.encode(request).decode()
    assert shlex.split(curl(found, "chat/completions"))[-1] == found.body
    if not any(each.reply for each in found.turns) and reply not in (None, [], {}):
        assert found.raw_reply or isinstance(reply, list)


def test_a_conversation_is_in_its_order_with_all_that_was_said() -> None:
    found = said(content())
    assert [(each.role, each.reply) for each in found.turns] == [
        ("system", False), ("user", False), ("assistant", False), ("tool", False), ("assistant", True),
    ]  # fmt: skip
    user, call, reply = found.turns[1], found.turns[2].pieces[0], found.turns[4]
    assert [bit.text for bit in user.pieces[0].bits if bit.masked] == ["[EMAIL]", "[PHONE]"]
    assert (user.pieces[1].kind, user.pieces[1].name) == ("other", "image_url")
    assert (call.kind, call.name, call.bits[0].text) == ("call", "find_parcel", '{"customer":"cust-4711"}')
    assert [each.kind for each in reply.pieces] == ["thought", "words"]
    assert "temperature: 0.3" in found.parameters
    assert "messages" not in found.parameters


@pytest.mark.parametrize(
    ("request_body", "texts"),
    [
        ({"prompt": "Once upon"}, ["Once upon"]),
        ({"prompt": ["a", "b"]}, ["a", "b"]),
        ({"input": "Some words", "model": "m"}, ["Some words"]),
        ({"instructions": "Be kind.", "input": [{"role": "user", "content": "Hi"}]}, ["Be kind.", "Hi"]),
        ({"input": [1, 2, 3]}, ["[1,2,3]"]),
    ],
)
def test_other_shapes_are_read_too(request_body: object, texts: list[str]) -> None:
    found = said(kept(request_body))
    assert ["".join(bit.text for bit in piece.bits) for turn in found.turns for piece in turn.pieces] == texts


def test_what_was_cut_says_so_and_choices_are_told_apart() -> None:
    reply = [
        {"index": 0, "content": {"bytes": 900, "text": "It is", "cut": True}, "finish_reason": "length"},
        {"index": 1, "refusal": {"bytes": 3, "text": "No."}, "finish_reason": "stop"},
    ]
    one, two = said(kept({"messages": []}, reply)).turns
    assert (one.about, one.pieces[0].cut) == ("choice 1, length", True)
    assert (two.about, two.pieces[0].kind) == ("choice 2", "refusal")


def test_of_a_very_long_conversation_the_end_is_shown() -> None:
    messages = [{"role": "user", "content": str(place)} for place in range(MOST + 7)]
    found = said(kept({"messages": messages}))
    assert (len(found.turns), found.left_out) == (MOST, 7)
    assert found.turns[-1].pieces[0].bits[0].text == str(MOST + 6)
