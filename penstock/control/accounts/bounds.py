"""What limits and budgets have in common: what they are set on, and who may set them there.

A project sets them on its own keys, users and teams. What bounds the project itself is set by whoever administers the
whole gateway, else it would be no bound.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated

import msgspec

from penstock.control.accounts.sight import (
    home_of_subject,
    key_of,
    project_of,
    sees,
    team_of,
    user_of,
)
from penstock.control.accounts.turn import Turn, denied, invalid
from penstock.core.accounts import EVERYWHERE, Budget, Directory, Limit, SubjectKind
from penstock.core.administration import Actor

Subject = Annotated[str, msgspec.Meta(min_length=1, max_length=512)]

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


def check_changeable(directory: Directory, actor: Actor, word: str, about: Limit | Budget) -> None:
    """Raises ``PenstockError(PERMISSION_DENIED)``."""
    if not _may_set(directory, actor, about.kind, about.subject):
        raise denied(f"This {word} bounds the project, so it is changed with a key for the whole gateway.")


def check_ceiling(actor: Actor, word: str, amount: int, others: Sequence[tuple[str, int]]) -> None:
    """What is set on one subject holds in place of what is set on each, ``others``: a project may so bound itself
    more tightly and not less."""
    if actor.everywhere:
        return
    for id, most in others:
        if amount > most:
            raise denied(
                f"This is more than the {word} '{id}' allows each, whose place it would take. Choose less, or use a "
                "key for the whole gateway.",
                "amount",
            )


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
