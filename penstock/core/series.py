"""What happened, added up by time: the numbers under every chart, that outlive the requests they are made of.

Distributions are sketches: ``(index, count)`` by ascending index, where the index of a value ``v`` in seconds is
``ceil(log(v) / log(GAMMA))``, and the value told of one ``2 * GAMMA ** index / (GAMMA + 1)``: at most 1 % from any
value of the bucket (Masson, Rim, Lee: DDSketch, VLDB 2019). Sketches are added by adding counts. What is below
``LEAST_S`` counts as that.
"""

from __future__ import annotations

from typing import Literal

import msgspec

GAMMA = 1.02
LEAST_S = 1e-5

Sketch = tuple[tuple[int, int], ...]

STEPS = (10.0, 60.0, 3600.0)
"""Lengths of a row's time in seconds. Finer rows become coarser ones as they grow old."""

Dimension = Literal["service", "model", "release", "project", "key", "gateway"]

Measure = Literal["duration", "first_chunk", "between", "queued", "overhead"]


class SeriesKey(msgspec.Struct, frozen=True, array_like=True):
    """What a row is about. Beyond a bound of keys in one step a value is ``other``."""

    gateway: str
    service: str
    model: str
    release: str
    project: str
    key_id: str


class SeriesRow(msgspec.Struct, frozen=True, kw_only=True):
    """Requests that *ended* in ``[at, at + step_s)``, ``at`` a multiple of ``step_s`` since the epoch. Counts are of
    what clients asked for; ``internal`` is what the gateway asked for itself, in no other count.

    ``failed`` are those that ended in a fault of ours or of an upstream (status 5xx), ``refused`` those that the
    caller's own fault or limit ended (4xx), ``left`` those whose client went away. ``codes`` by fault, ``caches`` by
    ``caching.Verdict``: of ``cache_hits`` the answer was there already, of ``cache_misses`` it was made though it
    might have been. Tokens are those that engines have counted for these requests: upper bounds, which the ledger
    charges where nobody has, and answers from caches are left out. ``fallbacks``: an attempt at another model than
    the first won; ``retries``: attempts beyond the first. ``output_s`` is the time in which ``streamed_tokens``,
    those of streams after their first, were made, for tokens a second. Beside each sketch stands the sum of its
    values in seconds, for the mean.
    """

    at: float
    step_s: float
    key: SeriesKey
    requests: int = 0
    failed: int = 0
    refused: int = 0
    left: int = 0
    internal: int = 0
    codes: dict[str, int] = {}
    input_tokens: int = 0
    cached_tokens: int = 0
    output_tokens: int = 0
    streamed_tokens: int = 0
    output_s: float = 0.0
    cost_nano: int = 0
    retries: int = 0
    fallbacks: int = 0
    cache_hits: int = 0
    cache_misses: int = 0
    caches: dict[str, int] = {}
    duration: Sketch = ()
    first_chunk: Sketch = ()
    between: Sketch = ()
    queued: Sketch = ()
    overhead: Sketch = ()
    duration_s: float = 0.0
    first_chunk_s: float = 0.0
    between_s: float = 0.0
    queued_s: float = 0.0
    overhead_s: float = 0.0


class SeriesQuery(msgspec.Struct, frozen=True, kw_only=True):
    """Rows that begin from ``since`` (included) to ``until`` (not), added up to steps of ``step_s``, a multiple of
    the finest that there still is, and by ``by``; None: any. Only these ``sketches`` are wanted, the others come
    empty; None: all. They are most of the work."""

    since: float
    until: float
    step_s: float
    by: tuple[Dimension, ...] = ()
    sketches: tuple[Measure, ...] | None = None
    service: str | None = None
    model: str | None = None
    release: str | None = None
    project: str | None = None
    key_id: str | None = None
    gateway: str | None = None


class Fed(msgspec.Struct, frozen=True, kw_only=True):
    """Until when everything of a gateway is in the series and the log: what ends later may be missing yet. ``shed``
    counts records that were lost since it was first heard of, as they came faster than they could be written.
    ``mark`` says how far the gateway has read what it tells of, in its own words: a mark that is noted already is
    never told twice."""

    gateway: str
    until: float
    shed: int = 0
    mark: bytes = b""


# -- objectives and alerts ---------------------------------------------------------------------------------------

Severity = Literal["page", "ticket"]


class Alert(msgspec.Struct, frozen=True, kw_only=True):
    """Something that wants somebody. ``id`` names the condition (``slo/SERVICE/OBJECTIVE/SEVERITY``, say), and is the
    same each time it fires. ``since`` when it began, ``resolved_at`` when it was over, None: it is not. ``value`` and
    ``limit`` in the condition's own unit, ``text`` the sentence for people. ``silenced_by``: the silence that keeps
    it quiet."""

    id: str
    kind: Literal["burn", "budget", "replica", "store", "shed", "delivery", "quality"]
    severity: Severity
    service: str = ""
    project: str = ""
    text: str
    value: float = 0.0
    limit: float = 0.0
    since: float
    changed_at: float
    resolved_at: float | None = None
    silenced_by: str = ""
    notified_at: float | None = None


class Silence(msgspec.Struct, frozen=True, kw_only=True):
    """Alerts whose id matches ``pattern`` (``*`` stands for anything) tell nobody until ``until``."""

    id: str
    pattern: str
    reason: str = ""
    by: str = ""
    created_at: float
    until: float
