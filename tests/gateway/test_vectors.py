"""Texts that were embedded before are not embedded again: which are known, what is asked for, what the client gets."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import hypothesis.strategies as st
import msgspec
import pytest
from hypothesis import given, settings

from penstock.caches.answers import Answers
from penstock.caches.chain import Chain
from penstock.caches.control import CacheControl
from penstock.caches.embeddings import Embeddings
from penstock.caches.tier_memory import MemoryTier
from penstock.core.caching import CachePolicy, Entry, Exact, Invalidation, subject_digest
from penstock.core.chat import Call, Kind, Usage
from penstock.core.errors import UPSTREAM_GARBLED, PenstockError
from penstock.core.policy import Policy
from penstock.core.serving import Deployment, Model, Service
from penstock.gateway.vectors import MOST_TEXTS, Vectors
from penstock.gateway.vectors_split import Split
from tests.caches.doubles import SetClock, Sums, entry_of
from tests.gateway.embedding import Embedder, asks, numbers, packed

POLICY = Policy(cache=CachePolicy(exact=Exact(ttl_s=60)))
EMBED = Service("embed", ("main",), policy=POLICY)
PLAIN = CacheControl()


class Desk:
    """Vectors over memory, and a model that answers what is asked for."""

    def __init__(self) -> None:
        self.clock = SetClock()
        chain = Chain(MemoryTier(1 << 20, self.clock), clock=self.clock, meter=Sums())
        self.answers = Answers(chain, clock=self.clock)
        self.embeddings = Embeddings(chain, clock=self.clock, ttl_s=1000)
        self.vectors = Vectors(self.embeddings, self.answers, self.clock)
        self.model = Embedder()
        self.deployment = Deployment(1, {"main": Model("main", "fake", "d1", b"")}, {}, {})

    async def split(
        self,
        call: Call,
        service: Service = EMBED,
        *,
        project: str = "red",
        caller: str = "",
        said: CacheControl = PLAIN,
        key: str = "",
    ) -> Split | None:
        return await self.vectors.split(
            call, service, self.deployment, project=project, caller=caller, release="rel_1", key=key, said=said
        )

    async def known(self, call: Call, **more: Any) -> bool:
        """Whether nothing is left to be asked for."""
        split = await self.split(call, **more)
        assert split is not None
        return split.call is None

    async def ask(self, call: Call, **more: Any) -> tuple[list[str], Mapping[str, Any]]:
        """What the model was asked for, and the whole answer."""
        split = await self.split(call, **more)
        assert split is not None
        if split.call is None:
            return [], msgspec.json.decode(split.entry(entry_of(kind=Kind.EMBEDDING, model="main")).chunks[0])
        said = msgspec.json.decode(split.call.fields["input"])
        texts = [said] if isinstance(said, str) else said
        return texts, msgspec.json.decode(split.merged(self.model.answer(texts)))


def embedded(answer: Mapping[str, Any]) -> Sequence[object]:
    assert [item["index"] for item in answer["data"]] == list(range(len(answer["data"])))
    return [item["embedding"] for item in answer["data"]]


async def test_only_what_is_not_known_is_asked_for() -> None:
    desk = Desk()
    texts = [f"text {n}" * (n + 1) for n in range(10)]
    await desk.ask(asks(texts[3:]))
    asked, answer = await desk.ask(asks(texts))
    assert asked == texts[:3]
    assert embedded(answer) == [numbers(text) for text in texts]
    assert answer["usage"]["prompt_tokens"] == sum(map(len, texts[:3])), "as the model counted now"
    assert answer["model"] == "theirs", "the rest of the answer is the model's"


async def test_when_all_is_known_nobody_is_asked() -> None:
    desk = Desk()
    await desk.ask(asks("one"))
    await desk.ask(asks("three"))
    desk.clock.pass_by(12)
    await desk.ask(asks("later"))
    split = await desk.split(asks(["three", "one", "later", "one"]))
    assert split is not None
    assert split.call is None
    assert split.age_s == 12
    entry = split.entry(entry_of(kind=Kind.EMBEDDING, model="main"))
    answer = msgspec.json.decode(entry.chunks[0])
    assert embedded(answer) == [numbers(text) for text in ("three", "one", "later", "one")]
    assert entry.usage == Usage(prompt=16)
    assert answer["usage"] == {"prompt_tokens": 16, "total_tokens": 16}


async def test_how_many_tokens_each_of_several_texts_has_nobody_knows() -> None:
    desk = Desk()
    await desk.ask(asks(["a", "b"]))
    split = await desk.split(asks("a"))
    assert split is not None
    entry: Entry = split.entry(entry_of(kind=Kind.EMBEDDING))
    assert entry.usage is None


async def test_a_text_that_comes_twice_is_asked_for_once() -> None:
    asked, answer = await Desk().ask(asks(["x", "yy", "x"]))
    assert asked == ["x", "yy"]
    assert embedded(answer) == [numbers("x"), numbers("yy"), numbers("x")]


async def test_a_request_of_which_nothing_is_known_goes_as_it_came() -> None:
    desk = Desk()
    call = asks(["x", "yy"], extra={"a": 1})
    split = await desk.split(call)
    assert split is not None
    assert split.call is call
    said = desk.model.answer(["x", "yy"])
    assert split.merged(said) is said


@pytest.mark.parametrize("packs", [False, True])
@pytest.mark.parametrize("wants", ["float", "base64", None])
async def test_vectors_come_in_the_form_that_is_wanted_whatever_the_model_gives(
    wants: str | None, packs: bool
) -> None:
    desk = Desk()
    desk.model.packs = packs
    said = {} if wants is None else {"encoding_format": wants}
    await desk.ask(asks(["x"]))
    _, answer = await desk.ask(asks(["x"], **said))
    assert embedded(answer) == ([packed("x")] if wants == "base64" else [numbers("x")])
    _, mixed = await desk.ask(asks(["x", "new"], **said))
    assert embedded(mixed)[0] == (packed("x") if wants == "base64" else numbers("x"))
    # What the model has made goes on as it is: the dialect sees to its form, as ever.
    assert embedded(mixed)[1] == (packed("new") if packs else numbers("new"))


async def test_what_the_model_gives_in_another_order_is_put_in_order() -> None:
    desk = Desk()
    await desk.ask(asks("known"))
    desk.model.backwards = True
    _, answer = await desk.ask(asks(["a", "known", "bb", "ccc"]))
    assert embedded(answer) == [numbers(text) for text in ("a", "known", "bb", "ccc")]


@pytest.mark.parametrize("other", [{"dimensions": 256}, {"input_type": "query"}])
async def test_what_else_is_said_makes_other_vectors(other: dict[str, Any]) -> None:
    desk = Desk()
    await desk.ask(asks("x"))
    assert not await desk.known(asks("x", **other))
    assert await desk.known(asks("x", user="anybody", encoding_format="base64"))


async def test_projects_callers_and_models_do_not_share_them() -> None:
    desk = Desk()
    await desk.ask(asks("x"))
    assert not await desk.known(asks("x"), project="blue")
    assert not await desk.known(asks("x"), caller="k1")
    desk.deployment = Deployment(2, {"main": Model("main", "fake", "d2", b"")}, {}, {})
    assert not await desk.known(asks("x"))


async def test_releases_of_one_model_share_them() -> None:
    desk = Desk()
    await desk.ask(asks("x"))
    assert await desk.known(asks("x"), service=msgspec.structs.replace(EMBED, release="rel_2"))


@pytest.mark.parametrize("input", [[1, 2, 3], [[1, 2], [3]], [], ["x"] * (MOST_TEXTS + 1), {"a": 1}, None, [1, "x"]])
async def test_what_is_no_text_or_too_many_goes_past(input: object) -> None:
    assert await Desk().split(asks(input)) is None


@pytest.mark.parametrize(
    "service",
    [
        msgspec.structs.replace(EMBED, models=("main", "spare")),
        msgspec.structs.replace(EMBED, policy=Policy()),
        msgspec.structs.replace(EMBED, policy=Policy(cache=CachePolicy())),
        msgspec.structs.replace(EMBED, models=("gone",)),
    ],
)
async def test_services_of_several_models_or_without_a_policy_go_past(service: Service) -> None:
    assert await Desk().split(asks("x"), service) is None


async def test_they_last_as_long_as_the_policy_says_now() -> None:
    desk = Desk()
    await desk.ask(asks("x"))
    desk.clock.pass_by(30)
    shorter = msgspec.structs.replace(EMBED, policy=Policy(cache=CachePolicy(exact=Exact(ttl_s=20))))
    assert not await desk.known(asks("x"), service=shorter)
    assert await desk.known(asks("x"))
    desk.clock.pass_by(30)
    assert not await desk.known(asks("x"))


@pytest.mark.parametrize("said", [CacheControl(read=False), CacheControl(max_age_s=5), CacheControl(min_fresh_s=1)])
async def test_a_client_may_want_them_made_anew_and_they_are_kept(said: CacheControl) -> None:
    desk = Desk()
    await desk.ask(asks("x"))
    desk.clock.pass_by(6)
    asked, _ = await desk.ask(asks("x"), said=said)
    assert asked == ["x"]
    desk.clock.pass_by(56)
    assert await desk.known(asks("x")), "those of the second time"


@pytest.mark.parametrize(
    "record",
    [
        {"scope": "all"},
        {"scope": "service", "value": "embed"},
        {"scope": "service", "value": "embed", "project": "red"},
        {"scope": "project", "value": "red"},
        {"scope": "release", "value": "rel_1"},
    ],
)
async def test_what_is_invalidated_is_made_anew(record: dict[str, str]) -> None:
    desk = Desk()
    await desk.ask(asks("x"))
    desk.answers.invalidate((Invalidation(**record, at=desk.clock.wall()),))  # type: ignore[arg-type]
    assert not await desk.known(asks("x"))
    desk.clock.pass_by(1)
    await desk.ask(asks("x"))
    assert await desk.known(asks("x"))


async def test_by_a_tag_of_the_service_and_by_the_key_of_the_request_too() -> None:
    desk, key = Desk(), "ab" * 20
    tagged = Service("embed", ("main",), policy=Policy(cache=CachePolicy(exact=Exact(ttl_s=60), tags=["cold"])))
    await desk.ask(asks("x"))
    for record in (
        Invalidation(scope="tag", value="cold", at=desk.clock.wall()),
        Invalidation(scope="key", value=key, project="red", at=desk.clock.wall()),
    ):
        desk.answers.invalidate((record,))
        assert not await desk.known(asks("x"), service=tagged, key=key)
        assert await desk.known(asks("x"), key="cd" * 20)


async def test_those_of_a_person_who_is_to_be_forgotten_are_swept() -> None:
    desk = Desk()
    await desk.ask(asks("mine", user="ann"))
    await desk.ask(asks("others", user="bob"))
    gone = Invalidation(scope="subject", value=subject_digest("ann"), project="red", at=desk.clock.wall())
    desk.answers.invalidate((gone,))
    assert not await desk.known(asks("mine")), "before they are"
    assert await desk.answers.sweep_memory() == 1
    assert not await desk.known(asks("mine"))
    assert await desk.known(asks("others"))


NO_VECTORS = ["no base64!", [], "AAA=", [[1.0]], {"a": 1}, [1e39], ["x"]]


@pytest.mark.parametrize("instead", NO_VECTORS)
async def test_what_is_no_vector_is_passed_on_and_not_kept(instead: object) -> None:
    desk = Desk()
    await desk.ask(asks("known"))
    desk.model.instead = instead
    _, answer = await desk.ask(asks(["x", "known"]))
    assert embedded(answer) == [instead, numbers("known")]
    assert not await desk.known(asks("x"))


async def test_an_answer_with_too_few_is_the_clients_where_all_of_it_is_the_models_and_no_answer_else() -> None:
    desk = Desk()
    desk.model.short_of = 1
    split = await desk.split(asks(["x", "yy"]))
    assert split is not None
    said = desk.model.answer(["x", "yy"])
    assert split.merged(said) is said
    assert not await desk.known(asks("x"))
    desk.model.short_of = 0
    await desk.ask(asks("known"))
    desk.model.short_of = 1
    with pytest.raises(PenstockError, match="gave 1 embeddings for 2 texts") as caught:
        await desk.ask(asks(["x", "known", "yy"]))
    assert caught.value.fault is UPSTREAM_GARBLED


@pytest.mark.parametrize(
    "said", [b"{}", b"[]", b"no JSON", b'{"data":{}}', b'{"data":[{}]}', b'{"data":[{"embedding":"\xff"}']
)
async def test_what_is_no_list_of_embeddings_at_all(said: bytes) -> None:
    desk = Desk()
    split = await desk.split(asks("x"))
    assert split is not None
    assert split.merged(said) is said
    await desk.ask(asks("known"))
    split = await desk.split(asks(["x", "known"]))
    assert split is not None
    with pytest.raises(PenstockError, match="is not a list of embeddings") as caught:
        split.merged(said)
    assert caught.value.fault is UPSTREAM_GARBLED


async def test_large_answers_are_read_beside_the_loop() -> None:
    desk = Desk()
    texts = [f"text {n} " for n in range(200)]
    desk.model.width = 100
    await desk.ask(asks(texts))
    await desk.vectors.idle()
    asked, answer = await desk.ask(asks(texts))
    assert asked == []
    assert embedded(answer) == [numbers(text) * 100 for text in texts]
    await desk.vectors.aclose()
    desk.answers.invalidate((Invalidation(scope="all", at=desk.clock.wall()),))
    desk.clock.pass_by(1)
    await desk.ask(asks(texts))
    assert not await desk.known(asks(texts)), "after the end nothing is kept"


@settings(max_examples=40, deadline=None)
@given(st.lists(st.lists(st.sampled_from("abcdefgh"), min_size=1, max_size=12), min_size=1, max_size=12))
async def test_whatever_was_asked_before_each_gets_its_own_and_none_is_made_twice(requests: list[list[str]]) -> None:
    desk = Desk()
    asked: list[str] = []
    for texts in requests:
        more, answer = await desk.ask(asks(texts))
        assert embedded(answer) == [numbers(text) for text in texts]
        asked += more
    assert sorted(asked) == sorted({text for texts in requests for text in texts})
