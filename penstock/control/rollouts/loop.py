"""Carries rollouts on: reads the scores that have come, decides, and writes what was decided in one step.

Every gateway runs this loop, and the first of those that are alive, by name, acts. Were two to act at once, the store
takes the decision of one and refuses that of the other, which looks again. Nothing is kept here that the store does
not have: after any end of the process the next loop reads all scores of a rollout and goes on from what it finds.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Sequence
from typing import Protocol

import msgspec

from penstock.control.rollouts.moves import Move, Verdict, decide
from penstock.control.rollouts.shares import Standing, swept
from penstock.core.accounts import EVERYWHERE, Change, Directory
from penstock.core.clock import Clock
from penstock.core.errors import STORE_CONFLICT, PenstockError
from penstock.core.releases import ENDED, Decision, Rollout, Score, Split
from penstock.core.usage import Act

EVERY_S = 0.5
_AT_ONCE = 2000
_AT_MOST = 50
"""Changes in one tick."""
_AFTER_FAULT_S = 10.0

_log = logging.getLogger("penstock.control")


class State(Protocol):
    """As ``penstock.store.StateStore`` has it."""

    def version(self) -> int: ...

    def directory(self) -> Directory: ...

    def change(self, change: Change) -> int: ...


class Scores(Protocol):
    """As ``penstock.store.ScoreStore`` has it."""

    def decisions(self, rollout: str) -> Sequence[Decision]: ...

    def scores(self, rollout: str, after: int, most: int) -> Sequence[tuple[int, Score]]: ...


class Weighing(Protocol):
    """What the scores of one rollout say. Of the same decisions and scores it says the same."""

    def decided(self, decision: Decision) -> None:
        """The next decision, by number."""

    def add(self, number: int, score: Score) -> None:
        """The next score, by number. Of a request that came after a decision it comes after that decision."""

    def verdict(self, rollout: Rollout, now: float) -> Verdict:
        """``rollout`` as it stands at ``now``, seconds since the epoch."""


class Written(msgspec.Struct, frozen=True, kw_only=True):
    """The content of an act of the loop: what was decided, and the split from then on, None: as it was."""

    number: int
    what: str
    reason: str
    split: Split | None


class Rollouts:
    """``gateway`` is the name of this one among those of ``standing``. ``changed`` is called on the event loop after
    each change of the directory. One ``tick`` at a time."""

    def __init__(
        self,
        *,
        state: State,
        scores: Scores,
        weigh: Callable[[Rollout], Weighing],
        gateway: str,
        standing: Callable[[], Standing],
        clock: Clock,
        changed: Callable[[], None] = lambda: None,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self._state = state
        self._scores = scores
        self._weigh = weigh
        self._gateway = gateway
        self._standing = standing
        self._clock = clock
        self._changed = changed
        self._sleep = sleep
        self._directory: Directory | None = None
        self._weighed: dict[str, _Weighed] = {}
        self._away = False

    async def run(self) -> None:
        """Until cancelled. While the store is away nothing is decided, and nothing is forgotten."""
        while True:
            try:
                if await asyncio.to_thread(self.tick):
                    self._changed()
                self._away = False
            except PenstockError as error:
                if not self._away:
                    _log.warning("rollouts stand still: %s", error.message)
                self._away = True
            except Exception:  # noqa: BLE001 - said, and tried again; other loops go on
                self._weighed.clear()
                _log.exception("rollouts stand still for a fault of the gateway itself")
                await self._sleep(_AFTER_FAULT_S)
            await self._sleep(EVERY_S)

    def tick(self) -> bool:
        """Decides what there is to decide now; whether anything was changed. Blocks. Raises ``PenstockError``."""
        standing = self._standing()
        acts = self._gateway == min(standing, default=self._gateway)
        changed = False
        for _ in range(_AT_MOST):
            try:
                if not self._moved(standing, acts=acts):
                    break
                changed = True
            except PenstockError as error:
                # Somebody else was faster: what they decided is looked at before anything else is.
                if error.fault is not STORE_CONFLICT:
                    raise
        return changed

    def evidence(self, rollout: str) -> bytes | None:
        """What is known of a rollout that has not ended, as of the last tick; None: nothing. From any thread."""
        weighed = self._weighed.get(rollout)
        return None if weighed is None or weighed.verdict is None else weighed.verdict.evidence

    def _moved(self, standing: Standing, *, acts: bool) -> bool:
        """Writes the first thing that is to be written; whether there was one. Who does not act weighs, to know how
        it stands and to go on at once when its turn comes."""
        directory = self._look()
        splits = {each.service: each for each in directory.splits}
        running = [each for each in directory.rollouts if each.state not in ENDED]
        for gone in self._weighed.keys() - {each.id for each in running}:
            del self._weighed[gone]
        for rollout in running:
            verdict = self._verdict(rollout)
            move = decide(rollout, splits.get(rollout.service), verdict, standing, self._clock.wall())
            if move is not None and acts:
                self._write(directory, move)
                return True
        for split in directory.splits if acts else ():
            left = swept(split, self._clock.wall())
            if left is not None:
                act = self._act("splits.cool", split.service, left)
                self._state.change(Change(version=directory.version, put=(left,), act=act))
                return True
        return False

    def _look(self) -> Directory:
        if self._directory is None or self._state.version() != self._directory.version:
            self._directory = self._state.directory()
        return self._directory

    def _verdict(self, rollout: Rollout) -> Verdict:
        if rollout.id not in self._weighed:
            self._weighed[rollout.id] = _Weighed(self._weigh(rollout))
        weighed = self._weighed[rollout.id]
        if weighed.decisions < rollout.decisions:
            for decision in self._scores.decisions(rollout.id)[weighed.decisions :]:
                weighed.weighing.decided(decision)
                weighed.decisions = decision.number
        while True:
            found = self._scores.scores(rollout.id, weighed.read_to, _AT_ONCE)
            for number, score in found:
                weighed.weighing.add(number, score)
                weighed.read_to = number
            if len(found) < _AT_ONCE:
                weighed.verdict = weighed.weighing.verdict(rollout, self._clock.wall())
                return weighed.verdict

    def _write(self, directory: Directory, move: Move) -> None:
        (decision,), (rollout,) = move.decisions, move.rollouts
        content = Written(number=decision.number, what=decision.what, reason=decision.reason, split=move.split)
        self._state.change(
            Change(
                version=directory.version,
                put=move.records,
                decisions=move.decisions,
                act=self._act(f"rollouts.{decision.what}", rollout.id, content),
            )
        )
        _log.info("rollout %s of %s: %s: %s", rollout.id, rollout.service, decision.what, decision.reason)

    def _act(self, action: str, target: str, content: msgspec.Struct) -> Act:
        return Act(
            at=self._clock.wall(),
            actor="gateway",
            project=EVERYWHERE,
            action=action,
            target=target,
            content=msgspec.json.encode(content),
        )


class _Weighed:
    def __init__(self, weighing: Weighing) -> None:
        self.weighing = weighing
        self.verdict: Verdict | None = None
        self.decisions = 0
        self.read_to = 0
