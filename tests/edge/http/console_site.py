"""The real application with the console over a real socket: real sessions of real keys; only the admin API that pages
ask, and the engine, are scripted."""

from __future__ import annotations

import re
import urllib.parse
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager

import httpx
import msgspec

from penstock.access.config import Issuer
from penstock.access.keyring import Keyring
from penstock.access.keys import digest
from penstock.access.peppers import Pepper, named
from penstock.core.accounts import EVERYWHERE, Directory, KeyRecord, Project
from penstock.core.errors import NOT_FOUND, PenstockError
from penstock.core.usage import Act
from penstock.edge.console.assets import shipped
from penstock.edge.console.console import Console
from penstock.edge.http.console import ConsoleSide
from penstock.edge.http.console_live import Streams
from penstock.edge.http.console_sessions import Attempts, People, Sessions
from penstock.edge.http.console_sign_in import Providers, Refuse, SignIn
from penstock.gateway.snapshot import Snapshot
from tests.edge.console.canned import NOW, Admin, Told, told
from tests.edge.http.serving import Script, Site, site, usual

PEPPER = named(b"p" * 32)
OLDER = named(b"q" * 32)


def text_of(role: str) -> str:
    return f"pk-{role}-{'s' * 43}"


class NoProviders:
    async def authorize_at(self, number: int) -> str:
        raise PenstockError(NOT_FOUND, "no provider")

    async def exchange(self, number: int, code: str, verifier: str, redirect_uri: str) -> str:
        raise PenstockError(NOT_FOUND, "no provider")


class Front:
    """A site with a console. ``change`` puts another directory in place, ``clock`` is what the sessions go by."""

    def __init__(self, roles: Sequence[str], pages: Mapping[str, Told]) -> None:
        self.clock = NOW
        self.admin = Admin(pages)
        self.acts: list[Act] = []
        self.learned: list[str] = []
        self.peppers: tuple[Pepper, ...] = (PEPPER,)
        self.directory = Directory(
            version=1,
            projects=(Project(id="default"), Project(id="red")),
            keys=tuple(
                KeyRecord(
                    id=f"{role}-key",
                    digest=digest(PEPPER.secret, text_of(role)),
                    pepper=PEPPER.name,
                    project=EVERYWHERE,
                    role=role,
                    created_at=NOW - 1000,
                )
                for role in roles
            ),
        )
        self.keyring = self._keyring()
        self.people: People | None = None
        self.side: ConsoleSide
        self.site: Site
        self.attempts = Attempts(lambda: self.clock)

    def change(self, key_id: str, **fields: object) -> None:
        """Another record of one key."""
        keys = tuple(
            msgspec.structs.replace(each, **fields) if each.id == key_id else each for each in self.directory.keys
        )
        self.directory = msgspec.structs.replace(self.directory, keys=keys)
        self.keyring = self._keyring()

    def _keyring(self) -> Keyring:
        return Keyring(self.directory, self.peppers, lambda: self.clock, lambda used: None)

    def repepper(self, *peppers: Pepper) -> None:
        self.peppers = peppers
        self.keyring = self._keyring()

    @property
    def url(self) -> str:
        return self.site.url

    def client(self, **headers: str) -> httpx.AsyncClient:
        return httpx.AsyncClient(base_url=self.site.url, headers=headers, follow_redirects=False, trust_env=False)

    async def signed_in(self, role: str = "owner") -> httpx.AsyncClient:
        client = self.client()
        answer = await client.post("/console/sign-in", data={"key": text_of(role)})
        assert answer.status_code == 303, answer.text
        return client


def token_in(html: str) -> str:
    found = re.search(r'name="token" value="([^"]+)"', html)
    assert found is not None
    return found[1]


def where(answer: httpx.Response) -> tuple[str, dict[str, str]]:
    """The path and the query that a redirect leads to."""
    parts = urllib.parse.urlsplit(answer.headers["location"])
    return parts.path, dict(urllib.parse.parse_qsl(parts.query))


@asynccontextmanager
async def console_site(
    roles: Sequence[str] = ("owner",),
    pages: Mapping[str, Told] | None = None,
    *,
    script: Script = usual,
    issuers: Sequence[Issuer] = (),
    providers: Providers | None = None,
    people: Callable[[Front], People] | None = None,
    every_s: float = 0.02,
    secure: bool = False,
    now: Callable[[], float] | None = None,
) -> AsyncIterator[Front]:
    front = Front(roles, told() if pages is None else pages)
    if people is not None:
        front.people = people(front)
    console = Console(front.admin.administer, now=now or (lambda: front.clock))

    class Pages:
        page = staticmethod(console.answer)

    async def learn(issuer: str) -> None:
        front.learned.append(issuer)

    def made(snapshots: Callable[[], Snapshot]) -> ConsoleSide:
        sessions = Sessions(
            lambda: front.keyring, snapshots, lambda: front.people, secure=secure, now=lambda: front.clock
        )

        def sign_in(refuse: Refuse) -> SignIn:
            return SignIn(
                sessions,
                issuers,
                providers or NoProviders(),
                learn=learn,
                note=front.acts.append,
                refuse=refuse,
                attempts=front.attempts,
            )

        front.side = ConsoleSide(Pages(), sessions, sign_in, shipped(), Streams(every_s))
        return front.side

    async with site(script, console=made) as front.site:
        yield front
