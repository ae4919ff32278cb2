"""A scripted engine and the snapshot around it, for the rooms of the gateway."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from penstock.access.book import Book
from penstock.access.config import OnFailure
from penstock.access.limits import Rules
from penstock.assembly.counting import OwnCounting
from penstock.caches.embeddings import Vector
from penstock.core.accounts import Directory
from penstock.core.chat import Call, Kind
from penstock.core.clock import Clock
from penstock.core.errors import INVALID_API_KEY, MODEL_NOT_FOUND, Fault, PenstockError
from penstock.core.identity import Principal
from penstock.core.metrics import Sample
from penstock.core.money import Price
from penstock.core.policy import Ask, Priority, Queue
from penstock.core.serving import Deployment, Model, Replica, ReplicaState, Service
from penstock.core.splice import members
from penstock.core.usage import JournalRecord
from penstock.gateway.chat import Gateway
from penstock.gateway.means import Count, Means
from penstock.gateway.prepare import Preparing
from penstock.gateway.reserve import Reserving
from penstock.gateway.settle import Settling
from penstock.gateway.snapshot import Snapshot
from penstock.gateway.trial import Trials

Step = list[bytes] | PenstockError | asyncio.Event


class ScriptedUpstream:
    """Reads out its steps; an event is waited for, an error raised."""

    def __init__(self, steps: Sequence[Step]) -> None:
        self._steps = list(steps)
        self.closed = 0

    async def read(self) -> Sequence[bytes]:
        while self._steps:
            step = self._steps.pop(0)
            if isinstance(step, asyncio.Event):
                await step.wait()
            elif isinstance(step, PenstockError):
                raise step
            else:
                return step
        return ()

    async def aclose(self) -> None:
        self.closed += 1


class ScriptedEngine:
    """Starts the next of its answers; an error among them is raised by ``start``."""

    def __init__(self, *answers: Sequence[Step] | PenstockError | asyncio.Event) -> None:
        self._answers = list(answers)
        self.started: list[tuple[Call, Replica]] = []
        self.upstreams: list[ScriptedUpstream] = []
        self.started_one = asyncio.Event()
        self._awaited: list[tuple[int, asyncio.Event]] = []

    async def until_started(self, times: int) -> None:
        """Returns once ``start`` has been called so often."""
        reached = asyncio.Event()
        self._awaited.append((times, reached))
        self._tell()
        await asyncio.wait_for(reached.wait(), 5)

    def _tell(self) -> None:
        for times, reached in self._awaited:
            if len(self.started) >= times:
                reached.set()

    async def start(self, call: Call, replica: Replica, *, connect_s: float | None = None) -> ScriptedUpstream:
        self.started.append((call, replica))
        self._tell()
        answer = self._answers.pop(0)
        if isinstance(answer, PenstockError):
            raise answer
        if isinstance(answer, asyncio.Event):
            await answer.wait()
            answer = []
        self.upstreams.append(ScriptedUpstream(answer))
        self.started_one.set()
        return self.upstreams[-1]


class OneKey:
    def __init__(self, principal: Principal) -> None:
        self._principal = principal

    def find(self, presented: str) -> Principal:
        if presented != "key":
            raise PenstockError(INVALID_API_KEY, "The API key is not valid here.")
        return self._principal


class NoPrices:
    """Nothing has a price."""

    def find(self, names: Sequence[str], at: float) -> Price | None:
        return None


class Records(list[JournalRecord]):
    """A journal that is kept in memory."""

    def write(self, record: JournalRecord) -> None:
        self.append(record)


OWNER = Principal(
    key_id="admin", project="default", role="owner", permissions=frozenset({"call"}), priority=Priority.HIGH
)


async def uncounted(_: Call, __: Service) -> int | None:
    return None


async def unlearned(_: str) -> None:
    """There is no issuer."""


def reserving(clock: Clock, journal: Records | None = None, count: Count = uncounted) -> Reserving:
    """Counts in memory, and fails open as it comes."""
    records = Records() if journal is None else journal
    means = Means(
        OwnCounting(Book(), "w0", clock), records, clock, gateway="g", on_failure=OnFailure(), cap=4096, count=count
    )
    return Reserving(means, "w0")


async def unembedded(
    service: str, texts: Sequence[str], models: frozenset[str] | None, *, name: str = "", subject: str = ""
) -> tuple[Vector, ...]:
    """Nobody embeds."""
    raise PenstockError(MODEL_NOT_FOUND, f"There is no '{service}' here.")


def trials(clock: Clock, journal: Records | None = None, meter: Samples | None = None, workers: int = 1) -> Trials:
    """Scores go to ``journal``, which may be nobody's."""
    return Trials(Records() if journal is None else journal, clock, meter or Samples(), unembedded, workers=workers)


