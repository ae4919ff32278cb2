"""What requests used and cost, and what was done to the gateway: the rows of the ledger and of the audit, and the
records of the journal that both travel in."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

import msgspec

from penstock.core.leases import Hold
from penstock.core.releases import Scored


class Tokens(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """``input`` and ``output`` are the whole counts; the rest are parts of them (``cached_read``, ``cached_write``,
    ``audio_input`` of input, ``reasoning``, ``audio_output`` of output). ``images`` are pictures in the prompt."""

    input: int = 0
    cached_read: int = 0
    cached_write: int = 0
    output: int = 0
    reasoning: int = 0
    audio_input: int = 0
    audio_output: int = 0
    images: int = 0


class Entry(msgspec.Struct, frozen=True, kw_only=True, array_like=True, gc=False):
    """One row of the ledger: one attempt that an upstream worked on, or one answer from the cache. ``request_id``
    with ``attempt`` names it.

    ``received_at`` is when the gateway got the request, ``settled_at`` when it closed, in seconds since the epoch.
    ``estimated``: the upstream did not say how much it was; the tokens are then an upper bound. ``cost_nano`` by the
    price ``price`` (model and since, such as ``gpt-5@2025-08-07``; empty: the model has none). ``purpose`` is
    ``client``, or ``internal`` for what the gateway asked for itself. ``service`` is its name, ``release`` the one
    that the request was assigned, ``ending`` that of the reply.

    ``cache`` is set where no upstream worked: the ``caching.Verdict`` by which an answer that was there already was
    given. ``attempt`` is then 0, ``tokens`` are the answer's, ``cost_nano`` is what is charged for it, and
    ``saved_nano`` what it would have cost beyond that.
    """

    request_id: str
    attempt: int
    gateway: str
    received_at: float
    settled_at: float
    project: str
    key_id: str
    user: str = ""
    team: str = ""
    service: str
    model: str
    kind: str
    purpose: Literal["client", "internal"] = "client"
    ending: str
    status: int
    tokens: Tokens
    estimated: bool
    cost_nano: int
    price: str = ""
    release: str = ""
    cache: str = ""
    saved_nano: int = 0


class Held(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """What a lease holds of one counter; ``at`` is when it was reserved, in seconds since the epoch."""

    counter: str
    hold: Hold
    amount: int
    window_s: float
    until: float
    at: float


class Opened(msgspec.Struct, frozen=True, tag="opened", array_like=True, gc=False):
    """Before an attempt goes out: what it may cost at most. ``bound`` is the row to write when nothing more is ever
    heard of it; ``held`` what was reserved for it, beside what earlier records of the same lease say."""

    lease: str
    bound: Entry
    held: tuple[Held, ...]


class Opening(msgspec.Struct, frozen=True, tag="opened", array_like=True, gc=False):
    """An ``Opened`` as whoever follows a journal reads it: the bound is still MessagePack, as few are ever needed."""

    lease: str
    bound: msgspec.Raw
    held: tuple[Held, ...]


class Settled(msgspec.Struct, frozen=True, tag="settled", array_like=True, gc=False):
    """A request is over: the rows of its attempts that cost something, instead of every bound before; and what its
    lease used of each counter, as ``Counters.settle`` has it."""

    lease: str
    entries: tuple[Entry, ...]
    used: Mapping[str, int]


class Act(msgspec.Struct, frozen=True, kw_only=True):
    """One thing for the audit. ``at`` in seconds since the epoch. ``actor`` is a key's id, or a word for the gateway
    itself; ``action`` a permission-like word, ``keys.create`` say; ``target`` what it was done to. ``content`` is
    JSON that may be redacted later: what was changed, or a prompt and its reply. ``kind`` decides how long it stays.
    """

    at: float
    kind: Literal["administrative", "content"] = "administrative"
    actor: str
    project: str
    action: str
    target: str = ""
    outcome: str = "ok"
    address: str = ""
    request_id: str = ""
    content: bytes = b""


class Audited(msgspec.Struct, frozen=True, tag="audited", array_like=True):
    """An act of the live path, on its way to the audit. ``id`` makes writing it twice the same as once."""

    id: str
    act: Act


class Used(msgspec.Struct, frozen=True, tag="used", array_like=True, gc=False):
    """A key was used, at most told once a minute for each. ``digest`` is that of the key under ``pepper`` when the
    pepper has been changed since it was made, else empty; it takes the place of ``replaces`` and of nothing else, as
    the key may have been rotated before this arrives."""

    key_id: str
    at: float
    digest: bytes = b""
    pepper: str = ""
    replaces: bytes = b""


JournalRecord = Opened | Opening | Settled | Audited | Used | Scored


# -- asking the ledger and the audit -----------------------------------------------------------------------------

GroupBy = Literal["project", "team", "user", "key", "service", "model", "release", "day", "hour"]


class UsageQuery(msgspec.Struct, frozen=True, kw_only=True):
    """Rows of the ledger received from ``since`` (included) to ``until`` (not), seconds since the epoch; None: any.
    ``purpose`` as in ``Entry``, empty: any."""

    since: float = 0.0
    until: float | None = None
    project: str | None = None
    team: str | None = None
    user: str | None = None
    key_id: str | None = None
    service: str | None = None
    model: str | None = None
    release: str | None = None
    purpose: str = ""


class UsageSum(msgspec.Struct, frozen=True, kw_only=True):
    """A group of rows, added up. ``group`` are the values it was grouped by, in the order asked; a ``day`` is
    ``2026-11-21``, an ``hour`` ``2026-11-21T14``, both UTC.

    ``requests`` counts request ids, ``cached_requests`` those of them that got an answer which was there already.
    ``rows`` are attempts that an upstream worked on, ``tokens`` and ``estimated_rows`` theirs; ``cached_tokens`` are
    those of answers from caches, which nobody worked for. ``cost_nano`` is of both, ``saved_nano`` what caches saved
    beyond it.
    """

    group: tuple[str, ...]
    requests: int
    rows: int
    tokens: Tokens
    cost_nano: int
    estimated_rows: int
    cached_requests: int = 0
    cached_tokens: Tokens = Tokens()
    saved_nano: int = 0


class AuditQuery(msgspec.Struct, frozen=True, kw_only=True):
    """As ``UsageQuery``; ``action`` may end in ``*`` (``keys.*``)."""

    since: float = 0.0
    until: float | None = None
    project: str | None = None
    actor: str | None = None
    action: str | None = None
    kind: str | None = None
    request_id: str | None = None


class AuditRow(msgspec.Struct, frozen=True, kw_only=True):
    """One link of the chain; ``number`` counts from 1. ``digest`` is over the one before and this one, with the
    SHA-256 of its salted content in place of the content. ``redacted_by``: the number of the row that says why the
    content is gone."""

    number: int
    id: str
    act: Act
    content_digest: bytes
    previous: bytes
    digest: bytes
    redacted_by: int | None = None


class Head(msgspec.Struct, frozen=True, kw_only=True):
    """The signed statement that the chain had ``number`` rows and ended in ``digest`` at ``at``. ``signature`` is
    Ed25519 over them, by the key named ``key`` (the first 8 bytes of SHA-256 of the public key, in hexadecimal)."""

    number: int
    digest: bytes
    at: float
    key: str
    signature: bytes


class Finding(msgspec.Struct, frozen=True):
    """Something wrong in the audit; ``number`` is the row where it shows."""

    number: int
    fault: Literal["edited", "removed", "inserted", "reordered", "cut", "head", "content"]
    about: str
