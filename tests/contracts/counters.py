"""What every adapter of ``Counters`` promises. Its tests subclass ``CountersContract`` and say how one is made.

Windows are as short as a second or two, since some adapters keep their own time.
"""

from __future__ import annotations

import asyncio
import math
import random
import time
from collections.abc import AsyncIterator, Awaitable, Callable

import pytest

from penstock.core.leases import Counters, Granted, Hold, Need, Refused

WINDOW_S = 1.5
LATER = 4_000_000_000.0


def sliding(amount: int, limit: int = 10, counter: str = "lim_1:key:a", window_s: float = WINDOW_S) -> Need:
    return Need(counter, Hold.SLIDING, limit, amount, window_s)


def held(amount: int, limit: int = 10, counter: str = "lim_2:project:red") -> Need:
    return Need(counter, Hold.HELD, limit, amount)


def kept(amount: int, limit: int = 10, counter: str = "bud_1:project:red:1761955200") -> Need:
    return Need(counter, Hold.KEPT, limit, amount, until=LATER)


class CountersContract:
    connections = 8
    """How many of ``another`` are made for the tests of concurrency."""

    async def make(self) -> Counters:
        """New counters, where nothing is counted."""
        raise NotImplementedError

    async def another(self, counters: Counters) -> Counters:
        """The same counters, reached on a way of their own where there is one."""
        return counters

    async def pass_time(self, seconds: float) -> None:
        """Lets so much of the counters' time go by."""
        await asyncio.sleep(seconds)  # pace: adapters that keep their own time have no other

    @pytest.fixture
    async def counters(self) -> AsyncIterator[Counters]:
        made = await self.make()
        yield made
        await made.aclose()

    async def left(self, counters: Counters, *needs: Need) -> list[int]:
        """What remains of each, asked by a lease that holds nothing."""
        answer = await counters.reserve("probe", "probe", needs)
        await counters.settle("probe", "probe", {})
        return [level.remaining for level in answer.levels]

    async def test_all_is_reserved_and_levels_say_what_is_left(self, counters: Counters) -> None:
        answer = await counters.reserve("w1", "a", [sliding(3), held(1), kept(10)])
        assert isinstance(answer, Granted)
        assert [level.remaining for level in answer.levels] == [7, 9, 0]
        slid, *others = (level.reset_s for level in answer.levels)
        assert WINDOW_S < slid <= WINDOW_S * 601 / 600 + 0.001
        assert others == [0, 0]
        assert answer.at > 0

    async def test_or_nothing_is(self, counters: Counters) -> None:
        refused = await counters.reserve("w1", "a", [sliding(3), held(1), kept(11)])
        assert refused == Refused(2, math.inf, refused.levels)
        assert [level.remaining for level in refused.levels] == [10, 10, 10]
        assert await self.left(counters, sliding(0), held(0), kept(0)) == [10, 10, 10]

    async def test_to_the_limit_and_not_a_bit_beyond(self, counters: Counters) -> None:
        for make in (sliding, held, kept):
            assert isinstance(await counters.reserve("w1", f"a{make}", [make(9)]), Granted)
            assert isinstance(await counters.reserve("w1", f"b{make}", [make(2)]), Refused)
            assert isinstance(await counters.reserve("w1", f"c{make}", [make(1)]), Granted)
            assert isinstance(await counters.reserve("w1", f"d{make}", [make(1)]), Refused)

    async def test_settling_corrects_and_gives_back_what_was_held(self, counters: Counters) -> None:
        needs = [sliding(8), held(2), kept(8)]
        await counters.reserve("w1", "a", needs)
        await counters.settle("w1", "a", {needs[0].counter: 1, needs[1].counter: 2, needs[2].counter: 3})
        assert await self.left(counters, sliding(0), held(0), kept(0)) == [9, 10, 7]

    async def test_settling_may_find_more_than_was_reserved(self, counters: Counters) -> None:
        needs = [sliding(0), kept(2)]
        await counters.reserve("w1", "a", needs)
        await counters.settle("w1", "a", {needs[0].counter: 4, needs[1].counter: 30})
        assert await self.left(counters, sliding(0), kept(0), kept(0, 50)) == [6, 0, 20]
        assert isinstance(await counters.reserve("w1", "b", [kept(1)]), Refused)

    async def test_what_settling_does_not_name_stays_as_reserved(self, counters: Counters) -> None:
        await counters.reserve("w1", "a", [sliding(4), held(4), kept(4)])
        await counters.settle("w1", "a", {"lim_9:key:z": 5})
        assert await self.left(counters, sliding(0), held(0), kept(0)) == [6, 10, 6]

    async def test_settling_twice_or_what_is_not_open_changes_nothing(self, counters: Counters) -> None:
        await counters.reserve("w1", "a", [sliding(4), held(4), kept(4)])
        for owner, lease in (("w2", "a"), ("w1", "b")):
            await counters.settle(owner, lease, {kept(0).counter: 0})
        assert await self.left(counters, held(0), kept(0)) == [6, 6]
        for used in (2, 0, 9):
            await counters.settle("w1", "a", {sliding(0).counter: used, kept(0).counter: used})
            assert await self.left(counters, sliding(0), held(0), kept(0)) == [8, 10, 8]

    async def test_a_top_up_adds_and_settling_counts_all_of_it(self, counters: Counters) -> None:
        await counters.reserve("w1", "a", [sliding(2), held(1), kept(2)])
        await counters.reserve("w1", "a", [sliding(3), held(1), kept(3), kept(1, counter="bud_2")])
        assert await self.left(counters, sliding(0), held(0), kept(0)) == [5, 8, 5]
        assert isinstance(await counters.reserve("w1", "a", [kept(6)]), Refused)
        used = {sliding(0).counter: 4, kept(0).counter: 1}
        await counters.settle("w1", "a", used)
        assert await self.left(counters, sliding(0), held(0), kept(0)) == [6, 10, 9]
        assert await self.left(counters, kept(0, counter="bud_2")) == [9]

    async def test_a_counter_may_be_asked_for_twice_at_once(self, counters: Counters) -> None:
        for make in (sliding, held, kept):
            refused = await counters.reserve("w1", "a", [make(6), make(5)])
            assert isinstance(refused, Refused)
            assert refused.retry_after == math.inf
            granted = await counters.reserve("w1", "a", [make(6), make(4)])
            assert isinstance(granted, Granted)
            assert granted.levels[1].remaining == 0
        await counters.settle("w1", "a", {sliding(0).counter: 7, kept(0).counter: 12})
        assert await self.left(counters, sliding(0), held(0), kept(0, 20)) == [3, 10, 8]

    async def test_a_need_of_nothing_always_fits(self, counters: Counters) -> None:
        full = [sliding(10), held(10), kept(10)]
        await counters.reserve("w1", "a", full)
        answer = await counters.reserve("w1", "b", [sliding(0), held(0, 1), kept(0, 0)])
        assert isinstance(answer, Granted)
        assert [level.remaining for level in answer.levels] == [0, 0, 0]
        assert isinstance(await counters.reserve("w1", "c", []), Granted)

    async def test_a_limit_may_be_lowered_and_raised(self, counters: Counters) -> None:
        for make in (sliding, held, kept):
            await counters.reserve("w1", f"a{make}", [make(8)])
            lowered = await counters.reserve("w1", f"b{make}", [make(1, 5)])
            assert isinstance(lowered, Refused)
            assert lowered.levels[0].remaining == 0
            assert isinstance(await counters.reserve("w1", f"c{make}", [make(12, 20)]), Granted)

    async def test_the_tightest_is_named(self, counters: Counters) -> None:
        await counters.reserve("w1", "a", [sliding(10), held(10), kept(10)])
        asked = [held(1), sliding(1), sliding(1, 0, "lim_5"), kept(1)]
        answers = [await counters.reserve("w1", "b", needs) for needs in (asked, [*asked[:2], asked[3]], asked[:2])]
        assert [(each.tightest, each.retry_after) for each in answers[:2] if isinstance(each, Refused)] == [
            (2, math.inf),
            (2, None),
        ]
        last = answers[2]
        assert isinstance(last, Refused)
        assert last.tightest == 1
        alone = await counters.reserve("w1", "b", asked[:1])
        assert alone == Refused(0, None, alone.levels)

    async def test_a_window_slides(self, counters: Counters) -> None:
        await counters.reserve("w1", "a", [sliding(6)])
        await self.pass_time(WINDOW_S / 2)
        await counters.reserve("w1", "b", [sliding(4)])
        soon = await counters.reserve("w1", "c", [sliding(6)])
        late = await counters.reserve("w1", "c", [sliding(7)])
        assert isinstance(soon, Refused)
        assert isinstance(late, Refused)
        assert soon.retry_after is not None
        assert late.retry_after is not None
        assert 0 < soon.retry_after <= WINDOW_S / 2 + 0.01
        assert WINDOW_S / 2 - 0.3 < late.retry_after - soon.retry_after < WINDOW_S / 2 + 0.3
        assert soon.levels[0].reset_s == pytest.approx(late.retry_after, abs=0.1)
        await self.pass_time(soon.retry_after)
        assert isinstance(await counters.reserve("w1", "c", [sliding(6)]), Granted)
        assert isinstance(await counters.reserve("w1", "d", [sliding(1)]), Refused)
        await counters.settle("w1", "a", {sliding(0).counter: 0})
        assert isinstance(await counters.reserve("w1", "d", [sliding(1)]), Refused)
        await self.pass_time(WINDOW_S * 1.01)
        assert await self.left(counters, sliding(0)) == [10]

    async def test_an_owner_that_is_gone_keeps_nothing_and_owes_nothing(self, counters: Counters) -> None:
        for lease in ("a", "b", "c"):
            await counters.reserve("w1", lease, [sliding(1), held(1), kept(1)])
        await counters.reserve("w11", "a", [sliding(1), held(1), kept(1)])
        await counters.settle("w1", "c", {kept(0).counter: 0})
        assert await counters.end("w1") == 2
        assert await counters.end("w1") == 0
        await counters.settle("w1", "a", {kept(0).counter: 0})
        assert await self.left(counters, sliding(0), held(0), kept(0)) == [8, 9, 9]

    async def test_a_counter_begins_with_what_was_spent_before_and_once(self, counters: Counters) -> None:
        await counters.reserve("w1", "a", [kept(2)])
        for _ in range(2):
            await counters.begin({kept(0).counter: (3, LATER), "bud_2": (10, LATER)})
        assert await self.left(counters, kept(0), kept(0, counter="bud_2")) == [8, 0]

    async def test_great_numbers_are_exact(self, counters: Counters) -> None:
        limit = 2**53 - 1
        await counters.reserve("w1", "a", [kept(limit - 1, limit)])
        assert isinstance(await counters.reserve("w1", "b", [kept(2, limit)]), Refused)
        assert isinstance(await counters.reserve("w1", "b", [kept(1, limit)]), Granted)
        await counters.settle("w1", "a", {kept(0).counter: limit - 2})
        assert await self.left(counters, kept(0, limit)) == [1]

    async def test_any_name_will_do(self, counters: Counters) -> None:
        names = ["lim:ключ:*?[a]", "a b\tc", "{x}:y", "'\"\\"]
        for name in names:
            await counters.reserve(f"w{name}", name, [sliding(4, counter=name), held(4, counter=name + "h")])
        for name in names:
            assert await counters.end(f"w{name}") == 1
            assert await self.left(counters, sliding(0, counter=name), held(0, counter=name + "h")) == [10, 10]

    async def test_many_at_once_never_go_over_a_budget_and_lose_nothing(self, counters: Counters) -> None:
        limit, spent, open_now, most = 5000, 0, 0, 0

        async def client(number: int, mine: Counters) -> None:
            nonlocal spent, open_now, most
            chance = random.Random(number)
            for turn in range(40):
                lease, bound = f"{number}-{turn}", chance.randint(1, 60)
                if isinstance(await mine.reserve(f"w{number}", lease, [kept(bound, limit), held(1, 5)]), Granted):
                    open_now += 1
                    most = max(most, open_now)
                    used = chance.randint(0, bound)
                    spent += used
                    await asyncio.sleep(0)
                    open_now -= 1
                    await mine.settle(f"w{number}", lease, {kept(0).counter: used})

        await self.crowd(counters, client)
        assert 0 < spent <= limit
        assert most <= 5
        assert await self.left(counters, kept(0, limit), held(0, 5)) == [limit - spent, 5]

    async def test_many_at_once_never_go_over_a_window(self, counters: Counters) -> None:
        limit, window_s = 40, 1.0
        granted: list[tuple[float, int]] = []

        async def client(number: int, mine: Counters) -> None:
            chance = random.Random(number)
            for turn in range(60):
                need = sliding(chance.randint(1, 4), limit, "lim_3", window_s)
                answer = await mine.reserve(f"w{number}", f"{turn}", [need])
                if isinstance(answer, Granted):
                    granted.append((answer.at, need.amount))
                    await mine.settle(f"w{number}", f"{turn}", {})
                elif turn % 20 == 0:
                    await self.pass_time(0.3)

        await self.crowd(counters, client)
        assert granted
        for start, _ in granted:
            assert sum(amount for at, amount in granted if start <= at <= start + window_s) <= limit

    async def crowd(self, counters: Counters, client: Callable[[int, Counters], Awaitable[None]]) -> None:
        ways = [await self.another(counters) for _ in range(self.connections)]
        began = time.monotonic()
        async with asyncio.TaskGroup() as group:
            for number in range(2 * len(ways)):
                group.create_task(_run(client, number, ways[number % len(ways)]))
        assert time.monotonic() - began < 30
        for way in ways:
            if way is not counters:
                await way.aclose()


async def _run(client: Callable[[int, Counters], Awaitable[None]], number: int, mine: Counters) -> None:
    await client(number, mine)
