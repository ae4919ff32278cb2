"""What every ``StateStore`` promises. An adapter's tests subclass ``StoreContract`` and say how one is made."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor

import pytest

from penstock.core.accounts import (
    EVERYWHERE,
    Budget,
    Change,
    Directory,
    KeyRecord,
    Limit,
    Membership,
    Once,
    Project,
    Record,
    RecordKind,
    Role,
    Scopes,
    Team,
    User,
)
from penstock.core.caching import Invalidation
from penstock.core.errors import STORE_CONFLICT, STORE_UNAVAILABLE, PenstockError
from penstock.core.money import Price, Rates, Tier
from penstock.core.usage import Act, Used
from penstock.store import StateStore
from tests.contracts.releases import ReleasesContract

MADE_AT = 1_700_000_000.9
DAY_S = 86400.0
DEFAULT = Project(id="default", created_at=1_700_000_000.0)

EVERYTHING: tuple[Record, ...] = (
    Project(
        id="blue",
        name="Blau 日本",
        priority="high",
        capture="content",
        created_at=1.5,
        archived_at=2.25,
        log="masked",
    ),
    Team(id="blue.ops", project="blue", name="Operations", created_at=3.0),
    User(
        id="ada",
        name="Ada",
        email="ada@example.com",
        issuer="https://id.example.com/",
        subject="00u1",
        memberships=(
            Membership("red", "admin", "ops"),
            Membership("blue", "viewer"),
            Membership(EVERYWHERE, "billing"),
        ),
        created_at=4.0,
        disabled_at=5.0,
    ),
    User(id="robot", kind="service"),
    KeyRecord(
        id="k1",
        digest=b"\x00\xff" * 16,
        pepper="2026",
        project="blue",
        role="developer",
        name="one",
        user="ada",
        team="blue.ops",
        scopes=Scopes(
            services=("chat", "日本"),
            models=(),
            endpoints=("/v1/chat/completions",),
            tools=("f",),
            networks=("10.0.0.0/8", "::1/128"),
        ),
        priority="low",
        created_at=1_700_000_000.123456,
        created_by="admin",
        expires_at=8.0,
        revoked_at=9.0,
        last_used_at=10.0,
        previous_digest=b"p" * 32,
        previous_pepper="2025",
        previous_until=11.0,
    ),
    KeyRecord(id="k0", digest=b"0" * 32, project=EVERYWHERE, role="admin"),
    Role(name="tester", permissions=("call", "usage:own"), description="Tests."),
    Limit(id="l1", kind="project", subject="blue", service="chat", metric="tokens", per="day", amount=2**40),
    Limit(id="l0", kind="global", metric="concurrent", per="", amount=0, created_at=1.0),
    Budget(
        id="b1", kind="key", subject="k1", service="chat", period="total", amount_nano=2**62, warn_percent=(50, 90)
    ),
    Price(
        model="gpt@5/x",
        since=1_754_524_800.0,
        rates=Rates(input=1, output=2, cached_read=3, cached_write=4, reasoning=5, audio_input=6, image=8),
        tiers=(Tier(1000, Rates(input=9)), Tier(2000, Rates(output=10))),
        batch_percent=50,
        per_hour_nano=2**40,
        max_input=11,
        max_output=12,
        source="operator",
    ),
    Price(model="gpt@5/x", since=0.0),
    Price(model="a", since=5.0),
    Invalidation(scope="tag", value="a:/日本", project="blue", at=1_700_000_000.123456),
    Invalidation(scope="all", at=7.0),
)
# Each once more, with another value.
CHANGED: tuple[Record, ...] = (
    Project(id="blue"),
    Team(id="blue.ops", project="red"),
    User(id="ada", memberships=(Membership("blue", "owner"),)),
    KeyRecord(id="k1", digest=b"1" * 32, project="blue", role="viewer", last_used_at=10.0),
    Role(name="tester", permissions=()),
    Limit(id="l1", kind="key", metric="requests", amount=1),
    Budget(id="b1", kind="user", amount_nano=1),
    Price(model="gpt@5/x", since=1_754_524_800.0, rates=Rates(input=7)),
    Invalidation(scope="tag", value="a:/日本", project="blue", at=3.0),
)
REMOVED: tuple[tuple[RecordKind, str], ...] = (
    ("project", "blue"),
    ("team", "blue.ops"),
    ("user", "ada"),
    ("key", "k1"),
    ("role", "tester"),
    ("limit", "l1"),
    ("budget", "b1"),
    ("price", "gpt@5/x@1754524800"),
    ("invalidation", "tag:blue:a:/日本"),
)


def key(id: str, digest: bytes = b"", **more: object) -> KeyRecord:
    return KeyRecord(id=id, digest=digest or id.encode() * 4, project="default", role="developer", **more)  # type: ignore[arg-type]


def conflict(call: Callable[[], object], match: str | None = None) -> None:
    with pytest.raises(PenstockError, match=match) as caught:
        call()
    assert caught.value.fault is STORE_CONFLICT


class Wall:
    """A clock to be set by hand."""

    def __init__(self) -> None:
        self.at = MADE_AT

    def __call__(self) -> float:
        return self.at


class StoreContract(ReleasesContract):
    def make(self, wall: Wall) -> StateStore:
        """A new, empty store made at ``MADE_AT``."""
        raise NotImplementedError

    def acts(self) -> Sequence[Act]:
        """What the audit was given by changes that took place."""
        raise NotImplementedError

    @pytest.fixture
    def wall(self) -> Wall:
        return Wall()

    @pytest.fixture
    def store(self, wall: Wall):
        store = self.make(wall)
        yield store
        store.close()

    def put(self, store: StateStore, *records: Record, **more: object) -> int:
        return store.change(Change(version=store.version(), put=records, **more))  # type: ignore[arg-type]

    def test_a_new_store_has_one_project_and_knows_its_age(self, store: StateStore) -> None:
        assert store.created_at() == 1_700_000_000
        assert store.directory() == Directory(version=store.version(), projects=(DEFAULT,))

    def test_every_record_comes_back_whole_in_the_order_of_ids(self, store: StateStore) -> None:
        before = store.version()
        assert self.put(store, *EVERYTHING) == before + 1
        found = store.directory()
        assert found.version == store.version() == before + 1
        assert found.projects == (EVERYTHING[0], DEFAULT)
        assert found.teams == (EVERYTHING[1],)
        assert found.users == EVERYTHING[2:4]
        assert found.keys == (EVERYTHING[5], EVERYTHING[4])
        assert found.roles == (EVERYTHING[6],)
        assert found.limits == (EVERYTHING[8], EVERYTHING[7])
        assert found.budgets == (EVERYTHING[9],)
        assert found.prices == (EVERYTHING[12], EVERYTHING[11], EVERYTHING[10])
        assert found.invalidations == (EVERYTHING[14], EVERYTHING[13])

    def test_a_record_put_again_is_replaced_whole(self, store: StateStore) -> None:
        self.put(store, *EVERYTHING)
        self.put(store, *CHANGED)
        found = store.directory()
        assert (found.projects[0], found.teams[0], found.users[0], found.keys[1]) == CHANGED[:4]
        assert (found.roles[0], found.limits[1], found.budgets[0], found.prices[2]) == CHANGED[4:8]
        assert found.invalidations == (EVERYTHING[14], CHANGED[8])
        assert [len(each) for each in (found.users, found.keys, found.limits, found.prices)] == [2, 2, 2, 3]

    def test_what_is_removed_is_gone_and_the_rest_stays(self, store: StateStore) -> None:
        self.put(store, *EVERYTHING)
        store.change(Change(version=store.version(), remove=REMOVED))
        found = store.directory()
        assert (found.projects, found.teams, found.users, found.keys) == (
            (DEFAULT,),
            (),
            EVERYTHING[3:4],
            EVERYTHING[5:6],
        )
        assert (found.roles, found.limits, found.budgets) == ((), EVERYTHING[8:9], ())
        assert found.prices == (EVERYTHING[12], EVERYTHING[11])
        assert found.invalidations == EVERYTHING[14:]
        # Nothing of a user is left for the next of that id.
        self.put(store, User(id="ada"))
        assert store.directory().users[0] == User(id="ada")
        store.change(Change(version=store.version(), remove=REMOVED))

    def test_ids_are_in_the_order_of_their_bytes(self, store: StateStore) -> None:
        ids = ["a", "a-b", "a.b", "a0", "a_b", "ab", "b"]
        self.put(store, *(key(each) for each in reversed(ids)))
        assert [each.id for each in store.directory().keys] == sorted(ids)

    def test_removing_comes_before_putting(self, store: StateStore) -> None:
        self.put(store, key("a", b"1" * 32))
        self.put(store, key("b", b"1" * 32), remove=(("key", "a"),))
        assert [each.id for each in store.directory().keys] == ["b"]

    def test_two_keys_never_share_a_digest(self, store: StateStore) -> None:
        self.put(store, key("a", b"1" * 32))
        before = store.directory()
        conflict(lambda: self.put(store, Project(id="x"), key("b", b"1" * 32)), "same as another key")
        assert store.directory() == before
        self.put(store, key("a", b"1" * 32, name="again"))

    def test_a_change_of_another_version_is_refused_and_changes_nothing(self, store: StateStore) -> None:
        before = store.directory()
        act = Act(at=1.0, actor="a", project="*", action="keys.create")
        once = Once(key="k", request=b"r", status=200, answer=b"{}", at=MADE_AT)
        for version in (before.version - 1, before.version + 1):
            conflict(
                lambda version=version: store.change(  # type: ignore[misc]
                    Change(version=version, put=(key("a"),), remove=(("project", "default"),), act=act, once=once)
                )
            )
        assert store.directory() == before
        assert store.once("k") is None
        assert list(self.acts()) == []

    def test_of_those_who_change_at_once_one_wins_each_version(self, store: StateStore) -> None:
        rounds, threads = 20, 4
        begin = store.version()

        def racer(which: int) -> int:
            won = 0
            for _ in range(rounds):
                version = store.version()
                try:
                    store.change(Change(version=version, put=(key(f"k{which}-{version}"),)))
                except PenstockError as error:
                    if error.fault is not STORE_CONFLICT:
                        raise
                else:
                    won += 1
            return won

        with ThreadPoolExecutor(threads) as pool:
            wins = sum(pool.map(racer, range(threads)))
        found = store.directory()
        assert wins >= 1
        assert found.version == begin + wins
        assert sorted(int(each.id.partition("-")[2]) for each in found.keys) == list(range(begin, begin + wins))

    def test_the_act_of_a_change_is_in_the_audit_once(self, store: StateStore) -> None:
        act = Act(at=1.0, actor="a", project="*", action="keys.create", target="k", content=b"{}")
        self.put(store, key("a"), act=act)
        self.put(store, key("b"))
        assert list(self.acts()) == [act]

    def test_an_idempotency_key_is_kept_for_a_day_and_taken_once(self, store: StateStore, wall: Wall) -> None:
        once = Once(key="admin:1", request=b"\x00" * 32, status=201, answer=b'{"a":1}', at=MADE_AT)
        assert store.once("admin:1") is None
        self.put(store, key("a"), once=once)
        assert store.once("admin:1") == once
        before = store.directory()
        conflict(lambda: self.put(store, key("b"), once=once), "idempotency-key")
        assert store.directory() == before
        wall.at += DAY_S - 1
        assert store.once("admin:1") == once
        wall.at += 1
        assert store.once("admin:1") is None
        again = Once(key="admin:1", request=b"2", status=200, answer=b"", at=wall.at)
        self.put(store, key("b"), once=again)
        assert store.once("admin:1") == again

    def test_the_last_use_of_a_key_only_grows_and_makes_no_version(self, store: StateStore) -> None:
        self.put(store, key("a"), key("b", last_used_at=50.0))
        version = store.version()
        store.used([Used("a", 10.0), Used("nobody", 10.0), Used("b", 40.0), Used("a", 5.0)])
        store.used([Used("a", 7.0)])
        store.used([])
        assert [each.last_used_at for each in store.directory().keys] == [10.0, 50.0]
        assert store.version() == version
        # A change was made from a directory that did not know of it yet.
        self.put(store, key("a", name="new"), key("b", last_used_at=60.0))
        assert store.directory().keys == (key("a", name="new", last_used_at=10.0), key("b", last_used_at=60.0))

    def test_a_key_moves_to_another_pepper(self, store: StateStore) -> None:
        old = key("a", b"old", pepper="1", previous_digest=b"before", previous_pepper="1", previous_until=9.0)
        self.put(store, old, key("b"))
        version = store.version()
        store.used([Used("a", 10.0, b"new", "2", b"old")])
        assert store.version() == version + 1
        found = store.directory().keys[0]
        assert (found.digest, found.pepper, found.last_used_at) == (b"new", "2", 10.0)
        assert (found.previous_digest, found.previous_pepper) == (b"before", "1")
        store.used([Used("a", 10.0, b"newer", "2", b"before"), Used("b", 10.0)])
        found = store.directory().keys[0]
        assert (found.digest, found.previous_digest, found.previous_pepper) == (b"new", b"newer", "2")

    def test_what_was_rotated_meanwhile_does_not_move_back(self, store: StateStore) -> None:
        self.put(store, key("a", b"rotated", pepper="1"), key("b", b"other"))
        version = store.version()
        store.used([Used("a", 10.0, b"new", "2", b"old"), Used("a", 10.0, b"other", "2", b"rotated")])
        store.used([Used("a", 10.0, b"new", "2")])
        assert store.version() == version
        assert store.directory().keys[0] == key("a", b"rotated", pepper="1", last_used_at=10.0)

    def test_what_gateways_are_ready_for_is_what_they_said_last(self, store: StateStore) -> None:
        assert store.beat("g2", 100.0, ["rel_b", "rel_a"]) == {"g2": {"rel_a", "rel_b"}}
        assert store.beat("g1", 105.0) == {"g1": frozenset(), "g2": {"rel_a", "rel_b"}}
        assert store.beat("g2", 106.0, ("rel_c",)) == {"g1": frozenset(), "g2": {"rel_c"}}
        assert store.beat("g2", 107.0) == {"g1": frozenset(), "g2": frozenset()}
        assert store.version() == 1

    def test_gateways_that_beat_are_known_for_ten_seconds(self, store: StateStore) -> None:
        assert list(store.beat("g2", 100.0)) == ["g2"]
        assert list(store.beat("g1", 105.0)) == ["g1", "g2"]
        assert list(store.beat("g1", 109.9)) == ["g1", "g2"]
        assert list(store.beat("g1", 110.0)) == ["g1"]
        assert list(store.beat("g2", 110.5)) == ["g1", "g2"]

    def test_closing_twice_is_well_and_a_closed_store_says_so(self, store: StateStore) -> None:
        version = store.version()
        store.close()
        store.close()
        calls = (
            store.version,
            store.directory,
            store.created_at,
            lambda: store.once("a"),
            lambda: store.change(Change(version=version)),
            lambda: store.used([Used("a", 1.0)]),
            lambda: store.beat("g", 1.0),
        )
        for call in calls:
            with pytest.raises(PenstockError, match="closed") as caught:
                call()
            assert caught.value.fault is STORE_UNAVAILABLE
