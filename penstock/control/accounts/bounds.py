"""What limits and budgets have in common: what they are set on, and who may set them there.

A project sets them on its own keys, users and teams. What bounds the project itself is set by whoever administers the
whole gateway, else it would be no bound.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, TypeVar

import msgspec

from penstock.access.limits import what
from penstock.control.accounts.sight import (
    home_of_subject,
    key_of,
    not_found,
    project_of,
    sees,
    team_of,
    user_of,
)
from penstock.control.accounts.turn import Turn, denied, invalid
from penstock.core.accounts import EVERYWHERE, Budget, Directory, Limit, SubjectKind
from penstock.core.administration import Actor

Subject = Annotated[str, msgspec.Meta(min_length=1, max_length=512)]

Bound = TypeVar("Bound", Limit, Budget)

_INSIDE = ("key", "user", "team")


def check_subject(directory: Directory, turn: Turn, kind: SubjectKind, subject: str, service: str) -> None:
    """Whether there is such a thing, and the actor may bound it. Raises ``PenstockError`` (INVALID_VALUE, NOT_FOUND,
    PERMISSION_DENIED)."""
    if service and kind == "service":
        raise invalid("service", "'service' must be empty for the kind 'service': 'subject' is its name.")
    if kind == "global" and subject != EVERYWHERE:
        raise invalid("subject", "'subject' must be '*' for the kind 'global'.")
    if subject != EVERYWHERE:
        _existing(directory, turn.actor, kind, subject)
    if not _may_set(directory, turn.actor, kind, subject):
        raise denied(
            f"On the kind '{kind}', subject '{subject}', a limit or budget is set with a key for the whole gateway. "
            "A key of one project sets them on its own keys, users and teams.",
            "subject",
        )


def visible(directory: Directory, actor: Actor, about: Limit | Budget) -> bool:
    """Whether it exists for the actor: it is on something of its project alone."""
    home = home_of_subject(directory, about.kind, about.subject)
    return actor.everywhere or (home is not None and home != EVERYWHERE and sees(actor, home))


def seen(directory: Directory, turn: Turn, word: str, among: Sequence[Bound]) -> Bound:
    """The one that is asked for; ``word`` is what such are called. Raises ``PenstockError(NOT_FOUND)``."""
    found = next((each for each in among if each.id == turn.target), None)
    if found is None or not visible(directory, turn.actor, found):
        raise not_found(word, turn.target)
    return found


def changeable(directory: Directory, turn: Turn, word: str, among: Sequence[Bound]) -> Bound:
    """The same, to be changed. Raises ``PenstockError`` (NOT_FOUND, PERMISSION_DENIED)."""
    found = seen(directory, turn, word, among)
    if not _may_set(directory, turn.actor, found.kind, found.subject):
        raise denied(f"This {word} bounds the project, so it is changed with a key for the whole gateway.")
    return found


def home_of(directory: Directory, about: Limit | Budget) -> str:
    """The project that it is in, for the audit."""
    return home_of_subject(directory, about.kind, about.subject) or EVERYWHERE


def check_ceiling(actor: Actor, word: str, about: Bound, among: Sequence[Bound]) -> None:
    """What is set on one subject holds in place of what is set on each: a project may so bound itself more tightly
    and not less. Raises ``PenstockError(PERMISSION_DENIED)``."""
    if actor.everywhere:
        return
    for other in among:
        if other.subject == EVERYWHERE and what(other) == what(about) and _amount(about) > _amount(other):
            raise denied(
                f"This is more than the {word} '{other.id}' allows each, whose place it would take. Choose less, or "
                "use a key for the whole gateway.",
                "amount",
            )


def _amount(about: Limit | Budget) -> int:
    return about.amount if isinstance(about, Limit) else about.amount_nano


def _may_set(directory: Directory, actor: Actor, kind: str, subject: str) -> bool:
    if actor.everywhere:
        return True
    return kind in _INSIDE and home_of_subject(directory, kind, subject) == actor.project


def _existing(directory: Directory, actor: Actor, kind: SubjectKind, subject: str) -> None:
    match kind:
        case "key":
            key_of(directory, actor, subject, "subject")
        case "user":
            user_of(directory, actor, subject, "subject")
        case "team":
            team_of(directory, actor, subject, "subject")
        case "project":
            project_of(directory, actor, subject, "subject")
