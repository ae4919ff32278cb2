"""Records of the directory as rows of its tables, and back."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from types import MappingProxyType
from typing import Any, TypeVar

import msgspec
import sqlalchemy as sql

from penstock.core.accounts import (
    Budget,
    Directory,
    KeyRecord,
    Limit,
    Membership,
    Project,
    Record,
    RecordKind,
    Role,
    Scopes,
    Team,
    User,
)
from penstock.core.caching import Invalidation
from penstock.core.money import Price, Rates, Tier
from penstock.core.releases import (
    Alias,
    Mirror,
    ModelVersion,
    Plan,
    PromptVersion,
    Range,
    Release,
    Rollout,
    Segment,
    Split,
    Warm,
)
from penstock.store.release_tables import ALIASES, MODEL_VERSIONS, PROMPT_VERSIONS, RELEASES, ROLLOUTS, SPLITS
from penstock.store.tables import (
    BUDGETS,
    INVALIDATIONS,
    KEYS,
    LIMITS,
    MEMBERSHIPS,
    PRICES,
    PROJECTS,
    ROLES,
    TEAMS,
    USERS,
    VERSION,
)

Named = Mapping[str, object]
_R = TypeVar("_R", bound=Record | Membership)

TABLES: Mapping[type[Record], sql.Table] = MappingProxyType(
    {
        Project: PROJECTS,
        Team: TEAMS,
        User: USERS,
        KeyRecord: KEYS,
        Role: ROLES,
        Limit: LIMITS,
        Budget: BUDGETS,
        Price: PRICES,
        ModelVersion: MODEL_VERSIONS,
        PromptVersion: PROMPT_VERSIONS,
        Alias: ALIASES,
        Release: RELEASES,
        Split: SPLITS,
        Rollout: ROLLOUTS,
        Invalidation: INVALIDATIONS,
    }
)
KINDS: Mapping[RecordKind, type[Record]] = MappingProxyType(
    {
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
)
_JSON: Mapping[str, msgspec.json.Decoder[Any]] = MappingProxyType(
    {
        "scopes": msgspec.json.Decoder(Scopes),
        "permissions": msgspec.json.Decoder(tuple[str, ...]),
        "warn_percent": msgspec.json.Decoder(tuple[int, ...]),
        "rates": msgspec.json.Decoder(Rates),
        "tiers": msgspec.json.Decoder(tuple[Tier, ...]),
        "parents": msgspec.json.Decoder(tuple[str, ...]),
        "ranges": msgspec.json.Decoder(tuple[Range, ...]),
        "segment": msgspec.json.Decoder(Segment | None),
        "inside": msgspec.json.Decoder(tuple[Range, ...]),
        "mirror": msgspec.json.Decoder(Mirror | None),
        "warm": msgspec.json.Decoder(tuple[Warm, ...]),
        "plan": msgspec.json.Decoder(Plan),
    }
)
_NAMED_BY: Mapping[type[Record], str] = MappingProxyType({Role: "name", Split: "service"})


def identity(kind: type[Record], id: str) -> Named:
    """The columns by which a record is found, and their values. Raises ``ValueError`` for an id that is none."""
    if kind is Price:
        model, _, since = id.rpartition("@")
        return {"model": model, "since": float(since)}
    return {_NAMED_BY.get(kind, "id"): id}


def to_row(record: Record) -> Named:
    """A record as its row; the memberships of a user are rows of their own."""
    row = {}
    for column in TABLES[type(record)].columns:
        value = getattr(record, column.name)
        row[column.name] = msgspec.json.encode(value).decode() if column.name in _JSON else value
    return row


def read_directory(connection: sql.Connection) -> Directory:
    """All of it, in the order of ids. Raises ``msgspec.DecodeError`` when what is stored cannot be read."""
    memberships: dict[str, list[Membership]] = {}
    ordered = sql.select(MEMBERSHIPS).order_by(*MEMBERSHIPS.primary_key.columns)
    for user, _, *rest in connection.execute(ordered):
        memberships.setdefault(user, []).append(Membership(*rest))
    users = (
        msgspec.structs.replace(user, memberships=tuple(memberships[user.id])) if user.id in memberships else user
        for user in _records(connection, USERS, User)
    )
    return Directory(
        version=connection.execute(sql.select(VERSION.c.version)).scalar_one(),
        projects=tuple(_records(connection, PROJECTS, Project)),
        teams=tuple(_records(connection, TEAMS, Team)),
        users=tuple(users),
        keys=tuple(_records(connection, KEYS, KeyRecord)),
        roles=tuple(_records(connection, ROLES, Role)),
        limits=tuple(_records(connection, LIMITS, Limit)),
        budgets=tuple(_records(connection, BUDGETS, Budget)),
        prices=tuple(_records(connection, PRICES, Price)),
        models=tuple(_records(connection, MODEL_VERSIONS, ModelVersion)),
        prompts=tuple(_records(connection, PROMPT_VERSIONS, PromptVersion)),
        aliases=tuple(_records(connection, ALIASES, Alias)),
        releases=tuple(_records(connection, RELEASES, Release)),
        splits=tuple(_records(connection, SPLITS, Split)),
        rollouts=tuple(_records(connection, ROLLOUTS, Rollout)),
        invalidations=tuple(_records(connection, INVALIDATIONS, Invalidation)),
    )


def _records(connection: sql.Connection, table: sql.Table, kind: type[_R]) -> Iterator[_R]:
    # What a record has as a property is a column only to be found by.
    columns = [column for column in table.columns if column.name in kind.__struct_fields__]
    names = [column.name for column in columns]
    json = [(place, _JSON[name]) for place, name in enumerate(names) if name in _JSON]
    for row in connection.execute(sql.select(*columns).order_by(*table.primary_key.columns)):
        values = list(row)
        for place, decoder in json:
            values[place] = decoder.decode(values[place])
        yield kind(**dict(zip(names, values, strict=True)))
