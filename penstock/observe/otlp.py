"""Sends spans and metrics to a collector: OTLP over HTTP, in its JSON form, compressed where it leaves this machine.

https://opentelemetry.io/docs/specs/otlp/#otlphttp says what is tried again (429, 502, 503, 504, and no answer), when
(``Retry-After``, else ever later), and what a partial success is. Whatever the collector does, nobody waits for it:
what it does not take is dropped and counted.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence

from penstock.core.clock import Clock, SystemClock
from penstock.core.metrics import Meter, Metric, Sample
from penstock.core.requests import RequestContent, RequestRecord
from penstock.observe import otlp_form, otlp_metrics
from penstock.observe.config import Otlp
from penstock.observe.metrics import OTLP_DROPPED, OTLP_SENT, OTLP_WAITING
from penstock.observe.otlp_form import Sender
from penstock.observe.otlp_lane import Batch, Delivery, Pace, Sleep, Wire
from penstock.observe.otlp_metrics import Provider
from penstock.observe.spans import Span, spans
from penstock.observe.totals import Report

_log = logging.getLogger(__name__)


class OtlpSender:
    """Belongs to one event loop; every method but ``run``, ``flush`` and ``aclose`` returns at once and raises
    nothing. ``sender`` says who sends, ``rows`` what is measured, ``provider`` which engine serves a model, from any
    thread; ``meter`` hears what was sent and what was lost."""

    def __init__(
        self,
        settings: Otlp,
        wire: Wire,
        sender: Sender,
        *,
        rows: Iterable[Metric],
        meter: Meter,
        provider: Provider,
        clock: Clock | None = None,
        sleep: Sleep = asyncio.sleep,
        pace: Pace = Pace(),  # noqa: B008 - frozen
    ) -> None:
        self._clock = clock or SystemClock()
        self._wire = wire
        self._sender = sender
        self._rows = tuple(rows)
        self._meter = meter
        self._provider = provider
        self._pace = pace
        self._sleep = sleep
        self._began = round(self._clock.wall() * 1e9)
        self._spans: deque[bytes] = deque()
        self._bytes = 0
        self._report: tuple[Report, int] | None = None
        self._asked = asyncio.Event()
        self._hurry = asyncio.Event()
        self._idle = asyncio.Event()
        self._idle.set()
        self._busy = 0
        base = settings.url.rstrip("/")
        self._deliver = Delivery(wire, settings.headers, self._clock, sleep, pace, self._note)
        self._traces_url, self._metrics_url = f"{base}/v1/traces", f"{base}/v1/metrics"

    def traces(self, found: Iterable[Span]) -> None:
        """Spans to be sent; those for which there is no room are dropped."""
        dropped = 0
        for each in found:
            written = otlp_form.span(each)
            if self._bytes + len(written) > self._pace.most_bytes:
                dropped += 1
                continue
            self._spans.append(written)
            self._bytes += len(written)
        if dropped:
            self._note("traces", "full", dropped)
        self._wake()

    def metrics(self, report: Report) -> None:
        """What was measured up to now. One that has not been sent yet is let go of: this has all that it had."""
        self._report = (report, round(self._clock.wall() * 1e9))
        self._wake()

    def waiting(self) -> int:
        """Spans that have not been taken to be sent yet."""
        return len(self._spans)

    async def run(self) -> None:
        """Sends until cancelled."""
        async with asyncio.TaskGroup() as lanes:
            lanes.create_task(self._traces_lane())
            lanes.create_task(self._metrics_lane())

    async def flush(self, within_s: float) -> bool:
        """Whether all that waits was sent, or given up, while ``run`` runs; it is not waited for any longer."""
        self._hurry.set()
        try:
            async with asyncio.timeout(within_s):
                await self._idle.wait()
        except TimeoutError:
            return False
        finally:
            self._hurry.clear()
        return True

    async def aclose(self) -> None:
        """Lets go of the connections. ``run`` has ended; what still waits is lost. Idempotent."""
        if self._spans:
            _log.warning("%d spans were not sent: the collector was too slow for the end", len(self._spans))
            self._note("traces", "full", len(self._spans))
            self._spans.clear()
            self._bytes = 0
        await self._wire.aclose()

    # -- the lanes: one request at a time each ---------------------------------------------------------------------

    async def _traces_lane(self) -> None:
        while True:
            await self._until(lambda: bool(self._spans))
            if len(self._spans) < self._pace.batch_spans:
                await self._lingered()
            written = self._batch()
            self._busy += 1
            try:
                body = await _apart(otlp_form.traces, self._sender, written)
                await self._deliver(Batch("traces", self._traces_url, body, len(written)), lambda: False)
            finally:
                self._busy -= 1
                self._rest()

    async def _metrics_lane(self) -> None:
        while True:
            await self._until(lambda: self._report is not None)
            assert self._report is not None
            report, at = self._report
            self._report = None
            self._busy += 1
            try:
                span = otlp_metrics.Span(self._began, at)
                body = await _apart(otlp_metrics.metrics, self._sender, self._rows, report, span, self._provider)
                batch = Batch("metrics", self._metrics_url, body, 1)
                await self._deliver(batch, lambda: self._report is not None)
            finally:
                self._busy -= 1
                self._rest()

    async def _until(self, ready: Callable[[], bool]) -> None:
        while not ready():
            self._asked.clear()
            await self._asked.wait()

    async def _lingered(self) -> None:
        """A little, so that more may come along, unless it has to be done."""
        hurried = asyncio.ensure_future(self._hurry.wait())
        lingering = asyncio.ensure_future(self._sleep(self._pace.linger_s))
        try:
            await asyncio.wait((hurried, lingering), return_when=asyncio.FIRST_COMPLETED)
        finally:
            hurried.cancel()
            lingering.cancel()

    def _batch(self) -> Sequence[bytes]:
        written: list[bytes] = []
        size = 0
        while self._spans and len(written) < self._pace.batch_spans:
            if written and size + len(self._spans[0]) > self._pace.batch_bytes:
                break
            written.append(self._spans.popleft())
            size += len(written[-1])
        self._bytes -= size
        self._tell()
        return written

    def _wake(self) -> None:
        self._tell()
        if self._spans or self._report is not None:
            self._idle.clear()
            self._asked.set()

    def _rest(self) -> None:
        if not (self._busy or self._spans or self._report is not None):
            self._idle.set()

    def _tell(self) -> None:
        self._meter.record(Sample(OTLP_WAITING, float(len(self._spans))))

    def _note(self, signal: str, reason: str, count: int) -> None:
        if reason:
            self._meter.record(Sample(OTLP_DROPPED, float(count), (signal, reason)))
        else:
            self._meter.record(Sample(OTLP_SENT, float(count), (signal,)))


class Tracing:
    """Makes spans of those records that are to be exported. ``content``: what was said goes along where it was
    kept. ``provider`` as ``spans`` has it."""

    def __init__(self, sender: OtlpSender, provider: Provider, *, content: bool) -> None:
        self._sender = sender
        self._provider = provider
        self._content = content

    def export(self, records: Sequence[RequestRecord], contents: Sequence[RequestContent] = ()) -> None:
        """Hands them on. On the sender's event loop; returns at once, raises nothing."""
        said: Mapping[tuple[str, float], RequestContent] = {}
        if self._content:
            said = {(each.request_id, each.at): each for each in contents}
        for record in records:
            if record.traced and len(record.trace) == 16 and len(record.span) == 8:
                self._sender.traces(spans(record, self._provider, said.get((record.request_id, record.at))))


async def pushing(
    sender: OtlpSender, report: Callable[[], Awaitable[Report]], every_s: float, sleep: Sleep = asyncio.sleep
) -> None:
    """Hands the sender what ``report`` tells, ``every_s`` seconds after another, until cancelled."""
    while True:
        await sleep(every_s)
        sender.metrics(await report())


async def _apart(write: Callable[..., bytes], *arguments: object) -> bytes:
    """In a thread: a long page must not hold up the loop."""
    return await asyncio.to_thread(write, *arguments)
