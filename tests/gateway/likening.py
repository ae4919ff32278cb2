"""A service with a semantic cache, a desk that says what a test wants, and what embeds by counting words."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Sequence

from penstock.caches.answers import packed
from penstock.caches.embeddings import Vector
from penstock.core.caching import Agreement, CacheKey, CachePolicy, Entry, Learnt, Seek, Semantic, Sought, Taught
from penstock.core.chat import Call, Kind, Usage
from penstock.core.errors import PenstockError
from penstock.core.policy import Policy, Retry
from penstock.core.serving import Service
from penstock.core.splice import members
from penstock.gateway.likeness import Likenesses, Near
from penstock.gateway.snapshot import Prices
from tests.gateway.doubles import ScriptedEngine, Step, piece
from tests.gateway.releasing import USAGE_WHOLE, Street

RELEASE = "now_1"
KEY = CacheKey(b"k" * 20)
DIMENSIONS = 32


def policy(**more: object) -> Policy:
    """``more`` of ``Semantic``."""
    said = {"max_error": 0.02, "agreement": Agreement(check="exact"), **more}
    return Policy(retry=Retry(attempts=1), cache=CachePolicy(semantic=Semantic(**said)))  # type: ignore[arg-type]


def asking(text: object = "What is the capital of Australia?", more: object = None, **of: object) -> Call:
    """``text``: of the user's one message, or all messages; ``more`` other members of the request."""
    messages = text if isinstance(text, list) else [{"role": "user", "content": text}]
    body = {"model": "chat", "messages": messages, **(more if isinstance(more, dict) else {})}
    told = {"request_id": "req-1", "kind": Kind.CHAT, "service": "chat", "stream": True, **of}
    return Call(fields=members(json.dumps(body).encode()), **told)  # type: ignore[arg-type]


def entry(text: str = "Canberra", at: float = 1_800_000_000.0, **more: object) -> Entry:
    """An answer, as a stream of two chunks."""
    said = {
        "key": b"e" * 20,
        "kind": Kind.CHAT,
        "chunks": (piece(text), piece("", "stop")),
        "streamed": True,
        "usage": Usage(7, 3),
        "created_at": at,
        "fresh_for_s": 3600.0,
        "service": "chat",
        "release": RELEASE,
        "project": "default",
        **more,
    }
    return Entry(**said)  # type: ignore[arg-type]


def sought(of: Entry | None = None, **more: object) -> Sought:
    """Of the nearest answer ``of``."""
    told = {"ticket": "t-1", "entry": b"" if of is None else packed(of), "distance": 0.1, "confidence": 0.9, **more}
    return Sought(**told)  # type: ignore[arg-type]


def whole(text: str) -> Sequence[Step]:
    """An answer as one object, with its usage of 17 tokens."""
    message = b'{"index":0,"message":{"role":"assistant","content":"%s"},"finish_reason":"stop"}' % text.encode()
    return [[b'{"choices":[' + message + b'],"usage":' + USAGE_WHOLE + b"}"]]


class Desks:
    """Says ``says`` of every question, once ``hold`` is set where there is one."""

    def __init__(self, says: Sought | PenstockError) -> None:
        self.says = says
        self.hold: asyncio.Event | None = None
        self.begun = asyncio.Event()
        self.asked: list[Seek] = []
        self.learnt: list[Learnt] = []
        self.taught: list[Taught] = []

    async def seek(self, ask: Seek) -> Sought:
        self.asked.append(ask)
        self.begun.set()
        if self.hold is not None:
            await self.hold.wait()
        if isinstance(self.says, PenstockError):
            raise self.says
        return self.says

    def learn(self, what: Learnt) -> None:
        self.learnt.append(what)

    def keep(self, what: Taught) -> None:
        self.taught.append(what)


class Words:
    """Embeds a text by how often it has each word."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, tuple[str, ...]]] = []
        self.fails: PenstockError | None = None
        self.names: list[str] = []
        self.subjects: list[str] = []
        self.weight = 1.0

    async def __call__(
        self,
        service: str,
        texts: Sequence[str],
        models: frozenset[str] | None,
        *,
        name: str = "",
        subject: str = "",
    ) -> tuple[Vector, ...]:
        self.asked.append((service, tuple(texts)))
        self.names.append(name)
        self.subjects.append(subject)
        if self.fails is not None:
            raise self.fails
        return tuple(Vector.of([self.weight * each for each in _counts(text)]) for text in texts)


def _counts(text: str) -> list[float]:
    counts = [0.0] * DIMENSIONS
    for word in text.lower().strip("?.!").split():
        counts[sum(word.encode()) % DIMENSIONS] += 1.0
    return counts


class Likening:
    """The likenesses of a gateway whose only service is ``chat``, ``judge`` and ``embed`` aside."""

    def __init__(
        self,
        says: Sought | PenstockError,
        *,
        service: Service | None = None,
        main: ScriptedEngine | None = None,
        judge: ScriptedEngine | None = None,
        prices: Prices | None = None,
        workers: int = 1,
        **settings: object,
    ) -> None:
        self.service = service or Service("chat", ("main",), policy=policy(**settings))
        engines = {
            "main": main or ScriptedEngine(),
            "next": ScriptedEngine(),
            "embed": ScriptedEngine(),
            "judge": judge or ScriptedEngine(),
        }
        once = Policy(retry=Retry(attempts=1))
        services = [self.service, *(Service(name, (name,), policy=once) for name in ("embed", "judge"))]
        self.street = Street(services, engines, prices=prices)
        self.desks = Desks(says)
        self.words = Words()
        self.invalid: list[Entry] = []
        self.all = Likenesses(
            self.desks,
            self.words,
            self.street.door.ask,
            self.street.clock,
            self.street.meter,
            invalid=lambda each: each in self.invalid,
            workers=workers,
        )

    async def seek(self, call: Call | None = None, service: Service | None = None) -> Near | None:
        asked = call or asking()
        return await self.all.seek(asked, service or self.service, self.street.admission, RELEASE, KEY, asked)

    async def near(self, call: Call | None = None, service: Service | None = None) -> Near:
        found = await self.seek(call, service)
        assert found is not None
        return found

    async def rest(self) -> None:
        """Returns once all that is done behind is done."""
        await self.all.idle()

    def learnt(self) -> list[tuple[str, bool | None]]:
        return [(each.ticket, each.same) for each in self.desks.learnt]


HIT = sought(entry(), hit=True, audited=True, reason="serves")
UNAUDITED = sought(entry(), hit=True, reason="serves")
MISS = sought(entry(), reason="risk")
