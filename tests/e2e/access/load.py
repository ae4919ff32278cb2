"""Clients that never stop asking, and what they were told."""

from __future__ import annotations

import itertools
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field

from penstock.core.usage import Entry
from tests.e2e.access.house import Answer, Wire
from tests.e2e.running import Penstock

PACE_S = 0.01


@dataclass(frozen=True)
class Told:
    """``status`` 0: the connection broke. Times are monotonic."""

    id: str
    status: int
    code: str
    began: float
    ended: float


@dataclass
class Load:
    """``threads`` clients at each gateway, one request after the other."""

    gateways: Sequence[Penstock]
    key: str
    threads: int = 2
    fields: dict[str, object] = field(default_factory=dict)
    told: list[Told] = field(default_factory=list)
    _numbers: Iterator[int] = field(default_factory=itertools.count)
    _stop: threading.Event = field(default_factory=threading.Event)

    @contextmanager
    def flowing(self) -> Iterator[None]:
        with ThreadPoolExecutor(self.threads * len(self.gateways)) as pool:
            running = [pool.submit(self._ask, each) for each in self.gateways for _ in range(self.threads)]
            try:
                yield
            finally:
                self._stop.set()
            for each in running:
                each.result()

    def _ask(self, server: Penstock) -> None:
        wire: Wire | None = None
        while not self._stop.is_set():
            id = f"{server.home.parent.name}-{next(self._numbers)}"
            began = time.monotonic()
            answer = Answer(0, {}, b"")
            try:
                wire = wire or Wire(server)
                asked = {"model": "quick", "max_tokens": 5, "messages": [{"role": "user", "content": "Hello"}]}
                answer = wire.post("/v1/chat/completions", asked | self.fields, self.key, x_request_id=id)
            except OSError:
                answer = Answer(0, {}, b"")
            if not answer.status:
                wire = None
            code = answer.code if answer.status >= 400 else ""
            self.told.append(Told(id, answer.status, code, began, time.monotonic()))
            if answer.status != 200:
                self._stop.wait(PACE_S)

    def since(self, at: float) -> list[Told]:
        """What was told of requests that began then or later."""
        return [each for each in tuple(self.told) if each.began >= at]

    def served(self) -> set[str]:
        return {each.id for each in self.told if each.status == 200}

    def seen(self) -> str:
        """Counts, for people."""
        return str(dict(Counter(each.code or each.status for each in self.told)))

    def slowest_s(self) -> float:
        return max(each.ended - each.began for each in self.told)


def all_there_once(load: Load, rows: Callable[[], list[Entry]]) -> bool:
    """Whether the ledger has everything that was served; nothing is in it twice, or was never asked for."""
    found = rows()
    by_id = Counter(row.request_id for row in found)
    assert max(by_id.values(), default=1) == 1
    asked = {each.id for each in load.told}
    ours = {id for id in by_id if id.startswith("penstock-e2e-")}
    assert ours <= asked
    refused = {each.id for each in load.told if each.status >= 400}
    assert not ours & refused, "what was refused is not charged"
    return load.served() <= ours
