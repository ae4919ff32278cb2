"""Who may call, and how much: what the store keeps of projects, people, keys, roles, limits and budgets.

Times are seconds since the epoch, UTC. An id is 1 to 64 of ``a-z 0-9 . _ -`` and begins with a letter or a digit; it
is never used again.
"""

from __future__ import annotations

from typing import Literal

import msgspec

from penstock.core.caching import Invalidation
from penstock.core.money import Price
from penstock.core.releases import Alias, Decision, ModelVersion, PromptVersion, Release, Rollout, Split
from penstock.core.requests import ContentPolicy
from penstock.core.usage import Act

EVERYWHERE = "*"
"""In place of a project: all of them."""

SubjectKind = Literal["key", "user", "team", "project", "service", "global"]
"""What a limit or a budget is set on."""

Metric = Literal["requests", "input_tokens", "output_tokens", "tokens", "concurrent"]
"""What a limit counts; ``tokens`` are input and output together, ``concurrent`` requests in progress."""

Per = Literal["minute", "day", ""]
"""Of a sliding window; empty for ``concurrent``."""

Period = Literal["day", "week", "month", "total"]
"""Of a budget: calendar periods in UTC."""


class Project(msgspec.Struct, frozen=True, kw_only=True):
    """A tenant. ``priority`` is the best its keys may claim. ``archived_at``: its keys are refused from then on, its
    ledger stays. ``capture`` overrides the gateway's policy on auditing prompts and replies, empty: it does not.
    ``log`` is what the log of requests may keep of them at most, empty: what gateway and service say."""

    id: str
    name: str = ""
    priority: Literal["high", "normal", "low"] = "normal"
    capture: Literal["", "none", "hashes", "content"] = ""
    created_at: float = 0.0
    archived_at: float | None = None
    log: ContentPolicy = ""


class Team(msgspec.Struct, frozen=True, kw_only=True):
    """Some people of one project."""

    id: str
    project: str
    name: str = ""
    created_at: float = 0.0


class Membership(msgspec.Struct, frozen=True):
    """What a user is in one project, or ``EVERYWHERE``."""

    project: str
    role: str
    team: str = ""


class User(msgspec.Struct, frozen=True, kw_only=True):
    """A person, or a service account. ``issuer`` and ``subject`` are those of its tokens, empty where it has none."""

    id: str
    kind: Literal["person", "service"] = "person"
    name: str = ""
    email: str = ""
    issuer: str = ""
    subject: str = ""
    memberships: tuple[Membership, ...] = ()
    created_at: float = 0.0
    disabled_at: float | None = None


class Scopes(msgspec.Struct, frozen=True, kw_only=True):
    """What a key may be used for. None: no bound. ``services`` and ``models`` by name, ``endpoints`` by path
    (``/v1/chat/completions``), ``tools`` by function name, ``networks`` as CIDR that the client's address is in."""

    services: tuple[str, ...] | None = None
    models: tuple[str, ...] | None = None
    endpoints: tuple[str, ...] | None = None
    tools: tuple[str, ...] | None = None
    networks: tuple[str, ...] | None = None


class KeyRecord(msgspec.Struct, frozen=True, kw_only=True):
    """What is kept of an API key: never the secret, only its HMAC, ``digest``, under the pepper named ``pepper``.

    ``user`` is whom it acts for, or empty. ``project`` EVERYWHERE is the gateway's own administration, spent under
    the project ``default``. After a rotation ``previous_digest`` works beside until ``previous_until``.
    """

    id: str
    digest: bytes
    pepper: str = ""
    project: str
    role: str
    name: str = ""
    user: str = ""
    team: str = ""
    scopes: Scopes = Scopes()
    priority: Literal["", "high", "normal", "low"] = ""
    created_at: float = 0.0
    created_by: str = ""
    expires_at: float | None = None
    revoked_at: float | None = None
    last_used_at: float | None = None
    previous_digest: bytes | None = None
    previous_pepper: str = ""
    previous_until: float | None = None


