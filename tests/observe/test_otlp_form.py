"""A span's JSON is sound whatever is in it, and says what the span says."""

from __future__ import annotations

import json

from hypothesis import given
from hypothesis import strategies as st

from penstock.observe.otlp_form import Sender, span, traces
from penstock.observe.spans import Event, Span, Value

TRACE, SPAN, PARENT = bytes(range(16)), bytes(range(8)), bytes(range(8, 16))
TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=80)
VALUES = TEXT | st.booleans() | st.integers(0, 1 << 62) | st.floats(allow_nan=False, allow_infinity=False)
ATTRIBUTES = st.dictionaries(TEXT, VALUES, max_size=5)
KINDS = {str: "stringValue", bool: "boolValue", int: "intValue", float: "doubleValue"}


def said(value: Value) -> dict[str, Value]:
    return {KINDS[type(value)]: str(value) if type(value) is int else value}


@given(
    TEXT,
    ATTRIBUTES,
    st.none() | TEXT,
    st.lists(st.tuples(TEXT, ATTRIBUTES), max_size=2),
    st.sampled_from([PARENT, b""]),
)
def test_a_span_is_read_as_it_was(
    name: str,
    attributes: dict[str, Value],
    error: str | None,
    events: list[tuple[str, dict[str, Value]]],
    parent: bytes,
) -> None:
    one = Span(
        trace=TRACE,
        id=SPAN,
        parent=parent,
        name=name,
        kind="client",
        begin=1_800_000_000_250_000_000,
        end=1_800_000_000_250_000_001,
        attributes=attributes,
        error=error,
        events=tuple(Event(what, 7, more) for what, more in events),
    )
    whole = json.loads(traces(Sender({}, "1"), [span(one), span(one)]))
    first, second = whole["resourceSpans"][0]["scopeSpans"][0]["spans"]
    assert first == second
    assert (first["traceId"], first["spanId"], first["name"]) == (TRACE.hex(), SPAN.hex(), name)
    assert first.get("parentSpanId", "") == parent.hex()
    assert (first["startTimeUnixNano"], first["endTimeUnixNano"]) == ("1800000000250000000", "1800000000250000001")
    assert {each["key"]: each["value"] for each in first.get("attributes", ())} == {
        key: said(value) for key, value in attributes.items()
    }
    assert first.get("status") == (None if error is None else {"message": error, "code": 2})
    assert [each["name"] for each in first.get("events", ())] == [what for what, _ in events]
    for event, (_, more) in zip(first.get("events", ()), events, strict=True):
        assert {each["key"]: each["value"] for each in event["attributes"]} == {
            key: said(value) for key, value in more.items()
        }


def test_values_that_are_equal_and_of_different_kinds_stay_what_they_are() -> None:
    for value in (1, True, 1.0, "1"):
        one = Span(
            trace=TRACE, id=SPAN, parent=b"", name="n", kind="server", begin=1, end=2, attributes={"same": value}
        )
        assert json.loads(span(one))["attributes"] == [{"key": "same", "value": said(value)}]
