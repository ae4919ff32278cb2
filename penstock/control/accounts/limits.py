"""Limits on requests and tokens."""

from __future__ import annotations

from typing import Annotated, Literal

import msgspec

from penstock.access.limits import what
from penstock.control.accounts.bounds import (
    Subject,
    changeable,
    check_ceiling,
    check_subject,
    home_of,
    seen,
    visible,
)
from penstock.control.accounts.turn import Gone, Outcome, Page, Text, Turn, Word, chosen_id, conflict, invalid, page
from penstock.core.accounts import EVERYWHERE, Directory, Limit, Metric, Per, SubjectKind

Amount = Annotated[int, msgspec.Meta(ge=0, le=1 << 53)]


class LimitView(msgspec.Struct, frozen=True, kw_only=True):
    """At most `amount` of `metric` in any window of `per`. `subject` `*`: each of its kind by itself, unless it has a
    limit of its own of the same `metric`, `per` and `service`. `service` empty: all of them."""

    id: str
    object: Literal["limit"] = "limit"
    kind: SubjectKind
    subject: str
    service: str
    metric: Metric
    per: Per
    amount: int
    created_at: float


class CreateLimit(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A new limit. `per` is empty for `concurrent`. `amount` 0 stops everything. `id` default: one is made."""

    kind: SubjectKind
    subject: Subject = EVERYWHERE
    service: Text = ""
    metric: Metric
    per: Per | None = None
    amount: Amount
    id: Word = ""


class ChangeLimit(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Another amount."""

    amount: Amount


def shown(limit: Limit) -> LimitView:
    return msgspec.convert(limit, LimitView, from_attributes=True)


def listed(directory: Directory, turn: Turn, _: None) -> Page:
    kind, subject = turn.query.get("kind"), turn.query.get("subject")
    rows = (
        each
        for each in directory.limits
        if visible(directory, turn.actor, each) and kind in (None, each.kind) and subject in (None, each.subject)
    )
    return page(turn, ((each.id, each) for each in rows), shown)


def one(directory: Directory, turn: Turn, _: None) -> LimitView:
    return shown(seen(directory, turn, "limit", directory.limits))


def create(directory: Directory, turn: Turn, asked: CreateLimit) -> Outcome:
    per: Per = asked.per if asked.per is not None else "" if asked.metric == "concurrent" else "minute"
    if (asked.metric == "concurrent") != (per == ""):
        raise invalid("per", "'per' must be empty for 'concurrent', and 'minute' or 'day' for any other metric.")
    check_subject(directory, turn, asked.kind, asked.subject, asked.service)
    for other in directory.limits:
        if what(other) == (asked.kind, asked.service, asked.metric, per) and other.subject == asked.subject:
            raise conflict(f"The limit '{other.id}' is on the same already. Change that one.", "metric")
    made = Limit(
        id=chosen_id(turn, asked.id, "lim", {each.id for each in directory.limits}),
        kind=asked.kind,
        subject=asked.subject,
        service=asked.service,
        metric=asked.metric,
        per=per,
        amount=asked.amount,
        created_at=turn.now,
    )
    check_ceiling(turn.actor, "limit", made, directory.limits)
    return Outcome(
        answer=shown(made), put=(made,), target=made.id, project=home_of(directory, made), after=shown(made)
    )


def change(directory: Directory, turn: Turn, asked: ChangeLimit) -> Outcome:
    limit = changeable(directory, turn, "limit", directory.limits)
    new = msgspec.structs.replace(limit, amount=asked.amount)
    check_ceiling(turn.actor, "limit", new, directory.limits)
    return Outcome(
        answer=shown(new),
        put=(new,) if new != limit else (),
        target=limit.id,
        project=home_of(directory, limit),
        before=shown(limit),
        after=shown(new),
    )


def delete(directory: Directory, turn: Turn, _: None) -> Outcome:
    limit = changeable(directory, turn, "limit", directory.limits)
    gone = Gone(object="limit", id=limit.id)
    project = home_of(directory, limit)
    return Outcome(answer=gone, remove=(("limit", limit.id),), target=limit.id, project=project, before=shown(limit))
