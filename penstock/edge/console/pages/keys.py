"""Keys: listed, made, rotated and revoked. A secret is shown in the one answer that makes it, and never again."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping

import msgspec

from penstock.control.accounts.keys import KeySecret, KeyView
from penstock.control.accounts.projects import ProjectView
from penstock.control.accounts.roles import RoleView
from penstock.core.accounts import EVERYWHERE
from penstock.core.errors import INVALID_VALUE, PenstockError
from penstock.edge.console.asking import instant
from penstock.edge.console.page import Page, PageRoute, Redirect, Shown, Visit
from penstock.edge.console.pages.acts import Touched, sure
from penstock.edge.console.pages.parts import part
from penstock.edge.console.pages.touching import reach
from penstock.edge.console.showing import link, money

STATES = ("active", "expired", "revoked")
GRACES: Mapping[str, str] = {
    "0": "at once",
    "3600": "in an hour",
    "86400": "in a day",
    "604800": "in a week",
    "2592000": "in 30 days",
}
SCOPES: Mapping[str, str] = {
    "services": "Services",
    "models": "Models",
    "endpoints": "Endpoints",
    "tools": "Tools",
    "networks": "Networks",
}
EXAMPLES: Mapping[str, str] = {
    "services": "chat",
    "models": "gpt-5",
    "endpoints": "/v1/chat/completions",
    "tools": "search",
    "networks": "10.0.0.0/8",
}

_SEEN = ("keys:read",)
_MADE = ("keys:write",)
_UNCHANGED = "admin"
"""The gateway's own key is not changed here."""


class KeyLine(msgspec.Struct, frozen=True):
    """A key and how it stands; ``bounds`` are its scopes in words, empty: none."""

    key: KeyView
    state: str
    bounds: str


def line(key: KeyView, now: float) -> KeyLine:
    ended = key.expires_at is not None and key.expires_at <= now
    state = "revoked" if key.revoked_at is not None else "expired" if ended else "active"
    scopes = msgspec.structs.asdict(key.scopes)
    bounds = [f"{name}: {', '.join(given) or 'none'}" for name, given in scopes.items() if given is not None]
    return KeyLine(key, state, "; ".join(bounds))


async def listed(visit: Visit) -> Page:
    filters = {name: visit.asked(name) for name in ("project", "user", "team", "role")}
    state = visit.asked("state")
    found = await visit.api.list("keys.list", KeyView, **filters, after=visit.asked("after"), limit=100)
    lines = [line(each, visit.now) for each in found.data]
    values = {
        "lines": [each for each in lines if state in ("", each.state)],
        "next": found.next,
        "filters": filters,
        "state": state,
        "states": STATES,
    }
    return Page("Keys", "keys.html", values)


# -- making ------------------------------------------------------------------------------------------------------


async def new(visit: Visit) -> Page:
    return await _form(visit)


async def _form(visit: Visit, error: PenstockError | None = None) -> Page:
    roles, projects = await asyncio.gather(
        part(visit.api.all("roles.list", RoleView)), part(visit.api.all("projects.list", ProjectView))
    )
    values = {
        "roles": roles.value.data if roles.value is not None else (),
        "projects": [each.id for each in projects.value.data if each.archived_at is None]
        if projects.value is not None
        else [],
        "scopes": SCOPES,
        "examples": EXAMPLES,
        "typed": visit.ask.form,
        "error": error,
        "everywhere": EVERYWHERE,
    }
    return Page("Make a key", "key_new.html", values, status=200 if error is None else error.fault.status)


async def create(visit: Visit) -> Shown:
    try:
        body: dict[str, object] = {
            "project": visit.filled("project"),
            "role": visit.filled("role", "developer"),
            "name": visit.filled("name"),
            "user": visit.filled("user"),
            "team": visit.filled("team"),
            "priority": visit.filled("priority"),
            "scopes": {name: words for name in SCOPES if (words := _words(visit.filled(name)))},
            "expires_at": _expiry(visit),
        }
        made = await visit.api.post("keys.create", KeySecret, body=body)
    except PenstockError as error:
        return await _form(visit, error)
    return _told(made, "Key made")


