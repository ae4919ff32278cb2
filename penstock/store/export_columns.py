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
    "cache",
    "saved_nano",
    "saved_usd",
)
"""Of every export, in this order. ``cost_nano`` and ``saved_nano`` are exact, in billionths of a US dollar;
``cost_usd`` and ``saved_usd`` are the same in dollars, decimal numbers. Times are UTC. Where ``cache`` is not empty
no upstream worked: the tokens are those of an answer that was there already."""
