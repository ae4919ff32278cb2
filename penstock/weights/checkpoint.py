"""A BERT sentence encoder as sentence-transformers lays it out: which files, and what they say."""

from __future__ import annotations

COMPANIONS = (
    "config.json",
    "vocab.txt",
    "tokenizer_config.json",
    "sentence_bert_config.json",
    "modules.json",
    "1_Pooling/config.json",
)
"""What is read beside ``model.safetensors``, by its path from there."""

RECIPE = 1
"""Counts the versions of the conversion; a GGUF that an earlier one made is made again."""
