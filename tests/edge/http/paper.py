"""The real application with the real administration, asked without a socket: an exchange on paper."""

from __future__ import annotations

import contextlib
import json
import random
from collections.abc import AsyncIterator, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import unquote

from penstock.access.keys import digest
from penstock.access.limits import Rules
from penstock.access.roles import BUILTIN
from penstock.core.accounts import Change, KeyRecord
from penstock.core.administration import Answer, Ask
from penstock.core.clock import SystemClock
from penstock.core.serving import Applied
from penstock.core.usage import Act
from penstock.edge.http.admin import Admin, Live, summed
from penstock.edge.http.app import App
from penstock.edge.http.exchange import Exchange, Headers
from penstock.gateway.chat import Gateway
from penstock.gateway.prepare import Preparing
from penstock.gateway.settle import Settling
from penstock.gateway.snapshot import Snapshot
from penstock.observe.prometheus import Exposed, exposed
from penstock.observe.totals import Report
from penstock.routing.places import LocalPlaces
from penstock.routing.traffic import Traffic
from tests.control.accounts.office import NOW, PEPPER, Office, furnished, office
from tests.edge.http.serving import Engine, deployment, usual
from tests.gateway.doubles import NoPrices, Samples, reserving, trials, unlearned


class Paper(Exchange):
    """Keeps what is replied."""

    def __init__(self, method: str, target: str, headers: Mapping[str, str], body: bytes) -> None:
        path, _, query = target.partition("?")
        lower = {name.lower().encode(): value.encode() for name, value in headers.items()}
        super().__init__(method, unquote(path), query.encode(), lower, "192.0.2.9")
        self.fed(body)
        self.fed_all()
        self.told: dict[str, str] = {}
        self.reply_body = b""
        self.ended = False

    def _wanted(self) -> None:
        raise AssertionError("the body is here")

    def _head(self, status: int, headers: Headers) -> None:
        self.told = {name.decode(): value.decode() for name, value in headers}

    def _piece(self, data: bytes, more: bool) -> None:
        self.reply_body += data

    def _whole(self, status: int, headers: Headers, body: bytes) -> None:
        self._head(status, headers)
        self.reply_body = body

    def over(self) -> None:
        self.ended = True

    def json(self) -> Any:
        return json.loads(self.reply_body)


class Desk:
    """``Control`` of an office."""

    def __init__(self, office: Office) -> None:
        self._office = office
        self.asked: list[Ask] = []
        self.acts: list[Act] = []

    async def live(self) -> Live:
        return summed(())

    async def deployment(self) -> str:
        return "services: {}\n"

    async def apply(self, text: str, dry_run: bool, act: Act) -> Applied:
        self.acts.append(act)
        return Applied((), (), 1)

    async def administer(self, ask: Ask) -> Answer:
        self.asked.append(ask)
        return await self._office.administration.carry_out(ask)


class PaperSite:
    """``keys`` by role: of the project red, of blue (``blue-ROLE``), for the whole gateway (``all-ROLE``)."""

    def __init__(self, office: Office) -> None:
        self.office = office
        self.desk = Desk(office)
        self.keys = dict(_people(office))
        clock, samples = SystemClock(), Samples()
        self._engine = Engine(usual)
        self._seen: tuple[int, Snapshot] | None = None
        self.gateway = Gateway(
            snapshots=self.snapshot,
            traffic=Traffic(clock, random.Random(1)),
            places=LocalPlaces(clock),
            reserving=reserving(clock),
            settle=Settling(clock, samples),
            doors=lambda: None,
            learn=unlearned,
            clock=clock,
            prepare=Preparing(),
            trials=trials(clock),
        )

        async def page(accept: str) -> Exposed:
            return exposed((), Report(), {}, accept)

        admin = Admin(self.desk, self.gateway.admitted, self.desk.acts.append)
        self.app = App(self.gateway, max_body_bytes=1 << 20, meter=samples, render=page, admin=admin)

    def snapshot(self) -> Snapshot:
        """Of the directory as it is."""
        version = self.office.state.version()
        if self._seen is None or self._seen[0] != version:
            rules = Rules(self.office.directory)
            of = Snapshot(deployment(), {"m": self._engine}, self.office.keyring(), rules, NoPrices())
            self._seen = (version, of)
        return self._seen[1]

    async def ask(
        self, method: str, target: str, body: object = None, *, key: str | None = "all-owner", **headers: str
    ) -> Paper:
        """``key`` by name, None: none is sent."""
        sent = b"" if body is None else body if isinstance(body, bytes) else json.dumps(body).encode()
        given = {name.replace("_", "-"): value for name, value in headers.items()}
        if key is not None:
            given["authorization"] = f"Bearer {self.keys[key]}"
        paper = Paper(method, target, given, sent)
        await self.app.answer(paper)
        assert paper.ended
        return paper


def _people(office: Office) -> list[tuple[str, str]]:
    records, found = [], []
    for role in BUILTIN:
        for prefix, project in (("", "red"), ("blue-", "blue"), ("all-", "*")):
            name = f"{prefix}{role}"
            text = f"pk-{project.replace('*', 'all')}-{role}-{'s' * 43}"
            id = f"{project.replace('*', 'all')}-{role}-key"
            records.append(
                KeyRecord(
                    id=id,
                    digest=digest(PEPPER.secret, text),
                    pepper=PEPPER.name,
                    project=project,
                    role=role,
                    created_at=NOW,
                )
            )
            found.append((name, text))
    office.state.change(Change(version=office.state.version(), put=tuple(records)))
    return found


@contextlib.asynccontextmanager
async def paper_site(folder: Path) -> AsyncIterator[PaperSite]:
    """Two projects, red and blue, full of things, and a key of each role for each and for all."""
    async with office(folder) as found:
        await furnished(found)
        yield PaperSite(found)
