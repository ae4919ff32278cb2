"""Releases: frozen from parts, shown with who gets them, compared, and what became of them."""

from __future__ import annotations

import msgspec
import pytest

from penstock.control.accounts import release_history, releases
from penstock.control.accounts.operation import Sources
from penstock.control.accounts.release_history import EventView
from penstock.control.accounts.release_shown import ReleaseView
from penstock.control.accounts.turn import Outcome, Turn
from penstock.core.accounts import Directory, Record
from penstock.core.administration import Ask
from penstock.core.errors import CONFLICT, INVALID_VALUE, NOT_FOUND, PenstockError
from penstock.core.releases import Alias, Decision, Plan, Release, Rollout, Served, Warm
from tests.control.accounts.office import NOW, ROOT
from tests.control.accounts.shelf import directory, model, prompt, release, served, split, turn

SMALL, LARGE, KIND, CURT = model(), model("large"), prompt(), prompt(system="Be curt.")
FIRST = release(SMALL)
FILE = served(SMALL, LARGE, KIND, FIRST)


def create(there: Directory, file: Served = FILE, service: str = "chat", **parts: object) -> Outcome:
    asked = msgspec.convert({"service": service, **parts}, releases.CreateRelease)
    return releases.create(there, turn(served=file), asked)


def made(outcome: Outcome) -> Release:
    found = outcome.put[-1]
    assert isinstance(found, Release)
    return found


def kinds(put: tuple[Record, ...]) -> list[str]:
    return [type(each).__name__ for each in put]


# -- made --------------------------------------------------------------------------------------------------------


def test_what_is_left_out_is_as_it_is_served_now() -> None:
    first = create(Directory(), prompt="greeting", message="with words")
    assert kinds(first.put) == ["ModelVersion", "PromptVersion", "Release"]
    one = made(first)
    assert (one.model, one.prompt, one.defaults) == (SMALL.id, KIND.id, b"{}")
    assert (one.author, one.message, one.created_at) == ("root", "with words", NOW)
    there = directory(*first.put, split((one, 60), (FIRST, 40)), FIRST)
    second = made(create(there, defaults={"top_p": 1, "temperature": 0.5}))
    assert (second.model, second.prompt) == (SMALL.id, KIND.id)
    assert second.defaults == b'{"temperature":0.5,"top_p":1}'
    bare = made(create(there, model="large", prompt=None, defaults={"seed": 7}))
    assert (bare.model, bare.prompt) == (LARGE.id, "")


def test_the_same_parts_are_one_release() -> None:
    first = create(Directory(), defaults={"temperature": 1, "seed": 2}, message="a")
    there = directory(*first.put)
    again = create(there, defaults={"seed": 2, "temperature": 1}, message="b")
    assert again.put == ()
    assert again.answer == first.answer
    alone = made(create(Directory()))
    assert alone.id == FIRST.id


def test_parts_are_named_by_alias_and_digest() -> None:
    aliases = [
        Alias(kind="model", name="large", alias="best", digest=LARGE.digest),
        Alias(kind="prompt", name="greeting", alias="production", digest=CURT.digest),
    ]
    there = directory(CURT, *aliases)
    found = made(create(there, model="large@best", prompt="greeting@production"))
    assert (found.model, found.prompt) == (LARGE.id, CURT.id)
    assert made(create(there, model=LARGE.id, prompt=CURT.id)).id == found.id
    assert made(create(directory(KIND, *aliases), prompt="greeting")).prompt == KIND.id


def test_a_bare_name_of_which_two_may_be_meant_is_refused() -> None:
    """The folder was read when the gateway started; another version of the prompt has been pushed since."""
    with pytest.raises(PenstockError) as caught:
        create(directory(CURT), prompt="greeting")
    assert (caught.value.fault, caught.value.param) == (CONFLICT, "prompt")
    assert KIND.id in caught.value.message
    assert CURT.id in caught.value.message


def test_a_model_that_the_file_dropped_is_served_from_the_store() -> None:
    gone = msgspec.structs.replace(model("gone", slots=1), created_at=NOW - 9)
    assert made(create(directory(gone), model="gone")).model == gone.id


