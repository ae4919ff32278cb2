"""What a cache keeps of an answer, in the words that every room shares: keys, entries, verdicts, invalidations."""

from __future__ import annotations

from typing import Literal

import msgspec

from penstock.core.chat import Kind, Usage

Verdict = Literal["hit", "stale", "shared", "fallback", "refresh", "miss", "bypass"]
"""Where a request's answer came from.

``hit``: from the cache, fresh. ``stale``: from the cache, past its time, while it is made anew behind. ``shared``:
made for an equal request at the same time. ``fallback``: from the cache, since every attempt failed. ``refresh``:
made anew since the client wanted that, and kept. ``miss``: made anew, and kept if it may be. ``bypass``: caches had
no part in it.
"""

Scope = Literal["all", "release", "service", "project", "key", "tag", "subject"]
"""What an invalidation names: everything, or all entries with one value of a property."""


class CacheKey(msgspec.Struct, frozen=True):
    """What makes two requests one: a digest (20 bytes) of project, release, kind and canonical request, and of the
    caller where each has answers of its own."""

    digest: bytes

    @property
    def name(self) -> str:
        """The same for people, logs and invalidations: 40 hexadecimal digits."""
        return self.digest.hex()


class Entry(msgspec.Struct, frozen=True, kw_only=True, array_like=True):
    """One answer, whole, as its engine gave it.

    ``key`` is the digest of its ``CacheKey``. ``chunks`` are JSON texts in OpenAI's shape for ``kind``: those of a
    stream in order where ``streamed``, else the one object. ``usage`` is what the answer used when it was made, None:
    nobody said.

    ``created_at`` is when its making began, in seconds since the epoch: what was invalidated meanwhile is stale when
    it arrives. It is fresh for ``fresh_for_s`` from then on, may be served ``stale_for_s`` longer while it is made
    anew, and ``fallback_for_s`` longer than fresh when nothing else answers; each at least 0.

    ``subject`` is the person whom it is about, for erasure, empty: nobody; ``tags`` are the operator's and the
    client's own words. ``model`` is what made it, ``price`` the name of the price by which it cost ``cost_nano``,
    None: it has none; ``took_s`` how long it took to make.
    """

    key: bytes
    kind: Kind
    chunks: tuple[bytes, ...]
    streamed: bool
    usage: Usage | None
    created_at: float
    fresh_for_s: float
    stale_for_s: float = 0.0
    fallback_for_s: float = 0.0
    service: str
    release: str
    project: str
    subject: str = ""
    tags: tuple[str, ...] = ()
    model: str = ""
    price: str = ""
    cost_nano: int | None = None
    took_s: float = 0.0

    @property
    def kept_for_s(self) -> float:
        """Seconds after ``created_at`` from which nobody may be served it."""
        return self.fresh_for_s + max(self.stale_for_s, self.fallback_for_s)


class Invalidation(msgspec.Struct, frozen=True, kw_only=True):
    """Entries that began at ``at`` or before (seconds since the epoch) and that it names are not served any more.

    ``value`` is that of ``scope``: a release's id, a service's name, a project's id, a key's 40 digits, a tag, a
    subject; nothing for ``all``. ``project`` keeps it to one project's entries, empty: all projects'. An ``at`` in
    the past takes entries of a certain age and leaves the younger ones.
    """

    scope: Scope
    value: str = ""
    project: str = ""
    at: float
