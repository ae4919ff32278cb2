"""What the ledger's columns of tokens are called, there and in every export."""

from __future__ import annotations

TOKENS = (
    "input_tokens",
    "cached_read_tokens",
    "cached_write_tokens",
    "output_tokens",
    "reasoning_tokens",
    "audio_input_tokens",
    "audio_output_tokens",
    "images",
)
"""The columns of ``Tokens``, in the order of its fields."""