@pytest.mark.parametrize(
    ("parts", "fault", "param", "about"),
    [
        ({"service": "chatt"}, NOT_FOUND, "service", "Did you mean 'chat'"),
        ({"model": "smal"}, NOT_FOUND, "model", "Did you mean 'small'"),
        ({"model": "small@0123456789abcdef"}, NOT_FOUND, "model", SMALL.id),
        ({"prompt": "greting"}, NOT_FOUND, "prompt", "Did you mean 'greeting'"),
        ({"defaults": {"stream": True}}, INVALID_VALUE, "defaults.stream", "the client decides"),
        ({"defaults": {"model": "x"}}, INVALID_VALUE, "defaults.model", "can have no default"),
        ({"defaults": {"messages": []}}, INVALID_VALUE, "defaults.messages", "write a prompt"),
        ({"defaults": {"temperature": "hot"}}, INVALID_VALUE, "defaults.temperature", "must be a number"),
    ],
)
def test_what_cannot_be_is_refused(parts: dict[str, object], fault: object, param: str, about: str) -> None:
    with pytest.raises(PenstockError) as caught:
        create(Directory(), **parts)  # type: ignore[arg-type]
    assert (caught.value.fault, caught.value.param) == (fault, param)
    assert about in caught.value.message


def test_a_model_that_the_file_has_otherwise_is_refused() -> None:
    other = model(slots=9)
    with pytest.raises(PenstockError, match=f"the deployment file has '{SMALL.id}' under the name 'small'") as caught:
        create(directory(other), model=other.id)
    assert (caught.value.fault, caught.value.param) == (CONFLICT, "model")


def test_a_model_whose_secret_was_in_the_file_is_served_from_the_file_only() -> None:
    masked = model("hosted", api_key="********")
    with pytest.raises(PenstockError, match="Bring 'hosted' back") as caught:
        create(directory(masked), model="hosted")
    assert caught.value.fault is CONFLICT
    assert made(create(Directory(), served(SMALL, FIRST, masked), model="hosted")).model == masked.id


# -- shown -------------------------------------------------------------------------------------------------------

SECOND = release(SMALL, KIND, at=NOW - 50)
THIRD = release(LARGE, at=NOW - 20)
OTHER = release(SMALL, service="other", at=NOW - 10)


def views(there: Directory, here: Turn) -> list[ReleaseView]:
    found = [row for row in releases.listed(there, here, None).data if isinstance(row, ReleaseView)]
    assert found
    return found


def test_the_newest_is_first_and_each_says_who_gets_it() -> None:
    moving = msgspec.structs.replace(
        split((SECOND, 90), (THIRD, 10), rollout="roll_1"),
        warm=(Warm(FIRST.id, NOW + 5), Warm(SECOND.id, NOW - 5)),
    )
    plan = Plan(preset="canary", candidate=THIRD.id, champion=SECOND.id, steps=())
    rollout = Rollout(id="roll_1", service="chat", plan=plan, state="running")
    there = directory(SMALL, LARGE, KIND, SECOND, THIRD, OTHER, moving, rollout)
    standing = {"b": frozenset({THIRD.id}), "a": frozenset({THIRD.id, SECOND.id})}
    here = turn(served=FILE, standing=standing, query={"service": "chat"})
    rows = views(there, here)
    assert [(row.id, row.share, row.warm, row.rollout, row.ready, row.in_file) for row in rows] == [
        (THIRD.id, 10.0, False, "roll_1", ("a", "b"), False),
        (SECOND.id, 90.0, False, "", ("a",), False),
        (FIRST.id, 0.0, True, "", (), True),
    ]
    assert rows[2].created_at is None
    assert views(there, turn(served=FILE))[0].id == OTHER.id
    assert releases.one(there, turn(THIRD.id), None).share == 10.0
    with pytest.raises(PenstockError, match="GET /admin/v1/releases lists"):
        releases.one(there, turn("rel_none"), None)


def test_before_any_split_the_file_says_who_gets_what() -> None:
    assert [(row.id, row.share) for row in views(directory(SECOND), turn(served=FILE))] == [
        (SECOND.id, 0.0),
        (FIRST.id, 100.0),
    ]


