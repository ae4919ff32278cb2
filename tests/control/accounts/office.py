"""The administration over a real store in a file, with two projects full of things, for the tests of its faces."""

from __future__ import annotations

import contextlib
import itertools
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from penstock.access.keyring import Keyring
from penstock.access.peppers import Pepper, named
from penstock.access.roles import BUILTIN
from penstock.control.accounts.administration import Administration
from penstock.control.accounts.operation import Sources
from penstock.control.observed.standing import Live
from penstock.core.accounts import Directory, KeyRecord
from penstock.core.administration import Actor, Answer, Ask
from penstock.core.errors import PenstockError
from penstock.core.requests import AttemptMade, RequestContent, RequestRecord
from penstock.core.series import Silence
from penstock.core.usage import Act, AuditQuery, Entry, Tokens
from penstock.store.alerts import SqlAlerts
from penstock.store.audit import SqlAudit
from penstock.store.forgetful_requests import ForgetfulRequests
from penstock.store.ledger import SqlLedger
from penstock.store.scores import SqlScores
from penstock.store.series import SqlSeries
from penstock.store.sql import SqlStore
from tests.store.databases import new_store

NOW = 1_795_000_000.0
"""2026-11-18T11:06:40Z, a Wednesday."""
PEPPER = named(b"p" * 32)
OLD_PEPPER = named(b"o" * 32)
ROOT = Actor(key_id="root", project="default", everywhere=True, permissions=frozenset(BUILTIN["owner"].permissions))


def actor(role: str, project: str = "red", *, everywhere: bool = False, key_id: str = "", user: str = "") -> Actor:
    return Actor(
        key_id=key_id or f"{project}-{role}",
        project=project,
        everywhere=everywhere,
        permissions=frozenset(BUILTIN[role].permissions),
        user=user,
    )


class Office:
    """``administration`` with the stores behind it. ``now`` may be moved."""

    def __init__(self, folder: Path, peppers: tuple[Pepper, ...] = (PEPPER, OLD_PEPPER)) -> None:
        self.now = NOW
        self.database = new_store(folder / "store.db", NOW)
        self.audit = SqlAudit(self.database, Ed25519PrivateKey.generate(), lambda _: None, lambda: self.now)
        self.state = SqlStore(self.database, self.audit, lambda: self.now)
        self.ledger = SqlLedger(self.database)
        self.scores = SqlScores(self.database)
        self.requests = ForgetfulRequests()
        self.series = SqlSeries(self.database)
        self.alerts = SqlAlerts(self.database)
        self.live = Live()
        self.changes = 0
        self._names = itertools.count(1)
        self.peppers = peppers
        self.administration = self.made(peppers)

    def made(self, peppers: tuple[Pepper, ...]) -> Administration:
        return Administration(
            state=self.state,
            sources=self.sources(),
            peppers=peppers,
            clock=lambda: self.now,
            changed=self._noted,
            new_id=lambda prefix: f"{prefix or 'key'}-{next(self._names)}",
        )

    def sources(self) -> Sources:
        return Sources(
            directory=self.state.directory,
            ledger=self.ledger,
            audit=self.audit,
            scores=self.scores,
            requests=self.requests,
            series=self.series,
            alerts=self.alerts,
            live=lambda: self.live,
        )

    def _noted(self) -> None:
        self.changes += 1

    async def ask(
        self,
        operation: str,
        target: str = "",
        body: object = None,
        *,
        as_: Actor = ROOT,
        once: str = "",
        **query: str,
    ) -> Answer:
        sent = b"" if body is None else body if isinstance(body, bytes) else json.dumps(body).encode()
        return await self.administration.carry_out(
            Ask(
                actor=as_,
                operation=operation,
                target=target,
                query=query,
                body=sent,
                idempotency_key=once,
                address="192.0.2.7",
                request_id="req_1",
            )
        )

    async def do(self, operation: str, target: str = "", body: object = None, **more: Any) -> Any:
        """The answer, read."""
        return json.loads((await self.ask(operation, target, body, **more)).body)

    async def refused(self, operation: str, target: str = "", body: object = None, **more: Any) -> PenstockError:
        try:
            answer = await self.ask(operation, target, body, **more)
        except PenstockError as error:
            return error
        raise AssertionError(f"{operation} was carried out: {answer.body[:300]!r}")

    @property
    def directory(self) -> Directory:
        return self.state.directory()

    def key(self, id: str) -> KeyRecord:
        return next(key for key in self.directory.keys if key.id == id)

    def acts(self) -> list[Act]:
        """Newest first."""
        return [row.act for row in self.audit.acts(AuditQuery(), None, 1000)]

    def keyring(self) -> Keyring:
        return Keyring(self.directory, self.peppers, lambda: self.now, lambda _: None)


