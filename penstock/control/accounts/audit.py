"""What was done: the audit, read, checked and redacted."""

from __future__ import annotations

import base64
import binascii
from typing import Annotated, Literal

import msgspec

from penstock.control.accounts.sight import not_found
from penstock.control.accounts.turn import (
    LONGEST_PAGE,
    Page,
    Time,
    Turn,
    after_of,
    cursor,
    invalid,
    limit_of,
    seconds,
    time_of,
)
from penstock.core.administration import Ask
from penstock.core.errors import NOT_FOUND, PenstockError
from penstock.core.usage import Act, AuditQuery, AuditRow, Finding, Head
from penstock.store import AuditStore

Hex = Annotated[str, msgspec.Meta(min_length=2, max_length=256)]
Number = Annotated[int, msgspec.Meta(ge=1, le=1 << 53)]


class RowView(msgspec.Struct, frozen=True, kw_only=True):
    """One link of the chain. `content` is JSON, or null where there is none or it is gone; digests are
    hexadecimal."""

    number: int
    id: str
    object: Literal["audit_row"] = "audit_row"
    at: float
    kind: Literal["administrative", "content"]
    actor: str
    project: str
    action: str
    target: str
    outcome: str
    address: str
    request_id: str
    content: msgspec.Raw
    content_digest: str
    previous: str
    digest: str
    redacted_by: int | None


class HeadView(msgspec.Struct, frozen=True, kw_only=True):
    """The signed statement that the chain had `number` rows and ended in `digest`. Keep it elsewhere, and give it to
    `verify` later: that finds a tail that was cut off. `digest` and `signature` (Ed25519) are hexadecimal."""

    number: int
    object: Literal["audit_head"] = "audit_head"
    digest: str
    at: float
    key: str
    signature: str


class KeptHead(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A head as `GET /admin/v1/audit/head` gave it."""

    number: Number
    object: Literal["audit_head"] = "audit_head"
    digest: Hex
    at: Time
    key: Hex
    signature: Hex


class Verify(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Check the whole chain, with heads that were kept elsewhere."""

    heads: Annotated[tuple[KeptHead, ...], msgspec.Meta(max_length=100)] = ()


class Verified(msgspec.Struct, frozen=True, kw_only=True):
    """Everything that is wrong with the chain, at most a thousand of it; `whole`: nothing."""

    whole: bool
    object: Literal["audit_verified"] = "audit_verified"
    findings: tuple[Finding, ...]
    head: HeadView | None


class Redact(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Empty the content of rows for good. `reason` stays in the audit."""

    numbers: Annotated[tuple[Number, ...], msgspec.Meta(min_length=1, max_length=LONGEST_PAGE)]
    reason: Annotated[str, msgspec.Meta(min_length=1, max_length=2000)]


class Redacted(msgspec.Struct, frozen=True, kw_only=True):
    """How many rows had content, and have none now."""

    redacted: int
    object: Literal["audit_redacted"] = "audit_redacted"


class Redaction(msgspec.Struct, frozen=True, kw_only=True):
    """The content of the act that says why."""

    numbers: tuple[int, ...]
    reason: str


_MOST_FINDINGS = 1000


def listed(audit: AuditStore, turn: Turn) -> Page:
    """One page, newest first."""
    most, before = limit_of(turn.query), after_of(turn.query, int)
    kind = turn.query.get("kind")
    if kind not in (None, "administrative", "content"):
        raise invalid("kind", "'kind' must be 'administrative' or 'content'; leave it out for both.")
    query = AuditQuery(
        since=time_of(turn.query, "since") or 0.0,
        until=time_of(turn.query, "until"),
        project=_project(turn),
        actor=turn.query.get("actor"),
        action=turn.query.get("action"),
        kind=kind,
        request_id=turn.query.get("request_id"),
    )
    rows = audit.acts(query, before, most + 1)
    more = len(rows) > most
    data = [_shown(row) for row in rows[:most]]
    return Page(data=data, has_more=more, next=cursor(rows[most - 1].number) if more else None)


def head(audit: AuditStore) -> HeadView:
    """Raises ``PenstockError(NOT_FOUND)`` of an empty chain."""
    found = _head(audit)
    if found is None:
        raise PenstockError(NOT_FOUND, "The audit is empty, so it has no head yet. Do something first.")
    return found


def verify(audit: AuditStore, asked: Verify | None) -> Verified:
    """Takes time that grows with the chain."""
    heads = [
        Head(
            number=each.number,
            digest=_bytes(each.digest, place, "digest"),
            at=seconds(each.at),
            key=each.key,
            signature=_bytes(each.signature, place, "signature"),
        )
        for place, each in enumerate(asked.heads if asked else ())
    ]
    findings = tuple(audit.verify(heads)[:_MOST_FINDINGS])
    return Verified(whole=not findings, findings=findings, head=_head(audit))


def redact(audit: AuditStore, turn: Turn, asked: Redact, ask: Ask) -> Redacted:
    """Who administers one project redacts its prompts and replies; what was done, only who administers all.

    Raises ``PenstockError`` (NOT_FOUND).
    """
    project = _project(turn)
    query = AuditQuery(project=project, kind=None if turn.actor.everywhere else "content")
    numbers = tuple(sorted(set(asked.numbers)))
    rows = []
    for number in numbers:
        found = audit.acts(query, number + 1, 1)
        if not found or found[0].number != number:
            raise not_found("audit row", str(number), "numbers")
        rows.append(found[0])
    left = tuple(row.number for row in rows if row.redacted_by is None and row.act.content)
    if not left:
        return Redacted(redacted=0)
    content = msgspec.json.encode(Redaction(numbers=left, reason=asked.reason))
    act = Act(
        at=turn.now,
        actor=turn.actor.key_id,
        project=project or "*",
        action="audit.redact",
        target=str(left[0]) if len(left) == 1 else "",
        address=ask.address,
        request_id=ask.request_id,
        content=content,
    )
    return Redacted(redacted=audit.redact(left, act))


def _project(turn: Turn) -> str | None:
    given = turn.query.get("project")
    if turn.actor.everywhere:
        return given
    if given not in (None, turn.actor.project):
        raise not_found("project", str(given), "project")
    return turn.actor.project


def _head(audit: AuditStore) -> HeadView | None:
    found = audit.head()
    if found is None:
        return None
    return HeadView(
        number=found.number,
        digest=found.digest.hex(),
        at=found.at,
        key=found.key,
        signature=found.signature.hex(),
    )


def _shown(row: AuditRow) -> RowView:
    act = row.act
    return RowView(
        number=row.number,
        id=row.id,
        at=act.at,
        kind=act.kind,
        actor=act.actor,
        project=act.project,
        action=act.action,
        target=act.target,
        outcome=act.outcome,
        address=act.address,
        request_id=act.request_id,
        content=_content(act.content),
        content_digest=row.content_digest.hex(),
        previous=row.previous.hex(),
        digest=row.digest.hex(),
        redacted_by=row.redacted_by,
    )


def _content(content: bytes) -> msgspec.Raw:
    if not content:
        return msgspec.Raw(b"null")
    try:
        msgspec.json.decode(content)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        # What a client sent may be no JSON; its bytes are still evidence.
        return msgspec.Raw(msgspec.json.encode({"base64": base64.b64encode(content).decode()}))
    return msgspec.Raw(content)


def _bytes(text: str, place: int, field: str) -> bytes:
    try:
        return binascii.unhexlify(text)
    except (binascii.Error, ValueError):
        param = f"heads[{place}].{field}"
        raise invalid(param, f"'{param}' must be hexadecimal, as GET /admin/v1/audit/head gave it.") from None
