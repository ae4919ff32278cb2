"""The store: what outlives a process, in SQLite or PostgreSQL.

Four ports, which one adapter serves. Calls block; they are made at start, by background loops and by administrative
acts in a thread, never on the live path. May be used from any thread. Every call raises
``PenstockError(STORE_UNAVAILABLE)`` when the state cannot be read or written. ``tests/contracts/`` has their laws.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Protocol

import msgspec

from penstock.core.accounts import Change, Directory, Once, SubjectKind
from penstock.core.releases import Decision, Score
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
        """Cost in nano by subject of this kind (``""`` for global), of what clients asked for from ``since`` on;
        ``service`` empty: all of them."""

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


LATE_S = 600.0
"""How much later than a client's score of it a request may be told of."""


class ScoreSum(msgspec.Struct, frozen=True, kw_only=True):
    """Scores of one release by one ``version`` of one ``metric``: how many there are, and their mean, in [0, 1].
    ``copied``: of mirrored copies, else of what clients got."""

    metric: str
    version: str
    copied: bool
    count: int
    mean: float


class ScoreStore(Protocol):
    """How releases did, and what was decided of it. Append-only. ``tests/contracts/scores.py`` is its law."""

    def append_scores(self, scores: Sequence[Score]) -> int:
        """Writes the scores that are not there yet, by request, release, metric and version, in one transaction; how
        many were new. The first of a name stays as it is: who changes a mind says so by another version.

        A score without a release, as a client gives it, gets service, release, rollout and unit from the newest other
        score of its request that is not of a copy; else service and release from the ledger's newest row of it, and
        is then of no rollout; else it is kept as it is, as another gateway may not have told of the request yet. What
        comes within ``LATE_S`` is then looked at again with each call, and gets a new number when more is known. It
        is not written where the same metric and version of the request is there with that release, or with none.

        A value outside [0, 1] becomes the nearest in it, one that is no number 0: one absurd number must not keep
        everything behind it out of the store.
        """

    def scores(self, rollout: str, after: int, most: int) -> Sequence[tuple[int, Score]]:
        """Those of a rollout with a number above ``after``, by number, which is the order of arrival here. Whoever
        goes on after the last number that it saw misses none, however many write at once."""

    def of_request(self, request_id: str) -> Sequence[Score]:
        """All of one request, copies included, in order of arrival. Clients choose ids, and may choose one twice."""

    def summary(self, service: str, release: str, since: float) -> Sequence[ScoreSum]:
        """Scores of requests that came from ``since`` on, added up, by metric, version and whether of copies."""

    def worst_pairs(self, rollout: str, metric: str, most: int) -> Sequence[tuple[Score, Score]]:
        """What the client got and its copy, of the requests where the copy fell most behind in the metric; the worst
        first, none where it did as well or better."""

    def decisions(self, rollout: str) -> Sequence[Decision]:
        """All of a rollout, by number. ``StateStore.change`` writes them."""

    def forget_scores(self, before: float) -> int:
        """Drops scores that arrived before then, as retention has it; how many. What was decided stays."""
