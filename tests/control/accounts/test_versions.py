"""Versions of models and prompts, their aliases, and how two of them differ."""

from __future__ import annotations

import string

import msgspec
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from penstock.control.accounts import aliases, models, prompts
from penstock.control.accounts.differences import compared, difference
from penstock.control.accounts.turn import Outcome
from penstock.core.accounts import Directory
from penstock.core.errors import INVALID_VALUE, NOT_FOUND, PenstockError
from penstock.core.releases import Alias, ModelVersion, PromptVersion
from penstock.prompts.config import Example, Prompt
from tests.control.accounts.office import NOW, ROOT
from tests.control.accounts.shelf import directory, model, prompt, served, turn

OLD = msgspec.structs.replace(model(slots=4), created_at=NOW - 60, message="the first")
NEW = model(slots=8)
LARGE = model("org/large:8b", slots=1)
FILE = served(NEW, LARGE)


def register(there: Directory, name: str = "small", **more: object) -> Outcome:
    return models.register(there, turn(served=FILE), msgspec.convert({"name": name, **more}, models.RegisterModel))


# -- models ------------------------------------------------------------------------------------------------------


def test_what_the_file_has_is_kept_with_who_and_why() -> None:
    made = register(directory(OLD), message="more slots", parents=["small@" + OLD.digest, OLD.id])
    (kept,) = made.put
    assert isinstance(kept, ModelVersion)
    assert kept == msgspec.structs.replace(
        NEW, parents=(OLD.id,), author=ROOT.key_id, message="more slots", created_at=NOW
    )
    assert made.target == NEW.id
    assert made.after == made.answer


def test_the_same_again_is_the_one_that_is_there() -> None:
    first = register(Directory(), message="one")
    again = register(directory(*first.put), message="two")
    assert again.put == ()
    assert again.answer == first.answer


def test_what_a_release_has_kept_is_told_of_later_once() -> None:
    beside = msgspec.structs.replace(NEW, created_at=NOW - 9, author="ben")
    (told,) = register(directory(beside), message="why", parents=["org/large:8b"]).put
    assert told == msgspec.structs.replace(beside, parents=(LARGE.id,), message="why", author="root")
    assert register(directory(beside)).put == ()
    assert register(directory(told), message="no").put == ()


def test_only_what_the_file_has_is_kept() -> None:
    with pytest.raises(PenstockError, match="Did you mean 'small'") as caught:
        register(Directory(), "smal")
    assert (caught.value.fault, caught.value.param) == (NOT_FOUND, "name")
    with pytest.raises(PenstockError, match="There is no model 'x@1'") as caught:
        register(Directory(), parents=["small", "x@1"])
    assert caught.value.param == "parents[1]"
    with pytest.raises(PenstockError, match="this very version") as caught:
        register(Directory(), parents=["small"])
    assert caught.value.fault is INVALID_VALUE


def test_kept_and_served_are_listed_together() -> None:
    here = turn(served=FILE, query={"name": "small"})
    found = models.listed(directory(OLD), here, None).data
    rows = {row.id: row for row in found if isinstance(row, models.ModelVersionView)}
    assert list(rows) == sorted([OLD.id, NEW.id])
    assert (rows[OLD.id].current, rows[OLD.id].created_at) == (False, NOW - 60)
    assert (rows[NEW.id].current, rows[NEW.id].created_at) == (True, None)
    assert msgspec.json.decode(rows[NEW.id].source) == {"engine": "llamacpp", "slots": 8}


def test_a_version_is_found_by_digest_name_and_alias() -> None:
    there = directory(OLD, NEW, Alias(kind="model", name="small", alias="steady", digest=OLD.digest))

    def found(said: str, file: bool = True) -> str:
        return models.one(there, turn(said, served=FILE if file else served()), None).id

    assert found("small") == NEW.id
    assert found("small", file=False) == OLD.id
    assert found("small@steady") == OLD.id
    assert found(OLD.id) == OLD.id
    assert found("org/large:8b") == found(LARGE.id) == LARGE.id
    assert models.one(there, turn(OLD.id), None).aliases == ("steady",)


@given(st.text(max_size=40) | st.text(string.ascii_lowercase + "@:/", max_size=20))
def test_anything_else_is_not_found(said: str) -> None:
    assume(said not in ("small", "greeting"))
    for one in (models.one, prompts.one):
        with pytest.raises(PenstockError) as caught:
            one(directory(OLD, prompt()), turn(said), None)
        assert caught.value.fault is NOT_FOUND


# -- differences -------------------------------------------------------------------------------------------------


def test_a_difference_of_models_is_readable() -> None:
    told = models.diff(directory(OLD), turn("small", served=FILE, query={"from": OLD.id}), None)
    assert (told.before, told.after) == (OLD.id, NEW.id)
    assert told.parts[0].text.splitlines() == ["@@ -1,2 +1,2 @@", " engine: llamacpp", "-slots: 4", "+slots: 8"]
    back = models.diff(directory(OLD), turn(OLD.id, served=FILE), None)
    assert (back.before, back.after) == (NEW.id, OLD.id)
    same = models.diff(directory(OLD), turn(OLD.id, served=FILE, query={"from": OLD.id}), None)
    assert same.parts == ()


