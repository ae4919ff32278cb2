"""Spans and metrics in OTLP's JSON form: https://opentelemetry.io/docs/specs/otlp/#json-protobuf-encoding. Pure.

Names are in lower camel case, enums numbers, numbers of 64 bits text, ids hexadecimal. The messages are those of
opentelemetry-proto (``trace/v1``, ``metrics/v1``), as far as they are needed here.
"""

from __future__ import annotations

from binascii import hexlify
from collections.abc import Mapping, Sequence
from functools import lru_cache
from types import MappingProxyType

import msgspec

from penstock.observe.spans import Event, Span, Value

KINDS: Mapping[str, int] = MappingProxyType({"internal": 1, "server": 2, "client": 3})
_ERROR = 2
_LONGEST_KNOWN = 64
_encode = msgspec.json.Encoder().encode


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
    # By hand, for a trace is ten of them: as structs they take several times as long.
    return (
        b'{"traceId":"%b","spanId":"%b",%b"name":%b,"kind":%d,"startTimeUnixNano":"%d","endTimeUnixNano":"%d"%b%b%b}'
        % (
            hexlify(found.trace),
            hexlify(found.id),
            b'"parentSpanId":"%b",' % hexlify(found.parent) if found.parent else b"",
            _encode(found.name),
            KINDS[found.kind],
            found.begin,
            found.end,
            b',"attributes":[%b]' % _attributes(found.attributes) if found.attributes else b"",
            b',"events":[%b]' % b",".join(map(_event, found.events)) if found.events else b"",
            b"" if found.error is None else b',"status":{"message":%b,"code":%d}' % (_encode(found.error), _ERROR),
        )
    )


def _event(found: Event) -> bytes:
    attributes = _attributes(found.attributes)
    return b'{"timeUnixNano":"%d","name":%b,"attributes":[%b]}' % (found.at, _encode(found.name), attributes)


def _attributes(found: Mapping[str, Value]) -> bytes:
    return b",".join([_attribute(name, value) for name, value in found.items()])


def _attribute(name: str, value: Value) -> bytes:
    if type(value) is float or (type(value) is str and len(value) > _LONGEST_KNOWN):
        return _written(name, value)
    return _known(name, value)


def _written(name: str, value: Value) -> bytes:
    return _encode(KeyValue(name, any_value(value)))


# Most are the same in all spans. With types, as True is 1.
_known = lru_cache(2048, typed=True)(_written)


def traces(sender: Sender, written: Sequence[bytes]) -> bytes:
    """An ``ExportTraceServiceRequest`` of what ``span`` has written."""
    spans = ScopeSpans(sender.scope(), [msgspec.Raw(each) for each in written])
    found = ResourceSpans(resource=sender.resource(), scope_spans=(spans,))
    return _encode(Traces(resource_spans=(found,)))
