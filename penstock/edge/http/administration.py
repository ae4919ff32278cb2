"""The routes of the admin API: who asks, what for, and the answer of whoever carries it out."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Protocol
from urllib.parse import parse_qsl

import msgspec

from penstock.control.accounts.asked import check_query
from penstock.control.accounts.operation import Operation
from penstock.control.accounts.operations import OPERATIONS
from penstock.control.accounts.turn import near
from penstock.core.administration import Answer, Ask
from penstock.core.errors import BODY_TOO_LARGE, INVALID_VALUE, PenstockError
from penstock.edge.http.body import check_head, parsed
from penstock.edge.http.dialects.checked import Head
from penstock.edge.http.door import Door
from penstock.edge.http.exchange import Exchange, encoded
from penstock.edge.http.exporting import export
from penstock.edge.http.routes import Endpoint, Needs, Route, actor_of

LONGEST_BODY = 1 << 20
"""Bytes of an administrative request."""

_MOST_PARAMETERS = 40
_KEY = re.compile(r"[\x21-\x7e]{1,255}\Z")
# What is told here may be a secret, and is never the same for long.
_UNKEPT = ("cache-control", "no-store")


class Administers(Protocol):
    """Whoever carries operations out."""

    async def administer(self, ask: Ask) -> Answer:
        """Raises ``PenstockError``."""


def administrative_routes(control: Administers, door: Door) -> tuple[Route, ...]:
    """A route for each path of the table."""
    found: dict[str, dict[str, Operation]] = {}
    for operation in OPERATIONS:
        found.setdefault(operation.path, {})[operation.method] = operation
    return tuple(
        Route(
            path,
            {method: _endpoint(operation, control, door) for method, operation in methods.items()},
            {method: needs_of(operation) for method, operation in methods.items()},
        )
        for path, methods in found.items()
    )


def needs_of(operation: Operation) -> Needs:
    """What a caller must have for it."""
    return Needs(operation.permissions, operation.everywhere)


def _endpoint(operation: Operation, control: Administers, door: Door) -> Endpoint:
    needs = needs_of(operation)
    head = None if operation.request is None else Head(operation.request)

    async def answer(exchange: Exchange, place: str) -> None:
        principal = await door.let_in(exchange, needs, operation.path)
        query = _query(exchange.query)
        check_query(operation, query)
        body = b"" if operation.method == "GET" else await _body(exchange)
        ask = Ask(
            actor=actor_of(principal),
            operation=operation.name,
            target=place,
            query=query,
            body=_checked(operation, head, body),
            idempotency_key=_idempotency_key(exchange.headers) if operation.method == "POST" else "",
            address=exchange.client,
            request_id=exchange.request_id,
        )
        if operation.answer is None:
            await export(exchange, control.administer, ask)
            return
        told = await control.administer(ask)
        exchange.reply(told.status, told.body, encoded([_UNKEPT, *told.headers.items()]))

    return answer


def _query(raw: bytes) -> Mapping[str, str]:
    """Raises ``PenstockError(INVALID_VALUE)`` for a name that occurs twice."""
    try:
        pairs = parse_qsl(raw.decode("latin-1"), keep_blank_values=True, max_num_fields=_MOST_PARAMETERS)
    except ValueError:
        raise PenstockError(INVALID_VALUE, f"The query has more than {_MOST_PARAMETERS} parameters.") from None
    found: dict[str, str] = {}
    for name, value in pairs:
        if name in found:
            shown = name[:80]
            raise PenstockError(INVALID_VALUE, f"The query says '{shown}' twice. Say it once.", param=shown)
        found[name] = value
    return found


async def _body(exchange: Exchange) -> bytes:
    try:
        check_head(exchange.headers, LONGEST_BODY)
        return await exchange.body(LONGEST_BODY)
    except PenstockError as error:
        if error.fault is not BODY_TOO_LARGE:
            raise
        raise PenstockError(
            BODY_TOO_LARGE, f"An administrative request may have at most {LONGEST_BODY} bytes. Send less at a time."
        ) from None


def _checked(operation: Operation, head: Head[msgspec.Struct] | None, body: bytes) -> bytes:
    """The body, once all of it can be understood."""
    if operation.request is None or head is None:
        if body.strip() not in (b"", b"{}"):
            raise PenstockError(INVALID_VALUE, f"{operation.method} {operation.path} takes no body. Send none.")
        return b""
    if operation.optional and not body.strip():
        return b""
    known = [field.encode_name for field in msgspec.structs.fields(operation.request)]
    for name in parsed(body):
        if name not in known:
            shown = name[:80]
            raise PenstockError(INVALID_VALUE, f"There is no field '{shown}' here. {near(name, known)}", param=shown)
    head.read(body)
    return body


def _idempotency_key(headers: Mapping[bytes, bytes]) -> str:
    given = headers.get(b"idempotency-key")
    if given is None:
        return ""
    key = given.decode("latin-1").strip()
    if not _KEY.match(key):
        raise PenstockError(
            INVALID_VALUE,
            "The header 'idempotency-key' must be 1 to 255 visible ASCII characters, such as a random UUID.",
            param="idempotency-key",
        )
    return key
