"""Copies: paired with what the client got, after everybody else, within their budget, and never at the client's
expense."""

from __future__ import annotations

import asyncio

import msgspec
import pytest

from penstock.core import errors
from penstock.core.errors import PenstockError
from penstock.core.identity import Principal
from penstock.core.money import Price, Rates
from penstock.core.releases import WHOLE, Mirror
from penstock.core.serving import Service
from penstock.gateway.snapshot import Prices
from penstock.quality.config import SimilaritySettings
from tests.gateway.doubles import ROLE, NoPrices, ScriptedEngine, Step, piece
from tests.gateway.releasing import (
    ALL,
    CANDIDATE,
    CHAMPION,
    ONCE,
    SUCCESS,
    OnePrice,
    Street,
    asked,
    made,
    mirrored,
    said,
    shared,
    user_of,
    watched,
)

NANO = 10**9
# A copy of 17 tokens comes to 17 millionths of a dollar.
PRICE = Price(model="next", rates=Rates(input=1_000_000, output=1_000_000))
COPY = 17_000


def street(
    mirror: Mirror,
    main: ScriptedEngine | None = None,
    next: ScriptedEngine | None = None,
    prices: Prices | None = None,
    workers: int = 1,
    **more: ScriptedEngine,
) -> Street:
    measures = (SUCCESS, *((made("near", SimilaritySettings(service="embed", to="champion")),) if more else ()))
    services = [
        shared(ranges=ALL, watched=watched(*measures, share=0), mirror=mirror),
        *(Service(name, (name,), policy=ONCE) for name in more),
    ]
    engines = {
        "main": main or ScriptedEngine(*(said("old") for _ in range(200))),
        "next": next or ScriptedEngine(*(said("new") for _ in range(200))),
        **more,
    }
    return Street(services, engines, prices=prices or OnePrice(PRICE), workers=workers)


async def test_a_copy_is_paired_with_what_the_client_got() -> None:
    here = street(mirrored())
    summary = await here.ask(asked("ada"))
    assert (summary.release, summary.model) == (CHAMPION, "main")
    scores = here.scores()
    assert [(score.release, score.copied, score.value) for score in scores] == [
        (CHAMPION, False, 1.0),
        (CANDIDATE, True, 1.0),
    ]
    assert {score.request_id for score in scores} == {"req-1"}
    assert {score.at for score in scores} == {here.clock.time}
    assert len({score.unit for score in scores}) == 1
    (copy,) = [row for row in here.rows() if row.release == CANDIDATE]
    assert (copy.request_id, copy.purpose, copy.project, copy.key_id) == (
        "req-1:copy",
        "internal",
        "_internal",
        "_internal",
    )
    sent, got = here.engines["next"].started[0][0], here.engines["main"].started[0][0]
    assert sent.fields == got.fields
    assert here.meter.total("penstock_copies", "answered") == 1


async def test_a_copy_begins_when_the_client_has_its_answer() -> None:
    here = street(mirrored())
    reply = await here.door.chat(asked("ada"), here.admission)
    while await reply.read():
        pass
    for _ in range(5):
        await asyncio.sleep(0)
    assert here.engines["next"].started == []
    await reply.aclose()
    await here.trials.idle()
    assert len(here.engines["next"].started) == 1


