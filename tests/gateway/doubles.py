"""A scripted engine and the snapshot around it, for the rooms of the gateway."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from penstock.core.chat import Call, Kind
from penstock.core.errors import PenstockError
from penstock.core.identity import Principal
from penstock.core.metrics import Sample
from penstock.core.serving import Deployment, Model, Replica, ReplicaState, Service
from penstock.core.splice import members
from penstock.gateway.chat import Gateway
from penstock.gateway.settle import Settling
from penstock.gateway.snapshot import Snapshot
from penstock.routing.round_robin import RoundRobin

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

    def __init__(self, *answers: Sequence[Step] | PenstockError) -> None:
        self._answers = list(answers)
        self.started: list[tuple[Call, Replica]] = []
        self.upstreams: list[ScriptedUpstream] = []
        self.started_one = asyncio.Event()

    async def start(self, call: Call, replica: Replica) -> ScriptedUpstream:
        self.started.append((call, replica))
        answer = self._answers.pop(0)
        if isinstance(answer, PenstockError):
            raise answer
        self.upstreams.append(ScriptedUpstream(answer))
        self.started_one.set()
        return self.upstreams[-1]


class OneKey:
    def __init__(self, principal: Principal) -> None:
        self._principal = principal

    def find(self, presented: str) -> Principal | None:
        return self._principal if presented == "key" else None


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


def snapshot(
    services: Sequence[Service], engines: dict[str, ScriptedEngine], states: dict[str, ReplicaState] | None = None
) -> Snapshot:
    replicas = {
        name: (Replica(f"{name}-0", name, "http://up", state=(states or {}).get(name, ReplicaState.READY)),)
        for name in engines
    }
    deployment = Deployment(
        version=1,
        models={name: Model(name, "scripted", name, b"") for name in engines},
        services={s.name: s for s in services},
        replicas=replicas,
    )
    return Snapshot(deployment, engines, OneKey(Principal("admin", "default", "owner")))


def gateway(of: Snapshot, meter: Samples) -> Gateway:
    clock = StillClock()
    return Gateway(snapshots=lambda: of, planner=RoundRobin(), settle=Settling(clock, meter), clock=clock)


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
