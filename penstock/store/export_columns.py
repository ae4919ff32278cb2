"""What every export of the ledger has, whatever its format."""

from __future__ import annotations

from penstock.store.ledger_columns import TOKENS

COLUMNS = (
    "request_id",
    "attempt",
    "gateway",
    "received_at",
    "settled_at",
    "project",
    "team",
    "user",
    "key_id",
    "service",
    "model",
    "kind",
    "purpose",
    "ending",
    "status",
    *TOKENS,
    "estimated",
    "cost_nano",
    "cost_usd",
    "price",
    "release",
)
"""Of every export, in this order. ``cost_nano`` is exact, in billionths of a US dollar; ``cost_usd`` is the same in
dollars, a decimal number. Times are UTC."""
