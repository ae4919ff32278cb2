"""The audit: searched, checked, redacted."""

from __future__ import annotations

import msgspec

from penstock.control.accounts.audit import HeadView, Redacted, RowView, Verified
from penstock.control.accounts.differences import readable
from penstock.core.errors import INVALID_VALUE, PenstockError
from penstock.edge.console.page import Page, PageRoute, Redirect, Shown, Visit
from penstock.edge.console.pages.acts import Touched, sure
from penstock.edge.console.pages.parts import Part, part
from penstock.edge.console.showing import link

FILTERS = ("since", "until", "project", "actor", "action", "kind", "request_id")
KINDS = ("administrative", "content")
_LONGEST = 8000

_SEEN = ("audit:read",)
_CHECKED = ("audit:verify",)
_REDACTED = ("audit:redact",)


class Act(msgspec.Struct, frozen=True):
    """A row, and its content in lines; empty: it has none, or it is gone."""

    row: RowView
    content: str


async def listed(visit: Visit) -> Page:
    return await _shown(visit)


async def _shown(visit: Visit, verified: Verified | None = None, error: PenstockError | None = None) -> Page:
    filters = {name: visit.asked(name) for name in FILTERS}
    found = await part(visit.api.list("audit.list", RowView, **filters, after=visit.asked("after")))
    checks = visit.may(*_CHECKED) and visit.actor.everywhere
    values = {
        "acts": [Act(each, _content(each)) for each in found.value.data] if found.value is not None else [],
        "found": found,
        "filters": filters,
        "kinds": KINDS,
        "head": await part(visit.api.get("audit.head", HeadView)) if checks else Part(None, "", True),
        "checks": checks,
        "redacts": visit.may(*_REDACTED),
        "verified": verified,
        "error": error,
    }
    return Page("Audit", "audit.html", values, status=200 if error is None else error.fault.status)


def _content(row: RowView) -> str:
    if bytes(row.content) == b"null":
        return ""
    text = readable(bytes(row.content))
    return text if len(text) <= _LONGEST else f"{text[:_LONGEST]}\n…"


async def verify(visit: Visit) -> Shown:
    try:
        verified = await visit.api.post("audit.verify", Verified)
    except PenstockError as error:
        return await _shown(visit, error=error)
    return await _shown(visit, verified)


async def redact(visit: Visit) -> Shown:
    """Raises ``PenstockError(INVALID_VALUE)`` for what is no number of a row."""
    if not (visit.place.isascii() and visit.place.isdigit() and len(visit.place) < 16):
        raise PenstockError(INVALID_VALUE, f"'{visit.place[:40]}' is no number of a row of the audit.")
    refused = None
    if visit.ask.method == "POST":
        body = {"numbers": [int(visit.place)], "reason": visit.filled("reason")}
        try:
            done = await visit.api.post("audit.redact", Redacted, body=body)
            said = "Its content is gone." if done.redacted else "It had no content any more."
            return Redirect(link("/audit"), f"Row {visit.place}: {said}")
        except PenstockError as error:
            refused = error
    return sure(
        f"Redact row {visit.place} of the audit?",
        "Its content is emptied for good, in every copy of the store that follows. That the row was there, when, by "
        "whom and what it was about stays, and so does this act with your reason.",
        act="Redact it",
        path=f"/audit/{visit.place}/redact",
        back="/audit",
        touched=[Touched("Row", visit.place)],
        error=refused,
        values={"reason": visit.filled("reason"), "asks_reason": True},
    )


ROUTES = (
    PageRoute("GET", "/audit", listed, _SEEN),
    PageRoute("POST", "/audit/verify", verify, _CHECKED),
    PageRoute("GET", "/audit/{id}/redact", redact, _REDACTED),
    PageRoute("POST", "/audit/{id}/redact", redact, _REDACTED),
)