def _words(text: str) -> list[str]:
    return text.replace(",", " ").split()


def _expiry(visit: Visit) -> float | None:
    """The end of the day that was chosen, in UTC. Raises ``PenstockError(INVALID_VALUE)``."""
    given = visit.filled("expires")
    if not given:
        return None
    at = instant(f"{given}T23:59:59" if len(given) == 10 else given, visit.now)
    if at is None:
        raise PenstockError(
            INVALID_VALUE, f"'{given[:40]}' is no day. Write one such as 2027-01-31.", param="expires_at"
        )
    return at


def _told(made: KeySecret, title: str) -> Page:
    # Nobody keeps it: neither the browser nor what stands before it.
    return Page(title, "key_made.html", {"made": made, "key": made.key}, headers={"cache-control": "no-store"})


# -- one key -----------------------------------------------------------------------------------------------------


async def one(visit: Visit) -> Page:
    key = await visit.api.get("keys.get", KeyView, visit.place)
    values = {
        "line": line(key, visit.now),
        "key": key,
        "reach": await reach(visit, key=key.id),
        "changes": visit.may(*_MADE) and key.id != _UNCHANGED and key.revoked_at is None,
    }
    return Page(key.name or key.id, "key.html", values)


async def rotate(visit: Visit) -> Shown:
    refused = None
    if visit.ask.method == "POST":
        try:
            grace = float(visit.filled("grace", "86400")) if visit.filled("grace", "86400") in GRACES else -1.0
            return _told(
                await visit.api.post("keys.rotate", KeySecret, visit.place, body={"grace_s": grace}), "Key rotated"
            )
        except PenstockError as error:
            refused = error
    key = await visit.api.get("keys.get", KeyView, visit.place)
    return sure(
        f"Rotate the key {key.name or key.id}?",
        "It gets a new secret, shown once. The secret of now ends when you choose; whoever uses it needs the new one "
        "by then.",
        act="Rotate it",
        path=f"/keys/{key.id}/rotate",
        back=f"/keys/{key.id}",
        touched=await _touched(visit, key),
        error=refused,
        values={"graces": GRACES, "grace": visit.filled("grace", "86400")},
    )


async def revoke(visit: Visit) -> Shown:
    refused = None
    if visit.ask.method == "POST":
        try:
            key = await visit.api.post("keys.revoke", KeyView, visit.place)
            return Redirect(link("/keys"), f"The key {key.name or key.id} is revoked.")
        except PenstockError as error:
            refused = error
    key = await visit.api.get("keys.get", KeyView, visit.place)
    return sure(
        f"Revoke the key {key.name or key.id}?",
        "It is refused from now on, for good: no revoked key comes back. Requests in progress end.",
        act="Revoke it",
        path=f"/keys/{key.id}/revoke",
        back=f"/keys/{key.id}",
        touched=await _touched(visit, key),
        error=refused,
    )


async def _touched(visit: Visit, key: KeyView) -> list[Touched]:
    found = await reach(visit, key=key.id)
    facts = [Touched("Key", key.id, link(f"/keys/{key.id}"))]
    if key.user:
        facts.append(Touched("Acts for", key.user, link("/usage", user=key.user)))
    if found.value is not None:
        path = link("/requests", key=key.id, since=f"{found.value.since:.0f}")
        facts.append(Touched("Requests with it in the last day", f"{found.value.requests:,}", path))
        facts.append(Touched("What they cost", str(money(found.value.cost))))
    return facts


ROUTES = (
    PageRoute("GET", "/keys", listed, _SEEN),
    PageRoute("GET", "/keys/new", new, _MADE),
    PageRoute("POST", "/keys/new", create, _MADE),
    PageRoute("GET", "/keys/{id}", one, _SEEN),
    PageRoute("GET", "/keys/{id}/rotate", rotate, _MADE),
    PageRoute("POST", "/keys/{id}/rotate", rotate, _MADE),
    PageRoute("GET", "/keys/{id}/revoke", revoke, _MADE),
    PageRoute("POST", "/keys/{id}/revoke", revoke, _MADE),
)
