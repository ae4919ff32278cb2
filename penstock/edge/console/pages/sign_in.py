"""The page in front of all others. What is filled in there is looked at where the session begins, not here."""

from __future__ import annotations

from penstock.edge.console.page import Page, PageRoute, Visit


async def show(visit: Visit) -> Page:
    """The form of the ask is the worker's own: why it did not work, and whom one may sign in with."""
    issuers = [line.partition("\t")[::2] for line in visit.filled("issuers").splitlines()]
    return Page(
        "Sign in",
        "sign_in.html",
        {"refused": visit.filled("refused"), "next": visit.asked("next"), "issuers": issuers},
        status=401 if visit.filled("refused") else 200,
    )


ROUTES = (PageRoute("GET", "/sign-in", show),)
