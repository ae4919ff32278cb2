"""What a service did lately, and what is to be expected of a rollout by it."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from penstock.control.accounts.operation import Sources
from penstock.control.accounts.rollout_preflight import PreflightView, ahead
from penstock.control.accounts.rollout_request import StartRollout
from penstock.control.accounts.traffic import Recent, recent
from penstock.core.administration import Ask
from penstock.core.errors import PenstockError
from penstock.core.money import NANO
from penstock.core.releases import Decision
from penstock.quality.config import measure
from penstock.store import ScoreSum
from tests.control.accounts.office import NOW, ROOT, Office, entry
from tests.control.accounts.shelf import turn
from tests.control.accounts.test_rollouts import FILE, FIRST, KNOWN, SECOND

replace = msgspec.structs.replace


def test_nothing_was_asked() -> None:
    class Empty:
        def sums(self, query: object, by: object) -> tuple[()]:
            return ()

    assert recent(Empty(), "chat", NOW) == Recent()  # type: ignore[arg-type]


async def test_what_was_asked_lately_of_the_newest(here: Office) -> None:
    rows = []
    for number in range(100):
        row = replace(
            entry("red", f"req-{number}", at=NOW - 3600 + 36 * number, cost_nano=NANO // 100),
            user="" if number % 2 else f"user-{number % 20}",
            status=200 if number < 90 else 502,
            ending="complete" if number < 90 else "failed",
        )
        rows.append(replace(row, settled_at=row.received_at + (number + 1) / 10))
    here.ledger.append([*rows, replace(rows[0], request_id="other", service="other")])
    found = recent(here.ledger, "chat", NOW)
    assert (found.requests, found.users, found.answered) == (100, 60, 0.9)
    assert found.per_s == pytest.approx(100 / 3600)
    assert found.p95_s == 8.6
    assert found.p5_tokens_per_s == pytest.approx(5 / 8.6, rel=0.02)
    assert (found.p95_dollars, found.mean_dollars) == (0.01, pytest.approx(0.01))


class Kept:
    def __init__(self, *sums: ScoreSum) -> None:
        self.sums = sums

    def decisions(self, rollout: str) -> tuple[Decision, ...]:
        return ()

    def summary(self, service: str, release: str, since: float) -> tuple[ScoreSum, ...]:
        assert (service, release) == ("chat", FIRST.id)
        return self.sums


def told(lately: Recent, *sums: ScoreSum, **asked: Any) -> PreflightView:
    body = msgspec.convert({"service": "chat", "release": SECOND.id} | asked, StartRollout)
    sources = Sources(lambda: KNOWN, None, None, Kept(*sums))  # type: ignore[arg-type]
    now = replace(turn(served=FILE), recent=lambda service: lately)
    view = ahead(sources, now, body, Ask(actor=ROOT, operation=""))
    return msgspec.json.decode(msgspec.json.encode(view), type=PreflightView)


BUSY = Recent(requests=86_400, users=86_400, per_s=1.0, answered=0.99, p95_s=2.0, mean_dollars=0.001)


def test_a_busy_service_knows_soon_and_an_idle_one_is_told_so() -> None:
    busy = told(BUSY)
    assert busy.decidable
    assert busy.drop_s is not None
    assert busy.drop_s < 86_400
    assert [each.assumed for each in busy.expected] == [False, False]
    idle = told(replace(BUSY, requests=10, users=10, per_s=1e-4))
    assert not idle.decidable
    assert "rollout check" in idle.sentence
    assert not told(Recent()).decidable


def test_users_that_come_back_count_once() -> None:
    assert told(replace(BUSY, users=8640)).units_per_hour == pytest.approx(360)
    assert told(replace(BUSY, users=8640), sticky="request").units_per_hour == pytest.approx(3600)
    assert told(replace(BUSY, users=8640), window_s=3600).units_per_hour == pytest.approx(3600)


def test_what_was_scored_is_better_known_than_what_the_ledger_says() -> None:
    version = measure("success", "success").version
    even = told(BUSY, ScoreSum(metric="success", version=version, copied=False, count=9, mean=0.5))
    assert (even.expected[0].drop_s or 0) > (told(BUSY).expected[0].drop_s or 0)


def test_judging_costs_what_the_judge_costs() -> None:
    gates = [{"metric": "judge", "settings": {"service": "judge", "rubric": "r"}}]
    assert told(BUSY, gates=gates).judge_dollars > 0
    assert "Judging" in told(BUSY, gates=gates).sentence


def test_what_cannot_be_started_has_no_preflight() -> None:
    with pytest.raises(PenstockError):
        told(BUSY, release="rel_nothing")
