"""What an operation is given beside the directory and the request, and what it gives back."""

from __future__ import annotations

import base64
import datetime
import difflib
import math
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Annotated, TypeVar

import msgspec
from msgspec import UNSET

from penstock.control.accounts.traffic import Recent
from penstock.core.accounts import EVERYWHERE, Record, RecordKind
from penstock.core.administration import Actor
from penstock.core.errors import CONFLICT, INVALID_VALUE, PERMISSION_DENIED, PenstockError
from penstock.core.releases import Decision, Served

Id = Annotated[str, msgspec.Meta(min_length=1, max_length=64)]
"""1 to 64 of `a-z 0-9 . _ -`, beginning with a letter or a digit."""
Word = Annotated[str, msgspec.Meta(max_length=64)]
"""An id, or nothing."""
Text = Annotated[str, msgspec.Meta(max_length=512)]
Name = Annotated[str, msgspec.Meta(min_length=1, max_length=512)]
Time = Annotated[float, msgspec.Meta(ge=0, le=1e11)] | datetime.datetime
"""Seconds since the epoch, or RFC 3339."""

PAGE = 50
LONGEST_PAGE = 200

_ID = re.compile(r"[a-z0-9][a-z0-9._-]{0,63}\Z")
_LATEST = 1e11
_MOST_ROWS = 1 << 63

T = TypeVar("T")
Place = TypeVar("Place")


class Minted(msgspec.Struct, frozen=True):
    """A new key: its text, which is told once, and what is kept of it."""

    text: str
    digest: bytes
    pepper: str

    def __repr__(self) -> str:
        return "Minted()"


class Turn(msgspec.Struct, frozen=True, kw_only=True):
    """``now`` in seconds since the epoch. ``new_id`` makes an id that begins with a word, never the same twice;
    ``mint`` the key of a public id. ``served`` is what the deployment file of this gateway says now; ``standing`` the
    releases that each living gateway could serve at once, by gateway; ``recent`` what a service did lately."""

    actor: Actor
    now: float
    new_id: Callable[[str], str]
    mint: Callable[[str], Minted]
    target: str = ""
    query: Mapping[str, str] = {}
    served: Served = Served()
    standing: Mapping[str, frozenset[str]] = {}
    recent: Callable[[str], Recent] = lambda service: Recent()


class Outcome(msgspec.Struct, frozen=True, kw_only=True):
    """What is to change, and what is said of it. Without ``put``, ``remove`` and ``decisions`` all is as it was asked
    to be.

    ``target``, ``project``, ``before`` and ``after`` are for the audit, ``before`` and ``after`` as answers show
    them; ``action`` too, empty: the operation's name. ``secret`` goes into the field ``secret`` of the answer that
    is sent, and nowhere else.
    """

    answer: msgspec.Struct
    put: tuple[Record, ...] = ()
    remove: tuple[tuple[RecordKind, str], ...] = ()
    decisions: tuple[Decision, ...] = ()
    target: str
    project: str = EVERYWHERE
    before: msgspec.Struct | None = None
    after: msgspec.Struct | None = None
    action: str = ""
    secret: str = ""

    def __repr__(self) -> str:
        return f"Outcome({self.target!r})"


class Gone(msgspec.Struct, frozen=True, kw_only=True):
    """It was there, and is no more."""

    object: str
    id: str
    deleted: bool = True


class Page(msgspec.Struct, frozen=True, kw_only=True):
    """Some of a list. ``next`` is the ``after`` of the page that follows, None when there is none."""

    data: Sequence[msgspec.Struct]
    object: str = "list"
    has_more: bool = False
    next: str | None = None


def given_fields(asked: msgspec.Struct) -> dict[str, object]:
    """The fields of a change that are not left out."""
    return {name: value for name, value in msgspec.structs.asdict(asked).items() if value is not UNSET}


# -- ids ---------------------------------------------------------------------------------------------------------


def chosen_id(turn: Turn, given: str, prefix: str, taken: Iterable[str]) -> str:
    """The id of a new thing: the one given, or a new one.

    Only who administers everything may choose: to others, that an id is taken would tell of what they may not see.
    """
    if not given:
        return turn.new_id(prefix)
    if not turn.actor.everywhere:
        raise PenstockError(
            PERMISSION_DENIED,
            "Only a key for the whole gateway chooses ids. Leave 'id' out, and one is made.",
            param="id",
        )
    return free_id(given, taken)


