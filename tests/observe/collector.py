"""A collector that speaks OTLP over HTTP, checks what it gets with the official classes, and can misbehave."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import json
from collections.abc import AsyncIterator, Callable, Iterator

from aiohttp import web
from google.protobuf import json_format
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.metrics.v1.metrics_pb2 import Metric
from opentelemetry.proto.trace.v1.trace_pb2 import Span

Misbehave = Callable[[web.Request], web.StreamResponse | None]

_IDS = frozenset({"traceId", "spanId", "parentSpanId"})


def as_protobuf_json(value: object, name: str = "") -> object:
    """OTLP writes ids in hexadecimal where Protocol Buffers' own JSON has base64."""
    if isinstance(value, dict):
        return {key: as_protobuf_json(each, key) for key, each in value.items()}
    if isinstance(value, list):
        return [as_protobuf_json(each) for each in value]
    if name in _IDS and isinstance(value, str):
        assert value == value.lower()
        return base64.b64encode(bytes.fromhex(value)).decode()
    return value


class Collector:
    """``misbehave`` answers instead of it where it gives an answer back; ``gate`` holds answers up."""

    def __init__(self) -> None:
        self.url = ""
        self.traces: list[ExportTraceServiceRequest] = []
        self.metrics: list[ExportMetricsServiceRequest] = []
        self.headers: list[dict[str, str]] = []
        self.asked = 0
        self.misbehave: Misbehave = lambda request: None
        self.gate = asyncio.Event()
        self.gate.set()
        self.changed = asyncio.Event()

    def spans(self) -> Iterator[Span]:
        for request in self.traces:
            for resource in request.resource_spans:
                for scope in resource.scope_spans:
                    yield from scope.spans

    def measured(self) -> dict[str, Metric]:
        """The last page, by name."""
        resource = self.metrics[-1].resource_metrics[0]
        return {metric.name: metric for metric in resource.scope_metrics[0].metrics}

    async def until(self, come: Callable[[], bool], within_s: float = 5.0) -> None:
        async with asyncio.timeout(within_s):
            while not come():
                self.changed.clear()
                await self.changed.wait()

    async def take(self, request: web.Request) -> web.StreamResponse:
        self.asked += 1
        self.changed.set()
        await self.gate.wait()
        body = await request.read()
        if (answer := self.misbehave(request)) is not None:
            return answer
        assert request.headers["content-type"] == "application/json"
        message = {"/v1/traces": ExportTraceServiceRequest, "/v1/metrics": ExportMetricsServiceRequest}[
            request.path
        ]()
        json_format.ParseDict(as_protobuf_json(json.loads(body)), message)
        self.headers.append(dict(request.headers))
        (self.traces if request.path == "/v1/traces" else self.metrics).append(message)
        self.changed.set()
        return web.json_response({})


@contextlib.asynccontextmanager
async def collecting() -> AsyncIterator[Collector]:
    collector = Collector()
    app = web.Application(client_max_size=64 << 20)
    app.router.add_post("/{path:.*}", collector.take)
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
    await runner.setup()
    try:
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        host, port = runner.addresses[0][:2]
        collector.url = f"http://{host}:{port}"
        yield collector
    finally:
        collector.gate.set()
        await runner.cleanup()
