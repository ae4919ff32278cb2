"""A gateway that records, on a clock that its engines turn."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import msgspec

from penstock.access.book import Book
from penstock.access.config import OnFailure
from penstock.access.limits import Rules
from penstock.assembly.counting import OwnCounting
from penstock.core.accounts import Directory, Limit
from penstock.core.chat import Call, Kind
from penstock.core.errors import PenstockError
from penstock.core.identity import Principal
from penstock.core.policy import Queue, Terms
from penstock.core.requests import RequestContent, RequestRecord
from penstock.core.serving import Replica, Service
from penstock.core.splice import members
from penstock.gateway.chat import Gateway
from penstock.gateway.means import Means
from penstock.gateway.prepare import Preparing
from penstock.gateway.recording import Recording
from penstock.gateway.reply import Reply
from penstock.gateway.reserve import Reserving
from penstock.gateway.settle import Settling
from penstock.gateway.snapshot import Admission
from penstock.gateway.trial import Trials
from penstock.observe.config import ObserveSettings, Otlp, Requests, Traces
from penstock.observe.spool import Put, made
from tests.gateway.doubles import (
    OWNER,
    OpenPlaces,
    OpenRoad,
    Records,
    Samples,
    ScriptedEngine,
    ScriptedUpstream,
    Step,
    snapshot,
    uncounted,
    unembedded,
    unlearned,
)
from tests.gateway.doubles import Held as HeldPlace
from tests.gateway.leasing import Turned

ADA = msgspec.structs.replace(OWNER, key_id="k1", project="red", user="u_ada", team="ops")
TRACED = Otlp(url="http://collector:4318")


class SlowUpstream(ScriptedUpstream):
    """Each of its reads takes so long."""

    def __init__(self, steps: Sequence[Step], clock: Turned, read_s: float) -> None:
        super().__init__(steps)
        self._clock = clock
        self._read_s = read_s

    async def read(self) -> Sequence[bytes]:
        if self._steps:
            self._clock.time += self._read_s
        return await super().read()


class SlowEngine(ScriptedEngine):
    """Takes ``start_s`` to accept a call, and ``read_s`` for each step of its answer."""

    def __init__(
        self,
        clock: Turned,
        *answers: Sequence[Step] | PenstockError,
        start_s: float = 0.0,
        read_s: float = 0.0,
    ) -> None:
        super().__init__(*answers)
        self._clock = clock
        self._start_s = start_s
        self._read_s = read_s

    async def start(self, call: Call, replica: Replica, *, connect_s: float | None = None) -> ScriptedUpstream:
        self._clock.time += self._start_s
        upstream = await super().start(call, replica, connect_s=connect_s)
        slow = SlowUpstream(upstream._steps, self._clock, self._read_s)
        self.upstreams[-1] = slow
        return slow


class SlowPlaces(OpenPlaces):
    """A place is waited for."""

    def __init__(self, clock: Turned, wait_s: float) -> None:
        super().__init__()
        self._clock = clock
        self._wait_s = wait_s

    async def acquire(
        self, service: str, project: str, priority: int, queue: Queue, concurrency: int | None
    ) -> HeldPlace:
        self._clock.time += self._wait_s
        return await super().acquire(service, project, priority, queue, concurrency)


def observing(**more: object) -> ObserveSettings:
    """Settings of ``requests``, but for ``otlp`` and ``traces``."""
    otlp, traces = more.pop("otlp", None), more.pop("traces", Traces())
    assert otlp is None or isinstance(otlp, Otlp)
    assert isinstance(traces, Traces)
    return ObserveSettings(requests=msgspec.convert(more, Requests), otlp=otlp, traces=traces)


class Log:
    """The gateway, and ``kept``: what was put into its spool."""

    def __init__(
        self,
        clock: Turned,
        engines: dict[str, ScriptedEngine],
        *,
        services: Sequence[Service] = (),
        settings: ObserveSettings = ObserveSettings(),  # noqa: B008 - frozen
        limits: tuple[Limit, ...] = (),
        who: Principal = ADA,
        wait_s: float = 0.0,
        shut: PenstockError | None = None,
    ) -> None:
        self.kept: list[RequestRecord | RequestContent] = []
        self.journal = Records()
        self.engines = engines
        means = Means(
            OwnCounting(Book(), "w", clock), self.journal, clock,
            gateway="g", on_failure=OnFailure(), cap=4096, count=uncounted,
        )  # fmt: skip
        of = snapshot(services or [Service("chat", tuple(engines))], engines, copies=1)
        self.snapshot = msgspec.structs.replace(of, rules=Rules(Directory(limits=limits)))
        self.admission = Admission(self.snapshot, who)
        self.recording = Recording(self._put, clock, gateway="gw", worker=3, settings=settings)
        self.trials = Trials(self.journal, clock, Samples(), unembedded)
        self.door = Gateway(
            snapshots=lambda: self.snapshot,
            traffic=OpenRoad(),
            places=SlowPlaces(clock, wait_s),
            reserving=Reserving(means, "w"),
            settle=Settling(clock, Samples()),
            doors=lambda: shut,
            learn=unlearned,
            clock=clock,
            prepare=Preparing(lambda call, admission: self.door.chat(call, admission)),
            trials=self.trials,
            recording=self.recording,
            draw=lambda: 0.5,
        )

    def _put(self, what: Put) -> None:
        self.kept += made([what])

    async def ask(self, call: Call | None = None, terms: Terms | None = None, most: int = 1000) -> list[bytes]:
        """What the client got, who reads ``most`` times and leaves then."""
        reply: Reply = await self.door.chat(call or asked(), self.admission, terms or Terms())
        got: list[bytes] = []
        try:
            while most and (chunks := await reply.read()):
                got += chunks
                most -= 1
        finally:
            await reply.aclose()
        await self.trials.idle()
        return got

    @property
    def records(self) -> list[RequestRecord]:
        return [each for each in self.kept if isinstance(each, RequestRecord)]

    @property
    def record(self) -> RequestRecord:
        (record,) = self.records
        return record

    @property
    def contents(self) -> list[RequestContent]:
        return [each for each in self.kept if isinstance(each, RequestContent)]

    def said(self) -> tuple[Any, Any]:
        """Request and reply of the only content."""
        (content,) = self.contents
        return json.loads(content.request), json.loads(content.reply)


def asked(text: str = "hi", *, id: str = "req-1", stream: bool = True, more: bytes = b"{}", **given: Any) -> Call:
    fields = members(b'{"model":"chat","messages":[{"role":"user","content":%s}]}' % json.dumps(text).encode())
    return Call(id, given.pop("kind", Kind.CHAT), "chat", fields | members(more), stream=stream, **given)
