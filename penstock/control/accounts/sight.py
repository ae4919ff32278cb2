"""Who sees and may change what. To a key of one project nothing of another exists: what it may not see and what there
is not are answered with the same bytes."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TypeVar

from penstock.control.accounts.turn import Turn, conflict, invalid
from penstock.core.accounts import EVERYWHERE, Directory, KeyRecord, Project, Team, User
from penstock.core.administration import Actor
from penstock.core.errors import NOT_FOUND, PenstockError

T = TypeVar("T")


def sees(actor: Actor, project: str) -> bool:
    """Whether what belongs to the project exists for the actor; EVERYWHERE is what belongs to none."""
    return actor.everywhere or project == actor.project


def not_found(kind: str, id: str, param: str | None = None) -> PenstockError:
    """There is none of this id, or it may not be seen."""
    shown = id if len(id) <= 80 else id[:80] + "..."
    where = {"audit row": "audit", "alias": "aliases"}.get(kind, f"{kind}s")
    return PenstockError(
        NOT_FOUND,
        f"There is no {kind} '{shown}' that this key may see. GET /admin/v1/{where} lists those that it may.",
        param=param,
    )


def project_of(directory: Directory, actor: Actor, id: str, param: str | None = None) -> Project:
    """Raises ``PenstockError(NOT_FOUND)``, as the others here do."""
    found = _by_id(directory.projects, id)
    if found is None or not sees(actor, found.id):
        raise not_found("project", id, param)
    return found


def team_of(directory: Directory, actor: Actor, id: str, param: str | None = None) -> Team:
    found = _by_id(directory.teams, id)
    if found is None or not sees(actor, found.project):
        raise not_found("team", id, param)
    return found


def key_of(directory: Directory, actor: Actor, id: str, param: str | None = None) -> KeyRecord:
    found = _by_id(directory.keys, id)
    if found is None or not sees(actor, found.project):
        raise not_found("key", id, param)
    return found


def user_of(directory: Directory, actor: Actor, id: str, param: str | None = None) -> User:
    """A user exists for every project that it is a member of."""
    found = _by_id(directory.users, id)
    if found is None or not (actor.everywhere or any(m.project == actor.project for m in found.memberships)):
        raise not_found("user", id, param)
    return found


def home_of_user(user: User) -> str:
    """The one project that the user belongs to, EVERYWHERE when it is not just one."""
    projects = {membership.project for membership in user.memberships}
    return projects.pop() if len(projects) == 1 else EVERYWHERE


def home_of_subject(directory: Directory, kind: str, subject: str) -> str | None:
    """The project of what a limit or a budget is set on; EVERYWHERE when it is of none, None when it is gone."""
    match kind:
        case "key":
            key = _by_id(directory.keys, subject)
            return EVERYWHERE if subject == EVERYWHERE else key.project if key else None
        case "team":
            team = _by_id(directory.teams, subject)
            return EVERYWHERE if subject == EVERYWHERE else team.project if team else None
        case "user":
            user = _by_id(directory.users, subject)
            return EVERYWHERE if subject == EVERYWHERE else home_of_user(user) if user else None
        case "project":
            return subject
    return EVERYWHERE


def live_project(directory: Directory, turn: Turn, given: str) -> str:
    """The project that something new is made in: the one given, else the actor's own."""
    if given == EVERYWHERE or (not given and turn.actor.everywhere):
        raise invalid("project", "'project' must name the project that it is made in.")
    project = project_of(directory, turn.actor, given or turn.actor.project, "project")
    if project.archived_at is not None:
        raise conflict(
            f"The project '{project.id}' is archived. Restore it with POST /admin/v1/projects/{project.id}/restore, "
            "or choose another.",
            "project",
        )
    return project.id


def _by_id(records: Iterable[T], id: str) -> T | None:
    return next((record for record in records if getattr(record, "id", None) == id), None)
