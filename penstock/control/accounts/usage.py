"""What was used and paid: the ledger, asked."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, get_args

import msgspec

from penstock.control.accounts.sight import not_found
from penstock.control.accounts.turn import Page, Turn, after_of, cursor, invalid, limit_of, near, storable, time_of
from penstock.core.administration import Actor
from penstock.core.errors import NOT_FOUND, PenstockError
from penstock.core.money import dollars
from penstock.core.usage import Entry, GroupBy, Tokens, UsageQuery
from penstock.store import LedgerStore

LONGEST_SUMS = 1000
EXPORTED_AT_ONCE = 2000

_GROUPS: tuple[GroupBy, ...] = get_args(GroupBy)


class _Place(msgspec.Struct, frozen=True, array_like=True):
    received_at: float
    request_id: str
    attempt: int


class SumView(msgspec.Struct, frozen=True, kw_only=True):
    """Rows of the ledger, added up. `group` has the values of what was asked `by`; a day is `2026-11-21`, an hour
    `2026-11-21T14`, in UTC. `requests` counts requests, `cached_requests` those of them that got an answer from a
    cache. `rows` are the attempts that an upstream worked on, `tokens` what they used; `cached_tokens` are those of
    answers from caches, which nobody worked for. `cost` is in US dollars, of both; `saved` what caches saved beyond
    it."""

    group: dict[str, str]
    object: Literal["usage_sum"] = "usage_sum"
    requests: int
    rows: int
    tokens: Tokens
    cost: str
    estimated_rows: int
    cached_requests: int = 0
    cached_tokens: Tokens = Tokens()
    saved: str = "0.00"


class EntryView(msgspec.Struct, frozen=True, kw_only=True):
    """One attempt that an upstream worked on, or an answer that was there already: then `cache` says by which verdict
    it was given, `attempt` is 0, `tokens` are those of the answer, and `saved` what it would have cost beyond `cost`.
    `estimated`: the upstream did not say how much it was, and the tokens are an upper bound. `cost` and `saved` are
    in US dollars, by the price `price`."""

    request_id: str
    attempt: int
    object: Literal["usage_entry"] = "usage_entry"
    gateway: str
    received_at: float
    settled_at: float
    project: str
    key_id: str
    user: str
    team: str
    service: str
    model: str
    kind: str
    purpose: Literal["client", "internal"]
    ending: str
    status: int
    tokens: Tokens
    estimated: bool
    cost: str
    price: str
    release: str
    cache: str = ""
    saved: str = "0.00"


class RequestUsage(msgspec.Struct, frozen=True, kw_only=True):
    """What one request used and cost, by attempts. `cost` and `saved` are sums, in US dollars; `tokens` what
    upstreams worked for, so none where the answer came from a cache."""

    request_id: str
    object: Literal["usage"] = "usage"
    cost: str
    estimated: bool
    tokens: Tokens
    saved: str = "0.00"
    entries: tuple[EntryView, ...]


def shown(entry: Entry) -> EntryView:
    money = ("cost_nano", "saved_nano")
    fields = {name: getattr(entry, name) for name in entry.__struct_fields__ if name not in money}
    return EntryView(cost=dollars(entry.cost_nano), saved=dollars(entry.saved_nano), **fields)


def sums(ledger: LedgerStore, turn: Turn) -> Page:
    """Added up by what the query asks for."""
    by = _by(turn.query.get("by", ""))
    most, after = limit_of(turn.query, LONGEST_SUMS), after_of(turn.query, tuple[str, ...])
    found = sorted(ledger.sums(query_of(turn), by), key=lambda each: each.group)
    rest = [each for each in found if after is None or each.group > after]
    more = len(rest) > most
    data = [
        SumView(
            group=dict(zip(by, each.group, strict=True)),
            requests=each.requests,
            rows=each.rows,
            tokens=each.tokens,
            cost=dollars(each.cost_nano),
            estimated_rows=each.estimated_rows,
            cached_requests=each.cached_requests,
            cached_tokens=each.cached_tokens,
            saved=dollars(each.saved_nano),
        )
        for each in rest[:most]
    ]
    return Page(data=data, has_more=more, next=cursor(rest[most - 1].group) if more else None)


def entries(ledger: LedgerStore, turn: Turn) -> Page:
    """One page of rows, oldest first."""
    rows, following = rows_of(ledger, turn, limit_of(turn.query))
    return Page(data=[shown(row) for row in rows], has_more=following is not None, next=following)


def rows_of(ledger: LedgerStore, turn: Turn, most: int) -> tuple[Sequence[Entry], str | None]:
    """Some rows that the query asks for, and the cursor to the next."""
    found = ledger.entries(query_of(turn), _after(turn), most + 1)
    if len(found) <= most:
        return found, None
    last = found[most - 1]
    return found[:most], cursor(_Place(last.received_at, last.request_id, last.attempt))


def _after(turn: Turn) -> tuple[float, str, int] | None:
    at = after_of(turn.query, _Place)
    return None if at is None else (at.received_at, at.request_id, at.attempt)


def request(ledger: LedgerStore, turn: Turn) -> RequestUsage:
    """What one request used. Raises ``PenstockError(NOT_FOUND)``, too when it was another's."""
    known = ledger.request(turn.target) if storable(turn.target) and len(turn.target) <= 128 else ()
    rows = [row for row in known if _sees(turn.actor, row)]
    if not rows:
        shown_id = turn.target if len(turn.target) <= 128 else turn.target[:128] + "..."
        raise PenstockError(
            NOT_FOUND,
            f"There is no usage of a request '{shown_id}' that this key may see. It is there a second or so after "
            "the reply has ended.",
        )
    return RequestUsage(
        request_id=turn.target,
        cost=dollars(sum(row.cost_nano for row in rows)),
        estimated=any(row.estimated for row in rows),
        tokens=_added([row.tokens for row in rows if not row.cache]),
        saved=dollars(sum(row.saved_nano for row in rows)),
        entries=tuple(shown(row) for row in rows),
    )


