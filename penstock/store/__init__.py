"""The store: what outlives a process, in SQLite or PostgreSQL.

Seven ports. Calls block; they are made at start, by background loops and by administrative
acts in a thread, never on the live path. May be used from any thread. Every call raises
``PenstockError(STORE_UNAVAILABLE)`` when the state cannot be read or written. ``tests/contracts/`` has their laws.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Protocol

import msgspec

from penstock.core.accounts import Change, Directory, Once, SubjectKind
from penstock.core.releases import Decision, Score
from penstock.core.requests import Erased, Place, RequestContent, RequestQuery, RequestRecord
from penstock.core.series import Alert, Fed, SeriesQuery, SeriesRow, Silence
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

    def request(self, request_id: str, near: float | None = None) -> Sequence[Entry]:
        """The rows of one request, by attempt; with ``near`` only those received within a second of then, as clients
        may call all of their requests alike."""

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
        """For each subject and each ``step_s`` since then: subject, the step's begin, requests, and the input and
        output tokens that an upstream worked for: those of answers from caches are no part of it."""

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

    def erase_scores(self, requests: Sequence[tuple[str, float, str]]) -> int:
        """Drops all scores of these requests, each by id, arrival and project, and what clients of the project have
        said of them; how many. Another request of the same id keeps its own."""

    def forget_scores(self, before: float) -> int:
        """Drops scores that arrived before then, as retention has it; how many. What was decided stays."""


class RequestStore(Protocol):
    """The request log: facts of requests, contents apart from them, whole days of both in an archive once they are
    old. ``tests/contracts/requests.py`` is its law."""

    def append_requests(self, records: Sequence[RequestRecord], contents: Sequence[RequestContent]) -> int:
        """Writes those that are not there yet, by arrival and id, and returns how many records were new. All of a
        UTC day or none of it; whoever is interrupted, or gets an error, hands in the same again. Lengths of time are
        kept to the microsecond."""

    def find(self, query: RequestQuery, before: Place | None, most: int) -> Sequence[RequestRecord]:
        """A page, newest first, archived days included. ``query.text`` is looked for, case folded, in the texts of at
        most the newest ``TEXT_LOOKED_AT`` requests that the rest of the query leaves and whose facts say that
        contents were kept; the next page looks at as many again. When the archive is needed and cannot be reached,
        this raises; what does not reach back to archived days never asks it."""

    def request(self, request_id: str) -> Sequence[RequestRecord]:
        """Those that have this id, newest first: of the days that are not in the archive, and only where there are
        none, of those that are."""

    def content(self, request_id: str, at: float) -> RequestContent | None:
        """What was said, None: it was not kept, or no longer is."""

    def archive(self, before: float) -> int:
        """Moves whole days that ended before then to the archive, as Parquet; how many. Does one at a time, and goes
        on after an interruption where it stopped; no row is lost or told twice meanwhile. Of several gateways one
        moves a day. What comes late for a day goes to the archive by itself, the next time."""

    def forget_requests(self, before: float, contents_before: float) -> int:
        """Drops facts, and contents, of whole UTC days that ended before then, as retention has it, archived ones
        included; how many days, files or rows. Contents go with their facts at the latest."""

    def about(self, subject: str, project: str | None) -> tuple[int, int, float | None, float | None]:
        """Of a subject: how many requests, how many contents, the first's and the last's arrival. Reads the archive,
        too."""

    def erase(self, subject: str, project: str | None) -> Erased:
        """Drops the contents of a subject's requests, and its name from their facts, archived ones included, and
        leaves no copy of either. Rows that are on their way when this is called are not seen; whoever calls it waits
        for them first. Raises when the archive cannot be reached, or another gateway is writing there; called again,
        it ends what it began."""


TEXT_LOOKED_AT = 20_000
"""Contents that one search for a text reads at most."""


class SeriesStore(Protocol):
    """What happened, added up by time. ``tests/contracts/series.py`` is its law."""

    def append_series(self, rows: Sequence[SeriesRow], fed: Fed) -> None:
        """Adds rows of the finest step of ``fed.gateway`` to what is there, and notes until when the gateway has told
        of everything, in one transaction. Rows are left out when ``fed.mark`` is what is noted already: who does not
        know whether a call came through makes it again."""

    def series(self, query: SeriesQuery) -> Sequence[SeriesRow]:
        """Rows added up, by time and then by the values of ``query.by``; ``key`` holds these, the rest of it is
        empty."""

    def fed(self) -> Sequence[Fed]:
        """What each gateway noted last, by name."""

    def coarsen(self, fine_before: float, middle_before: float, forget_before: float) -> None:
        """Rows of the finest step that begin before ``fine_before`` become rows of the middle one, those before
        ``middle_before`` of the coarsest, those before ``forget_before`` go; each time is rounded down to whole steps
        of the coarser rows. Gateways may do it at the same time."""


class AlertStore(Protocol):
    """Alerts and silences. ``tests/contracts/alerts.py`` is its law."""

    def alerts(self, since: float) -> Sequence[Alert]:
        """Those that are not over, and those that ended from then on, newest first."""

    def put_alerts(self, alerts: Sequence[Alert], expected: Mapping[str, float]) -> bool:
        """Writes them, by id and ``since``, unless one of theirs, or of those expected, that is not over has another
        ``changed_at`` than ``expected`` says (0.0, or nothing: it is not there): then nothing is written, and it
        returns False. So of several gateways one tells people."""

    def silences(self, now: float) -> Sequence[Silence]:
        """Those that still hold, oldest first."""

    def put_silence(self, silence: Silence) -> None:
        """Writes it, in place of the one of its id."""

    def forget_alerts(self, before: float) -> int:
        """Drops alerts and silences that were over before then, as retention has it; how many."""
