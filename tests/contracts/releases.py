"""What every ``StateStore`` promises of what is released, and of what is decided. Part of ``StoreContract``."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec
import pytest

from penstock.core.accounts import Change, Directory, Project, Record, RecordKind
from penstock.core.errors import STORE_CONFLICT, PenstockError
from penstock.core.releases import (
    WHOLE,
    Alias,
    Decision,
    Gate,
    Measure,
    Mirror,
    ModelVersion,
    Plan,
    PromptVersion,
    Range,
    Release,
    Rollout,
    Segment,
    Split,
    Step,
    Warm,
)
from penstock.core.usage import Act
from penstock.store import StateStore

PLAN = Plan(
    preset="canary",
    candidate="rel_b",
    champion="rel_a",
    steps=(Step(share=10_000, hold_s=60.5, samples=50), Step(share=WHOLE)),
    gates=(Gate(metric="format", margin=0.1),),
    measures=(
        Measure(metric="format", scorer="format", version="1", bound=2.5, settings=b'{"form": "\xc3\xa9\x00"}'),
    ),
    on_deadline="ask",
    sticky="conversation",
    segment=Segment(headers=(("x-beta", "yes"),)),
    keep_warm_s=None,
    mirror_share=5,
    mirror_budget_nano=2**62,
)
RELEASED: tuple[Record, ...] = (
    ModelVersion(
        name="日本",
        digest="0123456789abcdef",
        engine="llamacpp",
        source=b"\x00\xff{}",
        weights="sha256:1",
        parents=("small@1", "small@0"),
        author="ada",
        message="New.\nBetter.",
        created_at=1_700_000_000.123456,
    ),
    ModelVersion(name="small", digest="1", engine="openai", source=b""),
    ModelVersion(name="small-2", digest="0", engine="openai", source=b""),
    PromptVersion(
        name="greet", digest="1", source=b"\x00", parent="greet@0", author="ada", message="Polite.", created_at=2.0
    ),
    PromptVersion(name="greet", digest="0", source=b"{}"),
    Alias(kind="prompt", name="greet", alias="production", digest="1", author="ada", changed_at=3.0),
    Alias(kind="model", name="small", alias="production", digest="1"),
    Release(
        id="rel_b",
        service="chat",
        model="small@1",
        prompt="greet@1",
        index="docs@1",
        guards="safe@1",
        defaults=b'{"temperature":0.5}',
        author="ada",
        message="Both.",
        created_at=4.0,
    ),
    Release(id="rel_a", service="chat", model="small@1"),
    Split(
        service="chat",
        ranges=(Range(10_000, "rel_b"), Range(WHOLE, "rel_a")),
        salt="s1",
        sticky="conversation",
        segment=Segment(headers=(("x-beta", "yes"), ("x-beta", "no")), keys=("k1",), projects=("red",)),
        inside=(Range(WHOLE, "rel_b"),),
        mirror=Mirror(release="rel_b", share=5, budget_nano=2**62),
        warm=(Warm("rel_a", 9.5), Warm("rel_b")),
        rollout="ro1",
        origin="rel_a",
        changed_at=5.0,
    ),
    Split(service="a", ranges=(Range(WHOLE, "rel_x"),), salt=""),
    Rollout(
        id="ro1",
        service="chat",
        plan=PLAN,
        state="paused",
        step=1,
        since=6.0,
        started_at=5.0,
        ended_at=7.0,
        paused_s=0.25,
        decisions=2,
        scored_to=2**40,
        reason="It waits.",
        author="ada",
    ),
    Rollout(
        id="ro0",
        service="a",
        plan=Plan(preset="rollback", candidate="a", champion="b", steps=()),
        state="loading",
    ),
)
GONE: tuple[tuple[RecordKind, str], ...] = (
    ("model", "small@1"),
    ("prompt", "greet@1"),
    ("alias", "prompt:greet:production"),
    ("release", "rel_b"),
    ("split", "chat"),
    ("rollout", "ro1"),
)


def decision(number: int = 1, rollout: str = "ro1", **more: object) -> Decision:
    fields: dict[str, object] = {
        "at": 7.5,
        "actor": "ada",
        "what": "hold",
        "reason": "Too early.",
        "evidence": b"\0{}",
    }
    return Decision(rollout=rollout, number=number, **(fields | more))  # type: ignore[arg-type]


class ReleasesContract:
    def put(self, store: StateStore, *records: Record, **more: object) -> int:
        raise NotImplementedError

    def acts(self) -> Sequence[Act]:
        raise NotImplementedError

    def decided(self, store: StateStore, rollout: str) -> Sequence[Decision]:
        """Those of a rollout that took place, by number."""
        raise NotImplementedError

    def test_what_is_released_comes_back_whole_in_the_order_of_ids(self, store: StateStore) -> None:
        self.put(store, *RELEASED)
        found = store.directory()
        # By their whole ids: a hyphen comes before what stands between a name and a digest.
        assert found.models == (RELEASED[2], RELEASED[1], RELEASED[0])
        assert found.prompts == (RELEASED[4], RELEASED[3])
        assert found.aliases == (RELEASED[6], RELEASED[5])
        assert found.releases == (RELEASED[8], RELEASED[7])
        assert found.splits == (RELEASED[10], RELEASED[9])
        assert found.rollouts == (RELEASED[12], RELEASED[11])

    def test_what_is_released_is_replaced_by_its_id(self, store: StateStore) -> None:
        self.put(store, *RELEASED)
        alias = Alias(kind="prompt", name="greet", alias="production", digest="0")
        split = Split(service="chat", ranges=(Range(WHOLE, "rel_a"),), salt="s2")
        rollout = Rollout(id="ro1", service="chat", plan=PLAN, state="promoted")
        release = Release(id="rel_b", service="chat", model="small-2@0")
        self.put(store, alias, split, rollout, release)
        found = store.directory()
        assert found.aliases == (RELEASED[6], alias)
        assert found.splits == (RELEASED[10], split)
        assert found.rollouts == (RELEASED[12], rollout)
        assert found.releases == (RELEASED[8], release)

    def test_what_was_released_may_be_removed(self, store: StateStore) -> None:
        self.put(store, *RELEASED)
        store.change(Change(version=store.version(), remove=GONE))
        found = store.directory()
        assert (found.models, found.prompts, found.aliases) == (
            (RELEASED[2], RELEASED[0]),
            RELEASED[4:5],
            RELEASED[6:7],
        )
        assert (found.releases, found.splits, found.rollouts) == (RELEASED[8:9], RELEASED[10:11], RELEASED[12:13])
        store.change(Change(version=store.version(), remove=GONE))

    def test_decisions_are_kept_beside_the_directory(self, store: StateStore) -> None:
        empty = store.directory()
        made = [decision(2), decision(10), decision(1, evidence=b""), decision(1, "ro2", actor="", what="promote")]
        self.put(store, decisions=tuple(made))
        self.put(store, decisions=(decision(3),))
        assert list(self.decided(store, "ro1")) == [made[2], made[0], decision(3), made[1]]
        assert list(self.decided(store, "ro2")) == [made[3]]
        assert list(self.decided(store, "none")) == []
        assert store.directory() == msgspec.structs.replace(empty, version=empty.version + 2)

    @pytest.mark.parametrize("twice", [(decision(1),), (decision(2), decision(2, what="promote"))])
    def test_a_decision_that_was_made_is_not_made_again(self, store: StateStore, twice: tuple[Decision, ...]) -> None:
        self.put(store, decisions=(decision(1, what="start"),))
        before: Directory = store.directory()
        act = Act(at=1.0, actor="a", project="*", action="rollouts.promote")
        with pytest.raises(PenstockError) as caught:
            self.put(store, Project(id="x"), decisions=(decision(7), *twice), act=act)
        assert caught.value.fault is STORE_CONFLICT
        assert store.directory() == before
        assert list(self.decided(store, "ro1")) == [decision(1, what="start")]
        assert list(self.acts()) == []
