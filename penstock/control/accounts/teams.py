"""Teams: some people of one project."""

from __future__ import annotations

from typing import Literal

import msgspec
from msgspec import UNSET, UnsetType

from penstock.control.accounts.sight import live_project, sees, team_of
from penstock.control.accounts.turn import (
    Gone,
    Outcome,
    Page,
    Text,
    Turn,
    Word,
    chosen_id,
    conflict,
    given_fields,
    page,
)
from penstock.core.accounts import Directory, Team


class TeamView(msgspec.Struct, frozen=True, kw_only=True):
    """A team."""

    id: str
    object: Literal["team"] = "team"
    project: str
    name: str = ""
    created_at: float


class CreateTeam(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A new team. `project` default: that of the key. `id` default: one is made."""

    project: Word = ""
    name: Text = ""
    id: Word = ""


class ChangeTeam(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What is left out stays."""

    name: Text | UnsetType = UNSET


def shown(team: Team) -> TeamView:
    return msgspec.convert(team, TeamView, from_attributes=True)


def listed(directory: Directory, turn: Turn, _: None) -> Page:
    project = turn.query.get("project")
    rows = (each for each in directory.teams if sees(turn.actor, each.project) and project in (None, each.project))
    return page(turn, ((each.id, each) for each in rows), shown)


def one(directory: Directory, turn: Turn, _: None) -> TeamView:
    return shown(team_of(directory, turn.actor, turn.target))


def create(directory: Directory, turn: Turn, asked: CreateTeam) -> Outcome:
    project = live_project(directory, turn, asked.project)
    id = chosen_id(turn, asked.id, "team", {each.id for each in directory.teams})
    made = Team(id=id, project=project, name=asked.name, created_at=turn.now)
    return Outcome(answer=shown(made), put=(made,), target=id, project=project, after=shown(made))


def change(directory: Directory, turn: Turn, asked: ChangeTeam) -> Outcome:
    team = team_of(directory, turn.actor, turn.target)
    new = msgspec.structs.replace(team, **given_fields(asked))
    put = (new,) if new != team else ()
    return Outcome(
        answer=shown(new), put=put, target=team.id, project=team.project, before=shown(team), after=shown(new)
    )


def delete(directory: Directory, turn: Turn, _: None) -> Outcome:
    team = team_of(directory, turn.actor, turn.target)
    members = sum(any(m.team == team.id for m in user.memberships) for user in directory.users)
    keys = sum(key.team == team.id and key.revoked_at is None for key in directory.keys)
    if members or keys:
        raise conflict(
            f"Team '{team.id}' still has {members} members and {keys} keys. Move them to another team, or revoke "
            "the keys, first."
        )
    gone = Gone(object="team", id=team.id)
    return Outcome(answer=gone, remove=(("team", team.id),), target=team.id, project=team.project, before=shown(team))
