"""Whether a request may be carried out at all: its permission, its query, its body."""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

from penstock.control.accounts.operation import Operation
from penstock.control.accounts.turn import near, storable
from penstock.core.administration import Actor
from penstock.core.errors import INVALID_VALUE, MISSING_PARAMETER, PERMISSION_DENIED, PenstockError

_LONGEST_VALUE = 4096


def check_permission(operation: Operation, actor: Actor) -> None:
    """Raises ``PenstockError(PERMISSION_DENIED)`` that names what is missing."""
    check_may(operation.permissions, operation.everywhere, actor)


def check_may(permissions: tuple[str, ...], everywhere: bool, actor: Actor) -> None:
    """Whether the actor has any of the permissions, for the whole gateway where that is needed."""
    if not any(actor.may(permission) for permission in permissions):
        wanted = " or ".join(f"'{permission}'" for permission in permissions)
        raise PenstockError(
            PERMISSION_DENIED,
            f"The role of this key does not have the permission {wanted}. Use a key with another role; GET "
            "/admin/v1/roles lists what each may.",
        )
    if everywhere and not actor.everywhere:
        raise PenstockError(
            PERMISSION_DENIED,
            "This concerns the whole gateway, and the key is for one project. Use a key for the whole gateway, such "
            "as the admin key in the file 'credentials' of the gateway's home folder ($PENSTOCK_HOME).",
        )


def check_query(operation: Operation, query: Mapping[str, str]) -> None:
    """Raises ``PenstockError(INVALID_VALUE)`` for a name that the operation does not know: a filter with a slip of
    the pen in it must not be answered with everything."""
    known = [each.name for each in operation.query]
    for name in query:
        if name not in known:
            shown = name if len(name) <= 80 else name[:80] + "..."
            raise PenstockError(
                INVALID_VALUE, f"There is no query parameter '{shown}' here. {near(name, known)}", param=shown
            )
        if len(query[name]) > _LONGEST_VALUE or not storable(query[name]):
            raise PenstockError(
                INVALID_VALUE,
                f"The query parameter '{name}' is too long, or holds a character that no name has. Mend it.",
                param=name,
            )


def read_body(operation: Operation, body: bytes) -> msgspec.Struct | None:
    """The request's struct, None without a body. Raises ``PenstockError``; who takes requests from people has checked
    the body before, and says more exactly what is wrong with it."""
    if operation.request is None or (operation.optional and not body.strip()):
        return None
    if not body.strip():
        raise PenstockError(MISSING_PARAMETER, "The request has no body. Send a JSON object.")
    if b"\\u0000" in body:
        raise PenstockError(INVALID_VALUE, "The request body holds a NUL character, which is not kept. Take it out.")
    try:
        return msgspec.json.decode(body, type=operation.request)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise PenstockError(INVALID_VALUE, f"The request body cannot be read: {error}. Mend it.") from None
