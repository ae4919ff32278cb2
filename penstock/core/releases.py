"""What is served under a service's name, as one thing: versions, releases, splits; and how one release takes the
place of another: rollouts, their gates and their scores.

A version is named ``NAME@DIGEST``, a release ``rel_DIGEST``; a digest is the first 16 hexadecimal digits of the
SHA-256 of all that the thing says, so that two who say the same are one. Both are immutable. Times are seconds since
the epoch; shares are whole millionths.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from typing import Literal

import msgspec

WHOLE = 1_000_000
"""All of the traffic, in millionths."""

_SAME_S = 1.0
"""Times of one request, as they are noted in several places, are nearer than that."""


# -- versions and releases ---------------------------------------------------------------------------------------


class ModelVersion(msgspec.Struct, frozen=True, kw_only=True):
    """A model as the deployment file had it. ``source`` is its section as canonical JSON, what it takes from outside
    (``${NAME}``) not filled in; ``digest`` is of ``source``. ``parents`` are versions that it was made from."""

    name: str
    digest: str
    engine: str
    source: bytes
    weights: str = ""
    parents: tuple[str, ...] = ()
    author: str = ""
    message: str = ""
    created_at: float = 0.0

    @property
    def id(self) -> str:
        return f"{self.name}@{self.digest}"


class PromptVersion(msgspec.Struct, frozen=True, kw_only=True):
    """A prompt as its folder had it. ``source`` is a ``penstock.prompts.Prompt`` as canonical JSON; ``digest`` is of
    ``source``. ``parent`` is the version before it under the same name, empty: none."""

    name: str
    digest: str
    source: bytes
    parent: str = ""
    author: str = ""
    message: str = ""
    created_at: float = 0.0

    @property
    def id(self) -> str:
        return f"{self.name}@{self.digest}"


class Alias(msgspec.Struct, frozen=True, kw_only=True):
    """A name that may be moved: ``prompt:greeting:production`` stands for a version. ``kind`` says of what."""

    kind: Literal["model", "prompt"]
    name: str
    alias: str
    digest: str
    author: str = ""
    changed_at: float = 0.0

    @property
    def id(self) -> str:
        return f"{self.kind}:{self.name}:{self.alias}"


class Release(msgspec.Struct, frozen=True, kw_only=True):
    """All that decides an answer of a service. ``model``, ``prompt``, ``index`` and ``guards`` are ids of versions,
    the latter three empty where there is none; ``defaults`` are members of a request, as one canonical JSON object,
    that hold where the client says nothing. ``id`` is ``release_id`` of the four and of ``service``."""

    id: str
    service: str
    model: str
    prompt: str = ""
    index: str = ""
    guards: str = ""
    defaults: bytes = b"{}"
    author: str = ""
    message: str = ""
    created_at: float = 0.0


def digest(source: bytes) -> str:
    """Names what ``source`` says."""
    return hashlib.sha256(source).hexdigest()[:16]


def release_id(service: str, model: str, prompt: str, index: str, guards: str, defaults: bytes) -> str:
    """The id of the release that these make."""
    return "rel_" + digest(
        b"\0".join(each.encode() for each in (service, model, prompt, index, guards)) + b"\0" + defaults
    )


# -- who gets which ----------------------------------------------------------------------------------------------


class Range(msgspec.Struct, frozen=True, array_like=True):
    """Whoever's hash lies from the end of the range before (0 for the first) up to ``end``, not included, gets
    ``release``. ``end`` ascends; that of the last is ``WHOLE``."""

    end: int
    release: str


class Segment(msgspec.Struct, frozen=True, kw_only=True):
    """Whom a rollout is about: every kind that is named must match, by any of its values. ``headers`` are a name in
    lower case and a value each, ``keys`` are key ids."""

    headers: tuple[tuple[str, str], ...] = ()
    keys: tuple[str, ...] = ()
    projects: tuple[str, ...] = ()


class Mirror(msgspec.Struct, frozen=True, kw_only=True):
    """Copies of ``share`` (millionths) of the units' requests go to ``release`` as well; what it answers nobody gets.
    At most ``budget_nano`` is spent on copies in a UTC day, None: no bound."""

    release: str
    share: int
    budget_nano: int | None = None


class Warm(msgspec.Struct, frozen=True, array_like=True):
    """``release`` stays loaded ``until`` then; None: for good."""

    release: str
    until: float | None = None


class Split(msgspec.Struct, frozen=True, kw_only=True):
    """Who gets which release of a service. The store owns it from the first on; ``origin`` is the digest of what the
    deployment file said of the service then.

    A unit is assigned by ``hash(salt, unit)``; ``sticky`` says what the unit is: the user (else the conversation,
    else the request), the conversation (else the request), or each request. Those whom ``segment`` matches get
    ``inside`` in the place of ``ranges``. ``rollout`` is the one that moves it, empty: none.
    """

    service: str
    ranges: tuple[Range, ...]
    salt: str
    sticky: Literal["user", "conversation", "request"] = "user"
    segment: Segment | None = None
    inside: tuple[Range, ...] = ()
    mirror: Mirror | None = None
    warm: tuple[Warm, ...] = ()
    rollout: str = ""
    origin: str = ""
    changed_at: float = 0.0


# -- rollouts ----------------------------------------------------------------------------------------------------

Preset = Literal["canary", "blue_green", "shadow", "ab", "champion_challenger", "rollback"]
"""``rollback`` has no gates: it loads a cold release, then switches."""

Scorer = Literal["success", "latency", "speed", "cost", "format", "similarity", "judge", "feedback"]
"""What makes a score of a request, always in [0, 1], more is better; a request that failed has 0 in each.

