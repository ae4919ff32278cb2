"""Versions of models: what the deployment file said of one, kept under its digest."""

from __future__ import annotations

from typing import Annotated, Literal

import msgspec

from penstock.control.accounts.differences import FROM, DiffView, Part, difference
from penstock.control.accounts.turn import Name, Outcome, Page, Text, Turn, invalid, near, page
from penstock.control.accounts.versions import aliases_of, all_of, model_version
from penstock.core.accounts import Directory
from penstock.core.errors import NOT_FOUND, PenstockError
from penstock.core.releases import ModelVersion

Parents = Annotated[tuple[Name, ...], msgspec.Meta(max_length=16)]


class ModelVersionView(msgspec.Struct, frozen=True, kw_only=True):
    """A version of a model. `id` is its name and the digest of `source`, its section of the deployment file.
    `current`: the file has it so now. `created_at` null: it is not kept yet. `aliases` stand for it."""

    id: str
    object: Literal["model_version"] = "model_version"
    name: str
    engine: str
    weights: str
    source: msgspec.Raw
    parents: tuple[str, ...]
    aliases: tuple[str, ...]
    current: bool
    author: str
    message: str
    created_at: float | None


class RegisterModel(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What the deployment file says now of the model `name`. `parents` are versions that it was made from."""

    name: Name
    message: Text = ""
    parents: Parents = ()


def shown(directory: Directory, turn: Turn, version: ModelVersion) -> ModelVersionView:
    there = turn.served.models.get(version.name)
    return ModelVersionView(
        id=version.id,
        name=version.name,
        engine=version.engine,
        weights=version.weights,
        source=msgspec.Raw(version.source),
        parents=version.parents,
        aliases=aliases_of(directory, "model", version),
        current=there is not None and there.digest == version.digest,
        author=version.author,
        message=version.message,
        created_at=version.created_at or None,
    )


def listed(directory: Directory, turn: Turn, _: None) -> Page:
    name = turn.query.get("name")
    found = all_of(directory.models, turn.served.models)
    rows = ((each.id, each) for each in found if name in (None, each.name))
    return page(turn, rows, lambda each: shown(directory, turn, each))


def one(directory: Directory, turn: Turn, _: None) -> ModelVersionView:
    return shown(directory, turn, model_version(directory, turn.served, turn.target))


def register(directory: Directory, turn: Turn, asked: RegisterModel) -> Outcome:
    there = turn.served.models.get(asked.name)
    if there is None:
        raise PenstockError(
            NOT_FOUND,
            f"There is no model '{asked.name[:80]}' in the deployment file, and only what it has can be kept. "
            f"{near(asked.name, turn.served.models)}",
            param="name",
        )
    kept = next((each for each in directory.models if each.id == there.id), None)
    if kept is not None and (kept.message or kept.parents or not (asked.message or asked.parents)):
        return Outcome(answer=shown(directory, turn, kept), target=kept.id)
    # What a release has kept beside itself nobody has said anything of yet.
    made = msgspec.structs.replace(
        there,
        parents=tuple(
            dict.fromkeys(
                model_version(directory, turn.served, each, f"parents[{place}]").id
                for place, each in enumerate(asked.parents)
            )
        ),
        author=turn.actor.key_id,
        message=asked.message,
        created_at=turn.now if kept is None else kept.created_at,
    )
    if made.id in made.parents:
        raise invalid("parents", f"'{made.id}' is this very version. Name those that it was made from.")
    before = None if kept is None else shown(directory, turn, kept)
    after = shown(directory, turn, made)
    return Outcome(answer=after, put=(made,), target=made.id, before=before, after=after)


def diff(directory: Directory, turn: Turn, _: None) -> DiffView:
    """Of the version in the path since that in the query, default: the one that the deployment file has now."""
    after = model_version(directory, turn.served, turn.target)
    before = model_version(directory, turn.served, turn.query.get(FROM, after.name), FROM)
    return DiffView(before=before.id, after=after.id, parts=parts(before, after))


def parts(before: ModelVersion, after: ModelVersion) -> tuple[Part, ...]:
    if before.id == after.id:
        return ()
    return (Part(what="model", before=before.id, after=after.id, text=difference(before.source, after.source)),)
