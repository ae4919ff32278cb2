"""What the deployment file may say of what outlives a process."""

from __future__ import annotations

from typing import Annotated, Literal

import msgspec

Days = Annotated[float, msgspec.Meta(gt=0, le=36500)]


class Journal(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Where usage waits on this machine's disk for its way into the store."""

    limit_bytes: Annotated[int, msgspec.Meta(ge=65536, le=1 << 40, extra={"form": "size"})] = 256 << 20
    """How much may wait while the store is away; then requests are refused with a 503."""
    sync_ms: Annotated[int, msgspec.Meta(ge=1, le=10_000)] = 50
    """At most so much of it, in time, is lost when the machine itself stops. Nothing is when a process does."""


class Audit(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What is kept of what was done. Administrative acts always are."""

    capture: Literal["none", "hashes", "content"] = "none"
    """Prompts and replies: not at all, their SHA-256, or whole. A project may have its own policy."""
    content_days: Days = 30.0
    """How long prompts and replies, or their hashes, are kept; that they were there stays."""
    key: str = ""
    """The file of the Ed25519 key, in PEM, that signs the audit's heads; made when it is not there. All gateways of
    one store need the same. Default: `audit.key` in the home."""
    administrative_days: Days = 3650.0
    """How long it is kept what an administrative act changed; that it happened stays."""


class StateSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What outlives a process."""

    store: str = ""
    """`postgresql://USER:PASSWORD@HOST/NAME` for several gateways. Default: an SQLite file in the home."""
    journal: Journal = Journal()
    """Where usage waits for its way into the store."""
    audit: Audit = Audit()
    """What is kept of what was done."""
    ledger_days: Days = 3650.0
    """How long rows of the ledger are kept."""
    scores_days: Days = 365.0
    """How long scores of answers are kept. A rollout goes by those that are there: it must not take longer. What was
    decided, and why, stays."""

    def __repr__(self) -> str:
        return "StateSettings()"
