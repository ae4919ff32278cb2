"""Caches, in the words that every room shares: what a service keeps of its answers (``CachePolicy``, a part of the
deployment file), keys, entries, verdicts, invalidations."""

from __future__ import annotations

import hashlib
from typing import Annotated, Literal

import msgspec

from penstock.core.chat import Kind, Usage

Verdict = Literal["hit", "similar", "stale", "shared", "fallback", "refresh", "miss", "bypass"]
"""Where a request's answer came from.

``hit``: from the cache, fresh. ``similar``: from the cache, the answer to another question that serves this one too.
``stale``: from the cache, past its time, while it is made anew behind. ``shared``:
made for an equal request at the same time. ``fallback``: from the cache, since every attempt failed. ``refresh``:
made anew since the client wanted that, and kept. ``miss``: made anew, and kept if it may be. ``bypass``: caches had
no part in it.
"""

GIVEN: frozenset[str] = frozenset({"hit", "similar", "stale", "shared", "fallback"})
"""The verdicts of requests whose answer was there already: nothing was made for them."""

Scope = Literal["all", "release", "service", "project", "key", "tag", "subject"]
"""What an invalidation names: everything, or all entries with one value of a property."""


Seconds = Annotated[float, msgspec.Meta(ge=0, le=366 * 86400)]
Lifetime = Annotated[float, msgspec.Meta(gt=0, le=366 * 86400)]
ServiceName = Annotated[str, msgspec.Meta(min_length=1, max_length=128)]


