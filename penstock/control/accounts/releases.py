"""Releases: model, prompt and defaults of a service, frozen as one thing."""

from __future__ import annotations

from collections.abc import Mapping

import msgspec
from msgspec import UNSET, UnsetType

from penstock.control.accounts import models, prompts
from penstock.control.accounts.differences import FROM, DiffView, Part, difference
from penstock.control.accounts.release_of import current, with_parts
from penstock.control.accounts.release_shown import ReleaseView, everything, shown
from penstock.control.accounts.sight import not_found
from penstock.control.accounts.turn import Name, Outcome, Page, Text, Turn, conflict, invalid, newest_first, page
from penstock.control.accounts.versions import MASKED, model_version, prompt_meant
from penstock.core.accounts import Directory
from penstock.core.releases import ModelVersion, Release, release_id
from penstock.prompts.config import Member, defaults_wrong


class CreateRelease(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A release of `service`. `model` and `prompt` are `NAME@DIGEST`, `NAME@ALIAS`, or `NAME` for the one that the
    deployment file has now; `prompt` null: none. `defaults` are all members of a request that hold where the client
    says nothing. What is left out is as in the release that most of the service's traffic gets now."""

    service: Name
    model: Name | UnsetType = UNSET
    prompt: Name | UnsetType | None = UNSET
    defaults: dict[str, Member] | UnsetType = UNSET
    message: Text = ""


def listed(directory: Directory, turn: Turn, _: None) -> Page:
    """Newest first; those that the store does not have yet at the end."""
    service = turn.query.get("service")
    found = (each for each in everything(directory, turn.served) if service in (None, each.service))
    rows = ((newest_first(each.created_at, each.id), each) for each in found)
    return page(turn, rows, lambda each: shown(directory, turn, each))


def one(directory: Directory, turn: Turn, _: None) -> ReleaseView:
    return shown(directory, turn, _release(directory, turn, turn.target))


def create(directory: Directory, turn: Turn, asked: CreateRelease) -> Outcome:
    now = current(directory, turn.served, asked.service)
    model = _model(directory, turn, now.model if asked.model is UNSET else asked.model)
    said = now.prompt if asked.prompt is UNSET else asked.prompt
    prompt = prompt_meant(directory, turn.served, said, "prompt").id if said else ""
    defaults = now.defaults if asked.defaults is UNSET else _defaults(asked.defaults)
    id = release_id(asked.service, model.id, prompt, now.index, now.guards, defaults)
    made = next((each for each in directory.releases if each.id == id), None) or Release(
        id=id,
        service=asked.service,
        model=model.id,
        prompt=prompt,
        index=now.index,
        guards=now.guards,
        defaults=defaults,
        author=turn.actor.key_id,
        message=asked.message,
        created_at=turn.now,
    )
    view = shown(directory, turn, made)
    put = with_parts(directory, turn.served, made, at=turn.now)
    return Outcome(answer=view, put=put, target=id, after=view)


def diff(directory: Directory, turn: Turn, _: None) -> DiffView:
    """Of the release in the path since that in the query, default: the one that most of its service has."""
    after = _release(directory, turn, turn.target)
    other = turn.query.get(FROM)
    before = (
        current(directory, turn.served, after.service) if other is None else _release(directory, turn, other, FROM)
    )
    return DiffView(before=before.id, after=after.id, parts=tuple(_parts(directory, turn, before, after)))


def _parts(directory: Directory, turn: Turn, before: Release, after: Release) -> list[Part]:
    served = turn.served
    found = list(
        models.parts(model_version(directory, served, before.model), model_version(directory, served, after.model))
    )
    found += prompts.parts(directory, served, before.prompt, after.prompt)
    if before.index != after.index:
        found.append(Part(what="index", before=before.index, after=after.index))
    if before.guards != after.guards:
        found.append(Part(what="guards", before=before.guards, after=after.guards))
    if text := difference(before.defaults, after.defaults):
        found.append(Part(what="defaults", text=text))
    return found


def _release(directory: Directory, turn: Turn, id: str, param: str | None = None) -> Release:
    for release in everything(directory, turn.served):
        if release.id == id:
            return release
    raise not_found("release", id, param)


def _model(directory: Directory, turn: Turn, said: str) -> ModelVersion:
    """The version, when it can be served beside what the deployment file has."""
    found = model_version(directory, turn.served, said, "model")
    there = turn.served.models.get(found.name)
    if there is None and MASKED in found.source:
        raise conflict(
            f"Model '{found.id}' is not in the deployment file any more, and a secret that was written into it is "
            f"not kept. Bring '{found.name}' back to the file, or name another model.",
            "model",
        )
    if there is not None and there.digest != found.digest:
        raise conflict(
            f"Model '{found.id}' cannot be served: the deployment file has '{there.id}' under the name "
            f"'{found.name}'. Name that, or give the file's another name and apply it.",
            "model",
        )
    return found


def _defaults(asked: Mapping[str, object]) -> bytes:
    for name, wrong in defaults_wrong(asked).items():
        raise invalid(f"defaults.{name[:80]}", f"'defaults.{name[:80]}' {wrong}.")
    return msgspec.json.encode(asked, order="sorted")
