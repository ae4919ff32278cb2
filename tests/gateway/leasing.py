"""A gateway where something is counted: a clock that is turned, a till and a journal that note what happens when."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence

import msgspec

from penstock.access.book import Book
from penstock.access.config import OnFailure
from penstock.access.limits import Rules
from penstock.access.prices import PriceList
from penstock.core.accounts import Budget, Directory, Limit
from penstock.core.chat import Call, Kind
from penstock.core.errors import COUNTERS_UNAVAILABLE, JOURNAL_FULL, PenstockError
from penstock.core.identity import Principal
from penstock.core.leases import Granted, Need, Refused
from penstock.core.money import Price, Rates
from penstock.core.policy import Policy, Retry
from penstock.core.serving import Replica, Service
from penstock.core.splice import members
from penstock.core.usage import Entry, JournalRecord, Opened, Settled
from penstock.gateway.chat import Gateway
from penstock.gateway.lease import Lease
from penstock.gateway.means import Count, Means
from penstock.gateway.prepare import Preparing
from penstock.gateway.reserve import Reserving
from penstock.gateway.settle import Settling
from penstock.gateway.snapshot import Admission, Snapshot
from penstock.gateway.trial import Trials
from tests.gateway.doubles import (
    OWNER,
    OpenPlaces,
    OpenRoad,
    Samples,
    ScriptedEngine,
    ScriptedUpstream,
    snapshot,
    uncounted,
    unembedded,
    unlearned,
)

USD = 1_000_000_000
PROMPT = b'{"model":"chat","messages":[{"role":"user","content":"hi"}]}'


class Turned:
    """A clock that a test turns."""

    def __init__(self) -> None:
        self.time = 1_800_000_000.0

    def now(self) -> float:
        return self.time - 1_799_999_000.0

    def wall(self) -> float:
        return self.time


class Till:
    """Counts in a book, and in ``events``. While ``away`` it cannot be reached; ``deaf``: it does as it is asked, but
    its answer is lost; with ``slow`` it answers once that is set, and ``takes_s`` pass before anything is reserved."""

    def __init__(self, clock: Turned, events: list[str]) -> None:
        self.book = Book()
        self.away = self.deaf = False
        self.slow: asyncio.Event | None = None
        self.takes_s = 0.0
        self.asked: list[Sequence[Need]] = []
        self.settled: list[tuple[str, Mapping[str, int]]] = []
        self._clock = clock
        self._events = events

    async def reserve(self, lease: str, needs: Sequence[Need]) -> Granted | Refused:
        self.asked.append(needs)
        self._clock.time += self.takes_s
        answer = None if self.away else self.book.reserve("w", lease, needs, self._clock.wall())
        if self.slow is not None:
            await self.slow.wait()
        if answer is None or self.deaf:
            raise PenstockError(COUNTERS_UNAVAILABLE, "The counters are away.")
        self._events.append("reserved" if isinstance(answer, Granted) else "refused")
        return answer

    def settle(self, lease: str, used: Mapping[str, int]) -> None:
        self._events.append("settled")
        self.settled.append((lease, used))
        self.book.settle("w", lease, used)

    def open(self) -> int:
        """Leases that are held."""
        return sum(1 for _ in self.book.open())


class Paper:
    """A journal, which may be full."""

    def __init__(self, events: list[str]) -> None:
        self.full = False
        self.records: list[JournalRecord] = []
        self._events = events

    def write(self, record: JournalRecord) -> None:
        if self.full:
            raise PenstockError(JOURNAL_FULL, "The journal is full.")
        self._events.append(type(record).__name__)
        self.records.append(record)

    @property
    def opened(self) -> list[Opened]:
        return [record for record in self.records if isinstance(record, Opened)]

    @property
    def settled(self) -> list[Settled]:
        return [record for record in self.records if isinstance(record, Settled)]

    @property
    def rows(self) -> list[Entry]:
        return [entry for record in self.settled for entry in record.entries]


class NotedEngine(ScriptedEngine):
    """Notes when it is started; ``events`` are those of the house it is put into."""

    events: list[str]

    async def start(self, call: Call, replica: Replica, *, connect_s: float | None = None) -> ScriptedUpstream:
        self.events.append("started")
        return await super().start(call, replica, connect_s=connect_s)


def price(model: str = "main", input: int = 2_000, output: int = 3_000, **more: object) -> Price:
    """Pico-dollars a token."""
    return Price(model=model, rates=Rates(input=input, output=output), **more)  # type: ignore[arg-type]


def limit(metric: str = "requests", amount: int = 10, **more: object) -> Limit:
    said = {"id": "lim_1", "kind": "key", "metric": metric, "amount": amount, **more}
    return Limit(**said)  # type: ignore[arg-type]


def budget(nano: int = USD, **more: object) -> Budget:
    said = {"id": "bud_1", "kind": "project", "amount_nano": nano, **more}
    return Budget(**said)  # type: ignore[arg-type]


def asked(*, stream: bool = True, kind: Kind = Kind.CHAT, choices: int = 1, max_tokens: int | None = None) -> Call:
    fields = dict(members(PROMPT))
    if max_tokens is not None:
        fields["max_tokens"] = msgspec.Raw(str(max_tokens).encode())
    return Call("req-1", kind, "chat", fields, stream=stream, choices=choices, max_tokens=max_tokens)


class House:
    """The gateway with everything around it. ``models`` are those of its one service, in order; each of ``engines``
    answers for one of them."""

    def __init__(
        self,
        *rules: Limit | Budget,
        prices: Sequence[Price] = (),
        engines: Mapping[str, NotedEngine] | None = None,
        on_failure: OnFailure = OnFailure(),  # noqa: B008 - frozen
        cap: int = 4096,
        count: Count = uncounted,
        copies: int = 1,
        who: Principal = OWNER,
        **policy: object,
    ) -> None:
        self.events: list[str] = []
        self.clock = Turned()
        self.till = Till(self.clock, self.events)
        self.paper = Paper(self.events)
        self.engines = dict(engines or {"main": NotedEngine()})
        for engine in self.engines.values():
            engine.events = self.events
        retry = Retry(attempts=3, backoff_s=0.0)
        self.service = Service("chat", tuple(self.engines), policy=Policy(**{"retry": retry, **policy}))  # type: ignore[arg-type]
        means = Means(
            self.till, self.paper, self.clock, gateway="g", on_failure=on_failure, cap=cap, count=count
        )  # fmt: skip
        self.reserving = Reserving(means, "w")
        limits = tuple(each for each in rules if isinstance(each, Limit))
        budgets = tuple(each for each in rules if isinstance(each, Budget))
        self.snapshot: Snapshot = msgspec.structs.replace(
            snapshot([self.service], dict(self.engines), copies=copies),
            rules=Rules(Directory(limits=limits, budgets=budgets)),
            prices=PriceList(prices),
        )
        self.admission = Admission(self.snapshot, who)
        self.places = OpenPlaces()
        self.door = Gateway(
            snapshots=lambda: self.snapshot,
            traffic=OpenRoad(),
            places=self.places,
            reserving=self.reserving,
            settle=Settling(self.clock, Samples()),
            doors=lambda: None,
            learn=unlearned,
            clock=self.clock,
            prepare=Preparing(),
            trials=Trials(self.paper, self.clock, Samples(), unembedded),
            draw=lambda: 0.5,
        )

    async def lease(self, call: Call | None = None, total_s: float = 600.0) -> Lease:
        """One for a request that the caller of the house makes."""
        return await self.reserving.open(call or asked(), self.admission, self.service, total_s)

    def replica(self, model: str = "main") -> Replica:
        return self.snapshot.deployment.replicas[model][0]

    def held(self, name: str) -> int:
        """How much is reserved of the counter whose name begins so, or was used of it."""
        return sum(counter.used for key, counter in self.till.book._counters.items() if key.startswith(name))