@contextlib.asynccontextmanager
async def office(folder: Path) -> AsyncIterator[Office]:
    """An empty store but for the project 'default'."""
    here = Office(folder)
    try:
        yield here
    finally:
        await here.administration.aclose()
        here.state.close()


async def furnished(here: Office) -> None:
    """Projects red and blue, each with a team, a user, keys, a limit, a budget, usage, a request of a subject in the
    log with what was said, and audited prompts."""
    for name in ("red", "blue"):
        await here.do("projects.create", body={"id": name, "name": name.title()})
        await here.do("teams.create", body={"id": f"{name}-team", "project": name})
        member = {"project": name, "role": "developer", "team": f"{name}-team"}
        await here.do(
            "users.create", body={"id": f"{name}-user", "email": f"{name}@example.com", "memberships": [member]}
        )
        await here.do(
            "keys.create",
            body={"id": f"{name}-key", "project": name, "user": f"{name}-user", "team": f"{name}-team"},
        )
        for kind in ("key", "user", "team"):
            common = {"kind": kind, "subject": f"{name}-{kind}"}
            await here.do(
                "limits.create", body=common | {"id": f"{name}-{kind}-limit", "metric": "requests", "amount": 9}
            )
            await here.do("budgets.create", body=common | {"id": f"{name}-{kind}-budget", "amount": "10"})
        for row in range(3):
            here.ledger.append([entry(name, f"{name}-req-{row}", at=NOW - 3600 + row)])
        here.requests.append_requests([record(name, f"{name}-request")], [said(name, f"{name}-request")])
        here.alerts.put_silence(
            Silence(id=f"{name}-silence", pattern=f"slo/{name}/*", created_at=NOW, until=NOW + 3600)
        )
        act = Act(at=NOW, kind="content", actor=f"{name}-key", project=name, action="chat", content=b'{"said":1}')
        here.audit.append_acts([(f"{name}-act", act)])


def entry(project: str, request_id: str, *, attempt: int = 0, at: float = NOW, cost_nano: int = 2_500_000) -> Entry:
    return Entry(
        request_id=request_id,
        attempt=attempt,
        gateway="g",
        received_at=at,
        settled_at=at + 1,
        project=project,
        key_id=f"{project}-key",
        user=f"{project}-user",
        team=f"{project}-team",
        service="chat",
        model="m",
        kind="chat",
        ending="complete",
        status=200,
        tokens=Tokens(input=10, output=5),
        estimated=False,
        cost_nano=cost_nano,
        price="m@0",
    )


def record(project: str, request_id: str, *, at: float = NOW - 60, **changes: Any) -> RequestRecord:
    fields: dict[str, Any] = {
        "request_id": request_id,
        "at": at,
        "gateway": "g",
        "project": project,
        "key_id": f"{project}-key",
        "user": f"{project}-user",
        "team": f"{project}-team",
        "subject": f"{project}-subject",
        "asked": "chat",
        "service": "chat",
        "model": "m",
        "replica": "m-0",
        "kind": "chat",
        "dialect": "chat/completions",
        "ending": "complete",
        "status": 200,
        "tokens": Tokens(input=10, output=5),
        "cost_nano": 2_500_000,
        "duration_s": 1.0,
        "overhead_s": 0.002,
        "attempts": (AttemptMade(number=1, model="m", replica="m-0", began_s=0.001, ended_s=1.0, first_s=0.2),),
        "content": "all",
    }
    return RequestRecord(**fields | changes)


def said(project: str, request_id: str, *, at: float = NOW - 60, **changes: Any) -> RequestContent:
    fields: dict[str, Any] = {
        "request_id": request_id,
        "at": at,
        "project": project,
        "service": "chat",
        "subject": f"{project}-subject",
        "request": b'{"messages":[{"role":"user","content":"Where is my parcel?"}]}',
        "reply": b'{"choices":[{"text":"On its way."}]}',
    }
    return RequestContent(**fields | changes)
