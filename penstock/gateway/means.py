"""What the leases of a worker are made with: the counters, the journal, and the policies on both."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Protocol

from penstock.access.config import OnFailure
from penstock.access.limits import Applying
from penstock.core.accounts import Limit
from penstock.core.chat import Call
from penstock.core.clock import Clock
from penstock.core.errors import PenstockError
from penstock.core.identity import Capture
from penstock.core.leases import Granted, Need, Refused
from penstock.core.serving import Service
from penstock.core.usage import Audited, JournalRecord, Opened, Settled

_log = logging.getLogger("penstock.gateway")

_MOST_WARNED = 10_000


class Counting(Protocol):
    """What the gateway needs of the counters, in the name of one owner."""

    async def reserve(self, lease: str, needs: Sequence[Need]) -> Granted | Refused:
        """As ``core.leases.Counters`` has it."""

    def settle(self, lease: str, used: Mapping[str, int]) -> None:
        """The same, soon; never waits and never raises."""


class Journal(Protocol):
    """Where records are safe from the end of the process once this returns."""

    def write(self, record: JournalRecord) -> None:
        """Raises ``PenstockError(JOURNAL_FULL)``."""


Count = Callable[[Call, Service], Awaitable[int | None]]
"""Counts a prompt's tokens exactly, where the engine can; else None."""


class Means:
    """What every lease of a worker is made with. ``gateway`` is the gateway's name; ``cap`` the output in tokens that
    a request is held to when nothing else bounds it; ``capture`` the policy on prompts and replies of projects that
    have none."""

    def __init__(
        self,
        counting: Counting,
        journal: Journal,
        clock: Clock,
        *,
        gateway: str,
        on_failure: OnFailure,
        cap: int,
        count: Count,
        capture: Capture = "none",
    ) -> None:
        self.counting = counting
        self.clock = clock
        self.gateway = gateway
        self.cap = cap
        self.count = count
        self.capture = capture
        self._journal = journal
        self._warned: set[str] = set()
        # Of a disk that was full for a moment: as many as there are requests in progress.
        self._late: list[Settled | Audited] = []
        self._closed = {
            "requests": on_failure.requests,
            "input_tokens": on_failure.tokens,
            "output_tokens": on_failure.tokens,
            "tokens": on_failure.tokens,
            "concurrent": on_failure.concurrent,
            "": on_failure.budgets,
        }

    def warn(self, once: str, said: str) -> None:
        """Logs a warning, the first time that it is given here."""
        if once not in self._warned and len(self._warned) < _MOST_WARNED:
            self._warned.add(once)
            _log.warning("%s", said)

    def write(self, opened: Opened) -> None:
        """Has it in the journal. Raises ``PenstockError(JOURNAL_FULL)``."""
        while self._late:
            self._journal.write(self._late[0])
            del self._late[0]
        self._journal.write(opened)

    def write_settled(self, settled: Settled | Audited) -> None:
        """The same; where there is no room now, it is done before the next request goes out."""
        try:
            self._journal.write(settled)
        except PenstockError as error:
            _log.error("what a request used waits for the journal: %s", error.message)
            self._late.append(settled)

    def must(self, applying: Applying) -> bool:
        """Whether one of these may not go uncounted."""
        closed = self._closed
        return any(
            closed[rule.about.metric if isinstance(rule.about, Limit) else ""] == "closed"
            for rule in (*applying.limits, *applying.budgets)
        )
