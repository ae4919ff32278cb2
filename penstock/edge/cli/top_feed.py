"""What ``penstock top`` is told, asked for in a thread of its own, so that keys are heard while a gateway is slow."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence

import msgspec

from penstock.control.observed.views import OverviewView, ReplicaView
from penstock.core.errors import BAD_REQUEST, PenstockError
from penstock.edge.cli.asking import Asking
from penstock.edge.cli.top_board import Seen

MOST_REPLICAS = 200
_LEAVE_WITHIN_S = 1.0


class Feed:
    """Asks ``ask`` every ``every_s`` seconds, of the last ``window``. ``now`` is in seconds since the epoch.

    ``seen`` is what was last told; it may be read from another thread."""

    def __init__(
        self, ask: Asking, *, window: str, project: str | None, every_s: float, now: Callable[[], float] = time.time
    ) -> None:
        self._ask = ask
        self._project = project
        self._every_s = every_s
        self._now = now
        self._replicas = True
        self._over = False
        self._wake = threading.Event()
        self._thread = threading.Thread(target=self._run, name="penstock-top", daemon=True)
        self.window = window
        self.seen = self.look()

    def look(self) -> Seen:
        """Asks once. Raises ``PenstockError``."""
        query = {"window": self.window, "project": self._project}
        overview = self._ask.one("overview.get", OverviewView, query=query).value
        return Seen(overview=overview, replicas=self._seen_replicas(), at=self._now())

    def start(self) -> None:
        """Goes on asking, until ``stop``."""
        self._thread.start()

    def over(self, window: str) -> None:
        """Of another window from now on, and at once."""
        self.window = window
        self._wake.set()

    def stop(self) -> None:
        """A question that is on its way is given up."""
        self._over = True
        self._wake.set()
        if self._thread.is_alive():
            self._thread.join(_LEAVE_WITHIN_S)

    def _run(self) -> None:
        while True:
            self._wake.wait(self._every_s)
            self._wake.clear()
            if self._over:
                return
            try:
                self.seen = self.look()
            except PenstockError as error:
                # It may come back; until then what is shown says how old it is.
                self.seen = msgspec.structs.replace(self.seen, lost=error.message)

    def _seen_replicas(self) -> Sequence[ReplicaView] | None:
        if not self._replicas:
            return None
        try:
            return [each.value for each in self._ask.pages("replicas.list", ReplicaView, most=MOST_REPLICAS)]
        except PenstockError as error:
            if error.fault is not BAD_REQUEST:
                raise
            # This key may not; it will not be asked again.
            self._replicas = False
            return None
