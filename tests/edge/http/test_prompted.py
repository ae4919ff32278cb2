"""Requests that bring the variables of a prompt, in each dialect that has chats."""

from __future__ import annotations

import json

import pytest

from penstock.core.errors import INVALID_TYPE, MISSING_PARAMETER, Fault, PenstockError
from penstock.edge.http.dialects import chat, responses

VARIABLES = {"prompt_variables": {"name": "Ada", "tags": ["a"]}}


def test_variables_may_stand_in_the_place_of_messages() -> None:
    for more in ({}, {"messages": []}, {"messages": [{"role": "user", "content": "x"}]}):
        call = chat.read("req_1", json.dumps({"model": "a", **VARIABLES, **more, "n": 2}).encode()).call
        assert json.loads(bytes(call.fields["prompt_variables"])) == VARIABLES["prompt_variables"]
        assert call.choices == 2


WRONG: list[tuple[dict[str, object], Fault, str]] = [
    ({}, MISSING_PARAMETER, "messages"),
    ({"user": '"prompt_variables"'}, MISSING_PARAMETER, "messages"),
    ({"metadata": {"prompt_variables": "x"}}, MISSING_PARAMETER, "messages"),
    ({"prompt_variables": [1]}, INVALID_TYPE, "prompt_variables"),
    ({**VARIABLES, "messages": 1}, INVALID_TYPE, "messages"),
    ({**VARIABLES, "messages": [{"role": 1}]}, INVALID_TYPE, "messages[0].role"),
]


@pytest.mark.parametrize(("more", "fault", "param"), WRONG, ids=range(len(WRONG)))
def test_without_either_messages_are_missed(more: dict[str, object], fault: Fault, param: str) -> None:
    with pytest.raises(PenstockError) as caught:
        chat.read("req_1", json.dumps({"model": "a", **more}).encode())
    assert (caught.value.fault, caught.value.param) == (fault, param)


def test_responses_bring_them_too() -> None:
    call = responses.read("req_1", json.dumps({"model": "a", "input": "Hi", **VARIABLES}).encode()).call
    assert json.loads(bytes(call.fields["prompt_variables"])) == VARIABLES["prompt_variables"]
