"""Versions, releases and splits for the tests of what is released."""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

from penstock.control.accounts.turn import Turn
from penstock.core.accounts import Directory, Record
from penstock.core.administration import Actor
from penstock.core.releases import (
    WHOLE,
    Alias,
    ModelVersion,
    PromptVersion,
    Range,
    Release,
    Rollout,
    Served,
    Split,
    digest,
    release_id,
)
from tests.control.accounts.office import NOW, ROOT

_FIELDS: Mapping[type, str] = {
    ModelVersion: "models",
    PromptVersion: "prompts",
    Alias: "aliases",
    Release: "releases",
    Split: "splits",
    Rollout: "rollouts",
}


def model(name: str = "small", **settings: object) -> ModelVersion:
    source = msgspec.json.encode({"engine": "llamacpp", **settings}, order="sorted")
    return ModelVersion(name=name, digest=digest(source), engine="llamacpp", source=source)


def prompt(name: str = "greeting", system: str = "Be kind.") -> PromptVersion:
    source = msgspec.json.encode({"system": system}, order="sorted")
    return PromptVersion(name=name, digest=digest(source), source=source)


def release(
    model: ModelVersion,
    prompt: PromptVersion | None = None,
    defaults: bytes = b"{}",
    *,
    service: str = "chat",
    at: float = 0.0,
) -> Release:
    said = "" if prompt is None else prompt.id
    id = release_id(service, model.id, said, "", "", defaults)
    return Release(id=id, service=service, model=model.id, prompt=said, defaults=defaults, created_at=at)


def split(*shares: tuple[Release, int], rollout: str = "") -> Split:
    """Shares in percent."""
    ranges, end = [], 0
    for each, share in shares:
        end += share * WHOLE // 100
        ranges.append(Range(end, each.id))
    return Split(service=shares[0][0].service, ranges=tuple(ranges), salt="s", rollout=rollout, changed_at=NOW)


def directory(*records: Record, version: int = 1) -> Directory:
    found: dict[str, tuple[Record, ...]] = {}
    for record in records:
        field = _FIELDS[type(record)]
        found[field] = (*found.get(field, ()), record)
    return msgspec.structs.replace(Directory(version=version), **found)


def served(*of: ModelVersion | PromptVersion | Release) -> Served:
    return Served(
        models={each.name: each for each in of if isinstance(each, ModelVersion)},
        prompts={each.name: each for each in of if isinstance(each, PromptVersion)},
        services={each.service: each for each in of if isinstance(each, Release)},
    )


def turn(
    target: str = "",
    *,
    served: Served | None = None,
    standing: Mapping[str, frozenset[str]] | None = None,
    actor: Actor = ROOT,
    now: float = NOW,
    query: Mapping[str, str] | None = None,
) -> Turn:
    return Turn(
        actor=actor,
        now=now,
        new_id=lambda prefix: f"{prefix}_1",
        mint=lambda _: (_ for _ in ()).throw(AssertionError("no key is made here")),
        target=target,
        query=query or {},
        served=served or Served(),
        standing=standing or {},
    )
