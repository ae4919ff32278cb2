"""Every page of the console, in one table."""

from __future__ import annotations

from collections.abc import Iterable

from penstock.edge.console.page import PageRoute
from penstock.edge.console.pages import (
    alerts,
    audit,
    caches,
    data,
    deployment,
    keys,
    limits,
    models,
    overview,
    playground,
    request,
    request_trace,
    requests,
    rollback,
    rollouts,
    services,
    sign_in,
    usage,
)

ROUTES: tuple[PageRoute, ...] = (
    *sign_in.ROUTES,
    *overview.ROUTES,
    *playground.ROUTES,
    *requests.ROUTES,
    *request.ROUTES,
    *request_trace.ROUTES,
    *data.ROUTES,
    *services.ROUTES,
    *rollback.ROUTES,
    *rollouts.ROUTES,
    *models.ROUTES,
    *caches.ROUTES,
    *usage.ROUTES,
    *limits.ROUTES,
    *keys.ROUTES,
    *alerts.ROUTES,
    *audit.ROUTES,
    *deployment.ROUTES,
)

_ID = "{id}"


class Table:
    """Finds the route of a path: an exact one, else the longest prefix, of these the longest end."""

    def __init__(self, routes: Iterable[PageRoute] = ROUTES) -> None:
        self._exact: dict[str, dict[str, PageRoute]] = {}
        self._placed: dict[tuple[str, str], dict[str, PageRoute]] = {}
        for route in routes:
            prefix, identified, end = route.path.partition(_ID)
            if identified:
                self._placed.setdefault((prefix, end), {})[route.method] = route
            else:
                self._exact.setdefault(route.path, {})[route.method] = route
        self._order = sorted(self._placed, key=lambda place: (-len(place[0]), -len(place[1])))

    def find(self, method: str, path: str) -> tuple[PageRoute, str] | None:
        """The route, and what the path holds in the place of ``{id}``. HEAD is answered as GET."""
        wanted = "GET" if method == "HEAD" else method
        path = path.rstrip("/") or "/"
        route = self._exact.get(path, {}).get(wanted)
        if route is not None:
            return route, ""
        for prefix, end in self._order:
            if path.startswith(prefix) and path.endswith(end) and len(path) > len(prefix) + len(end):
                route = self._placed[prefix, end].get(wanted)
                if route is not None:
                    return route, path[len(prefix) : len(path) - len(end)]
        return None