class Samples:
    def __init__(self) -> None:
        self.seen: list[Sample] = []

    def record(self, sample: Sample) -> None:
        self.seen.append(sample)

    def total(self, metric: str, *labels: str) -> float:
        return sum(s.value for s in self.seen if s.metric.name == metric and set(labels) <= set(s.labels))


class StillClock:
    def now(self) -> float:
        return 5.0

    def wall(self) -> float:
        return 1_700_000_000.0


class Running:
    """What was said of one attempt."""

    def __init__(self, replica: Replica) -> None:
        self.replica = replica
        self.said: list[str] = []

    def first(self, latency_s: float) -> None:
        self.said.append("first")

    def failed(self, fault: Fault, retry_after: float | None) -> None:
        self.said.append(fault.code)

    def closed(self) -> None:
        if "closed" not in self.said:
            self.said.append("closed")


class OpenRoad:
    """Every replica in the order given, but for those in ``shut``, of which some are ``resting``; remembers what attempts said."""

    def __init__(self) -> None:
        self.shut: set[str] = set()
        self.resting: set[str] = set()
        self.running: list[Running] = []
        self.asks: list[Ask] = []

    def order(self, service: Service, model: str, ready: Sequence[Replica], ask: Ask) -> Sequence[Replica]:
        self.asks.append(ask)
        return [replica for replica in ready if replica.id not in self.shut]

    def reopens_in(self, replicas: Sequence[Replica]) -> float:
        return 4.0

    def throttled(self, replicas: Sequence[Replica]) -> bool:
        return all(replica.id in self.resting for replica in replicas)

    def begin(self, service: Service, replica: Replica, ask: Ask) -> Running | None:
        if replica.id in self.shut:
            return None
        self.running.append(Running(replica))
        return self.running[-1]

    def may_retry(self, service: Service) -> bool:
        return True


class OpenPlaces:
    """Always room; counts who holds a place."""

    def __init__(self) -> None:
        self.held = 0

    async def acquire(self, service: str, project: str, priority: int, queue: Queue, concurrency: int | None) -> Held:
        self.held += 1
        return Held(self)


class Held:
    def __init__(self, of: OpenPlaces) -> None:
        self._of: OpenPlaces | None = of

    def release(self) -> None:
        if self._of is not None:
            self._of.held -= 1
            self._of = None


def snapshot(
    services: Sequence[Service],
    engines: dict[str, ScriptedEngine],
    states: dict[str, ReplicaState] | None = None,
    copies: int = 1,
) -> Snapshot:
    replicas = {
        name: tuple(
            Replica(f"{name}-{number}", name, "http://up", state=(states or {}).get(name, ReplicaState.READY))
            for number in range(copies)
        )
        for name in engines
    }
    deployment = Deployment(
        version=1,
        models={name: Model(name, "scripted", name, b"") for name in engines},
        services={s.name: s for s in services},
        replicas=replicas,
    )
    return Snapshot(deployment, engines, OneKey(OWNER), Rules(Directory()), NoPrices())


def gateway(
    of: Snapshot, meter: Samples, traffic: OpenRoad | None = None, places: OpenPlaces | None = None
) -> Gateway:
    clock = StillClock()
    return Gateway(
        snapshots=lambda: of,
        traffic=traffic or OpenRoad(),
        places=places or OpenPlaces(),
        reserving=reserving(clock),
        settle=Settling(clock, meter),
        doors=lambda: None,
        learn=unlearned,
        clock=clock,
        prepare=Preparing(),
        trials=trials(clock, meter=meter),
        draw=lambda: 0.5,
    )


def call(service: str = "chat", stream: bool = True, usage_chunk: bool = False, kind: Kind = Kind.CHAT) -> Call:
    fields = members(b'{"model":"chat","messages":[{"role":"user","content":"hi"}]}')
    return Call("req-1", kind, service, fields, stream=stream, usage_chunk=usage_chunk)


def piece(text: str = "", finish: str | None = None) -> bytes:
    reason = f'"{finish}"' if finish else "null"
    return (
        f'{{"id":"up-1","object":"chat.completion.chunk","created":1,"model":"theirs","choices":[{{"index":0,'
        f'"delta":{{"content":"{text}"}},"finish_reason":{reason}}}]}}'
    ).encode()


ROLE = (
    b'{"id":"up-1","object":"chat.completion.chunk","created":1,"model":"theirs",'
    b'"choices":[{"index":0,"delta":{"role":"assistant","content":""},"finish_reason":null}]}'
)
USAGE = (
    b'{"id":"up-1","object":"chat.completion.chunk","created":1,"model":"theirs","choices":[],'
    b'"usage":{"prompt_tokens":7,"completion_tokens":3,"total_tokens":10,"prompt_tokens_details":{"cached_tokens":2}}}'
)
