"""What a request's method and path lead to, and what is said when they lead nowhere."""

from __future__ import annotations

import difflib
from collections.abc import Awaitable, Callable, Mapping

import msgspec

from penstock.control.accounts.asked import check_may
from penstock.core.administration import Actor
from penstock.core.errors import METHOD_NOT_ALLOWED, UNKNOWN_URL, PenstockError
from penstock.core.identity import Principal
from penstock.edge.http.exchange import Exchange, Headers

Endpoint = Callable[[Exchange, str], Awaitable[None]]
"""Answers one exchange; the second argument is what the path holds in the place of ``{id}``, or empty."""


_ID = "{id}"


class Needs(msgspec.Struct, frozen=True):
    """What a caller must have: any one of ``permissions``; ``everywhere``: for the whole gateway. Without permissions
    nobody is asked for a key."""

    permissions: tuple[str, ...] = ()
    everywhere: bool = False

    def check(self, principal: Principal) -> None:
        """Raises ``PenstockError(PERMISSION_DENIED)``."""
        if self.permissions:
            check_may(self.permissions, self.everywhere, actor_of(principal))


OPEN = Needs()
CALL = Needs(("call",))


class Route(msgspec.Struct, frozen=True):
    """``path`` may hold ``{id}`` at its end or before a last word; it stands for anything, slashes included. GET
    answers HEAD too. ``needs`` has a row for each method."""

    path: str
    endpoints: Mapping[str, Endpoint]
    needs: Mapping[str, Needs] = {}

    def allow(self) -> str:
        methods = {*self.endpoints, "OPTIONS"}
        if "GET" in methods:
            methods.add("HEAD")
        return ", ".join(sorted(methods))


class Router:
    """Finds the route of a path: an exact one in one look-up, else the longest prefix, of these the longest end."""

    __slots__ = ("_exact", "_prefixes")

    def __init__(self, routes: tuple[Route, ...]) -> None:
        self._exact = {route.path: route for route in routes if _ID not in route.path}
        placed = [
            (prefix, end, route)
            for prefix, identified, end, route in ((*route.path.partition(_ID), route) for route in routes)
            if identified
        ]
        self._prefixes = sorted(placed, key=lambda row: (-len(row[0]), -len(row[1])))

    def find(self, path: str) -> tuple[Route, str]:
        """Raises ``PenstockError(UNKNOWN_URL)`` that names the nearest route. A slash at the end is forgiven."""
        route = self._exact.get(path) or self._exact.get(path.rstrip("/"))
        if route is not None:
            return route, ""
        for prefix, end, placed in self._prefixes:
            if path.startswith(prefix) and path.endswith(end) and (not end or len(path) > len(prefix) + len(end)):
                return placed, path[len(prefix) : len(path) - len(end)]
        raise PenstockError(UNKNOWN_URL, self._unknown(path))

    def _unknown(self, path: str) -> str:
        shown = path if len(path) <= 120 else path[:120] + "..."
        known = [*self._exact, *(route.path for _, _, route in self._prefixes)]
        fitting = [route for route in known if len(path) > 1 and route.endswith(path.rstrip("/"))]
        near = fitting or difflib.get_close_matches(path[:200], known, n=1, cutoff=0.5)
        if near:
            return f"There is nothing at '{shown}'. Did you mean '{near[0]}'?"
        return f"There is nothing at '{shown}'. GET /openapi.json lists every route; the API begins at /v1."


def actor_of(principal: Principal) -> Actor:
    """Who asks, as the administration sees it."""
    return Actor(
        key_id=principal.key_id,
        project=principal.project,
        everywhere=principal.everywhere,
        permissions=principal.permissions,
        user=principal.user,
    )


def endpoint(route: Route, method: str) -> Endpoint:
    """Raises ``PenstockError(METHOD_NOT_ALLOWED)``."""
    found = route.endpoints.get(method) or (route.endpoints.get("GET") if method == "HEAD" else None)
    if found is None:
        raise PenstockError(
            METHOD_NOT_ALLOWED, f"'{route.path}' does not take {method}. Use one of: {route.allow()}."
        )
    return found


def allow_header(route: Route) -> Headers:
    return [(b"allow", route.allow().encode("ascii"))]
