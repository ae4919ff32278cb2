"""What a query asks of the log and the series, held to what the actor may see."""

from __future__ import annotations

import re
from collections.abc import Mapping
from decimal import Decimal, InvalidOperation

import msgspec

from penstock.control.accounts.sight import not_found
from penstock.control.accounts.turn import Turn, denied, invalid, near, time_of
from penstock.core.administration import Actor
from penstock.core.errors import NOT_FOUND, PenstockError
from penstock.core.money import NANO
from penstock.core.requests import RequestQuery, RequestRecord, subject_named

ENDINGS = ("complete", "failed", "client_gone")

_STATUS = re.compile(r"[1-5](\d\d|xx)\Z")
_TRACE = re.compile(r"[0-9a-fA-F]{32}\Z")
_LONGEST_MS = 1e10
_LONGEST_TEXT = 200


class Whose(msgspec.Struct, frozen=True):
    """Of whom something may be seen; None: of anybody. ``narrowed``: only what the actor itself, or its user, has
    asked for."""

    project: str | None
    user: str | None
    key_id: str | None
    narrowed: bool


def whose(turn: Turn, permission: str = "requests:read") -> Whose:
    """Whose requests the query asks for, as ``usage.query_of`` has it: who may not see the project's sees its user's,
    or its own where it acts for nobody.

    Raises ``PenstockError(NOT_FOUND)``.
    """
    given, actor = said(turn), turn.actor
    project = given.get("project")
    if not actor.everywhere:
        if project not in (None, actor.project):
            raise not_found("project", str(project), "project")
        project = actor.project
    user, key_id = given.get("user"), given.get("key")
    narrowed = not actor.may(permission)
    if narrowed:
        if actor.user:
            user = _own("user", user, actor.user)
        else:
            key_id = _own("key", key_id, actor.key_id)
    return Whose(project, user, key_id, narrowed)


def sees(actor: Actor, record: RequestRecord, permission: str = "requests:read") -> bool:
    """Whether the request exists for the actor."""
    if not actor.everywhere and record.project != actor.project:
        return False
    if actor.may(permission):
        return True
    return record.user == actor.user if actor.user else record.key_id == actor.key_id


def request_query(turn: Turn) -> RequestQuery:
    """Raises ``PenstockError`` (INVALID_VALUE, NOT_FOUND)."""
    given, of = said(turn), whose(turn)
    text = _text(given)
    if text is not None and not turn.actor.may("requests:content"):
        # Who may not read what was said must not find it out word by word.
        raise denied("The role of this key does not allow looking into what was said ('requests:content').", "text")
    return RequestQuery(
        since=time_of(given, "since") or 0.0,
        until=time_of(given, "until"),
        project=of.project,
        key_id=of.key_id,
        user=of.user,
        team=given.get("team"),
        subject=subject_named(given["subject"]) if "subject" in given else None,
        service=given.get("service"),
        release=given.get("release"),
        model=given.get("model"),
        replica=given.get("replica"),
        ending=word(given, "ending", ENDINGS),
        code=given.get("code"),
        status=_status(given),
        cache=given.get("cache"),
        stream=_yes_or_no(given, "stream"),
        purpose=word(given, "purpose", ("client", "internal")) or "",
        trace=_trace(given),
        min_cost_nano=_nano(given, "min_cost"),
        min_s=_seconds(given, "min_ms"),
        max_s=_seconds(given, "max_ms"),
        min_first_s=_seconds(given, "min_first_ms"),
        text=text,
    )


def said(turn: Turn) -> Mapping[str, str]:
    """The query without what is empty, as forms send it."""
    return {name: value for name, value in turn.query.items() if value}


def word(given: Mapping[str, str], name: str, known: tuple[str, ...]) -> str | None:
    """One of a few words, None: nothing is said. Raises ``PenstockError(INVALID_VALUE)``."""
    found = given.get(name)
    if found is not None and found not in known:
        raise invalid(name, f"'{name}' cannot be '{found[:40]}'. {near(found, known)}")
    return found


def off() -> PenstockError:
    """Of a gateway that keeps nothing of what it sees."""
    return PenstockError(
        NOT_FOUND,
        "This gateway keeps no log of requests and no charts: 'observe: requests: enabled' is false in its "
        "deployment file. Set it to true, and restart the gateway.",
    )


def _own(param: str, given: str | None, own: str) -> str:
    if given not in (None, own):
        raise not_found(param, str(given), param)
    return own


def _status(given: Mapping[str, str]) -> str | None:
    found = given.get("status")
    if found is not None and not _STATUS.match(found):
        raise invalid("status", "'status' must be an HTTP status, such as 429, or a class of them, such as 5xx.")
    return found


def _yes_or_no(given: Mapping[str, str], name: str) -> bool | None:
    found = word(given, name, ("true", "false"))
    return None if found is None else found == "true"


def _trace(given: Mapping[str, str]) -> str | None:
    found = given.get("trace")
    if found is not None and not _TRACE.match(found):
        raise invalid("trace", "'trace' must be the id of a trace, 32 hexadecimal digits.")
    return None if found is None else found.lower()


def _text(given: Mapping[str, str]) -> str | None:
    found = given.get("text")
    if found is not None and not 3 <= len(found) <= _LONGEST_TEXT:
        raise invalid("text", f"'text' must have from 3 to {_LONGEST_TEXT} characters.")
    return found


def _nano(given: Mapping[str, str], name: str) -> int | None:
    found = given.get(name)
    if found is None:
        return None
    try:
        amount = Decimal(found)
    except InvalidOperation:
        amount = Decimal(-1)
    if not (amount.is_finite() and 0 <= amount <= 10**9):
        raise invalid(name, f"'{name}' must be an amount of US dollars, such as 0.05.")
    return int(amount * NANO)


def _seconds(given: Mapping[str, str], name: str) -> float | None:
    found = given.get(name)
    if found is None:
        return None
    try:
        ms = float(found)
    except ValueError:
        ms = -1.0
    if not 0 <= ms <= _LONGEST_MS:
        raise invalid(name, f"'{name}' must be a length of time in milliseconds, such as 1500.")
    return ms / 1000.0
