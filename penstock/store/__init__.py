"""The store: what outlives a process, in SQLite or PostgreSQL.

Three ports, which one adapter serves. Calls block; they are made at start, by background loops and by administrative
acts in a thread, never on the live path. May be used from any thread. Every call raises
``PenstockError(STORE_UNAVAILABLE)`` when the state cannot be read or written. ``tests/contracts/`` has their laws.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Protocol

from penstock.core.accounts import Change, Directory, Once, SubjectKind
from penstock.core.usage import Act, AuditQuery, AuditRow, Entry, Finding, GroupBy, Head, UsageQuery, UsageSum, Used


class StateStore(Protocol):
    """Who may call, and how much. ``tests/contracts/store.py`` is its law."""

    def created_at(self) -> int:
        """When this store was made, in seconds since 1970-01-01 UTC."""

    def version(self) -> int:
        """That of the directory now: cheap enough to ask four times a second."""

    def directory(self) -> Directory:
        """All of it, in the order of ids, as one consistent snapshot."""

    def once(self, key: str) -> Once | None:
        """What was carried out under this idempotency key in the last day."""

    def change(self, change: Change) -> int:
        """Carries it out in one transaction, its act in the audit included, durable when it returns; the new version.

        Raises ``PenstockError(STORE_CONFLICT)``, with nothing changed, when the directory is not of
        ``change.version`` any more, the idempotency key was used meanwhile, two keys would share a digest, or one of
        the decisions, by rollout and number, was made already.
        """

    def used(self, keys: Sequence[Used]) -> None:
        """Notes when keys were last used (never back), and the digests of those that moved to another pepper; only
        the latter makes a new version."""

    def beat(self, gateway: str, at: float, ready: Sequence[str] = ()) -> Mapping[str, frozenset[str]]:
        """Notes that the gateway is alive, and can serve the releases ``ready`` right now. What each gateway that was
        alive in the last 10 seconds said so, this one included, in the order of their names."""

    def close(self) -> None:
        """Lets go of the store. Idempotent."""


class LedgerStore(Protocol):
    """What was used. Append-only. ``tests/contracts/ledger.py`` is its law."""

    def append(self, entries: Sequence[Entry]) -> int:
        """Writes the rows that are not there yet, by request and attempt, in one transaction; how many were new."""

    def request(self, request_id: str) -> Sequence[Entry]:
        """The rows of one request, by attempt."""

    def sums(self, query: UsageQuery, by: Sequence[GroupBy]) -> Sequence[UsageSum]:
        """Added up, in the order of the groups; one sum when ``by`` is empty."""

    def entries(self, query: UsageQuery, after: tuple[float, str, int] | None, most: int) -> Sequence[Entry]:
        """A page of rows by (received_at, request_id, attempt), those after the given place."""

    def spent(self, kind: SubjectKind, service: str, since: float) -> Mapping[str, int]:
        """Cost in nano by subject of this kind (``""`` for global), of rows received from ``since`` on; ``service``
        empty: all of them."""

    def counted(
        self, kind: SubjectKind, service: str, since: float, step_s: float
    ) -> Iterator[tuple[str, float, int, int, int]]:
        """For each subject and each ``step_s`` since then: subject, the step's begin, requests, input tokens, output
        tokens."""

    def forget(self, before: float) -> int:
        """Drops rows received before then, as retention has it; how many."""


class AuditStore(Protocol):
    """What was done. A chain. ``tests/contracts/audit.py`` is its law."""

    def append_acts(self, acts: Sequence[tuple[str, Act]]) -> int:
        """Adds acts by their ids, those not there yet, at the chain's end; how many were new."""

    def acts(self, query: AuditQuery, before: int | None, most: int) -> Sequence[AuditRow]:
        """A page, newest first, of rows numbered below ``before``."""

    def redact(self, numbers: Sequence[int], act: Act) -> int:
        """Empties the content of these rows for good and adds ``act``, which says why; how many had any."""

    def expire(self, kind: str, before: float, act: Act) -> int:
        """Redacts what retention no longer allows, in the same way."""

    def head(self) -> Head | None:
        """The newest signed head; signs one when the chain has grown since. None of an empty chain."""

    def verify(self, heads: Sequence[Head]) -> Sequence[Finding]:
        """Everything that is wrong with the chain, with the heads in the store, and with those given, which somebody
        kept elsewhere."""
