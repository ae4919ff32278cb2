"""Projects: the tenants."""

from __future__ import annotations

from typing import Literal

import msgspec
from msgspec import UNSET, UnsetType

from penstock.control.accounts.sight import project_of, sees
from penstock.control.accounts.turn import Id, Outcome, Page, Text, Turn, denied, free_id, given_fields, page
from penstock.core.accounts import EVERYWHERE, Directory, Project
from penstock.core.requests import ContentPolicy

Level = Literal["high", "normal", "low"]
Capture = Literal["", "none", "hashes", "content"]
_FROM_MOST_PRIVATE: tuple[ContentPolicy, ...] = ("none", "masked", "sampled", "all", "")


class ProjectView(msgspec.Struct, frozen=True, kw_only=True):
    """A project. `priority` is the best that its keys may claim; `capture` overrides the gateway's policy on keeping
    prompts and replies in the audit, empty: it does not. `log` is what the log of requests keeps of them at most,
    whatever gateway and service say: `none`, `masked`, `sampled` or `all`; empty: it says nothing."""

    id: str
    object: Literal["project"] = "project"
    name: str = ""
    priority: Level = "normal"
    capture: Capture = ""
    log: ContentPolicy = ""
    created_at: float
    archived_at: float | None = None


class CreateProject(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A new project. `id` is in every row of its usage and is never used again."""

    id: Id
    name: Text = ""
    priority: Level = "normal"
    capture: Capture = ""
    log: ContentPolicy = ""


class ChangeProject(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What is left out stays. `priority` and `capture` take a key for the whole gateway, and so does a `log` that
    keeps more than before."""

    name: Text | UnsetType = UNSET
    priority: Level | UnsetType = UNSET
    capture: Capture | UnsetType = UNSET
    log: ContentPolicy | UnsetType = UNSET


def shown(project: Project) -> ProjectView:
    return msgspec.convert(project, ProjectView, from_attributes=True)


def listed(directory: Directory, turn: Turn, _: None) -> Page:
    return page(turn, ((each.id, each) for each in directory.projects if sees(turn.actor, each.id)), shown)


def one(directory: Directory, turn: Turn, _: None) -> ProjectView:
    return shown(project_of(directory, turn.actor, turn.target))


def create(directory: Directory, turn: Turn, asked: CreateProject) -> Outcome:
    free_id(asked.id, {each.id for each in directory.projects} | {EVERYWHERE})
    made = Project(
        id=asked.id,
        name=asked.name,
        priority=asked.priority,
        capture=asked.capture,
        log=asked.log,
        created_at=turn.now,
    )
    view = shown(made)
    return Outcome(answer=view, put=(made,), target=made.id, project=made.id, after=view)


def change(directory: Directory, turn: Turn, asked: ChangeProject) -> Outcome:
    project = project_of(directory, turn.actor, turn.target)
    for param, given in (("priority", asked.priority), ("capture", asked.capture)):
        # Else a project would raise its own place in every queue, or stop its own audit.
        if given is not UNSET and not turn.actor.everywhere:
            raise denied(f"'{param}' of a project is changed with a key for the whole gateway.", param)
    if asked.log is not UNSET and not turn.actor.everywhere and _keeps_more(asked.log, project.log):
        raise denied("A 'log' that keeps more than before is set with a key for the whole gateway.", "log")
    return _changed(project, msgspec.structs.replace(project, **given_fields(asked)))


def archive(directory: Directory, turn: Turn, _: None) -> Outcome:
    project = project_of(directory, turn.actor, turn.target)
    at = project.archived_at if project.archived_at is not None else turn.now
    return _changed(project, msgspec.structs.replace(project, archived_at=at))


def restore(directory: Directory, turn: Turn, _: None) -> Outcome:
    project = project_of(directory, turn.actor, turn.target)
    return _changed(project, msgspec.structs.replace(project, archived_at=None))


def _changed(project: Project, new: Project) -> Outcome:
    put = (new,) if new != project else ()
    return Outcome(
        answer=shown(new), put=put, target=project.id, project=project.id, before=shown(project), after=shown(new)
    )


def _keeps_more(new: ContentPolicy, old: ContentPolicy) -> bool:
    return _FROM_MOST_PRIVATE.index(new) > _FROM_MOST_PRIVATE.index(old)
