"""Assign: from the name that a client sent to what serves it, as far as its key may use it; where releases share the
service, to the one that the request has drawn."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TypeVar

import msgspec

from penstock.access.scopes import check_tools
from penstock.core.chat import Call
from penstock.core.clock import Clock
from penstock.core.errors import INVALID_TYPE, PERMISSION_DENIED, PenstockError
from penstock.core.policy import Terms
from penstock.core.serving import Service
from penstock.core.trail import Admitted, Assigned, Trail
from penstock.gateway.directory import resolve
from penstock.gateway.lot import FORCE, Lot, draw, named
from penstock.gateway.snapshot import Admission


def assign(call: Call, admission: Admission, terms: Terms, trail: Trail, clock: Clock) -> tuple[Service, Lot | None]:
    """What serves the request, and what it has drawn; None where the service has one release.

    Raises ``PenstockError`` (PERMISSION_DENIED, MODEL_NOT_FOUND, MODEL_FORBIDDEN, TOOL_FORBIDDEN), and as ``draw``
    does.
    """
    principal = admission.principal
    trail.add(Admitted(clock.now(), principal.key_id, principal.project))
    if "call" not in principal.permissions:
        raise PenstockError(
            PERMISSION_DENIED,
            f"The role '{principal.role}' of this key does not allow asking models ('call'). Use a key whose role "
            "does, such as a developer's.",
        )
    service = resolve(call.service, admission)
    if principal.tools is not None:
        check_tools(principal, tuple(_tools(call)))
    if service.assignment is None:
        if FORCE in terms.headers:
            # What it asks for must not be answered by anything else.
            return named(service, {}, terms.headers, principal), None
        trail.add(Assigned(clock.now(), service.name))
        return service, None
    lot = draw(service, service.assignment, call, principal, terms)
    rollout = lot.watched.rollout if lot.watched is not None else ""
    trail.add(Assigned(clock.now(), service.name, lot.service.release, lot.unit, rollout))
    return lot.service, lot


_T = TypeVar("_T")

_NAMED = ("function", "custom", "")
# Fields of their own by which hosts are told of tools that run there, and what those go by.
_ASKED_APART = {"web_search_options": "web_search", "plugins": "plugins", "mcp_servers": "mcp"}


class _Named(msgspec.Struct):
    name: str = ""


class _Tool(msgspec.Struct):
    type: str = ""
    function: _Named | None = None
    custom: _Named | None = None


def _tools(call: Call) -> Iterator[str]:
    """The names of the tools that the request offers; a tool that is no function goes by its type, and so does one
    that says it is something else and has the name of a function beside."""
    for tool in _decoded(call, "tools", list[_Tool]):
        names = [named.name for named in (tool.function, tool.custom) if named is not None]
        yield from names
        if not names or tool.type not in _NAMED:
            yield tool.type
    for field, name in _ASKED_APART.items():
        value = call.fields.get(field)
        if value is not None and bytes(value) not in (b"null", b"[]"):
            yield name
    for function in _decoded(call, "functions", list[_Named]):
        yield function.name


def _decoded(call: Call, field: str, kind: type[list[_T]]) -> list[_T]:
    value = call.fields.get(field)
    if value is None or bytes(value) == b"null":
        return []
    try:
        return msgspec.json.decode(value, type=kind)
    except msgspec.DecodeError as error:
        raise PenstockError(
            INVALID_TYPE, f"'{field}' must be a list of tools with their names: {error}.", param=field
        ) from None
