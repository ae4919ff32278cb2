"""What a request holds of limits and budgets before it goes out, and who is told what of them."""

from __future__ import annotations

import asyncio
import math

import pytest

from penstock.access.bounds import bound_of
from penstock.access.charge import most_nano
from penstock.access.config import OnFailure
from penstock.access.limits import LATE_S
from penstock.core.accounts import Budget, Limit
from penstock.core.chat import Call, Kind
from penstock.core.errors import (
    BUDGET_EXCEEDED,
    COUNTERS_UNAVAILABLE,
    NO_PRICE,
    RATE_LIMITED,
    UPSTREAM_BROKEN,
    UPSTREAM_FAILED,
    UPSTREAM_GARBLED,
    Fault,
    PenstockError,
)
from penstock.core.money import Price
from penstock.core.policy import Hedge
from penstock.core.serving import Service
from penstock.gateway.tries import OVERRUN
from tests.gateway.doubles import ROLE, USAGE, piece
from tests.gateway.leasing import USD, House, NotedEngine, asked, budget, limit, price

GOOD = [[ROLE, piece("ok", "stop"), USAGE]]
READ = 288
"""Tokens of the prompt at most: its bytes, and the allowance."""


def most(of: Price, call: Call | None = None, cap: int = 4096) -> int:
    return most_nano(of, bound_of(call or asked(), price=of, cap=cap), held_s=600.0)


async def refused(house: House, call: Call | None = None) -> PenstockError:
    with pytest.raises(PenstockError) as caught:
        await house.door.chat(call or asked(), house.admission)
    assert house.till.open() == 0
    assert list(house.reserving.held()) == []
    return caught.value


# -- how much is held ----------------------------------------------------------------------------------------------


async def test_an_upper_bound_is_held_until_what_was_used_is_known() -> None:
    house = House(
        limit("tokens", 10_000), limit("requests", id="lim_2"), limit("concurrent", per="", id="lim_3"), budget(),
        prices=[price()], engines={"main": NotedEngine(GOOD)},
    )  # fmt: skip
    call = asked(max_tokens=50)
    reply = await house.door.chat(call, house.admission)
    assert [house.held(f"lim_{number}:") for number in (1, 2, 3)] == [READ + 50, 1, 1]
    assert house.held("bud_1:") == most(price(), call) == READ * 2 + 50 * 3
    while await reply.read():
        pass
    await reply.aclose()
    assert [house.held(f"lim_{number}:") for number in (1, 2, 3)] == [10, 1, 0]
    assert house.held("bud_1:") == 7 * 2 + 3 * 3
    assert house.till.open() == 0


async def test_where_nothing_holds_nothing_is_asked_and_the_ledger_has_it_all_the_same() -> None:
    house = House(limit(subject="somebody-else"), prices=[price()], engines={"main": NotedEngine(GOOD)})
    reply = await house.door.chat(asked(), house.admission)
    await reply.aclose()
    assert house.till.asked == []
    assert house.events == ["Opened", "started", "Settled"]
    assert not any(name.startswith("x-ratelimit") for name in reply.headers)


@pytest.mark.parametrize(
    ("call", "output", "spliced"),
    [
        (asked(), 100, b"100"),
        (asked(choices=3), 300, b"100"),
        (asked(max_tokens=7), 7, b"7"),
        (asked(max_tokens=7, choices=3), 21, b"7"),
        (asked(stream=False), 100, b"100"),
        (asked(kind=Kind.EMBEDDING, stream=False), 0, None),
    ],
)
async def test_output_that_nobody_bounds_is_held_to_the_cap_and_each_choice_counts(
    call: Call, output: int, spliced: bytes | None
) -> None:
    whole = USAGE.replace(b'"choices":[]', b'"choices":[{"index":0,"message":{"content":"x"}}]')
    house = House(
        limit("output_tokens", 10_000), engines={"main": NotedEngine(GOOD if call.stream else [[whole]])}, cap=100
    )
    reply = await house.door.chat(call, house.admission)
    assert house.held("lim_1:") == output
    sent = house.engines["main"].started[0][0].fields.get("max_tokens")
    assert (None if sent is None else bytes(sent)) == spliced
    await reply.aclose()


