"""Who is calling."""

from __future__ import annotations

import msgspec


class Principal(msgspec.Struct, frozen=True):
    """Who a request acts for, once its key has been checked. ``services`` None: every service is allowed."""

    key_id: str
    project: str
    role: str
    services: frozenset[str] | None = None

    def may_use(self, service: str) -> bool:
        return self.services is None or service in self.services
