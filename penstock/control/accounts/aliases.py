"""Aliases: names of versions that can be moved."""

from __future__ import annotations

import re
from typing import Literal

import msgspec

from penstock.control.accounts.sight import not_found
from penstock.control.accounts.turn import Gone, Name, Outcome, Page, Turn, invalid, page
from penstock.control.accounts.versions import Kind, any_version
from penstock.core.accounts import Directory
from penstock.core.releases import Alias

_ALIAS = re.compile(r"[a-z0-9][a-z0-9._-]{0,63}\Z")
_DIGEST = re.compile(r"[0-9a-f]{16}\Z")


class AliasView(msgspec.Struct, frozen=True, kw_only=True):
    """`NAME@ALIAS` stands for `version`, `NAME@DIGEST`, wherever a version is named."""

    id: str
    object: Literal["alias"] = "alias"
    kind: Kind
    name: str
    alias: str
    version: str
    author: str
    changed_at: float


class SetAlias(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """`alias` stands for `version`, from now on: `NAME@DIGEST`, `NAME@ALIAS`, or `NAME` for the one that the
    deployment file has now."""

    kind: Kind
    alias: Name
    version: Name


def shown(alias: Alias) -> AliasView:
    return AliasView(
        id=alias.id,
        kind=alias.kind,
        name=alias.name,
        alias=alias.alias,
        version=f"{alias.name}@{alias.digest}",
        author=alias.author,
        changed_at=alias.changed_at,
    )


def listed(directory: Directory, turn: Turn, _: None) -> Page:
    kind, name = turn.query.get("kind"), turn.query.get("name")
    rows = (each for each in directory.aliases if kind in (None, each.kind) and name in (None, each.name))
    return page(turn, ((each.id, each) for each in rows), shown)


def one(directory: Directory, turn: Turn, _: None) -> AliasView:
    return shown(_found(directory, turn.target))


def put(directory: Directory, turn: Turn, asked: SetAlias) -> Outcome:
    if not _ALIAS.match(asked.alias) or _DIGEST.match(asked.alias):
        raise invalid(
            "alias",
            "'alias' must be 1 to 64 of a-z, 0-9, '.', '_' and '-', begin with a letter or a digit, and not look "
            "like a digest; 'production' say.",
        )
    version = any_version(asked.kind, directory, turn.served, asked.version, "version")
    made = Alias(
        kind=asked.kind,
        name=version.name,
        alias=asked.alias,
        digest=version.digest,
        author=turn.actor.key_id,
        changed_at=turn.now,
    )
    before = next((each for each in directory.aliases if each.id == made.id), None)
    if before is not None and before.digest == made.digest:
        return Outcome(answer=shown(before), target=made.id)
    there = directory.models if asked.kind == "model" else directory.prompts
    kept = any(each.id == version.id for each in there)
    noted = msgspec.structs.replace(version, author=turn.actor.key_id, created_at=turn.now)
    return Outcome(
        answer=shown(made),
        put=(made,) if kept else (noted, made),
        target=made.id,
        before=shown(before) if before else None,
        after=shown(made),
    )


def delete(directory: Directory, turn: Turn, _: None) -> Outcome:
    alias = _found(directory, turn.target)
    gone = Gone(object="alias", id=alias.id)
    return Outcome(answer=gone, remove=(("alias", alias.id),), target=alias.id, before=shown(alias))


def _found(directory: Directory, id: str) -> Alias:
    for alias in directory.aliases:
        if alias.id == id:
            return alias
    raise not_found("alias", id)