@pytest.mark.parametrize(
    ("rules", "prices"), [((limit(),), [price()]), ((), [price()]), ((budget(),), [price(max_output=500)])]
)
async def test_where_nothing_counts_tokens_or_the_model_has_a_bound_of_its_own_the_call_stays_as_it_is(
    rules: tuple[Limit | Budget, ...], prices: list[Price]
) -> None:
    house = House(*rules, prices=prices, engines={"main": NotedEngine(GOOD)})
    reply = await house.door.chat(asked(), house.admission)
    assert "max_tokens" not in house.engines["main"].started[0][0].fields
    await reply.aclose()


async def test_an_upstream_that_goes_on_after_the_cap_is_cut_off() -> None:
    steps = [[piece("a")] for _ in range(30)]
    house = House(limit("tokens", 10_000), engines={"main": NotedEngine(steps)}, cap=10)
    reply = await house.door.chat(asked(), house.admission)
    heard = 0

    async def listen() -> None:
        nonlocal heard
        while chunks := await reply.read():
            heard += len(chunks)

    with pytest.raises(PenstockError, match="10 tokens that the request was held to") as caught:
        await listen()
    await reply.aclose()
    assert caught.value.fault is UPSTREAM_GARBLED
    assert 10 <= heard <= 10 + 3
    assert house.held("lim_1:") <= READ + 10
    assert house.engines["main"].upstreams[0].closed


async def test_a_dearer_fallback_tops_it_up_and_a_cheaper_one_does_not() -> None:
    dear, cheap = price("dear", 20_000, 30_000), price("cheap", 1, 1)
    failed = PenstockError(UPSTREAM_FAILED, "500")
    engines = {"main": NotedEngine(*[failed] * 3), "cheap": NotedEngine(*[failed] * 3), "dear": NotedEngine(GOOD)}
    house = House(budget(), prices=[price(), dear, cheap], engines=engines)
    reply = await house.door.chat(asked(), house.admission)
    assert house.held("bud_1:") == most(dear)
    assert [needs[-1].amount for needs in house.till.asked] == [most(price()), most(dear) - most(price())]
    while await reply.read():
        pass
    await reply.aclose()
    assert house.held("bud_1:") == 7 * 20 + 3 * 30
    assert [(row.attempt, row.model) for row in house.paper.rows] == [(7, "dear")]
    assert sum(len(each.held) for each in house.paper.opened) == 2


async def test_a_retry_after_an_attempt_that_is_charged_holds_both() -> None:
    broken = PenstockError(UPSTREAM_BROKEN, "gone")
    house = House(budget(), prices=[price()], engines={"main": NotedEngine(broken, GOOD)})
    reply = await house.door.chat(asked(), house.admission)
    lost = READ * 2 + OVERRUN * 3
    assert house.held("bud_1:") == lost + most(price())
    while await reply.read():
        pass
    await reply.aclose()
    assert [(row.attempt, row.estimated, row.cost_nano) for row in house.paper.rows] == [
        (1, True, lost),
        (2, False, 7 * 2 + 3 * 3),
    ]
    assert house.held("bud_1:") == lost + 7 * 2 + 3 * 3


async def test_a_top_up_that_does_not_fit_ends_the_request() -> None:
    broken = PenstockError(UPSTREAM_BROKEN, "gone")
    house = House(budget(most(price()) + 10), prices=[price()], engines={"main": NotedEngine(broken, GOOD)})
    assert (await refused(house)).fault is BUDGET_EXCEEDED
    assert len(house.engines["main"].started) == 1
    assert [row.estimated for row in house.paper.rows] == [True]
    assert house.held("bud_1:") == house.paper.rows[0].cost_nano > 0


async def test_a_hedge_holds_and_charges_both() -> None:
    stuck = asyncio.Event()
    house = House(
        budget(), prices=[price()], engines={"main": NotedEngine(stuck, GOOD)}, copies=2, hedge=Hedge(after_s=0.001)
    )
    reply = await house.door.chat(asked(), house.admission)
    assert house.held("bud_1:") == 2 * most(price())
    while await reply.read():
        pass
    await reply.aclose()
    assert [(row.attempt, row.estimated) for row in house.paper.rows] == [(1, True), (2, False)]
    assert house.held("bud_1:") == sum(row.cost_nano for row in house.paper.rows)


# -- refusals ------------------------------------------------------------------------------------------------------


