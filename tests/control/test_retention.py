"""What was kept for long enough is let go of, each by its own time."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import msgspec
import pytest

from penstock.control.retention import (
    ALERT_DAYS,
    COARSE_DAYS,
    EVERY_S,
    FINE_S,
    MIDDLE_DAYS,
    SERIES_EVERY_S,
    Retention,
    Seen,
)
from penstock.core.errors import STORE_UNAVAILABLE, PenstockError
from penstock.core.usage import Act, AuditQuery, AuditRow
from penstock.observe.config import Requests
from penstock.store.audit import SqlAudit
from penstock.store.audit_key import load_audit_key
from penstock.store.config import Audit, StateSettings
from penstock.store.forgetful_requests import ForgetfulRequests
from penstock.store.forgetful_series import ForgetfulAlerts, ForgetfulSeries
from penstock.store.ledger import SqlLedger
from penstock.store.scores import SqlScores
from tests.control.shipping_house import cancelled_at_end
from tests.control.timing import ManualTime, until
from tests.store.databases import new_store
from tests.store.records import entry, scored

DAY_S = 86400.0
SETTINGS = StateSettings(ledger_days=10.0, scores_days=7.0, audit=Audit(content_days=2.0, administrative_days=5.0))


class Scene:
    """Rows, scores and acts of the last twenty days, one of each a day, at noon of it as it were."""

    def __init__(self, folder: Path) -> None:
        self.time = ManualTime()
        database = new_store(folder / "state.db", self.time.wall())
        self.ledger = SqlLedger(database)
        self.audit = SqlAudit(database, load_audit_key(folder / "audit.key"), lambda _: None, self.time.wall)
        self.scores = SqlScores(database)
        self.retention = Retention(self.ledger, self.audit, self.scores, SETTINGS, self.time, self.time.sleep)
        self.days = [day + 0.5 for day in range(20)]
        now = self.time.wall()
        for day in reversed(self.days):
            at = now - day * DAY_S
            self.ledger.append([msgspec.structs.replace(entry(f"r{day}"), received_at=at)])
            (score,) = scored(f"r{day}").scores
            self.scores.append_scores([msgspec.structs.replace(score, at=at, arrived_at=at)])
            self.audit.append_acts(
                [
                    (f"c{day}", Act(at=at, kind="content", actor="k", project="red", action="call", content=b"{}")),
                    (f"a{day}", Act(at=at, actor="k", project="red", action="keys.create", content=b"{}")),
                ]
            )

    def used(self) -> int:
        """Of how many days there are rows of the ledger."""
        return sum(bool(self.ledger.request(f"r{day}")) for day in self.days)

    def acts(self) -> list[AuditRow]:
        return list(self.audit.acts(AuditQuery(), None, 1000))

    def kept(self, kind: str) -> list[float]:
        """Of how many days the content is still there."""
        now = self.time.wall()
        rows = [row for row in self.acts() if row.act.kind == kind and row.act.actor == "k" and row.act.content]
        return sorted((now - row.act.at) / DAY_S for row in rows)


@pytest.fixture
def scene(tmp_path: Path) -> Scene:
    return Scene(tmp_path)


def test_each_is_kept_for_its_own_time(scene: Scene) -> None:
    scene.retention.once()
    assert [int(day) for day in scene.kept("content")] == [0, 1]
    assert [int(day) for day in scene.kept("administrative")] == [0, 1, 2, 3, 4]
    kept = [day for day in scene.days if scene.ledger.request(f"r{day}")]
    assert [int(day) for day in kept] == list(range(10))
    kept = [day for day in scene.days if scene.scores.of_request(f"r{day}")]
    assert [int(day) for day in kept] == list(range(7))


def test_what_happened_stays_and_says_why_its_content_is_gone_and_the_chain_is_whole(scene: Scene) -> None:
    scene.retention.once()
    rows = [row for row in scene.acts() if row.act.actor == "k"]
    assert len(rows) == 2 * len(scene.days)
    reasons = {row.number: row.act for row in scene.acts() if row.act.actor == "gateway"}
    assert len(reasons) == 2, "one for each kind"
    assert {(act.action, act.project) for act in reasons.values()} == {("audit.expire", "*")}
    for row in rows:
        if not row.act.content:
            assert row.redacted_by is not None
            assert str(row.number) in reasons[row.redacted_by].target.partition(":")[2].split(",")
    assert scene.audit.verify(()) == []


def test_where_nothing_is_old_nothing_is_said(scene: Scene) -> None:
    scene.retention.once()
    before = scene.acts()
    scene.retention.once()
    assert scene.acts() == before


async def test_it_is_done_every_hour_and_what_fails_is_tried_again_then_and_keeps_nothing_else(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    forget = scene.ledger.forget
    failures: list[Exception] = [PenstockError(STORE_UNAVAILABLE, "away"), RuntimeError("a bug")]

    def failing(before: float) -> int:
        if failures:
            raise failures.pop()
        return forget(before)

    monkeypatch.setattr(scene.ledger, "forget", failing)
    async with cancelled_at_end(scene.retention.run()):
        for turn in (1, 2):
            await until(lambda: scene.time.slept == [EVERY_S] * turn, 10)  # noqa: B023 - awaited here
            assert scene.used() == 20
            assert len(scene.kept("content")) == 2
            await scene.time.advance(EVERY_S)
        await until(lambda: len(scene.time.slept) == 3, 10)
        assert scene.used() == 10
        await scene.time.advance(DAY_S)
        await until(lambda: len(scene.time.slept) == 4, 10)
        assert len(scene.kept("content")) == 1


class Calls(ForgetfulRequests, ForgetfulSeries, ForgetfulAlerts):
    """What was asked for, and how many days or hours before now."""

    def __init__(self, now: Callable[[], float]) -> None:
        ForgetfulRequests.__init__(self)
        self.made: list[tuple[object, ...]] = []
        self.failing = True
        self._now = now

    def _note(self, what: str, *before: float) -> None:
        self.made.append((what, *((self._now() - each) / DAY_S for each in before)))
        if self.failing:
            raise PenstockError(STORE_UNAVAILABLE, "away")

    def archive(self, before: float) -> int:
        self._note("archive", before)
        return 0

    def forget_requests(self, before: float, contents_before: float) -> int:
        self._note("requests", before, contents_before)
        return 0

    def forget_alerts(self, before: float) -> int:
        self._note("alerts", before)
        return 0

    def coarsen(self, fine_before: float, middle_before: float, forget_before: float) -> None:
        self._note("series", fine_before, middle_before, forget_before)


async def test_what_was_seen_is_kept_for_its_own_times_on_its_own_schedule(scene: Scene) -> None:
    calls = Calls(scene.time.wall)
    seen = Seen(calls, calls, calls, Requests(days=30.0, content_days=5.0, archive_after_days=2.0))
    retention = Retention(
        scene.ledger, scene.audit, scene.scores, SETTINGS, scene.time, scene.time.sleep, seen=seen
    )  # fmt: skip
    log = [("requests", 30.0, 5.0), ("archive", 2.0), ("alerts", ALERT_DAYS)]
    series = ("series", FINE_S / DAY_S, MIDDLE_DAYS, COARSE_DAYS)
    async with cancelled_at_end(retention.run()):
        await until(lambda: len(scene.time.slept) == 3, 10)
        assert sorted(calls.made) == sorted([*log, series])
        calls.failing = False
        calls.made.clear()
        for turn in range(1, 13):
            await scene.time.advance(SERIES_EVERY_S)
            wanted = 3 + turn + (2 if turn == 12 else 0)
            await until(lambda: len(scene.time.slept) == wanted, 10)  # noqa: B023 - awaited here
        assert sorted(calls.made) == sorted([*log, *[series] * 12])
