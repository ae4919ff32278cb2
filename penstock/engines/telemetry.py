"""What an engine says of itself on its metrics page: one table of names for each engine, and a reader. Pure.

Engines call the same thing differently, and rename it from one version to the next. So each fact has all the names
that it ever had, and one that is on the page under none of them is unknown: never zero. A colon in a name counts as
``_``, as collectors in between turn one into the other.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping, Sequence
from types import MappingProxyType

import msgspec


class Telemetry(msgspec.Struct, frozen=True, kw_only=True):
    """What is known of one replica; None: its engine does not say. ``kv_use`` and ``accepted`` are shares, the latter
    of the tokens that were drafted in speculative decoding; where the engine has counters of those instead, they are
    ``drafted_tokens`` and ``accepted_tokens``, since it began. ``notes`` say what was expected and not there."""

    engine: str = ""
    running: int | None = None
    waiting: int | None = None
    kv_use: float | None = None
    accepted: float | None = None
    drafted_tokens: float | None = None
    accepted_tokens: float | None = None
    notes: tuple[str, ...] = ()


class Name(msgspec.Struct, frozen=True):
    """A metric, or those of its series whose label ``label`` says ``value``."""

    metric: str
    label: str = ""
    value: str = ""


class Names(msgspec.Struct, frozen=True, kw_only=True):
    """How one engine calls things, the newest name first. ``prefix`` tells its pages from others'. Facts without a
    name are never there; the ``optional`` ones may be missing without a note."""

    engine: str
    prefix: str
    running: tuple[Name, ...] = ()
    waiting: tuple[Name, ...] = ()
    kv_use: tuple[Name, ...] = ()
    accepted: tuple[Name, ...] = ()
    drafted_tokens: tuple[Name, ...] = ()
    accepted_tokens: tuple[Name, ...] = ()
    optional: frozenset[str] = frozenset()


def _named(*names: str) -> tuple[Name, ...]:
    return tuple(map(Name, names))


ENGINES: tuple[Names, ...] = (
    Names(
        engine="vLLM",
        prefix="vllm_",
        running=_named("vllm_num_requests_running"),
        waiting=_named("vllm_num_requests_waiting"),
        kv_use=_named("vllm_kv_cache_usage_perc", "vllm_gpu_cache_usage_perc"),
        accepted=_named("vllm_spec_decode_draft_acceptance_rate"),
        drafted_tokens=_named("vllm_spec_decode_num_draft_tokens_total"),
        accepted_tokens=_named("vllm_spec_decode_num_accepted_tokens_total"),
    ),
    Names(
        engine="SGLang",
        prefix="sglang_",
        running=_named("sglang_num_running_reqs"),
        waiting=_named("sglang_num_queue_reqs"),
        kv_use=_named("sglang_token_usage", "sglang_full_token_usage"),
        accepted=_named("sglang_spec_accept_rate"),
    ),
    Names(
        engine="TGI",
        prefix="tgi_",
        running=_named("tgi_batch_current_size"),
        waiting=_named("tgi_queue_size"),
    ),
    Names(
        engine="TensorRT-LLM",
        prefix="trtllm_",
        running=_named("trtllm_num_requests_running", "trtllm_num_active_requests"),
        waiting=_named("trtllm_num_requests_waiting", "trtllm_num_queued_requests"),
        kv_use=_named("trtllm_kv_cache_utilization", "trtllm_kv_cache_usage_perc"),
        drafted_tokens=_named("trtllm_spec_decode_drafted_tokens_total"),
        accepted_tokens=_named("trtllm_spec_decode_accepted_tokens_total"),
    ),
    Names(
        engine="TensorRT-LLM on Triton",
        prefix="nv_trt_llm_",
        running=(Name("nv_trt_llm_request_metrics", "request_type", "scheduled"),),
        waiting=(Name("nv_trt_llm_request_metrics", "request_type", "waiting"),),
        kv_use=(Name("nv_trt_llm_kv_cache_block_metrics", "kv_cache_block_type", "fraction"),),
    ),
    Names(
        engine="llama.cpp",
        prefix="llamacpp_",
        running=_named("llamacpp_requests_processing"),
        waiting=_named("llamacpp_requests_deferred"),
        kv_use=_named("llamacpp_kv_cache_usage_ratio"),
        drafted_tokens=_named("llamacpp_spec_decode_num_draft_tokens_total"),
        accepted_tokens=_named("llamacpp_spec_decode_num_accepted_tokens_total"),
        # Newer versions do not say it any more.
        optional=frozenset({"kv_use"}),
    ),
)

_EXPECTED: Mapping[str, str] = MappingProxyType(
    {
        "running": "how many requests it works on",
        "waiting": "how many wait",
        "kv_use": "how full its KV cache is",
    }
)
_SAMPLE = re.compile(r"([A-Za-z_:][\w:]*)\s*(?:\{(.*)\})?\s+([^\s#]+)")
_LABEL = re.compile(r'(\w+)\s*=\s*"((?:[^"\\]|\\.)*)"')
# Ranks of one engine tell of the same requests, engines side by side of their own.
_RANKS = frozenset({"tp_rank", "pp_rank", "moe_ep_rank"})

_Labels = Mapping[str, str]
_Series = list[tuple[_Labels, float]]


def read(page: str) -> Telemetry | None:
    """What a page in Prometheus' text format says; None: it is of no engine that is known here. Never raises: lines
    that cannot be read say nothing."""
    found: dict[str, _Series] = {}
    for name, labels, value in _samples(page):
        found.setdefault(name, []).append((labels, value))
    for names in ENGINES:
        if any(name.startswith(names.prefix) for name in found):
            return _told(names, found)
    return None


def _told(names: Names, found: Mapping[str, _Series]) -> Telemetry:
    notes = []
    for fact, about in _EXPECTED.items():
        known: tuple[Name, ...] = getattr(names, fact)
        if known and fact not in names.optional and not _any(known, found):
            sought = ", ".join(name.metric for name in known)
            notes.append(f"{names.engine} does not tell {about}: its page has none of {sought}")
    return Telemetry(
        engine=names.engine,
        running=_count(names.running, found),
        waiting=_count(names.waiting, found),
        kv_use=_share(names.kv_use, found),
        accepted=_share(names.accepted, found),
        drafted_tokens=_total(names.drafted_tokens, found),
        accepted_tokens=_total(names.accepted_tokens, found),
        notes=tuple(notes),
    )


def _count(names: Sequence[Name], found: Mapping[str, _Series]) -> int | None:
    total = _total(names, found)
    return None if total is None else round(total)


def _total(names: Sequence[Name], found: Mapping[str, _Series]) -> float | None:
    """The sum over engines side by side, of each what the rank says that says most."""
    series = _any(names, found)
    if not series:
        return None
    # A server that counts by priority, too, has the whole under none.
    whole = [each for each in series if not each[0].get("priority")] or series
    most: dict[tuple[tuple[str, str], ...], float] = {}
    for labels, value in whole:
        of = tuple(sorted((name, said) for name, said in labels.items() if name not in _RANKS))
        most[of] = max(value, most.get(of, value))
    return sum(most.values())


def _share(names: Sequence[Name], found: Mapping[str, _Series]) -> float | None:
    """The largest; what is no share is unknown."""
    most = max((value for _, value in _any(names, found)), default=None)
    return most if most is not None and 0.0 <= most <= 1.0 else None


def _any(names: Sequence[Name], found: Mapping[str, _Series]) -> _Series:
    """Of the first name that is there."""
    for name in names:
        series = [
            (labels, value)
            for labels, value in found.get(name.metric, ())
            if not name.label or labels.get(name.label) == name.value
        ]
        if series:
            return series
    return []


def _samples(page: str) -> Iterator[tuple[str, _Labels, float]]:
    for line in page.splitlines():
        if not line or line[0] == "#" or (match := _SAMPLE.match(line)) is None:
            continue
        name, labels, said = match.groups()
        try:
            value = float(said)
        except ValueError:
            continue
        if math.isfinite(value):
            yield name.replace(":", "_"), dict(_LABEL.findall(labels or "")), value
