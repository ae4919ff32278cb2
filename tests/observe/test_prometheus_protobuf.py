"""Native histograms, read back by Google's library with the schema that Prometheus publishes."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest
from google.protobuf import descriptor_pb2, descriptor_pool, message_factory
from hypothesis import given
from hypothesis import strategies as st

from penstock.core.metrics import Counter, Gauge, Histogram, Sample
from penstock.observe.prometheus import PROTOBUF, TEXT, exposed, wants_protobuf
from penstock.observe.totals import SCHEMA, Report, Totals

SEEN = Counter("seen", "Things seen.", ("kind",))
LEVEL = Gauge("level", "A level.", ("where",))
TOOK = Histogram("took_seconds", "How long.", (0.1, 1.0))
ROWS = (SEEN, LEVEL, TOOK)

# Fields of io/prometheus/client/metrics.proto, as published: message -> name, number, type, repeated.
FIELDS = {
    "LabelPair": (("name", 1, "string"), ("value", 2, "string")),
    "Gauge": (("value", 1, "double"),),
    "Counter": (("value", 1, "double"),),
    "Bucket": (("cumulative_count", 1, "uint64"), ("upper_bound", 2, "double")),
    "BucketSpan": (("offset", 1, "sint32"), ("length", 2, "uint32")),
    "SparseBuckets": (("span", 1, "*BucketSpan"), ("delta", 2, "*sint64"), ("count", 3, "*double")),
    "Histogram": (
        ("sample_count", 1, "uint64"),
        ("sample_sum", 2, "double"),
        ("bucket", 3, "*Bucket"),
        ("sb_schema", 4, "sint32"),
        ("sb_zero_threshold", 5, "double"),
        ("sb_zero_count", 6, "uint64"),
        ("sb_positive", 8, "SparseBuckets"),
    ),
    "Metric": (
        ("label", 1, "*LabelPair"),
        ("gauge", 2, "Gauge"),
        ("counter", 3, "Counter"),
        ("histogram", 7, "Histogram"),
    ),
    "MetricFamily": (("name", 1, "string"), ("help", 2, "string"), ("type", 3, "int32"), ("metric", 4, "*Metric")),
}


def family_type() -> type:
    file = descriptor_pb2.FileDescriptorProto(name="metrics.proto", package="p", syntax="proto2")
    kinds = descriptor_pb2.FieldDescriptorProto
    for name, fields in FIELDS.items():
        message = file.message_type.add(name=name)
        for field, number, kind in fields:
            plain = kind.removeprefix("*")
            label = kinds.LABEL_REPEATED if kind.startswith("*") else kinds.LABEL_OPTIONAL
            added = message.field.add(name=field, number=number, label=label)
            if plain in FIELDS:
                added.type, added.type_name = kinds.TYPE_MESSAGE, f".p.{plain}"
            else:
                added.type = getattr(kinds, f"TYPE_{plain.upper()}")
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    return message_factory.GetMessageClass(pool.FindMessageTypeByName("p.MetricFamily"))


FAMILY = family_type()


def read(page: bytes) -> Iterator[object]:
    place = 0
    while place < len(page):
        length = shift = 0
        while True:
            byte = page[place]
            place += 1
            length |= (byte & 0x7F) << shift
            shift += 7
            if byte < 0x80:
                break
        yield FAMILY.FromString(page[place : place + length])
        place += length


def buckets(histogram: object) -> dict[int, int]:
    """As Prometheus reads spans and deltas."""
    found, index, place, count = {}, 0, 0, 0
    for span in histogram.sb_positive.span:
        index += span.offset
        for _ in range(span.length):
            count += histogram.sb_positive.delta[place]
            found[index] = count
            place, index = place + 1, index + 1
    assert place == len(histogram.sb_positive.delta)
    return found


def test_each_kind_is_read_back() -> None:
    totals = Totals(ROWS)
    for value in (0.05, 1.0, 2.0, 0.0):
        totals.record(Sample(SEEN, value, ('quo"ted\n',)))
        totals.record(Sample(LEVEL, value, ("hé",)))
        totals.record(Sample(TOOK, value))
    page = exposed(ROWS, totals.report(), {"me": os.getpid()}, PROTOBUF)
    assert page.content_type == PROTOBUF
    families = {family.name: family for family in read(page.body)}
    assert (families["seen_total"].type, families["level"].type, families["took_seconds"].type) == (0, 1, 4)
    assert families["seen_total"].metric[0].counter.value == pytest.approx(3.05)
    assert [(label.name, label.value) for label in families["seen_total"].metric[0].label] == [("kind", 'quo"ted\n')]
    assert families["level"].metric[0].label[0].value == "hé"
    histogram = families["took_seconds"].metric[0].histogram
    assert (histogram.sample_count, histogram.sample_sum) == (4, pytest.approx(3.05))
    assert [(bucket.upper_bound, bucket.cumulative_count) for bucket in histogram.bucket] == [(0.1, 2), (1.0, 3)]
    assert (histogram.sb_schema, histogram.sb_zero_count) == (SCHEMA, 1)
    # 1 is the end of bucket 0 and 2 that of bucket 2 ** schema, whatever the schema.
    assert buckets(histogram) == {-34: 1, 0: 1, 2**SCHEMA: 1}
    assert families["process_cpu_seconds_total"].metric[0].counter.value > 0
    assert families["process_resident_memory_bytes"].metric[0].label[0].value == "me"


@given(st.lists(st.floats(0.0, 1e7), min_size=1, max_size=60))
def test_spans_hold_every_fine_bucket(values: list[float]) -> None:
    totals = Totals([TOOK])
    for value in values:
        totals.record(Sample(TOOK, value))
    report = totals.report()
    (family,) = read(exposed([TOOK], report, {}, PROTOBUF).body)
    histogram = family.metric[0].histogram
    assert buckets(histogram) == dict(report.metrics["took_seconds"][0].fine)
    assert sum(buckets(histogram).values()) + histogram.sb_zero_count == len(values)


PROMETHEUS = (
    "application/vnd.google.protobuf;proto=io.prometheus.client.MetricFamily;encoding=delimited;q=0.6,"
    "application/openmetrics-text;version=1.0.0;q=0.5,text/plain;version=0.0.4;q=0.3,*/*;q=0.2"
)


@pytest.mark.parametrize(
    ("accept", "wanted"),
    [
        (PROMETHEUS, True),
        (PROMETHEUS.replace("q=0.6", "q=0.2"), False),
        (PROMETHEUS.replace("q=0.6", "q=0"), False),
        (PROTOBUF, True),
        ("application/vnd.google.protobuf", False),
        ("application/vnd.google.protobuf; proto=other; encoding=delimited", False),
        ("text/plain", False),
        ("*/*", False),
        ("", False),
        ("application/vnd.google.protobuf;q=x;proto=io.prometheus.client.MetricFamily;encoding=delimited", False),
    ],
)
def test_who_asks_for_native_histograms_gets_them(accept: str, wanted: bool) -> None:
    assert wants_protobuf(accept) is wanted
    assert exposed((), Report(), {}, accept).content_type == (PROTOBUF if wanted else TEXT)