class Role(msgspec.Struct, frozen=True, kw_only=True):
    """A named set of permissions (``penstock.access.roles``)."""

    name: str
    permissions: tuple[str, ...]
    description: str = ""
    builtin: bool = False


class Limit(msgspec.Struct, frozen=True, kw_only=True):
    """At most ``amount`` of ``metric`` in any window of ``per``, over all gateways.

    ``subject`` is the id of a key, user, team or project, or the name of a service; ``"*"`` is each of that kind by
    itself, unless it has a limit of the same metric and ``per`` of its own. ``service`` narrows it to one service,
    empty: all of them.
    """

    id: str
    kind: SubjectKind
    subject: str = "*"
    service: str = ""
    metric: Metric
    per: Per = "minute"
    amount: int
    created_at: float = 0.0


class Budget(msgspec.Struct, frozen=True, kw_only=True):
    """At most ``amount_nano`` spent in a ``period``. ``subject`` and ``service`` as in ``Limit``. ``warn_percent``:
    shares of it at which a warning is given."""

    id: str
    kind: SubjectKind
    subject: str = "*"
    service: str = ""
    period: Period = "month"
    amount_nano: int
    warn_percent: tuple[int, ...] = (80,)
    created_at: float = 0.0


class SigningKeys(msgspec.Struct, frozen=True):
    """The public keys of one issuer of tokens, as its JWKS document gave them at ``fetched_at``; empty: never had."""

    issuer: str
    jwks: bytes = b""
    fetched_at: float = 0.0


class Directory(msgspec.Struct, frozen=True, kw_only=True):
    """One immutable view of all that the live path needs of the store. ``version`` grows with every change of it;
    ``prices`` are those the operator has set, by ``since`` ascending within a model; ``splits`` one for each service
    that the store has taken over from the deployment file; ``invalidations`` those that an entry of a cache may yet
    be older than."""

    version: int = 0
    projects: tuple[Project, ...] = ()
    teams: tuple[Team, ...] = ()
    users: tuple[User, ...] = ()
    keys: tuple[KeyRecord, ...] = ()
    roles: tuple[Role, ...] = ()
    limits: tuple[Limit, ...] = ()
    budgets: tuple[Budget, ...] = ()
    prices: tuple[Price, ...] = ()
    models: tuple[ModelVersion, ...] = ()
    prompts: tuple[PromptVersion, ...] = ()
    aliases: tuple[Alias, ...] = ()
    releases: tuple[Release, ...] = ()
    splits: tuple[Split, ...] = ()
    rollouts: tuple[Rollout, ...] = ()
    invalidations: tuple[Invalidation, ...] = ()


Record = (
    Project
    | Team
    | User
    | KeyRecord
    | Role
    | Limit
    | Budget
    | Price
    | ModelVersion
    | PromptVersion
    | Alias
    | Release
    | Split
    | Rollout
    | Invalidation
)
"""What a directory is made of."""

RecordKind = Literal[
    "project", "team", "user", "key", "role", "limit", "budget", "price",
    "model", "prompt", "alias", "release", "split", "rollout", "invalidation",
]  # fmt: skip


class Once(msgspec.Struct, frozen=True, kw_only=True):
    """An administrative request that was carried out, so that the same one sent again is not. ``key`` is who asked
    and its ``idempotency-key``, ``request`` the SHA-256 of what was asked, ``answer`` what it was told, without any
    secret. Kept for a day after ``at``."""

    key: str
    request: bytes
    status: int
    answer: bytes
    at: float


class Change(msgspec.Struct, frozen=True, kw_only=True):
    """One administrative act on a directory of ``version``: all of it or nothing. ``remove`` names records that go,
    by id (a role: by name; a price: ``MODEL@SINCE``, in seconds; a split: by its service); then ``put`` adds a record
    or replaces the one of its id (a price: of its model and ``since``). ``decisions`` are written
    beside, each once."""

    version: int
    put: tuple[Record, ...] = ()
    remove: tuple[tuple[RecordKind, str], ...] = ()
    decisions: tuple[Decision, ...] = ()
    act: Act | None = None
    once: Once | None = None
