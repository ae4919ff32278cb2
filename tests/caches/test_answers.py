"""The desk of exact entries: what is served, for how long, and what never is."""

from __future__ import annotations

import msgspec
import pytest

from penstock.caches.answers import Answers, packed, unpacked
from penstock.caches.chain import Chain, Swept
from penstock.caches.control import CacheControl
from penstock.caches.guarded import GuardedTier
from penstock.caches.seal import seal
from penstock.caches.tier_memory import MemoryTier
from penstock.core.caching import CacheKey, Entry, Invalidation
from penstock.core.clock import SystemClock
from tests.caches.doubles import SetClock, Sums, entry_of
from tests.caches.test_chain import Wayward

KEY = CacheKey(b"k" * 20)
ANY = CacheControl()


class Desk:
    """Two gateways on one shared tier, each with memory of its own."""

    def __init__(self) -> None:
        self.clock = SetClock()
        self.shared = Wayward("redis")
        self.one, self.two = self._gateway(), self._gateway()

    def _gateway(self) -> Answers:
        tier = GuardedTier(
            self.shared,
            read_s=1.0,
            write_s=1.0,
            compress_from=1000,
            most_waiting=10,
            most_waiting_bytes=1 << 20,
            clock=self.clock,
            meter=Sums(),
        )
        memory = MemoryTier(1 << 20, self.clock)
        return Answers(Chain(memory, [tier], clock=self.clock, meter=Sums()), clock=self.clock)

    def share(self, entry: Entry, key: bytes = KEY.digest) -> None:
        """As if a third gateway had kept it."""
        until = entry.created_at + entry.kept_for_s
        self.shared.held[key] = seal(key, packed(entry), until, compress_from=1000)


def test_an_entry_survives_packing() -> None:
    entry = entry_of(tags=("a", "b"), subject="ann", cost_nano=None, usage=None)
    assert unpacked(packed(entry)) == entry


@pytest.mark.parametrize("bad", [b"", b"\x01", b"\x00" + packed(entry_of())[1:], packed(entry_of())[:-1]])
def test_what_is_no_entry_of_this_version_is_none(bad: bytes) -> None:
    assert unpacked(bad) is None


async def test_an_entry_is_fresh_stale_a_fallback_and_gone() -> None:
    desk = Desk()
    entry = entry_of(fresh_for_s=60.0, stale_for_s=30.0, fallback_for_s=300.0)
    assert desk.one.keep(entry)
    found = desk.one.look(KEY, ANY)
    assert found is not None
    assert (found.entry, found.stale) == (entry, False)
    assert found == await desk.one.find(KEY, ANY)
    desk.clock.pass_by(70)
    found = desk.one.look(KEY, ANY)
    assert found is not None
    assert (found.stale, found.age_s) == (True, 70)
    desk.clock.pass_by(30)
    assert desk.one.look(KEY, ANY) is None
    assert await desk.one.find(KEY, ANY) is None
    assert await desk.one.fallback(KEY) == entry
    desk.clock.pass_by(260)
    assert await desk.one.fallback(KEY) is None
    assert not desk.one.keep(entry)


async def test_no_fallback_without_leave() -> None:
    desk = Desk()
    desk.one.keep(entry_of(fresh_for_s=60.0, stale_for_s=300.0))
    assert await desk.one.fallback(KEY) is not None
    desk.clock.pass_by(61)
    assert await desk.one.find(KEY, ANY) is not None
    assert await desk.one.fallback(KEY) is None


async def test_another_gateway_has_it_from_the_shared_tier() -> None:
    desk = Desk()
    entry = entry_of()
    desk.share(entry)
    assert desk.two.look(KEY, ANY) is None
    found = await desk.two.find(KEY, ANY)
    assert found is not None
    assert found.entry == entry
    assert desk.two.look(KEY, ANY) == found


async def test_an_entry_under_a_strangers_key_is_not_served() -> None:
    desk = Desk()
    desk.share(msgspec.structs.replace(entry_of(), key=b"x" * 20))
    assert await desk.one.find(KEY, ANY) is None


async def test_what_is_invalidated_is_served_nowhere_from_that_moment() -> None:
    desk = Desk()
    desk.share(entry_of(tags=("faq",)))
    for gateway in (desk.one, desk.two):
        assert await gateway.find(KEY, ANY) is not None
    record = Invalidation(scope="tag", value="faq", at=desk.clock.wall())
    for gateway in (desk.one, desk.two):
        assert not gateway.covers(entry_of(tags=("faq",)))
        gateway.invalidate((record,))
        assert gateway.look(KEY, ANY) is None
        assert await gateway.find(KEY, ANY) is None
        assert await gateway.fallback(KEY) is None
        assert gateway.covers(entry_of(tags=("faq",)))
        assert not gateway.covers(entry_of())


async def test_an_answer_that_was_being_made_when_it_was_invalidated_is_not_kept() -> None:
    desk = Desk()
    began = desk.clock.wall()
    desk.clock.pass_by(5)
    desk.one.invalidate((Invalidation(scope="service", value="chat", at=desk.clock.wall()),))
    desk.clock.pass_by(5)
    assert not desk.one.keep(entry_of(created_at=began))
    assert desk.one.look(KEY, ANY) is None
    assert desk.one.keep(entry_of(created_at=desk.clock.wall()))
    assert desk.one.look(KEY, ANY) is not None


async def test_a_person_who_is_to_be_forgotten_is_nowhere_after_a_sweep() -> None:
    desk = Desk()
    desk.one.keep(entry_of(b"a" * 20, subject="ann"))
    desk.one.keep(entry_of(b"b" * 20, subject="bob"))
    for key, subject in ((b"a" * 20, "ann"), (b"b" * 20, "bob")):
        desk.share(entry_of(key, subject=subject), key)
    desk.one.invalidate((Invalidation(scope="subject", value="ann", at=desk.clock.wall()),))
    assert await desk.one.sweep_memory() == 1
    assert await desk.one.sweep() == Swept(1, whole=True)
    assert set(desk.shared.held) == {b"b" * 20}
    assert desk.one.look(CacheKey(b"b" * 20), ANY) is not None


async def test_a_client_may_pass_it_by() -> None:
    desk = Desk()
    desk.one.keep(entry_of())
    assert desk.one.look(KEY, CacheControl(read=False)) is None
    assert await desk.one.find(KEY, CacheControl(max_age_s=0.0)) is not None
    desk.clock.pass_by(1)
    assert await desk.one.find(KEY, CacheControl(max_age_s=0.5)) is None


def test_the_real_clock_fits() -> None:
    clock = SystemClock()
    answers = Answers(Chain(MemoryTier(1 << 20, clock), clock=clock, meter=Sums()), clock=clock)
    assert answers.keep(entry_of(created_at=clock.wall()))
    assert answers.look(KEY, ANY) is not None
    assert not answers.deep
