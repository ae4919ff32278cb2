"""What is left out of a conversation that has grown too long, as laws."""

from __future__ import annotations

import json

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from penstock.core.errors import CONTEXT_LENGTH_EXCEEDED, INVALID_TYPE, PenstockError
from penstock.gateway.history import (
    MESSAGE_TOKENS,
    PART_TOKENS,
    Conversation,
    checked,
    conversation,
    joined,
    summarised,
    tokens,
    trimmed,
)


def message(role: str, content: object = "x", **more: object) -> bytes:
    return json.dumps({"role": role, "content": content, **more}).encode()


def calling(*ids: str) -> bytes:
    return message("assistant", None, tool_calls=[{"id": id, "type": "function"} for id in ids])


def result(id: str) -> bytes:
    return message("tool", "42", tool_call_id=id)


def kept(found: Conversation, budget: int) -> list[bytes]:
    return [found.messages[place] for place in found.after(trimmed(found, budget))]


def test_a_token_is_three_bytes_and_what_is_no_text_is_a_thousand() -> None:
    plain = message("user", "x" * 100)
    assert tokens(plain) == MESSAGE_TOKENS + -(-len(plain) // 3)
    image = {"type": "image_url", "image_url": {"url": "data:" + "A" * 90_000}}
    parts = message("user", [{"type": "text", "text": "what is it?"}, image])
    assert PART_TOKENS < tokens(parts) < PART_TOKENS + 60


def test_turns_go_whole_and_system_messages_stay() -> None:
    messages = [
        message("system"),
        message("assistant", "Hello"),
        message("user", "1"),
        calling("a", "b"),
        result("a"),
        result("b"),
        message("assistant", "1!"),
        message("developer"),
        message("user", "2"),
        message("assistant", "2!"),
        message("user", "3"),
    ]
    found = conversation(messages, lambda _: 1)
    assert found.pinned == [0, 7]
    assert found.turns == [[1], [2, 3, 4, 5, 6], [8, 9], [10]]
    assert kept(found, 11) == messages
    assert kept(found, 10) == [messages[0], *messages[2:]]
    assert kept(found, 9) == [messages[0], *messages[7:]]
    assert kept(found, 4) == [messages[0], messages[7], messages[10]]


def test_a_result_that_comes_after_the_users_next_word_keeps_its_call() -> None:
    messages = [message("user"), calling("a"), message("user"), result("a"), message("user")]
    assert conversation(messages).turns == [[0, 1, 2, 3], [4]]
    # A call that is never answered holds nothing back, and an id that comes again is another call.
    assert conversation([message("user"), calling("a"), message("user"), message("user")]).turns == [[0, 1], [2], [3]]
    again = [message("user"), calling("a"), result("a"), message("user"), calling("a"), result("a")]
    assert conversation(again).turns == [[0, 1, 2], [3, 4, 5]]


def test_what_cannot_be_left_out_and_does_not_fit_is_said() -> None:
    found = conversation([message("system"), message("user"), message("user", "x" * 300)])
    with pytest.raises(PenstockError) as caught:
        checked(found, 50)
    assert caught.value.fault is CONTEXT_LENGTH_EXCEEDED
    assert caught.value.param == "messages"
    assert caught.value.message.startswith(
        "The last message, with what follows it, is about 115 tokens; this service takes 50"
    )
    with pytest.raises(PenstockError) as caught:
        checked(found, 120)
    assert "with the system messages" in caught.value.message
    assert checked(found, 200) is found


def test_what_is_no_message_is_told_by_its_place() -> None:
    for bad in (b"1", b'{"role": 1}', b'{"role": "user", "content": [1]}'):
        with pytest.raises(PenstockError) as caught:
            conversation([message("user"), bad])
        assert caught.value.fault is INVALID_TYPE
        assert caught.value.param == "messages[1]"


TEXTS = st.text(max_size=30)
TURNS = st.lists(
    st.one_of(
        st.tuples(TEXTS, TEXTS).map(lambda said: [message("user", said[0]), message("assistant", said[1])]),
        TEXTS.map(lambda said: [message("system", said)]),
        st.tuples(TEXTS, st.lists(st.sampled_from("abc"), min_size=1, max_size=3, unique=True)).map(
            lambda made: [message("user", made[0]), calling(*made[1]), *map(result, made[1])]
        ),
    ),
    max_size=12,
).map(lambda turns: [each for turn in turns for each in turn])


@given(messages=TURNS, last=TEXTS, budget=st.integers(1, 600))
@settings(deadline=None)
def test_trimming_fits_keeps_order_and_pairs_and_no_more_goes_than_must(
    messages: list[bytes], last: str, budget: int
) -> None:
    found = conversation([*messages, message("user", last)])
    assert sorted([*found.pinned, *(place for turn in found.turns for place in turn)]) == list(
        range(len(found.messages))
    )
    if found.cost(found.pinned) + found.cost(found.turns[-1]) > budget:
        with pytest.raises(PenstockError):
            checked(found, budget)
        return
    cut = trimmed(checked(found, budget), budget)
    places = found.after(cut)
    assert places == sorted(places)
    assert sum(found.costs[place] for place in places) <= budget
    assert set(found.pinned) <= set(places)
    assert places[-1] == len(found.messages) - 1
    assert cut == 0 or found.cost(found.after(cut - 1)) > budget
    left = [msgspec.json.decode(found.messages[place]) for place in places]
    made: list[str] = []
    for each in left:
        made += [call["id"] for call in each.get("tool_calls", ())]
        if "tool_call_id" in each:
            made.remove(each["tool_call_id"])
    assert made == []
    assert msgspec.json.decode(joined([found.messages[place] for place in places])) == left


@given(messages=TURNS, more=TURNS, last=TEXTS, budget=st.integers(40, 600), summary=st.integers(1, 30))
@settings(deadline=None)
def test_a_cut_for_a_summary_makes_room_and_stays_where_it_is(
    messages: list[bytes], more: list[bytes], last: str, budget: int, summary: int
) -> None:
    found = conversation([*messages, message("user", last)])
    cuts = summarised(found, budget, summary)
    assert list(cuts) == sorted(set(cuts))
    if cuts:
        assert 0 < cuts[-1] < len(found.turns)
        assert found.cost(found.after(cuts[-1])) + summary <= budget
    elif len(found.turns) > 1:
        assert found.cost(found.after(len(found.turns) - 1)) + summary > budget
    grown = conversation([*messages, message("user", last), *more, message("user", last)])
    later = summarised(grown, budget, summary)
    if len(cuts) > 1 and later:
        assert list(later[: len(cuts) - 1]) == list(cuts[:-1])[: len(later)]
