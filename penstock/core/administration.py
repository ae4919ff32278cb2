"""An administrative request on its way from the worker that took it to the supervisor that carries it out."""

from __future__ import annotations

from collections.abc import Mapping

import msgspec


class Actor(msgspec.Struct, frozen=True, kw_only=True):
    """Who asks: what of a ``Principal`` counts here."""

    key_id: str
    project: str
    everywhere: bool = False
    permissions: frozenset[str] = frozenset()
    user: str = ""

    def may(self, permission: str) -> bool:
        """Whether the role has the permission."""
        return permission in self.permissions


class Ask(msgspec.Struct, frozen=True, kw_only=True):
    """``operation`` is a name of ``penstock.control.accounts.operations``, ``target`` what the path holds in the
    place of ``{id}``. ``query`` has each name once. ``idempotency_key`` empty: none. ``address`` is the client's."""

    actor: Actor
    operation: str
    target: str = ""
    query: Mapping[str, str] = {}
    body: bytes = b""
    idempotency_key: str = ""
    address: str = ""
    request_id: str = ""

    def __repr__(self) -> str:
        return f"Ask({self.operation!r}, {self.target!r}, {len(self.body)} bytes)"


class Answer(msgspec.Struct, frozen=True, kw_only=True):
    """``body`` is JSON, unless ``headers`` (names in lower case) have another ``content-type``. It may hold a new
    key's secret."""

    status: int
    body: bytes
    headers: Mapping[str, str] = {}

    def __repr__(self) -> str:
        return f"Answer({self.status}, {len(self.body)} bytes)"