async def test_a_model_without_a_price_is_refused_where_a_budget_applies() -> None:
    error = await refused(House(budget()))
    assert error.fault is NO_PRICE
    assert "The budget of $1.00 a month of project 'default' (bud_1)" in error.message
    assert "penstock prices set main" in error.message
    failed = PenstockError(UPSTREAM_FAILED, "500")
    engines = {"main": NotedEngine(*[failed] * 3), "spare": NotedEngine(GOOD)}
    house = House(budget(), prices=[price()], engines=engines)
    assert (await refused(house)).fault is NO_PRICE
    assert house.engines["spare"].started == []


async def test_an_empty_budget_is_said_in_dollars_and_not_to_be_waited_for() -> None:
    house = House(budget(500), prices=[price()])
    error = await refused(house)
    assert error.fault is BUDGET_EXCEEDED
    assert error.retry_after is None
    assert "may cost $0.000012864" in error.message
    assert "has $0.0000005 left" in error.message
    assert house.events == ["refused"]
    assert house.paper.records == []


async def test_room_is_said_to_the_second_and_is_there_then() -> None:
    house = House(limit(amount=2), engines={"main": NotedEngine(*[GOOD] * 3)})
    for number in (1, 2):
        reply = await house.door.chat(asked(), house.admission)
        await reply.aclose()
        assert reply.headers["x-ratelimit-limit-requests"] == "2"
        assert reply.headers["x-ratelimit-remaining-requests"] == str(2 - number)
        assert 61 <= int(reply.headers["x-ratelimit-reset-requests"].removesuffix("s")) <= 62
        house.clock.time += 10.2
    error = await refused(house)
    assert error.fault is RATE_LIMITED
    # The first was 20.4 s ago, the second 10.2 s.
    assert error.retry_after == pytest.approx(60 + LATE_S - 20.4, abs=0.11)
    assert error.headers["x-ratelimit-remaining-requests"] == "0"
    assert error.headers["x-ratelimit-reset-requests"] == "51s"
    assert "2 requests per minute of key 'admin' (lim_1) is reached: 0 left, 1 wanted. Try again in 41 s." in str(
        error
    )
    house.clock.time += math.ceil(error.retry_after or 0) - 1
    again = await refused(house)
    assert 0 < (again.retry_after or 0) <= 1
    house.clock.time += 1
    await (await house.door.chat(asked(), house.admission)).aclose()


@pytest.mark.parametrize("on_failure", [OnFailure(), OnFailure(tokens="open")])
async def test_what_is_granted_too_late_for_its_window_is_not_taken(on_failure: OnFailure) -> None:
    house = House(limit("tokens", 10_000), engines={"main": NotedEngine(GOOD, GOOD)}, on_failure=on_failure)
    house.till.takes_s = LATE_S
    await (await house.door.chat(asked(), house.admission)).aclose()
    assert house.held("lim_1:") > 0
    before = house.held("lim_1:")
    house.till.takes_s = LATE_S + 0.001
    if on_failure.tokens == "open":
        await (await house.door.chat(asked(), house.admission)).aclose()
    else:
        error = await refused(house)
        assert error.fault is COUNTERS_UNAVAILABLE
        assert error.retry_after
    assert house.held("lim_1:") == before
    assert house.till.open() == 0


async def test_the_tightest_is_named_and_in_the_headers() -> None:
    rules = (
        limit("tokens", 100_000),
        limit("tokens", 9_000, id="lim_2", kind="project"),
        limit(amount=3, id="lim_3"),
    )
    house = House(*rules, engines={"main": NotedEngine(*[GOOD] * 2)})
    reply = await house.door.chat(asked(), house.admission)
    assert {name: reply.headers[name] for name in reply.headers if "limit-limit" in name} == {
        "x-ratelimit-limit-tokens": "9000",
        "x-ratelimit-limit-requests": "3",
    }
    assert reply.headers["x-ratelimit-remaining-tokens"] == str(9000 - READ - 4096)
    second = await house.door.chat(asked(), house.admission)
    with pytest.raises(PenstockError, match=r"of project 'default' \(lim_2\)"):
        await house.door.chat(asked(), house.admission)
    await reply.aclose()
    await second.aclose()


# -- near a limit --------------------------------------------------------------------------------------------------


class Counter:
    """Counts prompts exactly, as an engine would."""

    def __init__(self, tokens: int | None) -> None:
        self.tokens = tokens
        self.asked = 0

    async def __call__(self, _: Call, __: Service) -> int | None:
        self.asked += 1
        return self.tokens


