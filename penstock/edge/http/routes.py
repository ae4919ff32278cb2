"""What a request's method and path lead to, and what is said when they lead nowhere."""

from __future__ import annotations

import difflib
from collections.abc import Awaitable, Callable, Mapping

import msgspec

from penstock.core.errors import METHOD_NOT_ALLOWED, UNKNOWN_URL, PenstockError
from penstock.edge.http.exchange import Exchange, Headers

Endpoint = Callable[[Exchange, str], Awaitable[None]]
"""Answers one exchange; the second argument is what the path holds in the place of ``{id}``, or empty."""


class Route(msgspec.Struct, frozen=True):
    """``path`` may end in ``{id}``, which stands for the rest of the path, slashes included. GET answers HEAD too."""

    path: str
    endpoints: Mapping[str, Endpoint]

    def allow(self) -> str:
        methods = {*self.endpoints, "OPTIONS"}
        if "GET" in methods:
            methods.add("HEAD")
        return ", ".join(sorted(methods))


class Router:
    """Finds the route of a path: an exact one in one look-up, else the longest prefix."""

    __slots__ = ("_exact", "_prefixes")

    def __init__(self, routes: tuple[Route, ...]) -> None:
        self._exact = {route.path: route for route in routes if not route.path.endswith("{id}")}
        prefixed = [(route.path.removesuffix("{id}"), route) for route in routes if route.path.endswith("{id}")]
        self._prefixes = sorted(prefixed, key=lambda pair: -len(pair[0]))

    def find(self, path: str) -> tuple[Route, str]:
        """Raises ``PenstockError(UNKNOWN_URL)`` that names the nearest route. A slash at the end is forgiven."""
        route = self._exact.get(path) or self._exact.get(path.rstrip("/"))
        if route is not None:
            return route, ""
        for prefix, prefixed in self._prefixes:
            if path.startswith(prefix):
                return prefixed, path[len(prefix) :]
        raise PenstockError(UNKNOWN_URL, self._unknown(path))

    def _unknown(self, path: str) -> str:
        shown = path if len(path) <= 120 else path[:120] + "..."
        known = [*self._exact, *(route.path for _, route in self._prefixes)]
        fitting = [route for route in known if len(path) > 1 and route.endswith(path.rstrip("/"))]
        near = fitting or difflib.get_close_matches(path[:200], known, n=1, cutoff=0.5)
        if near:
            return f"There is nothing at '{shown}'. Did you mean '{near[0]}'?"
        return f"There is nothing at '{shown}'. GET /openapi.json lists every route; the API begins at /v1."


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
