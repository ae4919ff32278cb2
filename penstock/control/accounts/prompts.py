"""Versions of prompts, kept under their digests."""

from __future__ import annotations

from typing import Annotated, Literal

import msgspec

from penstock.control.accounts.differences import FROM, DiffView, Part, compared
from penstock.control.accounts.turn import Outcome, Page, Text, Turn, page
from penstock.control.accounts.versions import aliases_of, all_of, prompt_version
from penstock.core.accounts import Directory
from penstock.core.releases import PromptVersion, Served
from penstock.prompts import versions
from penstock.prompts.checks import accepted
from penstock.prompts.config import PROMPT, Prompt

PromptName = Annotated[str, msgspec.Meta(pattern=PROMPT)]


class PromptVersionView(msgspec.Struct, frozen=True, kw_only=True):
    """A version of a prompt. `id` is its name and the digest of `source`; `parent` the version before it. `current`:
    the folder of prompts has it so now. `created_at` null: it is not kept yet. `aliases` stand for it."""

    id: str
    object: Literal["prompt_version"] = "prompt_version"
    name: str
    source: msgspec.Raw
    parent: str
    aliases: tuple[str, ...]
    current: bool
    author: str
    message: str
    created_at: float | None


class CreatePrompt(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A version of the prompt `name`; `source` is what a file of the folder of prompts says."""

    name: PromptName
    source: Prompt
    message: Text = ""


def shown(directory: Directory, turn: Turn, version: PromptVersion) -> PromptVersionView:
    there = turn.served.prompts.get(version.name)
    return PromptVersionView(
        id=version.id,
        name=version.name,
        source=msgspec.Raw(version.source),
        parent=version.parent,
        aliases=aliases_of(directory, "prompt", version),
        current=there is not None and there.digest == version.digest,
        author=version.author,
        message=version.message,
        created_at=version.created_at or None,
    )


def listed(directory: Directory, turn: Turn, _: None) -> Page:
    name = turn.query.get("name")
    found = all_of(directory.prompts, turn.served.prompts)
    rows = ((each.id, each) for each in found if name in (None, each.name))
    return page(turn, rows, lambda each: shown(directory, turn, each))


def one(directory: Directory, turn: Turn, _: None) -> PromptVersionView:
    return shown(directory, turn, prompt_version(directory, turn.served, turn.target))


def create(directory: Directory, turn: Turn, asked: CreatePrompt) -> Outcome:
    """The version that says the same, where there is one already."""
    accepted(versions.source(asked.source))
    same = [each for each in directory.prompts if each.name == asked.name]
    before = max(same, key=lambda each: each.created_at, default=turn.served.prompts.get(asked.name))
    made = versions.version(
        asked.name,
        asked.source,
        parent="" if before is None else before.id,
        author=turn.actor.key_id,
        message=asked.message,
        created_at=turn.now,
    )
    kept = next((each for each in same if each.digest == made.digest), None)
    if before is not None and before.id == made.id:
        made = msgspec.structs.replace(made, parent=before.parent)
    after = shown(directory, turn, kept or made)
    return Outcome(answer=after, put=() if kept else (made,), target=made.id, after=after)


def diff(directory: Directory, turn: Turn, _: None) -> DiffView:
    """Of the version in the path since that in the query, default: the one that the folder of prompts has now."""
    after = prompt_version(directory, turn.served, turn.target)
    before = prompt_version(directory, turn.served, turn.query.get(FROM, after.name), FROM)
    return DiffView(before=before.id, after=after.id, parts=parts(directory, turn.served, before.id, after.id))


def parts(directory: Directory, served: Served, before: str, after: str) -> tuple[Part, ...]:
    """Ids of versions, or nothing."""
    if before == after:
        return ()
    # Workers have the operations for their routes, and compare nothing: they load no YAML.
    from penstock.prompts.shown import shown

    texts = [
        shown(versions.read(prompt_version(directory, served, each).source)) if each else ""
        for each in (before, after)
    ]
    return (Part(what="prompt", before=before, after=after, text=compared(*texts)),)
