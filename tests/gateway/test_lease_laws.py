"""Whatever becomes of a request's attempts, it is charged no more than was reserved before each of them went out; and
no window holds more than its limit."""

from __future__ import annotations

import asyncio
import random

import msgspec
from hypothesis import given, settings
from hypothesis import strategies as st

from penstock.access.book import Book
from penstock.access.limits import LATE_S, Amounts, Rules, needs
from penstock.core.accounts import Directory
from penstock.core.chat import Call, Usage
from penstock.core.errors import BAD_REQUEST, UPSTREAM_BROKEN, UPSTREAM_FAILED, UPSTREAM_TIMEOUT
from penstock.core.leases import Granted, Hold
from penstock.core.money import Price, Rates, Tier
from penstock.gateway.lease import Lease
from penstock.gateway.tries import Try
from tests.gateway.doubles import OWNER
from tests.gateway.leasing import House, NotedEngine, asked, budget, limit

MODELS = ("main", "second", "third")
TOTAL_S = 100.0
START = 1_800_000_000.0

_RATE = st.integers(0, 50_000)
_RATES = st.builds(
    Rates, input=_RATE, output=_RATE, cached_read=st.none() | _RATE, cached_write=st.none() | _RATE,
    reasoning=st.none() | _RATE,
)  # fmt: skip


@st.composite
def prices(draw: st.DrawFn) -> list[Price]:
    return [
        Price(
            model=model,
            rates=draw(_RATES),
            tiers=(Tier(draw(st.integers(0, 400)), draw(_RATES)),) if draw(st.booleans()) else (),
            per_hour_nano=draw(st.sampled_from([0, 0, 10**10])),
            max_output=draw(st.none() | st.integers(1, 5000)),
        )
        for model in MODELS
    ]


class Step(msgspec.Struct, frozen=True):
    """One attempt: where, how much of it was heard, what the engine said of it, how it ended and after how long.
    Shares are of its bound; ``end`` None: it is still under way when the next one goes out."""

    model: str
    text: int
    said: tuple[float, float, float, float] | None
    final: bool
    end: str | None
    lasted_s: float


_SHARE = st.floats(0, 1)
_STEPS = st.lists(
    st.builds(
        Step, model=st.sampled_from(MODELS), text=st.integers(0, 3000), said=st.none() | st.tuples(*[_SHARE] * 4),
        final=st.booleans(), end=st.sampled_from(["broken", "timeout", "failed", "refused", None]),
        lasted_s=st.floats(0, 10),
    ),
    max_size=5,
)  # fmt: skip
_FAULTS = {"broken": UPSTREAM_BROKEN, "timeout": UPSTREAM_TIMEOUT, "failed": UPSTREAM_FAILED, "refused": BAD_REQUEST}


def _hear(tried: Try, step: Step) -> None:
    """As its watchers would, of an upstream that keeps to what it was asked for."""
    bound = tried.bound
    if step.text:
        chunk = msgspec.json.encode({"choices": [{"delta": {"content": "x" * step.text}}]})
        tried.chunks, tried.bytes, tried.last, tried.shortest = 1, len(chunk), chunk, chunk
    if step.said is not None:
        read, cached, made, reasoned = step.said
        prompt, completion = int(bound.input * read), int(bound.output * made)
        tried.usage = Usage(
            prompt=prompt, completion=completion, cached=int(prompt * cached), reasoning=int(completion * reasoned)
        )
        tried.final = step.final


async def _lived(house: House, call: Call, steps: list[Step], won: int | None) -> Lease:
    """What was reserved covers what is charged at every moment; the lease, closed."""
    lease = await house.lease(call, TOTAL_S)
    tries: list[Try] = []
    for number, step in enumerate(steps, 1):
        tried = await lease.attempt(number, step.model, house.replica(step.model))
        tries.append(tried)
        _hear(tried, step)
        house.clock.time += step.lasted_s
        if step.end is not None:
            tried.failed(_FAULTS[step.end], house.clock.now())
    going = [tried for tried in tries if tried.ended is None]
    winner = going[won % len(going)] if going and won is not None else None
    before = {record.counter: 0 for _, held in house.reserving.held() for record in held}
    for _, held in house.reserving.held():
        for record in held:
            before[record.counter] += record.amount
    lease.close(winner, "complete" if winner else "failed", 200 if winner else 502)
    ((_, used),) = house.till.settled
    for counter, amount in used.items():
        assert amount <= before.get(counter, 0), counter
    return lease


@settings(max_examples=150, deadline=None)
@given(prices(), _STEPS, st.none() | st.integers(0, 4), st.integers(1, 3), st.none() | st.integers(1, 5000))
def test_no_more_is_charged_than_was_reserved_and_the_journal_has_the_same(
    known: list[Price], steps: list[Step], won: int | None, choices: int, max_tokens: int | None
) -> None:
    house = House(
        limit("tokens", 10**9, id="lim_1"), limit("output_tokens", 10**9, id="lim_2"),
        limit("input_tokens", 10**9, id="lim_3"), limit("concurrent", 5, per="", id="lim_4"),
        limit("requests", 5, id="lim_5"), budget(10**15),
        prices=known, engines={model: NotedEngine() for model in MODELS},
    )  # fmt: skip
    asyncio.run(_lived(house, asked(choices=choices, max_tokens=max_tokens), steps, won))
    rows = house.paper.rows
    spent = sum(row.cost_nano for row in rows)
    # The counters end with what the ledger has, and nothing else is held.
    assert house.held("bud_1:") == spent
    assert house.held("lim_1:") == sum(row.tokens.input + row.tokens.output for row in rows)
    assert (house.held("lim_4:"), house.held("lim_5:")) == (0, 1)
    # A worker that dies is charged by what the journal says before: at every attempt that is no less.
    bounds = {opened.bound.attempt: opened.bound.cost_nano for opened in house.paper.opened}
    for row in rows:
        assert row.cost_nano <= bounds[row.attempt]
    # What the journal says is held is what was reserved.
    said = sum(h.amount for opened in house.paper.opened for h in opened.held if h.hold is Hold.KEPT)
    asked_for = sum(need.amount for needs in house.till.asked for need in needs if need.hold is Hold.KEPT)
    assert said == asked_for or not steps


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 2**32))
def test_no_window_by_when_requests_were_received_holds_more_however_long_each_waited(seed: int) -> None:
    chance, book = random.Random(seed), Book()
    applying = Rules(Directory(limits=(limit("tokens", 1000),))).applying(OWNER, "chat")
    received = sorted(START + chance.random() * 200 for _ in range(300))
    waited = sorted((at + chance.choice([0, 0.02, LATE_S * chance.random(), LATE_S]), at) for at in received)
    granted = []
    for number, (now, at) in enumerate(waited):
        amounts = Amounts(1, chance.randint(1, 100), chance.randint(0, 100), 0)
        if isinstance(book.reserve("w", f"r{number}", needs(applying, amounts, at), now), Granted):
            granted.append((at, amounts.input + amounts.output))
    assert max(sum(each for at, each in granted if begin <= at <= begin + 60) for begin, _ in granted) <= 1000