async def test_only_units_in_the_share_are_copied_and_scored() -> None:
    mirror = mirrored(share=WHOLE // 4)
    here = street(mirror)
    inside = user_of(CHAMPION, shared(ranges=ALL).assignment, share=WHOLE // 4)
    for number in range(40):
        await here.ask(asked(f"u{number}", id=f"r{number}"))
    copies = len(here.engines["next"].started)
    assert 2 <= copies <= 20
    assert len(here.scores()) == 2 * copies
    await here.ask(asked(inside, id="inside"))
    assert len(here.engines["next"].started) == copies + 1


@pytest.mark.parametrize(
    "answer", [PenstockError(errors.UPSTREAM_FAILED, "500"), [[ROLE], PenstockError(errors.UPSTREAM_BROKEN, "reset")]]
)
async def test_a_copy_that_fails_scores_0_and_is_made_nowhere_else(answer: list[Step] | PenstockError) -> None:
    here = street(mirrored(), next=ScriptedEngine(answer))
    await here.ask(asked("ada"))
    assert [(score.copied, score.value) for score in here.scores()] == [(False, 1.0), (True, 0.0)]
    assert len(here.engines["main"].started) == 1
    assert here.meter.total("penstock_copies", "failed") == 1


async def test_what_failed_for_the_client_is_copied_all_the_same() -> None:
    here = street(mirrored(), main=ScriptedEngine(PenstockError(errors.UPSTREAM_FAILED, "500")))
    with pytest.raises(PenstockError):
        await here.ask(asked("ada"))
    await here.trials.idle()
    assert [(score.copied, score.value) for score in here.scores()] == [(False, 0.0), (True, 1.0)]


async def test_a_clients_own_fault_is_not_copied() -> None:
    here = street(mirrored(), main=ScriptedEngine(PenstockError(errors.BAD_REQUEST, "no")))
    with pytest.raises(PenstockError):
        await here.ask(asked("ada"))
    await here.trials.idle()
    assert here.engines["next"].started == []
    assert here.scores() == []


@pytest.mark.parametrize("workers", [1, 3])
async def test_a_day_has_its_budget_and_the_next_another(workers: int) -> None:
    here = street(mirrored(budget_nano=10 * COPY * workers), workers=workers)
    for number in range(20):
        await here.ask(asked("ada", id=f"r{number}"))
    assert len(here.engines["next"].started) == 10
    assert here.meter.total("penstock_copies", "unpaid") == 10
    # Without its copy a champion's answer is of no use.
    assert len(here.scores()) == 20
    here.clock.time += 86_400
    await here.ask(asked("ada", id="tomorrow"))
    assert len(here.engines["next"].started) == 11


async def test_a_broken_copy_is_paid_for_too() -> None:
    broken = [[[ROLE, piece("Hel")], PenstockError(errors.UPSTREAM_BROKEN, "reset")] for _ in range(20)]
    here = street(mirrored(budget_nano=10), next=ScriptedEngine(*broken))
    for number in range(3):
        await here.ask(asked("ada", id=f"r{number}"))
    assert len(here.engines["next"].started) == 1


async def test_nothing_is_sent_to_what_has_no_price_where_there_is_a_budget() -> None:
    here = street(mirrored(budget_nano=NANO), prices=NoPrices())
    await here.ask(asked("ada"))
    assert here.engines["next"].started == []
    assert here.meter.total("penstock_copies", "unpaid") == 1
    free = street(mirrored(), prices=NoPrices())
    await free.ask(asked("ada"))
    assert len(free.engines["next"].started) == 1


async def test_copies_that_have_no_room_are_dropped_and_counted() -> None:
    held = asyncio.Event()
    here = street(mirrored(), next=ScriptedEngine(*([held] for _ in range(200))))
    for number in range(100):
        reply = await here.door.chat(asked("ada", id=f"r{number}"), here.admission)
        while await reply.read():
            pass
        await reply.aclose()
    assert here.meter.total("penstock_copies", "shed") == 100 - 4 - 64
    await here.engines["next"].until_started(4)
    assert len(here.engines["next"].started) == 4
    await here.trials.aclose()
    assert here.places.held == 0


async def test_a_large_request_does_not_wait_to_be_copied() -> None:
    held = asyncio.Event()
    here = street(mirrored(), next=ScriptedEngine(*([held] for _ in range(200))))
    large = b'{"pad":"' + b"x" * (5 << 20) + b'"}'
    for number in range(10):
        reply = await here.door.chat(asked("ada", id=f"r{number}", more=large), here.admission)
        while await reply.read():
            pass
        await reply.aclose()
    assert here.meter.total("penstock_copies", "shed") == 10 - 4 - 3
    await here.trials.aclose()


async def test_a_copy_is_compared_with_the_champions_own_words() -> None:
    embed = ScriptedEngine([[b'{"data":[{"embedding":[1.0,0.0]},{"embedding":[0.6,0.8]}]}']])
    here = street(mirrored(), embed=embed)
    await here.ask(asked("ada"))
    near = {score.copied: score.value for score in here.scores() if score.metric == "near"}
    assert near == {False: 1.0, True: pytest.approx(0.6)}
    assert bytes(embed.started[0][0].fields["input"]) == b'["new","old"]'
    assert embed.started[0][0].request_id == "req-1:copy:near"


async def test_a_copy_goes_nowhere_that_the_key_may_not() -> None:
    who = Principal(
        key_id="k", project="p", role="developer", permissions=frozenset({"call"}), models=frozenset({"main"})
    )
    here = street(mirrored())
    here.admission = msgspec.structs.replace(here.admission, principal=who)
    await here.ask(asked("ada"))
    assert here.engines["next"].started == []
    assert here.scores() == []


async def test_a_release_that_has_gone_meanwhile_is_no_failure() -> None:
    here = street(mirrored())
    reply = await here.door.chat(asked("ada"), here.admission)
    while await reply.read():
        pass
    service = shared(ranges=ALL)
    assert service.assignment is not None
    alone = {CHAMPION: service.assignment.variants[CHAMPION]}
    deployment = msgspec.structs.replace(
        here.snapshot.deployment, services={"chat": shared(ranges=ALL, variants=alone)}
    )
    here.snapshot = msgspec.structs.replace(here.snapshot, deployment=deployment)
    await reply.aclose()
    await here.trials.idle()
    assert [score.copied for score in here.scores()] == [False]
