"""However a request ends, its lease is closed once, after the journal has what was used, and nothing stays held."""

from __future__ import annotations

import asyncio

import pytest

from penstock.core.errors import (
    BAD_REQUEST,
    COUNTERS_UNAVAILABLE,
    DEADLINE_EXCEEDED,
    JOURNAL_FULL,
    UPSTREAM_BROKEN,
    PenstockError,
)
from penstock.core.leases import Hold
from penstock.core.policy import Deadlines
from penstock.core.serving import Replica
from penstock.core.usage import Opened, Settled
from tests.gateway.doubles import ROLE, USAGE, piece
from tests.gateway.leasing import House, NotedEngine, asked, budget, limit, price

GOOD = [[ROLE, piece("ok", "stop"), USAGE]]
RULES = (
    limit("requests", id="lim_1"),
    limit("concurrent", 1, per="", id="lim_2"),
    limit("tokens", 50_000, id="lim_3"),
    budget(),
)


def house(*answers: object, **more: object) -> House:
    return House(*RULES, prices=[price()], engines={"main": NotedEngine(*answers)}, **more)  # type: ignore[arg-type]


def closed(of: House, ending: str, rows: int) -> None:
    """Exactly once, and everything agrees: the ledger's rows, and what the counters have."""
    assert of.till.open() == 0
    assert list(of.reserving.held()) == []
    assert of.events.count("settled") == 1
    assert of.events.count("Settled") == bool(of.paper.opened)
    assert len({lease for lease, _ in of.till.settled}) == 1
    assert [row.ending for row in of.paper.rows] == [ending] * rows
    assert of.held("lim_2:") == 0
    assert of.held("lim_3:") == sum(row.tokens.input + row.tokens.output for row in of.paper.rows)
    assert of.held("bud_1:") == sum(row.cost_nano for row in of.paper.rows)
    assert of.places.held == 0


# -- in which order ------------------------------------------------------------------------------------------------


async def test_the_journal_has_the_bound_before_the_engine_starts_and_the_rows_before_the_close_returns() -> None:
    here = house(GOOD)
    reply = await here.door.chat(asked(), here.admission)
    assert here.events == ["reserved", "Opened", "started"]
    while await reply.read():
        pass
    assert here.events == ["reserved", "Opened", "started"]
    await reply.aclose()
    assert here.events == ["reserved", "Opened", "started", "Settled", "settled"]
    opened, settled = here.paper.records
    assert isinstance(opened, Opened)
    assert isinstance(settled, Settled)
    assert opened.lease == settled.lease
    # The bound is the row of an attempt that nothing is heard of, and what is held is in the same record.
    assert (opened.bound.ending, opened.bound.status, opened.bound.estimated) == ("worker_lost", 500, True)
    assert [held.hold for held in opened.held] == [Hold.SLIDING, Hold.HELD, Hold.SLIDING, Hold.KEPT]
    assert opened.held[-1].amount == opened.bound.cost_nano
    assert {held.counter for held in opened.held} == set(settled.used)
    (row,) = settled.entries
    assert (row.request_id, row.attempt, row.gateway, row.status) == ("req-1", 1, "g", 200)
    assert (row.project, row.key_id, row.service, row.model, row.kind) == ("default", "admin", "chat", "main", "chat")
    assert row.price == "main@0"
    assert opened.bound.received_at == row.received_at == here.clock.wall()


async def test_open_leases_say_what_they_hold() -> None:
    here = house(GOOD)
    reply = await here.door.chat(asked(), here.admission)
    ((lease, held),) = here.reserving.held()
    assert held == here.paper.opened[0].held
    assert lease == here.paper.opened[0].lease
    await reply.aclose()
    assert list(here.reserving.held()) == []


# -- endings -------------------------------------------------------------------------------------------------------


async def test_complete() -> None:
    here = house(GOOD)
    reply = await here.door.chat(asked(), here.admission)
    while await reply.read():
        pass
    await reply.aclose()
    await reply.aclose()
    closed(here, "complete", 1)
    assert reply.summary is not None
    assert reply.summary.cost_nano == here.paper.rows[0].cost_nano == 23
    assert not here.paper.rows[0].estimated


async def test_failed_before_a_word() -> None:
    here = house(PenstockError(UPSTREAM_BROKEN, "gone"), PenstockError(BAD_REQUEST, "no"))
    with pytest.raises(PenstockError, match="no"):
        await here.door.chat(asked(), here.admission)
    closed(here, "failed", 1)
    assert here.paper.rows[0].status == 400


async def test_failed_for_nothing_leaves_no_row_and_the_journal_knows_that_it_is_over() -> None:
    here = house(PenstockError(BAD_REQUEST, "no"))
    with pytest.raises(PenstockError, match="no"):
        await here.door.chat(asked(), here.admission)
    closed(here, "failed", 0)
    assert [(record.entries, record.used["lim_1:admin"]) for record in here.paper.settled] == [((), 1)]


async def test_failed_in_mid_stream() -> None:
    here = house([[ROLE, piece("some")], PenstockError(UPSTREAM_BROKEN, "gone")])
    reply = await here.door.chat(asked(), here.admission)
    await reply.read()
    with pytest.raises(PenstockError, match="gone"):
        await reply.read()
    await reply.aclose()
    closed(here, "failed", 1)
    assert here.paper.rows[0].estimated


async def test_the_client_is_gone_in_mid_stream() -> None:
    here = house([[ROLE, piece("some")], asyncio.Event()])
    reply = await here.door.chat(asked(), here.admission)
    await reply.read()
    await asyncio.gather(reply.aclose(), reply.aclose())
    closed(here, "client_gone", 1)
    assert here.paper.rows[0].status == 499


