"""Audits: hits that are made again behind and compared, and what that may cost."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import msgspec
import pytest

from penstock.core import errors
from penstock.core.caching import Agreement
from penstock.core.errors import PenstockError
from penstock.core.money import Price, Rates
from penstock.core.serving import Service
from tests.gateway.doubles import NoPrices, ScriptedEngine, Step, piece
from tests.gateway.likening import HIT, MISS, Likening, asking, entry, policy, sought, whole
from tests.gateway.releasing import ALL, CHAMPION, OnePrice, said, shared

PRICE = Price(model="main", rates=Rates(input=1_000_000, output=1_000_000))


# -- audits ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("stream", [True, False])
@pytest.mark.parametrize(("answer", "same"), [("Canberra.", True), ("Sydney", False)])
async def test_an_audited_hit_is_made_again_behind_and_compared(answer: str, same: bool, stream: bool) -> None:
    main = ScriptedEngine(said(answer) if stream else whole(answer))
    here = Likening(HIT, main=main)
    call = asking(stream=stream)
    near = await here.near(call)
    assert main.started == []
    near.given()
    await here.rest()
    assert here.learnt() == [("t-1", same)]
    assert [started.fields for started, _ in main.started] == [call.fields]
    (row,) = here.street.rows()
    assert (row.request_id, row.purpose, row.project) == ("req-1:audit", "internal", "_internal")
    assert here.street.meter.total("penstock_cache_audits", "same" if same else "different") == 1
    assert here.street.meter.total("penstock_cache_audit_tokens", "chat") == 17


async def test_an_audit_is_answered_by_the_release_that_serves() -> None:
    service = shared(ranges=ALL)
    assert service.assignment is not None
    variant = msgspec.structs.replace(service.assignment.variants[CHAMPION], policy=policy())
    here = Likening(HIT, service=service, main=ScriptedEngine(said("Canberra")))
    (await here.near(service=variant)).given()
    await here.rest()
    assert here.learnt() == [("t-1", True)]
    assert here.street.rows()[0].release == CHAMPION


async def test_an_audit_is_answered_by_the_first_model_that_the_key_may_use_or_not_at_all() -> None:
    both = Service("chat", ("main", "next"), policy=policy())
    here = Likening(HIT, service=both, main=ScriptedEngine(PenstockError(errors.UPSTREAM_FAILED, "500")))
    (await here.near()).given()
    await here.rest()
    assert (here.learnt(), here.street.engines["next"].started) == ([("t-1", None)], [])
    here = Likening(HIT, service=both)
    # As far as the key may use it.
    (await here.near(service=msgspec.structs.replace(both, models=("next",)))).given()
    await here.rest()
    assert here.street.engines["main"].started == []
    assert len(here.street.engines["next"].started) == 1


@pytest.mark.parametrize(
    "answer",
    [PenstockError(errors.UPSTREAM_FAILED, "500"), [[piece("Can")], PenstockError(errors.UPSTREAM_BROKEN, "reset")]],
)
async def test_an_audit_that_fails_is_lost(answer: Sequence[Step] | PenstockError) -> None:
    here = Likening(HIT, main=ScriptedEngine(answer))
    (await here.near()).given()
    await here.rest()
    assert here.learnt() == [("t-1", None)]
    assert here.street.meter.total("penstock_cache_audits", "failed") == 1


@pytest.mark.parametrize(("verdict", "same"), [("VERDICT: SAME", True), ("VERDICT: DIFFERENT", False), ("Hm.", None)])
async def test_a_judge_is_shown_the_question_and_both_answers(verdict: str, same: bool | None) -> None:
    judge = ScriptedEngine(whole(verdict))
    here = Likening(
        HIT,
        main=ScriptedEngine(said("It is Canberra")),
        judge=judge,
        agreement=Agreement(check="judge", judge="judge"),
    )
    (await here.near()).given()
    await here.rest()
    assert here.learnt() == [("t-1", same)]
    (call, _) = judge.started[0]
    assert call.request_id == "req-1:audit:judge"
    told = bytes(call.fields["messages"]).decode()
    assert all(each in told for each in ("capital of Australia", "It is Canberra", "VERDICT: SAME"))


async def test_a_judge_that_is_down_leaves_nobody_knowing() -> None:
    judge = ScriptedEngine(PenstockError(errors.UPSTREAM_FAILED, "500"))
    here = Likening(MISS, judge=judge, agreement=Agreement(check="judge", judge="judge"))
    (await here.near()).made(entry("Sydney"))
    await here.rest()
    assert (here.learnt(), len(here.desks.taught)) == ([("t-1", None)], 1)


# -- budgets -----------------------------------------------------------------------------------------------------------


async def audited(here: Likening) -> bool:
    """Whether the next question may hit; where it may it does, and is audited."""
    near = await here.near()
    near.given()
    await here.rest()
    return here.desks.asked[-1].may_hit


@pytest.mark.parametrize("workers", [1, 2])
async def test_hits_stop_when_the_tokens_of_the_day_are_used_up(workers: int) -> None:
    here = Likening(HIT, main=ScriptedEngine(*(said() for _ in range(9))), audit_tokens=34 * workers, workers=workers)
    # An audit has 17 tokens.
    assert [await audited(here) for _ in range(4)] == [True, True, False, False]
    here.street.clock.time += 86_400.0
    here.desks.says = sought(entry(at=here.street.clock.time), hit=True, audited=True)
    assert await audited(here)


async def test_hits_stop_when_the_money_of_the_day_is_spent() -> None:
    here = Likening(
        HIT, main=ScriptedEngine(*(said() for _ in range(9))), audit_budget=0.000_02, prices=OnePrice(PRICE)
    )
    # An audit comes to 17 millionths.
    assert [await audited(here) for _ in range(3)] == [True, True, False]


async def test_there_are_no_hits_where_nobody_knows_what_an_audit_costs() -> None:
    here = Likening(HIT, audit_budget=1.0, prices=NoPrices())
    near = await here.near()
    near.lost()
    assert not here.desks.asked[0].may_hit


async def test_judges_of_misses_leave_half_of_the_budget_to_audits() -> None:
    judge = ScriptedEngine(*(whole("VERDICT: SAME") for _ in range(9)))
    here = Likening(MISS, judge=judge, agreement=Agreement(check="judge", judge="judge"), audit_tokens=60)
    for _ in range(4):
        (await here.near()).made(entry("Sydney"))
        await here.rest()
    # 17 tokens each, up to 30.
    assert [same for _, same in here.learnt()] == [True, True, None, None]
    assert here.desks.asked[-1].may_hit
    assert here.street.meter.total("penstock_cache_comparisons", "unpaid") == 2


async def test_hits_stop_while_audits_cannot_keep_up() -> None:
    held = asyncio.Event()
    here = Likening(HIT, main=ScriptedEngine(*([held] for _ in range(2000))))
    for number in range(600):
        here.desks.says = msgspec.structs.replace(HIT, ticket=f"t-{number}")
        near = await here.near()
        if here.desks.asked[-1].may_hit:
            near.given()
        else:
            near.lost()
    assert [ask.may_hit for ask in here.desks.asked].count(True) == 512
    await here.all.aclose()
    assert len({each.ticket for each in here.desks.learnt}) == len(here.desks.learnt) == 600
    assert {each.same for each in here.desks.learnt} == {None}
