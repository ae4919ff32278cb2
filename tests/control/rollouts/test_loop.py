"""The loop against a real store that fails, or a process that is killed, at every point in turn."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from msgspec.structs import replace

from penstock.control.rollouts.loop import Rollouts
from penstock.control.rollouts.moves import Verdict
from penstock.control.rollouts.shares import whole
from penstock.core.accounts import Change
from penstock.core.errors import STORE_UNAVAILABLE, PenstockError
from penstock.core.releases import WHOLE, Decision, Rollout, Score, Split, Step, Warm
from penstock.core.usage import AuditQuery
from penstock.routing.assignment import shares
from penstock.store.audit import SqlAudit
from penstock.store.scores import SqlScores
from penstock.store.sql import SqlStore
from tests.control.rollouts.parts import HALF_READY, NEW, NOW, OLD, READY, plan, release, rollout, split_of
from tests.control.timing import ManualTime, until
from tests.store.databases import new_store


class Counting:
    """Promotes after 120 good scores of the candidate, rolls back after 30 bad ones."""

    def __init__(self, of: Rollout) -> None:
        self._candidate = of.plan.candidate
        self._numbers: list[int] = []
        self._good = self._bad = 0
        self._heard = 0.0
        self._decisions = 0

    def add(self, number: int, score: Score) -> None:
        assert number > (self._numbers[-1] if self._numbers else 0), "seen twice"
        self._numbers.append(number)
        self._heard = max(self._heard, score.arrived_at)
        if score.release == self._candidate:
            self._good += score.value > 0.5
            self._bad += score.value <= 0.5

    def decided(self, decision: Decision) -> None:
        self._decisions += 1
        assert decision.number == self._decisions, "not once, or not in order"

    def verdict(self, rollout: Rollout, now: float) -> Verdict:
        assert rollout.decisions == self._decisions
        says: Any = "rollback" if self._bad >= 30 else "promote" if self._good >= 120 else "hold"
        return Verdict(
            says=says,
            reason=f"{self._good} good, {self._bad} bad",
            samples=self._good + self._bad,
            heard_to=self._heard,
            scored_to=self._numbers[-1] if self._numbers else 0,
        )


class Wall(NamedTuple):
    wall: Callable[[], float]

    def now(self) -> float:
        return self.wall()


class House:
    """A store in a file, and loops over it that come and go."""

    def __init__(self, folder: Path) -> None:
        database = new_store(folder / "store.db", NOW)
        self.at = NOW
        self.audit = SqlAudit(database, Ed25519PrivateKey.generate(), lambda _: None, lambda: self.at)
        self.state = SqlStore(database, self.audit, lambda: self.at)
        self.scores = SqlScores(database)
        self.standing: Any = READY
        self._requests = 0

    def loop(self, gateway: str = "a", through: Callable[[Any], Any] = lambda port: port, **more: Any) -> Rollouts:
        return Rollouts(
            state=through(self.state),
            scores=through(self.scores),
            weigh=Counting,
            gateway=gateway,
            standing=lambda: self.standing,
            clock=Wall(lambda: self.at),
            **more,
        )

    def put(self, *records: Any) -> None:
        self.state.change(Change(version=self.state.version(), put=records))

    def begin(self, of: Rollout) -> None:
        decision = Decision(rollout=of.id, number=1, at=self.at, actor="ann", what="start", reason="Begun.")
        put = (release(OLD), release(NEW), of, split_of(of))
        self.state.change(Change(version=self.state.version(), put=put, decisions=(decision,)))

    def scored(self, count: int, value: float = 1.0) -> None:
        """By both releases."""
        first = self._requests + 1
        self._requests += count
        self.scores.append_scores(
            [self._score(each, release, value) for each in range(first, first + count) for release in (OLD, NEW)]
        )

    def _score(self, request: int, release: str, value: float) -> Score:
        return Score(
            request_id=f"req-{request}-{release}",
            at=self.at,
            arrived_at=self.at,
            service="chat",
            release=release,
            rollout="roll-1",
            metric="success",
            version="1",
            value=value,
            unit=f"unit-{request}",
        )

    @property
    def rollout(self) -> Rollout:
        return self.state.directory().rollouts[0]

    @property
    def split(self) -> Split:
        return self.state.directory().splits[0]

    def decided(self) -> list[tuple[int, str, str]]:
        return [(each.number, each.what, each.reason) for each in self.scores.decisions("roll-1")]


class Turn(NamedTuple):
    """``later`` seconds pass, who is ready, and the scores that come."""

    later: float
    standing: Any = READY
    good: int = 0
    bad: int = 0


WELL = (Turn(1, HALF_READY), Turn(1), Turn(61, good=10), Turn(61, good=60), Turn(1), Turn(5, good=60), Turn(1))
BADLY = (Turn(1), Turn(61, good=10), Turn(61, good=60, bad=10), Turn(5, bad=20), Turn(5, good=200))
STEADY = [(1, "start"), (2, "load"), (3, "step"), (4, "step")]


class Killed(BaseException):
    """The process is no more."""


class Faulty:
    """Lets calls through, and at one of them, before or after it was done, ``fails``."""

    def __init__(self, at: int, after: bool, fails: Callable[[], BaseException]) -> None:
        self.at, self.after, self.fails = at, after, fails
        self.calls = 0

    def __call__(self, port: Any) -> Any:
        outer = self

        class Port:
            def __getattr__(self, name: str) -> Any:
                def call(*args: Any) -> Any:
                    outer.calls += 1
                    here = outer.calls == outer.at
                    if here and not outer.after:
                        raise outer.fails()
                    answer = getattr(port, name)(*args)
                    if here:
                        raise outer.fails()
                    return answer

                return call

        return Port()


def played(house: House, turns: tuple[Turn, ...], fault: Faulty, *, restarts: bool) -> list[tuple[int, str, str]]:
    """What was decided. A loop that failed looks again, a killed one is followed by another."""
    house.begin(rollout("loading", decisions=1))
    loop = house.loop(through=fault)
    for turn in turns:
        house.at += turn.later
        house.standing = turn.standing
        house.scored(turn.good)
        house.scored(turn.bad, 0.0)
        for _ in range(2):
            try:
                loop.tick()
            except (Killed, PenstockError):
                if restarts:
                    loop = house.loop(through=fault)
    return house.decided()


@pytest.mark.parametrize("turns", [WELL, BADLY])
@pytest.mark.parametrize("after", [False, True])
@pytest.mark.parametrize("restarts", [True, pytest.param(False, marks=pytest.mark.slow)])
def test_a_fault_at_any_call_changes_no_decision(
    tmp_path: Path, turns: tuple[Turn, ...], after: bool, restarts: bool
) -> None:
    def furnished(name: str) -> House:
        (tmp_path / name).mkdir()
        return House(tmp_path / name)

    none = Faulty(0, False, Killed)
    house = furnished("none")
    expected = played(house, turns, none, restarts=False)
    end = house.split
    assert [each[:2] for each in expected] == [*STEADY, (5, "promote" if turns is WELL else "rollback")]
    assert none.calls > 20

    def unavailable() -> BaseException:
        return PenstockError(STORE_UNAVAILABLE, "away")

    for at in range(1, none.calls + 1):
        here = furnished(str(at))
        decided = played(here, turns, Faulty(at, after, Killed if restarts else unavailable), restarts=restarts)
        assert decided == expected, f"a fault at call {at}"
        assert here.split == end
        here.state.close()


def test_only_the_first_that_is_alive_acts_and_a_second_does_no_harm(tmp_path: Path) -> None:
    house = House(tmp_path)
    house.begin(rollout("loading", decisions=1))
    assert not house.loop("b").tick()
    one, other = house.loop("a"), house.loop("b")
    house.standing = {"b": READY["b"]}
    # Each takes itself for the first: its own view of who is alive is a moment old.
    assert other.tick()
    house.standing = READY
    assert not one.tick()
    assert [each[1] for each in house.decided()] == ["start", "load"]


def test_who_was_slower_looks_again(tmp_path: Path) -> None:
    house = House(tmp_path)
    house.begin(rollout("loading", decisions=1))

    class Slow:
        """Somebody pauses, or whatever, between the look and the write."""

        def __init__(self, port: Any) -> None:
            self._port = port
            self.raced = False

        def __getattr__(self, name: str) -> Any:
            return getattr(self._port, name)

        def change(self, change: Change) -> int:
            if not self.raced:
                self.raced = True
                here = house.rollout
                house.put(replace(here, state="aborted"), replace(house.split, rollout=""))
            return house.state.change(change)

    assert not house.loop(through=lambda port: Slow(port) if port is house.state else port).tick()
    assert house.rollout.state == "aborted"
    assert [each[1] for each in house.decided()] == ["start"]


def test_what_is_decided_is_in_the_audit(tmp_path: Path) -> None:
    house = House(tmp_path)
    house.begin(rollout("loading", decisions=1))
    assert house.loop().tick()
    (act,) = [row.act for row in house.audit.acts(AuditQuery(), None, 10)]
    assert (act.actor, act.action, act.target) == ("gateway", "rollouts.load", "roll-1")
    assert b'"number":2' in act.content


def test_several_services_move_in_one_tick_and_what_is_warm_cools(tmp_path: Path) -> None:
    house = House(tmp_path)
    for service in ("chat", "other", "third"):
        one = replace(rollout("loading", decisions=1), id=f"roll-{service}", service=service)
        house.begin(one)
    idle = Split(service="idle", ranges=whole(OLD), salt="s", warm=(Warm(NEW, NOW + 5),))
    house.put(idle)
    assert house.loop().tick()
    assert {each.state for each in house.state.directory().rollouts} == {"running"}
    house.at += 5
    assert house.loop().tick()
    assert next(each for each in house.state.directory().splits if each.service == "idle").warm == ()
    assert not house.loop().tick()


def test_one_step_of_ten_percent_promotes_by_itself(tmp_path: Path) -> None:
    house = House(tmp_path)
    house.begin(rollout("loading", decisions=1, plan_=plan(steps=(Step(share=100_000),))))
    loop = house.loop()
    loop.tick()
    assert shares(house.split.ranges) == {OLD: 900_000, NEW: 100_000}
    house.scored(130)
    loop.tick()
    assert (house.rollout.state, shares(house.split.ranges)) == ("promoted", {NEW: WHOLE})


@contextlib.asynccontextmanager
async def running(loop: Rollouts) -> Any:
    task = asyncio.create_task(loop.run())
    try:
        yield task
    finally:
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task


def _slept(time: ManualTime, wait: float) -> bool:
    return time.slept[-1:] == [wait]


async def test_it_ticks_tells_of_changes_and_outlives_a_store_that_is_away(tmp_path: Path) -> None:
    house = House(tmp_path)
    house.begin(rollout("loading", decisions=1))
    time = ManualTime()
    told: list[str] = []
    faults: list[BaseException] = [PenstockError(STORE_UNAVAILABLE, "away"), RuntimeError("a defect")]

    def port(of: Any) -> Any:
        return Faulty(1, False, lambda: faults.pop(0))(of) if faults else of

    class Ailing:
        def __getattr__(self, name: str) -> Any:
            return getattr(port(house.state), name)

    loop = house.loop(
        through=lambda of: Ailing() if of is house.state else of,
        sleep=time.sleep,
        changed=lambda: told.append(house.rollout.state),
    )
    async with running(loop):
        for wait in (0.5, 10.0, 0.5):
            await until(partial(_slept, time, wait))
            await time.advance(wait)
        await until(lambda: told)
        await until(lambda: len(time.slept) == 4)
    assert told == ["running"]
    assert time.slept == [0.5, 10.0, 0.5, 0.5]
