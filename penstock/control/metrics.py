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

_REPLICA = ("model", "replica")

REPLICA_READY = Gauge("penstock_replica_ready", "1 while a replica takes requests, else 0.", _REPLICA)
REPLICA_RUNNING = Gauge("penstock_replica_running", "Requests that a replica's engine works on.", _REPLICA)
REPLICA_WAITING = Gauge("penstock_replica_waiting", "Requests that wait inside a replica's engine.", _REPLICA)
REPLICA_KV_USE = Gauge("penstock_replica_kv_use", "The share of its KV cache that a replica uses.", _REPLICA)
REPLICA_ACCEPTED = Gauge(
    "penstock_replica_speculative_accepted",
    "The share of the tokens drafted in speculative decoding that a replica has kept lately.",
    _REPLICA,
)
REPLICA_MEMORY = Gauge("penstock_replica_memory_bytes", "What is resident of a replica's process.", _REPLICA)
REPLICA_CPU = Gauge(
    "penstock_replica_cpu", "The share of this machine's processors that a replica's process uses.", _REPLICA
)
DEVICE_MEMORY = Gauge(
    "penstock_replica_device_memory_bytes", "Memory that a replica holds on devices of this machine.", _REPLICA
)
DEVICE_MEMORY_TOTAL = Gauge(
    "penstock_replica_device_memory_total_bytes", "All memory of the device that a replica is on.", _REPLICA
)
DEVICE_UTILISATION = Gauge(
    "penstock_replica_device_utilisation",
    "The share of the last moments in which the device that a replica is on computed.",
    _REPLICA,
)
REPLICA_ATTEMPTS = Gauge(
    "penstock_replica_attempts", "Attempts of this gateway that are in progress at a replica.", _REPLICA
)
BREAKER_OPEN = Gauge(
    "penstock_replica_breaker_open",
    "1 while a worker spares a replica because it failed, or because it asked for that; else 0.",
    _REPLICA,
)
MODEL_UTILISATION = Gauge(
    "penstock_model_utilisation",
    "Requests that a model's replicas work on, as a share of those that they could work on at once.",
    ("model",),
)

REPLICA_ROWS = (
    REPLICA_READY,
    REPLICA_RUNNING,
    REPLICA_WAITING,
    REPLICA_KV_USE,
    REPLICA_ACCEPTED,
    REPLICA_MEMORY,
    REPLICA_CPU,
    DEVICE_MEMORY,
    DEVICE_MEMORY_TOTAL,
    DEVICE_UTILISATION,
    REPLICA_ATTEMPTS,
    BREAKER_OPEN,
    MODEL_UTILISATION,
)

CACHE_SWEEPS = Counter(
    "penstock_cache_sweeps",
    "Sweeps of the caches that gateways share: whole, or partial where Redis or S3 failed or it took too long.",
    ("outcome",),
)
CACHE_SWEPT = Counter(
    "penstock_cache_swept_entries",
    "Entries that sweeps have removed from Redis and S3: what was invalidated, damaged or past its time.",
)

ROWS = (
    *REPLICA_ROWS,
    JOURNAL_WAITING,
    JOURNAL_DAMAGED,
    STORE_AWAY,
    ALERTS_FIRING,
    ALERTS_DELIVERED,
    BUDGET_LEFT,
    CACHE_SWEEPS,
    CACHE_SWEPT,
)