class Exact(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Equal requests get the answer that the first of them got. Deterministic ones (`temperature: 0`, or a `seed`)
    without tools; others only by `sampled` and `tools`."""

    ttl_s: Lifetime = 3600.0
    """Seconds for which an answer is fresh, from when its making began."""
    stale_s: Seconds = 0.0
    """Seconds longer for which it is served at once, while it is made anew behind."""
    sampled: bool = False
    """Whether requests count that the model would answer differently each time. Of several choices (`n`) in one
    request each differs, so those never do."""
    tools: bool = False
    """Whether requests with tools count."""
    max_entry_bytes: Annotated[int, msgspec.Meta(ge=1024, le=1 << 30, extra={"form": "size"})] = 1 << 20
    """Answers that are larger are not kept."""
    wait_s: Annotated[float, msgspec.Meta(ge=0, le=3600)] = 60.0
    """How long requests wait for the answer to an equal one just before them; then one of them asks, too, and the
    others wait for either as long again."""


class Agreement(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What makes two answers the same, so that one may stand for the other."""

    check: Literal["exact", "similarity", "judge"] = "similarity"
    """`exact`: the same text, but for case, white space and punctuation. `similarity`: embeddings whose cosine is at
    least `at_least`. `judge`: what a model says of both."""
    at_least: Annotated[float, msgspec.Meta(gt=0, le=1)] = 0.85
    """The cosine from which on two answers are the same, for `similarity`."""
    judge: ServiceName | None = None
    """The service that judges; needed for `judge`."""

    def __post_init__(self) -> None:
        if self.check == "judge" and self.judge is None:
            raise ValueError("`check: judge` lacks `judge`: name the service that compares answers")


class Semantic(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Questions that mean the same get one answer, as far as the wrong ones among those stay provably few."""

    max_error: Annotated[float, msgspec.Meta(gt=0, le=0.5)]
    """The share of all requests that may get a wrong answer from here."""
    max_wrong_per_hit: Annotated[float, msgspec.Meta(gt=0, lt=1)] | None = None
    """The share of hits that may be wrong, five of them aside. Default: only `max_error` holds."""
    audit_floor: Annotated[float, msgspec.Meta(gt=0, le=1)] = 0.05
    """The least share of hits that is audited: served, made anew behind, and compared."""
    audit_tokens: Annotated[int, msgspec.Meta(ge=0, le=1 << 50)] = 1_000_000
    """Tokens that audits may use in a UTC day; when they are used up hits stop."""
    audit_budget: Annotated[float, msgspec.Meta(ge=0, le=1e9)] | None = None
    """Dollars that audits may cost in a UTC day; when they are spent hits stop. Default: only `audit_tokens`
    holds."""
    embedder: ServiceName = "embed"
    """The service whose embeddings tell which questions are near."""
    agreement: Agreement = Agreement()
    """When an answer counts as right."""
    ttl_s: Lifetime = 7 * 86400.0
    """Seconds for which an answer may serve other questions, from when its making began."""


class CacheFallback(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """When every attempt fails, an answer that is past its time is better than an error."""

    within_s: Lifetime = 86400.0
    """Seconds past its freshness for which an answer may serve so."""


class CachePolicy(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What is kept of a service's answers."""

    exact: Exact | None = None
    """Answers to equal requests. Default: none are kept."""
    semantic: Semantic | None = None
    """Answers to questions that mean the same. Default: none are shared."""
    fallback: CacheFallback | None = None
    """Whether old answers are served when every attempt fails. Default: the client gets the error."""
    per_caller: bool = False
    """Whether each user of a token, else each key, has answers of its own, and with one key each person whom requests
    name (`safety_identifier`, else `user`). Default: the project shares them."""
    tags: list[Annotated[str, msgspec.Meta(min_length=1, max_length=128)]] = []
    """Words that each answer is kept under, by which it can be invalidated."""
    price_percent: Annotated[int, msgspec.Meta(ge=0, le=100)] = 0
    """What an answer from the cache costs whoever gets it, in percent of what it cost to make."""

    def __post_init__(self) -> None:
        if self.exact is None and self.fallback is not None:
            raise ValueError("`fallback` lacks `exact`: no answers are kept that could serve; add `exact: {}`")


class CacheKey(msgspec.Struct, frozen=True):
    """What makes two requests one: a digest (20 bytes) of project, release, kind and canonical request, and of the
    caller where each has answers of its own."""

    digest: bytes

    @property
    def name(self) -> str:
        """The same for people, logs and invalidations: 40 hexadecimal digits."""
        return self.digest.hex()


def subject_digest(id: str) -> str:
    """A person as entries and invalidations name it, so that neither says who it is: 32 hexadecimal digits; nothing
    for nobody."""
    if not id:
        return ""
    return hashlib.blake2b(
        id.encode("utf-8", "surrogatepass"), digest_size=16, person=b"penstock subject"
    ).hexdigest()


class Entry(msgspec.Struct, frozen=True, kw_only=True, array_like=True):
    """One answer, whole, as its engine gave it.

    ``key`` is the digest of its ``CacheKey``. ``chunks`` are JSON texts in OpenAI's shape for ``kind``: those of a
    stream in order where ``streamed``, else the one object. ``usage`` is what the answer used when it was made, None:
    nobody said.

    ``created_at`` is when its making began, in seconds since the epoch: what was invalidated meanwhile is stale when
    it arrives. It is fresh for ``fresh_for_s`` from then on, may be served ``stale_for_s`` longer while it is made
    anew, and ``fallback_for_s`` longer than fresh when nothing else answers; each at least 0.

    ``subject`` is the person whom it was made for, as ``subject_digest`` has it, empty: nobody; ``tags`` are the
    operator's and the client's own words. ``model`` is what made it, ``price`` the name of the price by which it cost
    ``cost_nano``, None: it has none; ``took_s`` how long it took to make.
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
    ``subject_digest``; nothing for ``all``. ``project`` keeps it to one project's entries, empty: all projects'. An
    ``at`` in the past takes entries of a certain age and leaves the younger ones.
    """

    scope: Scope
    value: str = ""
    project: str = ""
    at: float

    @property
    def id(self) -> str:
        """What it names; of two with one id the later one holds."""
        return f"{self.scope}:{self.project}:{self.value}"


# -- asking whether the answer to another question serves ---------------------------------------------------------


class DeskScope(msgspec.Struct, frozen=True, array_like=True):
    """Whose requests are counted together, and share answers: those of a project to a service; of one ``caller`` of
    it, where each has answers of its own."""

    project: str
    service: str
    caller: str = ""


class Seek(msgspec.Struct, frozen=True, kw_only=True):
    """A request for which there is no equal one. ``release`` is what serves it (as in ``CacheKey``): only its answers
    may be given. ``text`` is what was asked, ``rest`` the digest of all else in the request (who the system prompt
    says that the model is, how long the answer may be, ...): only entries with the same are near. ``vector`` are
    32-bit floats, little-endian, of length 1. ``may_hit``: the budget of audits is not used up."""

    scope: DeskScope
    release: str
    semantic: Semantic
    request_id: str
    text: str
    rest: bytes
    vector: bytes
    may_hit: bool = True


class Sought(msgspec.Struct, frozen=True, kw_only=True):
    """``ticket`` names the question for ``Learnt``. ``hit``: ``entry`` is to be served; ``audited``: an answer must
    be made behind it and compared. Of a miss ``entry`` is the nearest answer, to compare with what is made now, empty
    where there is none that could teach anything. ``entry`` is an ``Entry``, packed as tiers keep it.

    ``distance`` is 1 - cosine, None where nothing is near; ``confidence`` that the answer serves, in [0, 1], None
    while nobody can tell; ``reason`` one word on why it is a hit, or none."""

    ticket: str
    hit: bool = False
    audited: bool = False
    entry: bytes = b""
    distance: float | None = None
    confidence: float | None = None
    reason: str = ""


class Learnt(msgspec.Struct, frozen=True):
    """What became of a ``ticket``: whether the entry's answer serves, None: nobody will know."""

    ticket: str
    same: bool | None


class Taught(msgspec.Struct, frozen=True, kw_only=True):
    """An answer that others may get from now on: what was asked, as in ``Seek``, and the packed ``Entry``."""

    scope: DeskScope
    release: str
    semantic: Semantic
    text: str
    rest: bytes
    vector: bytes
    entry: bytes


class DeskFigures(msgspec.Struct, frozen=True, kw_only=True):
    """How one scope stands, since it began. ``wrong_estimate`` and ``wrong_at_most`` are of its hits (the latter with
    a chance of 95 %, for all moments together); ``threshold`` is the predicted risk up to which requests hit, below
    0: none do; ``probability`` that of the next hit's audit; ``entries`` what may be served now."""

    scope: DeskScope
    max_error: float
    requests: int
    hits: int
    audits: int
    wrong_seen: int
    wrong_estimate: float
    wrong_at_most: int
    threshold: float
    probability: float
    labels: int
    entries: int
