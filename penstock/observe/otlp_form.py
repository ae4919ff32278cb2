"""Spans and metrics in OTLP's JSON form: https://opentelemetry.io/docs/specs/otlp/#json-protobuf-encoding. Pure.

Names are in lower camel case, enums numbers, numbers of 64 bits text, ids hexadecimal. The messages are those of
opentelemetry-proto (``trace/v1``, ``metrics/v1``), as far as they are needed here.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import MappingProxyType

import msgspec

from penstock.observe.spans import Event, Span, Value

KINDS: Mapping[str, int] = MappingProxyType({"internal": 1, "server": 2, "client": 3})
_ERROR = 2


class Message(msgspec.Struct, frozen=True, rename="camel", omit_defaults=True):
    """What all of them have in common."""


class AnyValue(Message, frozen=True, kw_only=True):
    string_value: str | None = None
    bool_value: bool | None = None
    int_value: str | None = None
    double_value: float | None = None


class KeyValue(msgspec.Struct, frozen=True):
    key: str
    value: AnyValue


class Status(Message, frozen=True, kw_only=True):
    message: str = ""
    code: int = 0


class SpanEvent(Message, frozen=True, kw_only=True):
    time_unix_nano: str
    name: str
    attributes: tuple[KeyValue, ...] = ()


class WrittenSpan(Message, frozen=True, kw_only=True):
    trace_id: str
    span_id: str
    parent_span_id: str = ""
    name: str
    kind: int
    start_time_unix_nano: str
    end_time_unix_nano: str
    attributes: tuple[KeyValue, ...] = ()
    events: tuple[SpanEvent, ...] = ()
    status: Status = Status()


class Resource(msgspec.Struct, frozen=True):
    attributes: tuple[KeyValue, ...]


class Scope(msgspec.Struct, frozen=True):
    name: str
    version: str


class ScopeSpans(msgspec.Struct, frozen=True):
    scope: Scope
    spans: Sequence[msgspec.Raw]


class ResourceSpans(Message, frozen=True, kw_only=True):
    resource: Resource
    scope_spans: tuple[ScopeSpans, ...]


class Traces(Message, frozen=True, kw_only=True):
    resource_spans: tuple[ResourceSpans, ...]


class Sender(msgspec.Struct, frozen=True):
    """Who sends: attributes of the resource, and which version of Penstock this is."""

    attributes: Mapping[str, Value]
    version: str

    def resource(self) -> Resource:
        return Resource(pairs(self.attributes))

    def scope(self) -> Scope:
        return Scope("penstock", self.version)


def pairs(attributes: Mapping[str, Value]) -> tuple[KeyValue, ...]:
    return tuple(KeyValue(name, any_value(value)) for name, value in attributes.items())


def any_value(value: Value) -> AnyValue:
    match value:
        case bool():
            return AnyValue(bool_value=value)
        case int():
            return AnyValue(int_value=str(value))
        case float():
            return AnyValue(double_value=value)
        case _:
            return AnyValue(string_value=value)


def span(found: Span) -> bytes:
    """One span, to be put among others by ``traces``."""
    return msgspec.json.encode(
        WrittenSpan(
            trace_id=found.trace.hex(),
            span_id=found.id.hex(),
            parent_span_id=found.parent.hex(),
            name=found.name,
            kind=KINDS[found.kind],
            start_time_unix_nano=str(found.begin),
            end_time_unix_nano=str(found.end),
            attributes=pairs(found.attributes),
            events=tuple(map(_event, found.events)),
            status=Status() if found.error is None else Status(message=found.error, code=_ERROR),
        )
    )


def _event(found: Event) -> SpanEvent:
    return SpanEvent(time_unix_nano=str(found.at), name=found.name, attributes=pairs(found.attributes))


def traces(sender: Sender, written: Sequence[bytes]) -> bytes:
    """An ``ExportTraceServiceRequest`` of what ``span`` has written."""
    spans = ScopeSpans(sender.scope(), [msgspec.Raw(each) for each in written])
    found = ResourceSpans(resource=sender.resource(), scope_spans=(spans,))
    return msgspec.json.encode(Traces(resource_spans=(found,)))
