"""What clients may put into a prompt, and what they are told otherwise."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from penstock.core.errors import INVALID_TYPE, INVALID_VALUE, MISSING_PARAMETER, Fault, PenstockError
from penstock.prompts import values
from penstock.prompts.config import Prompt, Variable

PROMPT = Prompt(
    system="...",
    variables={
        "name": Variable(max_length=5, description="whom to greet"),
        "mood": Variable(choices=["kind", "curt"], default="kind"),
        "age": Variable(type="integer", required=False),
        "share": Variable(type="number", required=False),
        "loud": Variable(type="boolean", default=False),
        "tags": Variable(type="list", required=False, max_length=3, choices=["a", "b", "long"]),
    },
)


def test_defaults_stand_in_and_null_says_nothing() -> None:
    assert values.given(PROMPT, {"name": "Ada", "mood": None, "age": 3, "share": 1, "tags": ["a"]}) == {
        "name": "Ada",
        "mood": "kind",
        "age": 3,
        "share": 1,
        "loud": False,
        "tags": ["a"],
    }


WRONG: list[tuple[dict[str, object], Fault, str, str]] = [
    ({}, MISSING_PARAMETER, "name", "'prompt_variables.name' is missing: whom to greet. Add it to the request."),
    ({"name": 1}, INVALID_TYPE, "name", "must be a string."),
    ({"name": "Adaline"}, INVALID_VALUE, "name", "must have at most 5 characters."),
    ({"name": "A", "mood": "mad"}, INVALID_VALUE, "mood", "must be one of kind, curt."),
    ({"name": "A", "age": True}, INVALID_TYPE, "age", "must be a whole number."),
    ({"name": "A", "age": 1.5}, INVALID_TYPE, "age", "must be a whole number."),
    ({"name": "A", "age": 10**30}, INVALID_VALUE, "age", "is too large a number."),
    ({"name": "A", "share": "1"}, INVALID_TYPE, "share", "must be a number."),
    ({"name": "A", "loud": 1}, INVALID_TYPE, "loud", "must be true or false."),
    ({"name": "A", "tags": "a"}, INVALID_TYPE, "tags", "must be a list of strings."),
    ({"name": "A", "tags": ["a", 1]}, INVALID_TYPE, "tags", "must be a list of strings."),
    ({"name": "A", "tags": ["long"]}, INVALID_VALUE, "tags", "must have items of at most 3 characters."),
    ({"name": "A", "tags": ["c"]}, INVALID_VALUE, "tags", "must be one of a, b, long."),
    ({"name": "A", "tags": ["a"] * 1001}, INVALID_VALUE, "tags", "must have at most 1000 items."),
    ({"name": "A", "nmae": 1}, INVALID_VALUE, "nmae", "is no variable of this prompt. Its variables are: name, "),
]


@pytest.mark.parametrize(("said", "fault", "param", "message"), WRONG, ids=range(len(WRONG)))
def test_what_is_wrong_is_told_by_its_name(said: dict[str, object], fault: Fault, param: str, message: str) -> None:
    with pytest.raises(PenstockError) as caught:
        values.given(PROMPT, said)
    assert caught.value.fault is fault
    assert caught.value.param == f"prompt_variables.{param}"
    assert message in caught.value.message


def test_all_variables_together_are_bounded() -> None:
    prompt = Prompt(system="...", variables={name: Variable() for name in "ab"})
    with pytest.raises(PenstockError) as caught:
        values.given(prompt, {"a": "x" * 600_000, "b": "x" * 600_000})
    assert caught.value.param == "prompt_variables"


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=5,
)


@given(st.dictionaries(st.sampled_from([*PROMPT.variables, "other"]), JSON))
def test_whatever_json_comes_is_taken_as_declared_or_refused(said: dict[str, object]) -> None:
    refused: PenstockError | None = None
    try:
        found = values.given(PROMPT, said)
    except PenstockError as error:
        refused = error
    if refused is not None:
        assert refused.fault in (INVALID_TYPE, INVALID_VALUE, MISSING_PARAMETER)
        assert (refused.param or "").startswith("prompt_variables")
        return
    assert found.keys() == PROMPT.variables.keys()
    assert all(name not in said or said[name] is None or found[name] == said[name] for name in found)
