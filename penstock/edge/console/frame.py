"""What stands around every page: where one can go from here."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from penstock.edge.console.page import Visit


class Way(msgspec.Struct, frozen=True):
    """A place in the menu. ``key`` follows ``g`` on the keyboard. ``permissions``: any one of them is enough."""

    label: str
    path: str
    icon: str
    key: str
    permissions: tuple[str, ...]


class Shown(msgspec.Struct, frozen=True):
    """A ``Way``, and whether one is there."""

    way: Way
    here: bool


class Group(msgspec.Struct, frozen=True):
    label: str
    ways: tuple[Shown, ...]


_GROUPS: tuple[tuple[str, tuple[Way, ...]], ...] = (
    (
        "Watch",
        (
            Way("Overview", "/", "pulse", "o", ("requests:read",)),
            Way("Requests", "/requests", "list", "r", ("requests:read", "usage:own")),
            Way("Alerts", "/alerts", "bell", "a", ("alerts:read",)),
        ),
    ),
    (
        "Serve",
        (
            Way("Services", "/services", "layers", "s", ("releases:read",)),
            Way("Rollouts", "/rollouts", "split", "v", ("releases:read",)),
            Way("Models", "/models", "chip", "m", ("releases:read", "live:read")),
            Way("Caches", "/caches", "store", "c", ("caches:read",)),
            Way("Deployment", "/deployment", "file", "d", ("deployment:read",)),
            Way("Playground", "/playground", "chat", "p", ("call",)),
        ),
    ),
    (
        "Account",
        (
            Way("Usage", "/usage", "coins", "u", ("usage:read", "usage:own")),
            Way("Limits", "/limits", "gauge", "l", ("limits:read", "budgets:read")),
            Way("Keys", "/keys", "key", "k", ("keys:read",)),
            Way("Audit", "/audit", "book", "t", ("audit:read",)),
        ),
    ),
)


def navigation(visit: Visit) -> Sequence[Group]:
    """The places that whoever looks may see; empty groups are left out."""
    here = "/" + visit.ask.path.strip("/").partition("/")[0]
    groups = []
    for label, ways in _GROUPS:
        seen = tuple(Shown(way, way.path == here) for way in ways if visit.may(*way.permissions))
        if seen:
            groups.append(Group(label, seen))
    return groups


def home(visit: Visit) -> str:
    """The first page that they may see, after ``/console``; ``/`` where there is none."""
    paths = [shown.way.path for group in navigation(visit) for shown in group.ways]
    # Who sees no requests but their own has another place to begin at.
    first = [path for path in paths if path != "/requests"]
    return (first or paths or ["/"])[0]
