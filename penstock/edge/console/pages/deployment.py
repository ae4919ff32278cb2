"""The deployment file: as it is served, the words of its schema beside it, and what reading it again would change."""

from __future__ import annotations

from penstock.control.accounts.deployment import DeploymentView, PendingView
from penstock.edge.console.page import Page, PageRoute, Visit
from penstock.edge.console.pages.parts import Part, part

_SEEN = ("deployment:read",)


async def show(visit: Visit) -> Page:
    return await _shown(visit, Part())


async def pending(visit: Visit) -> Page:
    """Reads the file, and its secrets, so only when somebody asks."""
    return await _shown(visit, await part(visit.api.get("deployment.pending", PendingView)))


async def _shown(visit: Visit, found: Part[PendingView]) -> Page:
    values = {
        "file": await part(visit.api.get("deployment.get", DeploymentView)),
        "pending": found,
        "looked": found.value is not None or bool(found.why),
    }
    return Page("Deployment", "deployment.html", values)


ROUTES = (
    PageRoute("GET", "/deployment", show, _SEEN),
    PageRoute("GET", "/deployment/pending", pending, _SEEN),
)
