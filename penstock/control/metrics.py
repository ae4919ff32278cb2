"""What the supervisor measures of the way into the store: a row each."""

from __future__ import annotations

from penstock.core.metrics import Counter, Gauge

JOURNAL_WAITING = Gauge(
    "penstock_journal_waiting_bytes",
    "What was used and done here and is not in the store yet, in bytes of the journal; `state.journal.limit_bytes` "
    "bounds it.",
)
JOURNAL_DAMAGED = Counter(
    "penstock_journal_damaged",
    "Segments of the journal of which something could not be read; they are kept, and the log names them.",
)
STORE_AWAY = Gauge("penstock_store_away", "1 while the store does not answer, else 0.")

ROWS = (JOURNAL_WAITING, JOURNAL_DAMAGED, STORE_AWAY)
