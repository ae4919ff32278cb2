"""What the semantic cache says of what is done for it: a row each."""

from __future__ import annotations

from penstock.core.metrics import Counter

AUDITS = Counter(
    "penstock_cache_audits",
    "Answers that were served to another question, made again behind and compared: same or different; failed, as one "
    "could not be made or compared, and counts as different.",
    ("service", "outcome"),
)
COMPARISONS = Counter(
    "penstock_cache_comparisons",
    "Answers that were made and compared with that of the nearest question, so that something is learnt: same or "
    "different; failed; shed, as too many waited; unpaid, as the day's budget for that is spent.",
    ("service", "outcome"),
)
UNSOUGHT = Counter(
    "penstock_cache_unsought",
    "Questions for which no near one could be looked for: embedding, as the text was not embedded; desk, as the "
    "supervisor did not say; late, as it took too long; resting, as nobody was asked for a moment after that.",
    ("service", "reason"),
)
AUDIT_TOKENS = Counter(
    "penstock_cache_audit_tokens",
    "Tokens used to compare answers, of models and judges; not of embeddings.",
    ("service",),
)

ROWS = (AUDITS, COMPARISONS, UNSOUGHT, AUDIT_TOKENS)