def free_id(given: str, taken: Iterable[str]) -> str:
    """Raises ``PenstockError`` (INVALID_VALUE, CONFLICT)."""
    if not _ID.match(given):
        raise PenstockError(
            INVALID_VALUE,
            "'id' must be 1 to 64 of a-z, 0-9, '.', '_' and '-', and begin with a letter or a digit.",
            param="id",
        )
    if given in taken:
        raise conflict(f"There is '{given}' already. Choose another id.", "id")
    return given


# -- refusals ----------------------------------------------------------------------------------------------------


def conflict(message: str, param: str | None = None) -> PenstockError:
    return PenstockError(CONFLICT, message, param=param)


def invalid(param: str, message: str) -> PenstockError:
    return PenstockError(INVALID_VALUE, message, param=param)


def denied(message: str, param: str | None = None) -> PenstockError:
    return PenstockError(PERMISSION_DENIED, message, param=param)


def near(word: str, known: Iterable[str]) -> str:
    """A mend for a word that is not known: the nearest that is, else all there are, at most twenty."""
    known = sorted(known)
    found = difflib.get_close_matches(word[:80], known, n=1, cutoff=0.5)
    if found:
        return f"Did you mean '{found[0]}'?"
    return (
        f"There are: {', '.join(known[:20])}{' and more' if len(known) > 20 else ''}." if known else "There is none."
    )


def storable(text: str) -> bool:
    """Whether a database can be asked for the text."""
    return "\0" not in text and not any("\ud800" <= char <= "\udfff" for char in text)


# -- times and pages ---------------------------------------------------------------------------------------------


def seconds(time: float | datetime.datetime) -> float:
    """Since the epoch. Without a zone it is UTC."""
    if isinstance(time, datetime.datetime):
        return (time if time.tzinfo else time.replace(tzinfo=datetime.UTC)).timestamp()
    return float(time)


def time_of(query: Mapping[str, str], name: str) -> float | None:
    """A time in the query: seconds since the epoch, a day or an RFC 3339 time; None when it is not there."""
    given = query.get(name)
    if given is None:
        return None
    try:
        found = float(given)
    except ValueError:
        try:
            found = seconds(datetime.datetime.fromisoformat(given))
        except (ValueError, OverflowError):
            found = math.nan
    if not 0 <= found <= _LATEST:
        raise invalid(
            name,
            f"'{name}' must be a time such as 2026-11-21, 2026-11-21T14:00:00Z or seconds since 1970; write the "
            "'+' of a zone as %2B.",
        )
    return found


def limit_of(query: Mapping[str, str], longest: int = LONGEST_PAGE) -> int:
    """How much a page may hold."""
    given = query.get("limit", str(PAGE))
    limit = int(given) if given.isascii() and given.isdigit() and len(given) < 6 else 0
    if not 1 <= limit <= longest:
        raise invalid("limit", f"'limit' must be a whole number from 1 to {longest}.")
    return limit


def after_of(query: Mapping[str, str], form: type[Place]) -> Place | None:
    """The place after which a page begins; None: at the beginning."""
    given = query.get("after")
    if given is None:
        return None
    try:
        padded = given.encode("ascii") + b"=" * (-len(given) % 4)
        found = msgspec.json.decode(base64.b64decode(padded, altchars=b"-_", validate=True), type=form)
        if isinstance(found, int) and abs(found) >= _MOST_ROWS:
            raise ValueError(f"no row has the number {found}")
        return found
    except (ValueError, msgspec.DecodeError):
        raise invalid(
            "after", "'after' must be what 'next' of the page before said; leave it out for the first page."
        ) from None


def cursor(place: object) -> str:
    """What ``after_of`` reads."""
    return base64.urlsafe_b64encode(msgspec.json.encode(place)).rstrip(b"=").decode()


def newest_first(at: float, id: str) -> str:
    """What rows are sorted by, for ``page`` to have the newest first; ``id`` decides among those of one time."""
    return f"{_LATEST - at:019.6f}{id}"


def page(turn: Turn, rows: Iterable[tuple[str, T]], shown: Callable[[T], msgspec.Struct]) -> Page:
    """One page of rows, each with what it is sorted by."""
    most, after = limit_of(turn.query), after_of(turn.query, str)
    ordered = sorted((row for row in rows if after is None or row[0] > after), key=lambda row: row[0])
    more = len(ordered) > most
    data = [shown(row) for _, row in ordered[:most]]
    return Page(data=data, has_more=more, next=cursor(ordered[most - 1][0]) if more else None)