def test_texts_of_several_lines_and_lists_differ_by_line() -> None:
    before = b'{"b": {"x": []}, "a": "one\\ntwo\\n", "list": [1, {"k": null}]}'
    after = b'{"a": "one\\n2\\n", "list": [1, {"k": " "}], "b": {"x": []}}'
    assert difference(before, after).splitlines() == [
        "@@ -1,10 +1,10 @@",
        " a: |",
        "   one",
        "-  two",
        "+  2",
        "   ",
        " b:",
        "   x: []",
        " list:",
        "   - 1",
        "   -",
        "-    k: null",
        "+    k:  ",
    ]
    assert compared("--- a\n", "+++ b\n").splitlines() == ["@@ -1 +1 @@", "---- a", "++++ b"]


json = st.recursive(
    st.none() | st.booleans() | st.integers(-9, 9) | st.text(max_size=6),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=8,
)


@given(json)
def test_the_same_value_never_differs(value: object) -> None:
    assert difference(msgspec.json.encode(value), msgspec.json.encode(value, order="sorted")) == ""


# -- prompts -----------------------------------------------------------------------------------------------------


def create(there: Directory, source: Prompt, name: str = "greeting") -> Outcome:
    asked = prompts.CreatePrompt(name=name, source=source, message="why")
    return prompts.create(there, turn(served=FILE), asked)


def test_a_prompt_knows_the_one_before() -> None:
    first = create(Directory(), Prompt(system="Be kind."))
    (kept,) = first.put
    assert isinstance(kept, PromptVersion)
    assert (kept.parent, kept.author, kept.message, kept.created_at) == ("", "root", "why", NOW)
    second = create(
        directory(kept), Prompt(system="Be kind.\nBe short.", examples=[Example(user="Hi", assistant="Hi.")])
    )
    (newer,) = second.put
    assert isinstance(newer, PromptVersion)
    assert newer.parent == kept.id
    there = directory(kept, newer)
    assert create(there, Prompt(system="Be kind.")).put == ()
    told = prompts.diff(there, turn(newer.id, query={"from": kept.id}), None)
    assert "+  Be short." in told.parts[0].text
    assert told.parts[0].what == "prompt"


def test_a_prompt_that_is_none_is_refused() -> None:
    with pytest.raises(PenstockError, match="system") as caught:
        create(Directory(), Prompt(system="{% for x in %}"))
    assert (caught.value.fault, caught.value.param) == (INVALID_VALUE, "source.system")


# -- aliases -----------------------------------------------------------------------------------------------------


def set_alias(there: Directory, version: str, alias: str = "production") -> Outcome:
    return aliases.put(there, turn(served=FILE), aliases.SetAlias(kind="model", alias=alias, version=version))


def test_an_alias_is_set_moved_and_removed() -> None:
    first = set_alias(directory(OLD), OLD.id)
    (alias,) = first.put
    assert isinstance(alias, Alias)
    assert (alias.id, alias.digest, alias.author) == ("model:small:production", OLD.digest, "root")
    there = directory(OLD, alias)
    assert set_alias(there, "small@production").put == ()
    moved = set_alias(there, "small")
    assert [type(each) for each in moved.put] == [ModelVersion, Alias]
    assert moved.before == first.answer
    listed = aliases.listed(there, turn(query={"kind": "model", "name": "small"}), None)
    assert listed.data == [first.answer]
    assert aliases.listed(there, turn(query={"kind": "prompt"}), None).data == []
    assert aliases.delete(there, turn(alias.id), None).remove == (("alias", alias.id),)


def test_an_alias_of_an_odd_name_is_found_again() -> None:
    put = set_alias(Directory(), LARGE.name, "best").put
    there = directory(*put)
    assert aliases.one(there, turn("model:org/large:8b:best"), None).version == LARGE.id
    assert models.one(there, turn("org/large:8b@best"), None).id == LARGE.id


@pytest.mark.parametrize("alias", ["", "Production", "a@b", "a:b", "-a", "0123456789abcdef", "x" * 65, "a\n"])
def test_aliases_are_plain(alias: str) -> None:
    with pytest.raises(PenstockError, match="'alias' must be") as caught:
        set_alias(directory(OLD), OLD.id, alias)
    assert (caught.value.fault, caught.value.param) == (INVALID_VALUE, "alias")


def test_an_alias_of_nothing_is_refused() -> None:
    with pytest.raises(PenstockError) as caught:
        set_alias(Directory(), "none")
    assert (caught.value.fault, caught.value.param) == (NOT_FOUND, "version")
    with pytest.raises(PenstockError, match="GET /admin/v1/aliases lists") as caught:
        aliases.delete(Directory(), turn("x"), None)
    assert caught.value.fault is NOT_FOUND
