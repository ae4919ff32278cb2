"""What caches say of themselves: a row each."""

from __future__ import annotations

from penstock.core.metrics import Counter, Gauge, Histogram

READS = Counter(
    "penstock_cache_tier_reads",
    "Entries looked for in a tier, by what came of it: hit; miss; expired, as their time was over; damaged, as the "
    "bytes were not those that were put; failed; late, as the tier did not answer in time; resting, as it was passed "
    "over after failures; many, as it is not asked for so many at once.",
    ("tier", "outcome"),
)
READ_SECONDS = Histogram(
    "penstock_cache_tier_read_duration_seconds",
    "How long a request waited for Redis or S3, in seconds, found or not.",
    (0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0),
    ("tier",),
)
WRITES = Counter(
    "penstock_cache_tier_writes",
    "Entries to be written to a tier, by what came of it: written; failed; late; resting, as the tier was passed "
    "over after failures; shed, as too many waited; large, as no tier takes such.",
    ("tier", "outcome"),
)
WAITING = Gauge("penstock_cache_tier_waiting_writes", "Entries that wait to be written to a tier.", ("tier",))
SEMANTIC_REQUESTS = Counter(
    "penstock_cache_semantic_requests",
    "Requests for which the answer to another question was looked for.",
    ("service",),
)
SEMANTIC_HITS = Counter(
    "penstock_cache_semantic_hits", "Requests that got the answer to another question.", ("service",)
)
SEMANTIC_AUDITS = Counter(
    "penstock_cache_semantic_audits",
    "Hits behind which an answer is made all the same, to be compared.",
    ("service",),
)
SEMANTIC_WRONG = Counter(
    "penstock_cache_semantic_wrong", "Audits that found the answer of a hit wrong.", ("service",)
)
SEMANTIC_BOUND = Gauge(
    "penstock_cache_semantic_bound_ratio",
    "The proven bound on wrong hits of a scope over what `max_error` allows it, the largest of the service. At 1 "
    "hits stop.",
    ("service",),
)
SEMANTIC_ENTRIES = Gauge("penstock_cache_semantic_entries", "Answers that other questions may get.", ("service",))
SEMANTIC_UNSAID = Counter(
    "penstock_cache_semantic_unsaid",
    "What workers had to say to the supervisor about answers and did not, because it did not listen.",
)

ROWS = (
    *(READS, READ_SECONDS, WRITES, WAITING),
    *(SEMANTIC_REQUESTS, SEMANTIC_HITS, SEMANTIC_AUDITS, SEMANTIC_WRONG),
    *(SEMANTIC_BOUND, SEMANTIC_ENTRIES, SEMANTIC_UNSAID),
)
