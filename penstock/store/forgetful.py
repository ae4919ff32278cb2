"""The store that forgets: the fake of the room, for tests and for servers that keep nothing."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Mapping, Sequence

import msgspec

from penstock.core.accounts import (
    Budget,
    Change,
    Directory,
    KeyRecord,
    Limit,
    Once,
    Project,
    Record,
    RecordKind,
    Role,
    Team,
    User,
)
from penstock.core.caching import Invalidation
from penstock.core.errors import STORE_CONFLICT, STORE_UNAVAILABLE, PenstockError
from penstock.core.money import Price
from penstock.core.releases import Alias, Decision, ModelVersion, PromptVersion, Release, Rollout, Split
from penstock.core.usage import Act, Used

DAY_S = 86400.0
ALIVE_S = 10.0
_FIELDS: Mapping[type[Record], str] = {
    Project: "projects",
    Team: "teams",
    User: "users",
    KeyRecord: "keys",
    Role: "roles",
    Limit: "limits",
    Budget: "budgets",
    Price: "prices",
    ModelVersion: "models",
    PromptVersion: "prompts",
    Alias: "aliases",
    Release: "releases",
    Split: "splits",
    Rollout: "rollouts",
    Invalidation: "invalidations",
}
_KINDS: Mapping[RecordKind, type[Record]] = {
    "project": Project,
    "team": Team,
    "user": User,
    "key": KeyRecord,
    "role": Role,
    "limit": Limit,
    "budget": Budget,
    "price": Price,
    "model": ModelVersion,
    "prompt": PromptVersion,
    "alias": Alias,
    "release": Release,
    "split": Split,
    "rollout": Rollout,
    "invalidation": Invalidation,
}
_Identity = str | tuple[str, float]


class ForgetfulStore:
    """``StateStore`` that lives as long as the object. ``wall`` tells seconds since the epoch; ``audit`` gets the act
    of every change before it takes place."""

    def __init__(self, wall: Callable[[], float], audit: Callable[[Act], None]) -> None:
        self._wall = wall
        self._audit = audit
        self._made_at = wall()
        self._lock = threading.Lock()
        self._directory = Directory(
            version=1, projects=(Project(id="default", created_at=float(int(self._made_at))),)
        )
        self._once: dict[str, Once] = {}
        self._decisions: dict[tuple[str, int], Decision] = {}
        self._gateways: dict[str, tuple[float, frozenset[str]]] = {}
        self._closed = False

    def created_at(self) -> int:
        self._check_open()
        return int(self._made_at)

    def version(self) -> int:
        self._check_open()
        return self._directory.version

    def directory(self) -> Directory:
        self._check_open()
        return self._directory

    def once(self, key: str) -> Once | None:
        self._check_open()
        found = self._once.get(key)
        return found if found and found.at > self._wall() - DAY_S else None

    def change(self, change: Change) -> int:
        self._check_open()
        with self._lock:
            if change.version != self._directory.version:
                raise PenstockError(STORE_CONFLICT, "Somebody else made a change at the same moment. Try again.")
            once = change.once
            if once and self.once(once.key):
                raise PenstockError(
                    STORE_CONFLICT, "The same `idempotency-key` was used at the same moment. Try again."
                )
            after = _carried_out(self._directory, change)
            decided = _decided(self._decisions, change.decisions)
            if change.act is not None:
                self._audit(change.act)
            if once:
                self._once = {key: kept for key, kept in self._once.items() if self.once(key)} | {once.key: once}
            self._decisions = decided
            self._directory = after
            return after.version

    def used(self, keys: Sequence[Used]) -> None:
        self._check_open()
        with self._lock:
            before = self._directory
            records = {record.id: record for record in before.keys}
            moved = False
            for each in keys:
                record = records.get(each.key_id)
                if record is None:
                    continue
                if each.digest and all(each.digest != other.digest for other in records.values()):
                    record, did = _moved(record, each)
                    moved |= did
                at = max(each.at, record.last_used_at or each.at)
                records[record.id] = msgspec.structs.replace(record, last_used_at=at)
            version = before.version + moved
            self._directory = msgspec.structs.replace(before, version=version, keys=tuple(records.values()))

    def decisions(self, rollout: str) -> Sequence[Decision]:
        """Those of one rollout, by number, for a ``ScoreStore`` that forgets as well."""
        decided = self._decisions
        return tuple(decided[place] for place in sorted(decided) if place[0] == rollout)

    def beat(self, gateway: str, at: float, ready: Sequence[str] = ()) -> Mapping[str, frozenset[str]]:
        self._check_open()
        with self._lock:
            self._gateways[gateway] = (at, frozenset(ready))
            beats = sorted(self._gateways.items())
            return {name: can_serve for name, (seen_at, can_serve) in beats if seen_at > at - ALIVE_S}

    def close(self) -> None:
        self._closed = True

    def _check_open(self) -> None:
        if self._closed:
            raise PenstockError(STORE_UNAVAILABLE, "The store is closed.")


def _moved(record: KeyRecord, used: Used) -> tuple[KeyRecord, bool]:
    if record.digest == used.replaces:
        return msgspec.structs.replace(record, digest=used.digest, pepper=used.pepper), True
    if record.previous_digest == used.replaces:
        return msgspec.structs.replace(record, previous_digest=used.digest, previous_pepper=used.pepper), True
    return record, False


def _carried_out(directory: Directory, change: Change) -> Directory:
    after: dict[type[Record], dict[_Identity, Record]] = {
        kind: {_identity(record): record for record in getattr(directory, field)} for kind, field in _FIELDS.items()
    }
    for word, id in change.remove:
        after[_KINDS[word]].pop(_named(word, id), None)
    for record in change.put:
        kept = after[type(record)]
        if isinstance(record, KeyRecord):
            record = _checked(record, kept)
        kept[_identity(record)] = record
    fields = {field: _in_order(after[kind]) for kind, field in _FIELDS.items()}
    return msgspec.structs.replace(directory, version=directory.version + 1, **fields)


def _decided(
    before: Mapping[tuple[str, int], Decision], decisions: Sequence[Decision]
) -> dict[tuple[str, int], Decision]:
    after = dict(before)
    for each in decisions:
        if (each.rollout, each.number) in after:
            raise PenstockError(STORE_CONFLICT, "Somebody else decided at the same moment. Try again.")
        after[each.rollout, each.number] = each
    return after


def _checked(record: KeyRecord, kept: Mapping[_Identity, Record]) -> KeyRecord:
    for other in kept.values():
        if isinstance(other, KeyRecord) and other.digest == record.digest and other.id != record.id:
            raise PenstockError(STORE_CONFLICT, f"Key {record.id!r} is the same as another key; choose another.")
    before = kept.get(record.id)
    # It may have been used since the directory was read that the change was made from.
    used = [each.last_used_at for each in (before, record) if isinstance(each, KeyRecord)]
    return msgspec.structs.replace(record, last_used_at=max((at for at in used if at is not None), default=None))


def _identity(record: Record) -> _Identity:
    if isinstance(record, Price):
        return record.model, record.since
    if isinstance(record, Split):
        return record.service
    return record.name if isinstance(record, Role) else record.id


def _named(word: RecordKind, id: str) -> _Identity:
    if word != "price":
        return id
    model, _, since = id.rpartition("@")
    return model, float(since)


def _in_order(records: Mapping[_Identity, Record]) -> tuple[Record, ...]:
    order: Iterable[_Identity] = sorted(records)
    return tuple(records[name] for name in order)
