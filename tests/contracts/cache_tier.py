"""What every adapter of ``Tier`` promises. Its tests subclass ``TierContract`` and say how one is made."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import AsyncIterator

import pytest

from penstock.caches import Kept, Tier

LONG_S = 600.0


def kept(key: bytes, value: bytes, for_s: float = LONG_S) -> Kept:
    return Kept(key, value, for_s)


async def all_of(tier: Tier) -> dict[bytes, bytes]:
    found: dict[bytes, bytes] = {}
    async for batch in tier.walk():
        found.update(batch)
    return found


class TierContract:
    expires = True
    """Whether it forgets by itself what is past its time."""

    async def make(self) -> Tier:
        """A tier that holds nothing."""
        raise NotImplementedError

    @pytest.fixture
    async def tier(self) -> AsyncIterator[Tier]:
        made = await self.make()
        yield made
        await made.aclose()

    async def test_what_is_put_comes_back(self, tier: Tier) -> None:
        await tier.put([kept(b"a", b"1"), kept(b"b", b"")])
        assert list(await tier.get([b"b", b"none", b"a"])) == [b"", None, b"1"]

    async def test_any_bytes_under_any_key(self, tier: Tier) -> None:
        items = {
            b"\x00": b"\x00\xff\r\n",
            bytes(range(64)): os.urandom(200_000),
            b"*?[a]\\": b"x" * 100,
            b"/..": b"y",
        }
        await tier.put([kept(key, value) for key, value in items.items()])
        assert list(await tier.get(list(items))) == list(items.values())
        assert await all_of(tier) == items

    async def test_later_takes_the_place_of_earlier(self, tier: Tier) -> None:
        await tier.put([kept(b"a", b"1")])
        await tier.put([kept(b"a", b"22")])
        assert list(await tier.get([b"a"])) == [b"22"]

    async def test_nothing_is_asked_of_it(self, tier: Tier) -> None:
        assert list(await tier.get([])) == []
        await tier.put([])
        await tier.delete([])
        assert await all_of(tier) == {}

    async def test_what_is_deleted_is_gone(self, tier: Tier) -> None:
        await tier.put([kept(b"a", b"1"), kept(b"b", b"2")])
        await tier.delete([b"a", b"none"])
        assert list(await tier.get([b"a", b"b"])) == [None, b"2"]
        await tier.put([kept(b"a", b"3")])
        assert list(await tier.get([b"a"])) == [b"3"]

    async def test_a_walk_sees_all_of_many(self, tier: Tier) -> None:
        items = {b"key %d" % number: b"%d" % number for number in range(150)}
        await tier.put([kept(key, value) for key, value in items.items()])
        assert await all_of(tier) == items

    async def test_a_walk_during_which_all_is_deleted_ends(self, tier: Tier) -> None:
        await tier.put([kept(b"%d" % number, b"x") for number in range(100)])
        async for batch in tier.walk():
            await tier.delete([key for key, _ in batch])
        assert await all_of(tier) == {}

    async def test_many_at_once(self, tier: Tier) -> None:
        async def one(number: int) -> bool:
            key = b"%d" % (number % 10)
            await tier.put([kept(key, key * 100)])
            return list(await tier.get([key])) == [key * 100]

        assert all(await asyncio.gather(*(one(number) for number in range(60))))

    async def test_a_call_that_is_cancelled_breaks_nothing(self, tier: Tier) -> None:
        await tier.put([kept(b"%d" % number, b"%d" % number) for number in range(20)])
        for turns in range(20):
            task = asyncio.ensure_future(tier.get([b"%d" % turns]))
            for _ in range(turns):
                await asyncio.sleep(0)
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
            assert list(await tier.get([b"3", b"4"])) == [b"3", b"4"]

    async def test_what_is_past_its_time_is_forgotten(self, tier: Tier) -> None:
        if not self.expires:
            pytest.skip("its values tell their own time")
        await tier.put([kept(b"short", b"1", 0.05), kept(b"long", b"2")])
        deadline = time.monotonic() + 5
        while (await tier.get([b"short"]))[0] is not None:
            assert time.monotonic() < deadline
            await asyncio.sleep(0.01)
        assert await all_of(tier) == {b"long": b"2"}

    async def test_closing_twice(self, tier: Tier) -> None:
        await tier.aclose()
        await tier.aclose()