def test_pages_keep_the_order() -> None:
    there = directory(SECOND, THIRD, OTHER)
    first = releases.listed(there, turn(served=FILE, query={"limit": "2"}), None)
    assert first.next is not None
    second = releases.listed(there, turn(served=FILE, query={"limit": "2", "after": first.next}), None)
    ids = [getattr(row, "id", "") for row in (*first.data, *second.data)]
    assert ids == [OTHER.id, THIRD.id, SECOND.id, FIRST.id]
    assert second.next is None


# -- compared ----------------------------------------------------------------------------------------------------


def test_releases_differ_by_part() -> None:
    before = release(SMALL, KIND, b'{"temperature":0.5}', at=NOW)
    after = release(LARGE, CURT, b'{"temperature":0.7}', at=NOW)
    there = directory(SMALL, LARGE, KIND, CURT, before, after)
    told = releases.diff(there, turn(after.id, query={"from": before.id}), None)
    assert [(part.what, part.before, part.after) for part in told.parts] == [
        ("model", SMALL.id, LARGE.id),
        ("prompt", KIND.id, CURT.id),
        ("defaults", "", ""),
    ]
    assert told.parts[0].text == ""
    assert told.parts[1].text.splitlines()[-2:] == ["-system: Be kind.", "+system: Be curt."]
    assert told.parts[2].text.splitlines()[-2:] == ["-temperature: 0.5", "+temperature: 0.7"]
    now = releases.diff(directory(KIND, SMALL, SECOND), turn(SECOND.id, served=FILE), None)
    assert (now.before, [part.what for part in now.parts]) == (FIRST.id, ["prompt"])
    assert now.parts[0].text.splitlines()[-1] == "+system: Be kind."
    assert releases.diff(there, turn(before.id, query={"from": before.id}), None).parts == ()


# -- history -----------------------------------------------------------------------------------------------------


class Kept:
    """Decisions of rollouts."""

    def decisions(self, rollout: str) -> list[Decision]:
        return [Decision(rollout=rollout, number=1, at=NOW, actor="anna", what="abort", reason="")]


def history(there: Directory, service: str = "chat", scores: Kept | None = None) -> list[EventView]:
    sources = Sources(lambda: there, None, None, scores)  # type: ignore[arg-type]
    ask = Ask(actor=ROOT, operation="releases.history")
    found = release_history.listed(sources, turn(service, served=FILE), None, ask)
    return [row for row in found.data if isinstance(row, EventView)]


def rolled(preset: str, state: str, began: float, ended: float | None) -> Rollout:
    plan = Plan(preset=preset, candidate=THIRD.id, champion=SECOND.id, steps=())  # type: ignore[arg-type]
    return Rollout(
        id=f"roll_{state}", service="chat", plan=plan, state=state,  # type: ignore[arg-type]
        started_at=began, ended_at=ended, author="ben", reason="so it went",
    )  # fmt: skip


def test_what_became_of_a_service_newest_first() -> None:
    there = directory(
        SECOND,
        THIRD,
        OTHER,
        rolled("canary", "aborted", NOW - 15, NOW - 12),
        rolled("canary", "promoted", NOW - 10, NOW - 5),
        rolled("rollback", "rolled_back", NOW - 3, NOW - 3),
        rolled("canary", "running", NOW - 1, None),
    )
    assert [(row.what, row.held_by, row.by) for row in history(there)] == [
        ("started", None, "ben"),
        ("rolled_back", THIRD.id, ""),
        ("promoted", THIRD.id, ""),
        ("started", None, "ben"),
        ("aborted", SECOND.id, ""),
        ("started", None, "ben"),
        ("made", None, ""),
        ("made", None, ""),
    ]
    ended = [row for row in history(there, scores=Kept()) if row.held_by]
    assert {(row.by, row.message) for row in ended} == {("anna", "so it went")}


def test_a_service_without_history_has_none_and_one_that_is_none_is_refused() -> None:
    assert history(Directory()) == []
    with pytest.raises(PenstockError, match="Did you mean 'chat'") as caught:
        history(directory(THIRD), "cat")
    assert caught.value.fault is NOT_FOUND
