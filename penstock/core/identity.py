"""Who is calling, and what they may."""

from __future__ import annotations

from typing import Literal

import msgspec

from penstock.core.policy import Priority
from penstock.core.requests import ContentPolicy

Capture = Literal["", "none", "hashes", "content"]
"""What is kept of prompts and replies; empty: what the gateway's own policy says."""

_NO_ONE = frozenset[str]()


class Principal(msgspec.Struct, frozen=True, kw_only=True):
    """Who a request acts for, once its key or token has been checked.

    ``key_id`` is the key's public id, or for a token ``jwt:`` and the user's id. ``project`` is where it spends;
    ``everywhere``: it administers all projects, else only its own. ``role`` is for people, ``permissions`` decide.
    None in ``services``, ``models``, ``endpoints`` and ``tools``: no bound. ``networks`` are CIDR. ``priority`` is
    the best that it may claim, ``capture`` what its project has said of prompts and replies for the audit, ``log``
    for the log of requests. ``purpose`` is ``internal`` for the gateway itself, whom no limit holds and who comes
    after everybody else.
    """

    key_id: str
    project: str
    role: str
    permissions: frozenset[str] = _NO_ONE
    everywhere: bool = False
    user: str = ""
    team: str = ""
    services: frozenset[str] | None = None
    models: frozenset[str] | None = None
    endpoints: frozenset[str] | None = None
    tools: frozenset[str] | None = None
    networks: tuple[str, ...] | None = None
    priority: Priority = Priority.NORMAL
    capture: Capture = ""
    log: ContentPolicy = ""
    purpose: Literal["client", "internal"] = "client"

    def may_use(self, service: str) -> bool:
        """Whether the service is in its scope."""
        return self.services is None or service in self.services

    def may(self, permission: str) -> bool:
        """Whether its role has the permission."""
        return permission in self.permissions