@pytest.mark.parametrize(("amount", "asks"), [(READ + 50, 0), (READ + 49, 1), (9 + 50, 1)])
async def test_near_a_limit_the_prompt_is_counted_and_only_there(amount: int, asks: int) -> None:
    count = Counter(9)
    house = House(limit("tokens", amount), engines={"main": NotedEngine(GOOD)}, count=count)
    reply = await house.door.chat(asked(max_tokens=50), house.admission)
    assert count.asked == asks
    assert house.held("lim_1:") == (9 if asks else READ) + 50
    await reply.aclose()


@pytest.mark.parametrize(
    ("rules", "tokens", "fault", "asks"),
    [
        ((limit("tokens", 9 + 49),), 9, RATE_LIMITED, 1),
        ((limit("tokens", READ),), None, RATE_LIMITED, 1),
        ((budget(9 * 2 + 50 * 3 - 1),), 9, BUDGET_EXCEEDED, 1),
        ((limit(amount=0),), 9, RATE_LIMITED, 0),
    ],
)
async def test_what_does_not_fit_when_counted_either_is_refused(
    rules: tuple[Limit | Budget, ...], tokens: int | None, fault: Fault, asks: int
) -> None:
    count = Counter(tokens)
    house = House(*rules, prices=[price()], count=count)
    assert (await refused(house, asked(max_tokens=50))).fault is fault
    assert count.asked == asks


# -- counters that are away ----------------------------------------------------------------------------------------

OPEN = OnFailure(requests="open", tokens="open", concurrent="open", budgets="open")


@pytest.mark.parametrize("deaf", [False, True])
async def test_where_it_may_go_uncounted_it_does_and_the_ledger_has_it(deaf: bool) -> None:
    house = House(
        limit("tokens", 10_000), budget(), prices=[price()], engines={"main": NotedEngine(GOOD)}, on_failure=OPEN
    )
    house.till.away, house.till.deaf = not deaf, deaf
    reply = await house.door.chat(asked(), house.admission)
    while await reply.read():
        pass
    await reply.aclose()
    assert [row.cost_nano for row in house.paper.rows] == [23]
    # Whether it was reserved is not known; nothing of it may stay.
    assert house.till.open() == house.held("lim_1:") == house.held("bud_1:") == 0
    assert list(house.reserving.held()) == []
    assert not any(name.startswith("x-ratelimit") for name in reply.headers)


@pytest.mark.parametrize(
    ("rule", "closed"),
    [
        (limit("requests"), OnFailure(requests="closed")),
        (limit("tokens"), OnFailure(tokens="closed")),
        (limit("input_tokens"), OnFailure(tokens="closed")),
        (limit("output_tokens"), OnFailure(tokens="closed")),
        (limit("concurrent", per=""), OnFailure(concurrent="closed")),
        (budget(USD), OnFailure()),
    ],
)
async def test_where_it_may_not_it_is_answered_503_by_each_kind(rule: Limit | Budget, closed: OnFailure) -> None:
    house = House(rule, prices=[price()], on_failure=closed)
    house.till.deaf = True
    error = await refused(house)
    assert error.fault is COUNTERS_UNAVAILABLE
    assert house.paper.records == []
    others = House(
        rule, prices=[price()], engines={"main": NotedEngine(GOOD)},
        on_failure=OnFailure(
            **{name: "open" if getattr(closed, name) == "closed" else "closed" for name in closed.__struct_fields__}
        ),
    )  # fmt: skip
    others.till.away = True
    await (await others.door.chat(asked(), others.admission)).aclose()


async def test_counters_that_go_away_before_a_top_up_follow_the_same_policy() -> None:
    for on_failure, served in ((OPEN, True), (OnFailure(), False)):
        broken = PenstockError(UPSTREAM_BROKEN, "gone")
        stuck = asyncio.Event()
        engine = NotedEngine([stuck, broken], GOOD)
        house = House(budget(), prices=[price()], engines={"main": engine}, on_failure=on_failure)
        running = asyncio.create_task(house.door.chat(asked(), house.admission))
        await engine.until_started(1)
        house.till.away = True
        stuck.set()
        if served:
            reply = await running
            while await reply.read():
                pass
            await reply.aclose()
        else:
            with pytest.raises(PenstockError) as caught:
                await running
            assert caught.value.fault is COUNTERS_UNAVAILABLE
        assert house.held("bud_1:") == sum(row.cost_nano for row in house.paper.rows) > 0
        assert house.till.open() == 0