``success``: 1 unless it failed. ``latency``: 1 when it took at most ``bound`` seconds. ``speed``: 1 when it made at
least ``bound`` tokens a second. ``cost``: 1 less its share of ``bound`` dollars, at least 0. ``format``: 1 when the
reply has the form that ``settings`` tell. ``similarity``: cosine of the reply's embedding and of a text's. ``judge``:
what a model says of it. ``feedback``: what clients and people say, by the name in ``settings``.
"""


class Measure(msgspec.Struct, frozen=True, kw_only=True):
    """One metric of a plan. ``version`` names scorer and settings together, so that scores of two versions are never
    added; ``settings`` is JSON, as ``penstock.quality.config`` has it for each scorer."""

    metric: str
    scorer: Scorer
    version: str
    bound: float | None = None
    settings: bytes = b"{}"


class Gate(msgspec.Struct, frozen=True, kw_only=True):
    """The candidate may be worse than the champion in the mean of ``metric`` by less than ``margin`` (above 0)."""

    metric: str
    margin: float = 0.05


class Step(msgspec.Struct, frozen=True, kw_only=True):
    """``share`` of the traffic (millionths) until ``hold_s`` seconds have passed and the candidate has ``samples``
    units."""

    share: int
    hold_s: float = 0.0
    samples: int = 0


class Plan(msgspec.Struct, frozen=True, kw_only=True):
    """What a rollout does, frozen when it starts. ``champion`` is the release whose place ``candidate`` takes.

    ``alpha``: the chance, at most, to roll back a candidate that is no worse, and to promote one that is worse than
    the margin. A unit counts once in ``window_s`` seconds. Nothing is decided below ``min_samples`` units of the
    candidate; at ``max_samples``, or after ``deadline_s``, ``on_deadline`` holds. ``promote``: by itself when every
    gate says so, or after asking. ``keep_warm_s``: how long the release before stays loaded, None: for good.
    ``mirror_share`` and ``mirror_budget_nano`` are of copies, for ``shadow``, ``champion_challenger``, and a
    ``blue_green`` with gates.
    """

    preset: Preset
    candidate: str
    champion: str
    steps: tuple[Step, ...]
    gates: tuple[Gate, ...] = ()
    measures: tuple[Measure, ...] = ()
    alpha: float = 0.05
    min_samples: int = 50
    max_samples: int = 3000
    window_s: float = 86400.0
    deadline_s: float = 7 * 86400.0
    on_deadline: Literal["rollback", "ask"] = "rollback"
    promote: Literal["automatic", "ask"] = "automatic"
    sticky: Literal["user", "conversation", "request"] = "user"
    segment: Segment | None = None
    keep_warm_s: float | None = 86400.0
    mirror_share: int = 0
    mirror_budget_nano: int | None = None


RolloutState = Literal[
    "loading", "running", "paused", "asking", "promoted", "rolled_back", "aborted", "failed", "done"
]
"""``loading``: the candidate's model is being loaded everywhere. ``asking``: a person decides. The last five are
ends; ``done`` is that of a ``shadow``, which nobody was served by."""

ENDED: frozenset[RolloutState] = frozenset(("promoted", "rolled_back", "aborted", "failed", "done"))


class Rollout(msgspec.Struct, frozen=True, kw_only=True):
    """``step`` is the place in the plan's steps, ``since`` when it began; ``decisions`` how many there have been.
    ``paused_s``: seconds that it has stood still, which the deadline does not count. ``reason`` says why it is as it
    is, for people. ``scored_to`` is the number of the last score that a decision has seen."""

    id: str
    service: str
    plan: Plan
    state: RolloutState
    step: int = 0
    since: float = 0.0
    started_at: float = 0.0
    ended_at: float | None = None
    paused_s: float = 0.0
    decisions: int = 0
    scored_to: int = 0
    reason: str = ""
    author: str = ""


Deed = Literal[
    "start", "load", "step", "hold", "ask", "pause", "resume", "approve", "promote", "rollback", "abort", "fail",
    "end",
]  # fmt: skip
"""What was decided. ``load``: the candidate is loaded everywhere, and its first step begins."""


class Decision(msgspec.Struct, frozen=True, kw_only=True):
    """One thing that was decided of a rollout, by the loop (``actor`` empty) or a person. ``number`` counts from 1.
    ``evidence`` is JSON: what was known then."""

    rollout: str
    number: int
    at: float
    actor: str
    what: Deed
    reason: str
    evidence: bytes = b"{}"


# -- scores ------------------------------------------------------------------------------------------------------


class Score(msgspec.Struct, frozen=True, kw_only=True, array_like=True, gc=False):
    """What one metric says of one answer; ``request_id``, ``release``, ``metric`` and ``version`` name it.

    ``value`` is in [0, 1]. ``unit`` is a hash of whom the request was assigned by. ``copied``: of a mirrored copy,
    paired with the answer that the client got. ``at`` is when the request came, ``arrived_at`` when this was known.
    A score that a client gives knows only the request: its ``service``, ``release``, ``rollout`` and ``unit`` are
    empty until the store has looked them up.
    """

    request_id: str
    at: float
    arrived_at: float
    service: str
    release: str
    rollout: str
    metric: str
    version: str
    value: float
    unit: str
    copied: bool = False
    note: str = ""


class _Given(msgspec.Struct, frozen=True):
    """What the note of a client's score says of the client."""

    project: str = ""


def giver(score: Score) -> str:
    """The project of the client that gave it; empty: it was made here."""
    if not score.note.startswith("{"):
        return ""
    try:
        return msgspec.json.decode(score.note, type=_Given).project
    except msgspec.DecodeError:
        return ""


def belongs(score: Score, requests: Iterable[tuple[float, str]]) -> bool:
    """Whether it is of one of these requests, by arrival and project, that all have the id which it names."""
    given_by = giver(score)
    if given_by:
        return any(given_by == project for _, project in requests)
    return any(abs(score.at - at) < _SAME_S for at, _ in requests)


class Scored(msgspec.Struct, frozen=True, tag="scored", array_like=True, gc=False):
    """Scores on their way to the store, in a journal."""

    scores: tuple[Score, ...]


# -- what the deployment file says -------------------------------------------------------------------------------


class Served(msgspec.Struct, frozen=True, kw_only=True):
    """What the deployment file says now: ``models`` and ``prompts`` by name, and ``services`` as the releases that it
    makes of them. The id of such a release is the ``origin`` of the split that begins with it."""

    models: Mapping[str, ModelVersion] = {}
    prompts: Mapping[str, PromptVersion] = {}
    services: Mapping[str, Release] = {}