def query_of(turn: Turn) -> UsageQuery:
    """What the query asks for, held to what the actor may see.

    Raises ``PenstockError`` (INVALID_VALUE, NOT_FOUND).
    """
    given, actor = turn.query, turn.actor
    project = given.get("project")
    if not actor.everywhere:
        if project not in (None, actor.project):
            raise not_found("project", str(project), "project")
        project = actor.project
    user, key_id = given.get("user"), given.get("key")
    if not actor.may("usage:read"):
        # Its own usage only: that of its user, or of itself where it acts for nobody.
        if actor.user:
            user = _own("user", user, actor.user)
        else:
            key_id = _own("key", key_id, actor.key_id)
    purpose = given.get("purpose", "")
    if purpose not in ("", "client", "internal"):
        raise invalid("purpose", "'purpose' must be 'client' or 'internal'; leave it out for both.")
    return UsageQuery(
        since=time_of(given, "since") or 0.0,
        until=time_of(given, "until"),
        project=project,
        team=given.get("team"),
        user=user,
        key_id=key_id,
        service=given.get("service"),
        model=given.get("model"),
        release=given.get("release"),
        purpose=purpose,
    )


def _own(param: str, given: str | None, own: str) -> str:
    if given not in (None, own):
        raise not_found(param, str(given), param)
    return own


def _sees(actor: Actor, row: Entry) -> bool:
    if not actor.everywhere and row.project != actor.project:
        return False
    if actor.may("usage:read"):
        return True
    return row.user == actor.user if actor.user else row.key_id == actor.key_id


def _by(given: str) -> tuple[GroupBy, ...]:
    found: list[GroupBy] = []
    for word in given.split(",") if given else ():
        known = next((each for each in _GROUPS if each == word), None)
        if known is None:
            shown_word = word if len(word) <= 40 else word[:40] + "..."
            raise invalid("by", f"'by' cannot group by '{shown_word}'. {near(word, _GROUPS)}")
        if known in found:
            raise invalid("by", f"'by' names '{word}' twice; once is enough.")
        found.append(known)
    return tuple(found)


def _added(all_tokens: Sequence[Tokens]) -> Tokens:
    return Tokens(**{name: sum(getattr(each, name) for each in all_tokens) for name in Tokens.__struct_fields__})
