"""What the tests of caches have in common: a clock that is set, a meter that adds up, entries and calls."""

from __future__ import annotations

import collections
import json

import msgspec

from penstock.core.caching import Entry
from penstock.core.chat import Call, Kind, Usage
from penstock.core.metrics import Sample
from penstock.core.splice import members


class SetClock:
    """Stands still until it is told."""

    def __init__(self, wall: float = 1_000_000.0) -> None:
        self.at = 100.0
        self._wall = wall

    def now(self) -> float:
        return self.at

    def wall(self) -> float:
        return self._wall + self.at - 100.0

    def pass_by(self, seconds: float) -> None:
        self.at += seconds


class Sums:
    """A meter that adds up."""

    def __init__(self) -> None:
        self.of: collections.Counter[tuple[str, ...]] = collections.Counter()

    def record(self, sample: Sample) -> None:
        self.of[(sample.metric.name.removeprefix("penstock_cache_tier_"), *sample.labels)] += sample.value


def call_of(kind: Kind = Kind.CHAT, *, text: bytes | None = None, **fields: object) -> Call:
    given = members(json.dumps(fields).encode() if text is None else text)
    return Call("req", kind, "chat", given, choices=msgspec.json.decode(given.get("n", msgspec.Raw(b"1"))))


def entry_of(key: bytes = b"k" * 20, **changed: object) -> Entry:
    made = Entry(
        key=key,
        kind=Kind.CHAT,
        chunks=(b'{"choices":[]}',),
        streamed=False,
        usage=Usage(prompt=3, completion=4),
        created_at=1_000_000.0,
        fresh_for_s=60.0,
        service="chat",
        release="rel_1",
        project="red",
    )
    return msgspec.structs.replace(made, **changed)