async def cancelled(here: House, when: asyncio.Event | None = None) -> None:
    running = asyncio.create_task(here.door.chat(asked(), here.admission))
    for _ in range(10):
        await asyncio.sleep(0)
    running.cancel()
    if when is not None:
        when.set()
    with pytest.raises(asyncio.CancelledError):
        await running


async def test_the_client_is_gone_while_the_engine_starts() -> None:
    here = house(asyncio.Event())
    await cancelled(here)
    closed(here, "client_gone", 1)


@pytest.mark.parametrize("answered", [False, True])
async def test_the_client_is_gone_while_the_counters_are_asked(answered: bool) -> None:
    """They may have granted it all the same."""
    here = house(GOOD)
    here.till.slow = asyncio.Event()
    await cancelled(here, here.till.slow if answered else None)
    assert here.paper.records == []
    assert here.till.open() == 0
    assert (here.held("lim_2:"), here.held("lim_3:"), here.held("bud_1:")) == (0, 0, 0)


async def test_the_client_is_gone_while_a_top_up_is_asked_for() -> None:
    here = house(PenstockError(UPSTREAM_BROKEN, "gone"), GOOD)
    reserve, again = here.till.reserve, asyncio.Event()

    async def then_slow(*arguments: object) -> object:
        answer = await reserve(*arguments)  # type: ignore[arg-type]
        here.till.slow = again
        return answer

    here.till.reserve = then_slow  # type: ignore[method-assign, assignment]
    await cancelled(here)
    closed(here, "client_gone", 1)


@pytest.mark.parametrize("stage", ["counters", "engine"])
async def test_the_time_is_up(stage: str) -> None:
    here = house(asyncio.Event(), deadlines=Deadlines(total_s=0.01))
    if stage == "counters":
        here.till.slow = asyncio.Event()
    with pytest.raises(PenstockError) as caught:
        await here.door.chat(asked(), here.admission)
    assert caught.value.fault is DEADLINE_EXCEEDED
    if stage == "engine":
        closed(here, "failed", 1)
    else:
        assert here.till.open() == here.held("bud_1:") == 0


async def test_one_at_a_time_is_one_at_a_time_after_every_ending() -> None:
    here = house(*[GOOD] * 3)
    for _ in range(3):
        reply = await here.door.chat(asked(), here.admission)
        with pytest.raises(PenstockError, match="1 requests at once"):
            await here.door.chat(asked(), here.admission)
        await reply.aclose()


# -- a journal that is full ------------------------------------------------------------------------------------------


async def test_a_full_journal_lets_nothing_out_and_nothing_stays_held() -> None:
    here = house(GOOD, GOOD)
    here.paper.full = True
    with pytest.raises(PenstockError) as caught:
        await here.door.chat(asked(), here.admission)
    assert caught.value.fault is JOURNAL_FULL
    assert here.engines["main"].started == []
    closed(here, "", 0)
    here.paper.full = False
    await (await here.door.chat(asked(), here.admission)).aclose()
    assert here.events[-5:] == ["reserved", "Opened", "started", "Settled", "settled"]


async def test_what_was_used_while_it_is_full_is_written_before_the_next_goes_out() -> None:
    here = house(GOOD, GOOD)
    reply = await here.door.chat(asked(), here.admission)
    while await reply.read():
        pass
    here.paper.full = True
    await reply.aclose()
    assert reply.summary is not None
    assert here.held("bud_1:") == 23
    assert here.till.open() == 0
    with pytest.raises(PenstockError):
        await here.door.chat(asked(), here.admission)
    assert here.paper.settled == []
    here.paper.full = False
    second = await here.door.chat(asked(), here.admission)
    assert [type(record) for record in here.paper.records] == [Opened, Settled, Opened]
    assert [row.cost_nano for row in here.paper.rows] == [23]
    await second.aclose()
    assert len(here.paper.settled) == 2


async def test_a_lease_that_was_never_used_is_given_back_whole() -> None:
    """The place in the queue was not had, say."""
    here = house()
    lease = await here.lease()
    assert lease.close(None, "failed", 503) == 0
    closed(here, "", 0)
    assert here.held("lim_1:") == 1, "it was a request"
    assert here.paper.records == []


async def test_counters_that_go_away_take_no_lease_with_them() -> None:
    here = house(GOOD)
    here.till.deaf = True
    with pytest.raises(PenstockError) as caught:
        await here.lease()
    assert caught.value.fault is COUNTERS_UNAVAILABLE
    assert here.till.open() == 0


# -- a lease by itself ------------------------------------------------------------------------------------------------


async def test_every_lease_has_a_name_of_its_own() -> None:
    here = house()
    leases = []
    for _ in range(3):
        lease = await here.lease()
        leases.append(lease.id)
        lease.close(None, "failed", 503)
    assert len(set(leases)) == 3
    assert all(name.startswith("w.") for name in leases)


async def test_what_a_machine_by_the_hour_may_cost_is_its_whole_time_and_its_smallest_copy() -> None:
    hourly = price(input=0, output=0, per_hour_nano=3_600_000_000)
    here = House(budget(10**12), prices=[hourly])
    lease = await here.lease(total_s=100.0)
    assert here.held("bud_1:") == 100_000_000
    tried = await lease.attempt(1, "main", Replica("main-0", "main", "http://up"))
    here.clock.time += 2.0
    tried.failed(UPSTREAM_BROKEN, here.clock.now())
    here.clock.time += 50.0
    assert lease.close(None, "failed", 502) == 2_000_000
    assert here.held("bud_1:") == 2_000_000
