"""Spans and metrics arrive at a collector, and whatever it does, nobody waits and every loss is counted."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable

import msgspec
import pytest
from aiohttp import web

from penstock.core.metrics import Counter, Gauge, Histogram, Sample
from penstock.core.requests import RequestContent
from penstock.observe import otlp_metrics
from penstock.observe.config import Otlp
from penstock.observe.metrics import ROWS as OWN
from penstock.observe.otlp import OtlpSender, Tracing, pushing
from penstock.observe.otlp_form import Sender
from penstock.observe.otlp_http import OtlpHttp
from penstock.observe.otlp_lane import Pace, Unreached
from penstock.observe.spans import spans
from penstock.observe.totals import Report, Totals
from tests.observe.collector import Collector, collecting
from tests.observe.records import SPAN, TRACE, fell_back, refused

SEEN = Counter("penstock_seen", "Seen.", ("service", "code"))
DEPTH = Gauge("penstock_depth_bytes", "Deep.")
TOOK = Histogram(
    "penstock_took_seconds", "Took.", (0.1, 1.0), ("service", "model", "kind"), "gen_ai.server.request.duration"
)
ROWS = (SEEN, DEPTH, TOOK)
WHO = Sender({"service.name": "penstock", "service.instance.id": "g1"}, "1.2.3")
QUICK = Pace(linger_s=0.0, first_s=0.01, longest_s=0.02, answer_s=0.3)


class Hearing(Totals):
    heard: asyncio.Event

    def record(self, sample: Sample) -> None:
        super().record(sample)
        self.heard.set()


class Street:
    def __init__(self, collector: Collector, sender: OtlpSender, own: Hearing, waits: list[float]) -> None:
        self.collector, self.sender, self.own, self.waits = collector, sender, own, waits

    def lost(self, signal: str) -> dict[str, float]:
        found = self.own.report().metrics["penstock_otlp_dropped"]
        return {each.labels[1]: each.values[0] for each in found if each.labels[0] == signal}

    def sent(self, signal: str) -> float:
        found = self.own.report().metrics["penstock_otlp_sent"]
        return sum(each.values[0] for each in found if each.labels == (signal,))

    async def until(self, come: Callable[[], bool]) -> None:
        async with asyncio.timeout(5):
            while not come():
                self.own.heard.clear()
                await self.own.heard.wait()


@contextlib.asynccontextmanager
async def street(pace: Pace = QUICK, url: str = "") -> AsyncIterator[Street]:
    waits: list[float] = []

    async def sleep(seconds: float) -> None:
        waits.append(seconds)
        await asyncio.sleep(min(seconds, 0.01))  # pace: what the sender asked for, in short

    async with collecting() as collector:
        own = Hearing(OWN)
        own.heard = asyncio.Event()
        settings = Otlp(url=url or collector.url + "/", headers={"x-api-key": "secret"})
        sender = OtlpSender(
            settings, OtlpHttp(), WHO, rows=ROWS, meter=own, provider=lambda model: "openai", sleep=sleep, pace=pace
        )
        running = asyncio.create_task(sender.run())
        try:
            yield Street(collector, sender, own, waits)
        finally:
            running.cancel()
            await asyncio.wait((running,))
            await sender.aclose()


def answering(status: int, times: int, **headers: str) -> Callable[[web.Request], web.Response | None]:
    left = [times]

    def misbehave(_: web.Request) -> web.Response | None:
        left[0] -= 1
        return web.Response(status=status, text="no", headers=headers) if left[0] >= 0 else None

    return misbehave


async def test_a_trace_arrives_as_the_official_classes_read_it() -> None:
    async with street() as here:
        Tracing(here.sender, lambda model: "openai", content=False).export(
            [fell_back(), msgspec.structs.replace(refused(), traced=False)]
        )
        assert await here.sender.flush(5)
        found = list(here.collector.spans())
        assert {span.trace_id for span in found} == {TRACE}
        root = found[0]
        assert (root.span_id, root.kind, root.status.code) == (SPAN, 2, 0)
        assert root.start_time_unix_nano == 1_800_000_000_250_000_000
        attributes = {each.key: each.value for each in root.attributes}
        assert attributes["gen_ai.usage.input_tokens"].int_value == 11
        assert attributes["gen_ai.request.stream"].bool_value is True
        assert attributes["penstock.cost.usd"].double_value == pytest.approx(0.0025)
        failed = [span for span in found if span.status.code == 2]
        assert [(span.kind, span.events[0].name, span.status.message) for span in failed] == [
            (3, "exception", "it said 500")
        ]
        resource = here.collector.traces[0].resource_spans[0]
        assert {each.key: each.value.string_value for each in resource.resource.attributes} == dict(WHO.attributes)
        assert (resource.scope_spans[0].scope.name, resource.scope_spans[0].scope.version) == ("penstock", "1.2.3")
        assert here.collector.headers[0]["x-api-key"] == "secret"
        assert here.sent("traces") == len(found)


@pytest.mark.parametrize("wanted", [True, False])
async def test_what_was_said_goes_along_where_the_settings_say_so(wanted: bool) -> None:
    record = fell_back()
    content = RequestContent(
        request_id=record.request_id,
        at=record.at,
        project="shop",
        service="chat",
        request=b'{"messages":[{"role":"user","content":"hi"}]}',
    )
    async with street() as here:
        Tracing(here.sender, str, content=wanted).export([record], [content])
        assert await here.sender.flush(5)
        keys = {each.key for span in here.collector.spans() for each in span.attributes}
        assert ("gen_ai.input.messages" in keys) is wanted


async def test_metrics_arrive_with_exponential_histograms() -> None:
    totals = Totals(ROWS)
    for value in (0.0, 0.5, 1.0, 1.5):
        totals.record(Sample(TOOK, value, ("chat", "m", "completion")))
    totals.record(Sample(SEEN, 3.0, ("chat", "")))
    totals.record(Sample(DEPTH, 7.0))
    async with street() as here:
        here.sender.metrics(totals.report())
        assert await here.sender.flush(5)
        found = here.collector.measured()
        took = found["gen_ai.server.request.duration"]
        assert took.unit == "s"
        (point,) = took.exponential_histogram.data_points
        assert (point.count, point.zero_count, point.sum, point.scale) == (4, 1, 3.0, 3)
        # Bucket i has what is above 2 ** (i / 8), up to 2 ** ((i + 1) / 8).
        counts = dict(enumerate(point.positive.bucket_counts, point.positive.offset))
        assert {index: count for index, count in counts.items() if count} == {-9: 1, -1: 1, 4: 1}
        assert {each.key: each.value.string_value for each in point.attributes} == {
            "penstock.service": "chat",
            "penstock.model": "m",
            "gen_ai.operation.name": "text_completion",
            "gen_ai.request.model": "chat",
            "gen_ai.response.model": "m",
            "gen_ai.provider.name": "openai",
        }
        seen = found["penstock.seen"]
        assert seen.sum.is_monotonic
        assert seen.sum.data_points[0].as_double == 3.0
        assert [each.key for each in seen.sum.data_points[0].attributes] == ["penstock.service"]
        assert (found["penstock.depth"].unit, found["penstock.depth"].gauge.data_points[0].as_double) == ("By", 7.0)


def test_a_wide_histogram_is_told_more_coarsely_and_loses_nothing() -> None:
    fine = tuple((index, 1) for index in range(-200, 201, 7))
    scale, offset, counts = otlp_metrics._dense(fine)
    assert len(counts) <= otlp_metrics.MOST_BUCKETS
    assert sum(counts) == len(fine)
    base = 2.0 ** (2.0**-scale)
    place = 0
    for index, count in enumerate(counts, offset):
        inside = [
            i
            for i, _ in fine
            if base**index * 0.999 < 2 ** ((i - 1) / 8) and 2 ** (i / 8) <= base ** (index + 1) * 1.001
        ]
        assert len(inside) == count
        place += count
    assert place == len(fine)


@pytest.mark.parametrize("status", [429, 502, 503, 504])
async def test_what_may_be_tried_again_is_after_as_long_as_it_asks_for(status: int) -> None:
    async with street() as here:
        here.collector.misbehave = answering(status, 2, **{"Retry-After": "7"})
        here.sender.traces(spans(refused(), str))
        assert await here.sender.flush(5)
        assert here.waits.count(7.0) == 2
        assert len(list(here.collector.spans())) == here.sent("traces") == 5
        assert here.lost("traces") == {}


async def test_a_wait_that_is_too_long_is_a_loss() -> None:
    async with street() as here:
        here.collector.misbehave = answering(503, 1, **{"Retry-After": "Fri, 31 Dec 2100 23:59:59 GMT"})
        here.sender.traces(spans(refused(), str))
        await here.until(lambda: here.lost("traces") == {"unreachable": 5.0})
        here.sender.traces(spans(refused(), str))
        assert await here.sender.flush(5)
        assert len(list(here.collector.spans())) == 5


async def test_what_the_collector_refuses_is_not_tried_again(caplog: pytest.LogCaptureFixture) -> None:
    async with street() as here:
        here.collector.misbehave = answering(400, 1)
        here.sender.traces(spans(refused(), str))
        assert await here.sender.flush(5)
        assert here.lost("traces") == {"refused": 5.0}
        assert here.collector.asked == 1
        assert "status 400" in caplog.text
        assert "secret" not in caplog.text


async def test_what_a_partial_success_leaves_out_is_counted() -> None:
    async with street() as here:
        partial = {"partialSuccess": {"rejectedSpans": "2", "errorMessage": "too old"}}
        here.collector.misbehave = lambda request: web.json_response(partial)
        here.sender.traces(spans(refused(), str))
        assert await here.sender.flush(5)
        assert (here.lost("traces"), here.sent("traces")) == ({"rejected": 2.0}, 3.0)


async def test_a_collector_that_hangs_or_breaks_off_holds_nobody_up() -> None:
    def reset(request: web.Request) -> web.Response | None:
        if here.collector.asked > 3:
            return None
        assert request.transport is not None
        request.transport.abort()
        return web.Response(status=500)

    async with street() as here:
        here.collector.gate.clear()
        here.sender.traces(spans(refused(), str))
        await here.collector.until(lambda: here.collector.asked > 1)
        here.collector.misbehave = reset
        here.collector.gate.set()
        assert await here.sender.flush(5)
        assert here.lost("traces") == {}
        # The one that hung was taken after all: the same spans, with the same ids.
        assert len({span.span_id for span in here.collector.spans()}) == 5


async def test_a_collector_that_is_not_there_is_given_up_and_counted() -> None:
    async with street(msgspec.structs.replace(QUICK, give_up_s=0.05), "http://127.0.0.1:9") as here:
        here.sender.traces(spans(refused(), str))
        await here.until(lambda: here.lost("traces") == {"unreachable": 5.0})


@pytest.mark.parametrize("headers", [{"x-key": "s3cret\nx"}, {"x-key": "s3cret\ud83d"}])
async def test_headers_that_cannot_be_sent_are_said_to_be_that_and_not_repeated(
    headers: dict[str, str],
) -> None:
    wire = OtlpHttp()
    with pytest.raises(Unreached) as caught:
        await wire.post("http://user:s3cret@127.0.0.1:9/v1/traces", b"", headers, 1.0)
    await wire.aclose()
    assert "s3cret" not in str(caught.value)


async def test_a_login_in_the_address_is_not_logged(caplog: pytest.LogCaptureFixture) -> None:
    url = "http://user:s3cret@127.0.0.1:9"
    async with street(msgspec.structs.replace(QUICK, give_up_s=0.0), url) as here:
        here.sender.traces(spans(refused(), str))
        await here.until(lambda: here.lost("traces") == {"unreachable": 5.0})
    assert "127.0.0.1" in caplog.text
    assert "s3cret" not in caplog.text


async def test_what_there_is_no_room_for_is_dropped_and_counted() -> None:
    async with street(msgspec.structs.replace(QUICK, most_bytes=4000, batch_spans=4)) as here:
        here.collector.gate.clear()
        for _ in range(10):
            here.sender.traces(spans(refused(), str))
        lost = here.lost("traces")["full"]
        here.collector.gate.set()
        assert await here.sender.flush(5)
        assert lost + here.sent("traces") == 50
        assert all(len(r.resource_spans[0].scope_spans[0].spans) <= 4 for r in here.collector.traces)


async def test_of_metrics_that_wait_the_newest_go() -> None:
    async with street() as here:
        here.collector.misbehave = answering(503, 1)
        for value in (1.0, 2.0, 3.0):
            totals = Totals(ROWS)
            totals.record(Sample(SEEN, value, ("s", "")))
            here.sender.metrics(totals.report())
        assert await here.sender.flush(5)
        assert here.collector.measured()["penstock.seen"].sum.data_points[0].as_double == 3.0
        assert here.lost("metrics") == {}


async def test_metrics_are_pushed_at_their_pace() -> None:
    async with street() as here:
        asked: list[float] = []

        async def sleep(seconds: float) -> None:
            asked.append(seconds)
            await asyncio.sleep(0.01)  # pace: another task answers meanwhile

        async def report() -> Report:
            totals = Totals(ROWS)
            totals.record(Sample(DEPTH, 1.0))
            return totals.report()

        task = asyncio.create_task(pushing(here.sender, report, 15.0, sleep))
        await here.collector.until(lambda: len(here.collector.metrics) >= 2)
        task.cancel()
        assert set(asked) == {15.0}
