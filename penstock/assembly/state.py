"""What outlives a process, opened: the store, and the secrets that lie beside it in the home."""

from __future__ import annotations

import contextlib
import secrets
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from penstock.access.config import AccessSettings
from penstock.access.peppers import Pepper, read_peppers
from penstock.core.clock import Clock
from penstock.core.usage import Finding, Head
from penstock.observe.config import ObserveSettings
from penstock.store.alerts import SqlAlerts
from penstock.store.audit import SqlAudit
from penstock.store.audit_key import load_audit_key
from penstock.store.audit_witness import HeadFile
from penstock.store.config import StateSettings
from penstock.store.database import open_database, sqlite_url
from penstock.store.ledger import SqlLedger
from penstock.store.migrations import migrate
from penstock.store.private_file import load_or_make
from penstock.store.requests import RequestLog, open_requests
from penstock.store.scores import SqlScores
from penstock.store.series import SqlSeries
from penstock.store.sql import SqlStore


class WitnessedAudit(SqlAudit):
    """Holds the chain also against the heads that this gateway has kept outside the store."""

    witness: HeadFile

    def verify(self, heads: Sequence[Head]) -> Sequence[Finding]:
        return super().verify((*heads, *self.witness.read()))


@dataclass(frozen=True)
class State:
    """``gateway`` is the name of this one, the same at every start of its home. ``shared``: others may use the same
    store. ``peppers``, the current one first."""

    gateway: str
    shared: bool
    store: SqlStore
    ledger: SqlLedger
    scores: SqlScores
    audit: WitnessedAudit
    requests: RequestLog
    series: SqlSeries
    alerts: SqlAlerts
    peppers: tuple[Pepper, ...]


@contextlib.contextmanager
def opened(
    home: Path, settings: StateSettings, access: AccessSettings, observe: ObserveSettings, clock: Clock
) -> Iterator[State]:
    """The state of a home, brought to the newest shape. Raises ``PenstockError`` (STORE_UNAVAILABLE, BAD_DEPLOYMENT)
    with the mend."""
    gateway = load_or_make(home / "gateway", "The gateway's name", lambda: b"g" + secrets.token_hex(4).encode())
    database = open_database(settings.store or sqlite_url(home / "state.db"))
    with contextlib.closing(database):
        migrate(database, now=clock.wall())
        key = Path(settings.audit.key).expanduser() if settings.audit.key else home / "audit.key"
        witness = HeadFile(home / "audit-heads")
        audit = WitnessedAudit(database, load_audit_key(key), witness.append, clock.wall)
        audit.witness = witness
        archive = observe.requests.archive or str(home / "archive")
        yield State(
            gateway=gateway.decode(),
            shared=bool(settings.store),
            store=SqlStore(database, audit, clock.wall),
            ledger=SqlLedger(database),
            scores=SqlScores(database),
            audit=audit,
            requests=open_requests(database, home / "requests", archive, gateway=gateway.decode(), wall=clock.wall),
            series=SqlSeries(database),
            alerts=SqlAlerts(database),
            peppers=read_peppers(access.pepper, home / "pepper"),
        )
