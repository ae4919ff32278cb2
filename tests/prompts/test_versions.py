"""What makes a prompt immutable, what changed between two, and what is wrong with one."""

from __future__ import annotations

import msgspec
import pytest

from penstock.config import prompt
from penstock.core.errors import INVALID_VALUE, PenstockError
from penstock.core.releases import digest
from penstock.prompts import versions
from penstock.prompts.checks import accepted, problems
from penstock.prompts.config import Case, Example, Expectation, Prompt, Turn, Variable
from penstock.prompts.expectations import unmet
from penstock.prompts.shown import shown

GREETING = Prompt(
    description="Greets",
    system="Greet {{ name }}.\nBe kind.",
    variables={"name": Variable()},
    defaults={"temperature": 0.2, "stop": ["\n"]},
)


def test_who_says_the_same_is_one_version() -> None:
    one = versions.version("greeting", GREETING)
    read = versions.read(b'{"defaults": {"stop": ["\\n"], "temperature": 0.2}, "variables": {"name": {}}, '
                         b'"system": "Greet {{ name }}.\\nBe kind.", "description": "Greets", "examples": []}')  # fmt: skip
    assert versions.version("greeting", read, author="ada") == msgspec.structs.replace(one, author="ada")
    assert one.digest == digest(one.source)
    assert one.id == f"greeting@{one.digest}"
    assert versions.read(one.source) == GREETING
    assert b"examples" not in one.source


def test_a_version_reads_as_its_file_does() -> None:
    text = shown(GREETING)
    assert "system: |-\n  Greet {{ name }}.\n  Be kind.\n" in text
    assert prompt(text.encode(), "greeting.yaml") == GREETING


GOOD = Prompt(
    system="{{ a }}",
    user="{{ b }}",
    examples=[Example(user="x", assistant="y")],
    variables={"a": Variable(), "b": Variable(type="list", choices=["x"], default=["x"])},
    tests=[Case(name="t", variables={"a": "1"}, rendered=Expectation(regex="^1"))],
)
BAD: list[tuple[Prompt, tuple[str | int, ...], str]] = [
    (Prompt(description="x"), (), "says nothing"),
    (Prompt(system="{{ nmae }}{{ name }}", variables={"name": Variable()}), ("system",), 'did you mean "name"?'),
    (Prompt(system="{{ zzz }}"), ("system",), "declared: none"),
    (Prompt(system="x", variables={"name": Variable()}), ("variables", "name"), "is used nowhere"),
    (Prompt(system="a\n{% set x %}"), ("system",), "line 2 of it: "),
    (Prompt(system="{{ a }}", variables={"a": Variable(type="integer", max_length=3)}), ("variables", "a", "max_length"), "remove it"),
    (Prompt(system="{{ a }}", variables={"a": Variable(type="boolean", choices=["x"])}), ("variables", "a", "choices"), "remove them"),
    (Prompt(system="{{ a }}", variables={"a": Variable(choices=[1])}), ("variables", "a", "choices"), "quote them"),
    (Prompt(system="{{ a }}", variables={"a": Variable(default=1)}), ("variables", "a", "default"), "must be a string; quote it"),
    (Prompt(system="{{ a }}", variables={"a": Variable(choices=["x"], default="y")}), ("variables", "a", "default"), "one of x"),
    (Prompt(system="x", defaults={"messages": []}), ("defaults", "messages"), "can have no default"),
    (Prompt(system="x", defaults={"tools": []}), ("defaults", "tools"), "can have no default"),
    (Prompt(system="x", defaults={"max_tokens": 0}), ("defaults", "max_tokens"), "whole number, 1 to"),
    (Prompt(system="x", defaults={"max_tokens": 1, "max_completion_tokens": 1}), ("defaults", "max_completion_tokens"), "is the same as"),
    (Prompt(system="x", defaults={"temperature": "hot"}), ("defaults", "temperature"), "must be a number"),
    (Prompt(system="x", defaults={"Temperature": 1}), ("defaults", "Temperature"), "lower case"),
    (Prompt(system="x", tests=[Case(name="t")]), ("tests", 0), "has no `messages`"),
    (Prompt(user="x", tests=[Case(name="t"), Case(name="t")]), ("tests", 1, "name"), "another test"),
    (Prompt(user="x", tests=[Case(name="t", variables={"a": 1})]), ("tests", 0, "variables", "a"), "no variable"),
    (Prompt(user="{{ a }}", variables={"a": Variable()}, tests=[Case(name="t")]), ("tests", 0, "variables"), "is missing"),
    (Prompt(user="x", tests=[Case(name="t", reply=Expectation(regex="("))]), ("tests", 0, "reply", "regex"), "regular expression"),
]  # fmt: skip


def test_a_good_prompt_has_no_problems() -> None:
    assert list(problems(GOOD)) == []
    assert accepted(versions.source(GOOD)) == GOOD


@pytest.mark.parametrize(("bad", "place", "said"), BAD, ids=range(len(BAD)))
def test_every_mistake_has_its_place_and_its_mend(bad: Prompt, place: tuple[str | int, ...], said: str) -> None:
    ((found, message),) = problems(bad)
    assert found == place
    assert said in message
    with pytest.raises(PenstockError) as caught:
        accepted(versions.source(bad))
    assert caught.value.fault is INVALID_VALUE
    assert (caught.value.param or "").startswith("source")


def test_what_is_no_prompt_at_all_is_refused() -> None:
    for text in (b"[]", b'{"sytem": "x"}', b'{"system": 1}', b"\xff", b""):
        with pytest.raises(PenstockError):
            accepted(text)


def test_what_is_expected_of_a_text() -> None:
    expected = Expectation(contains=["a"], not_contains=["z"], regex="^a", json=True, max_chars=3)
    assert list(unmet(expected, "bzzz")) == [
        "does not contain 'a'",
        "contains 'z'",
        "nothing in it matches '^a'",
        "is not JSON: JSON is malformed: invalid character (byte 0)",
        "has 4 characters, more than 3",
    ]
    assert list(unmet(Expectation(contains=['"a"'], json=True), ' {"a": 1}\n')) == []
    assert Turn(role="user", content="x").role == "user"
