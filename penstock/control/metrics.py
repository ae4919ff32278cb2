"""What the supervisor measures of the way into the store, and of alerts: a row each."""

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

ALERTS_FIRING = Gauge(
    "penstock_alerts_firing",
    "Alerts that are not over, silenced ones included, by severity: page or ticket.",
    ("severity",),
)
ALERTS_DELIVERED = Counter(
    "penstock_alert_messages",
    "Messages about alerts to each receiver of this gateway; the outcome is delivered, or failed after all attempts.",
    ("receiver", "outcome"),
)
BUDGET_LEFT = Gauge(
    "penstock_error_budget_left",
    "What is left of the error budget of an objective, as a share of it; below 0 it is overspent.",
    ("service", "objective"),
)

ROWS = (JOURNAL_WAITING, JOURNAL_DAMAGED, STORE_AWAY, ALERTS_FIRING, ALERTS_DELIVERED, BUDGET_LEFT)
