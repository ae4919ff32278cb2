"""The supervisor's talk with one worker, from its start to its end."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import TypeVar

import msgspec

from penstock.assembly.asking import Answerer, Asker
from penstock.assembly.books import Books
from penstock.assembly.flights import FlightDesk
from penstock.assembly.gathering import Gathering, Stand
from penstock.assembly.link import (
    Acquire,
    Administer,
    Apply,
    Ask,
    AuthorizeAt,
    Cancel,
    Denied,
    Exchange,
    Holding,
    Last,
    Learn,
    Link,
    LinkBroken,
    Listening,
    LiveState,
    Measured,
    Metrics,
    Oldest,
    Page,
    Refused,
    Release,
    Reserve,
    SettleLease,
    Standing,
    Stop,
    Text,
    Told,
    ToldOfSupervisor,
    ToldOfWorker,
    ToSupervisor,
    ToWorker,
    supervisor_end,
)
from penstock.assembly.link_desks import Disown, Gave, LearnDesk, SeekDesk, TeachDesk
from penstock.assembly.link_flights import EndFlight, JoinFlight
from penstock.assembly.shared import Desk
from penstock.caches.flight import Flights
from penstock.core.administration import Answer
from penstock.core.console import PageAsk
from penstock.core.errors import PenstockError
from penstock.core.serving import Applied
from penstock.core.usage import Act, Held
from penstock.gateway.place import Places
from penstock.observe.totals import Report

BEAT_S = 1.0
MISSES = 10
_EMPTIED_WITHIN_S = 1.0

T = TypeVar("T")


@dataclass(frozen=True)
class Office:
    """What the supervisor does for its workers. ``apply`` and ``text`` are the deployment's: ``text`` is that of the
    file which is served, ``apply`` serves another one. ``page`` answers for the console; ``flights`` are those of
    equal requests, by their keys."""

    gathering: Gathering
    places: Places
    apply: Callable[[str, bool, Act], Awaitable[Applied]]
    text: Callable[[], str]
    books: Books
    page: Callable[[PageAsk], Awaitable[Answer]]
    flights: Flights[bytes]


class Talk:
    """``up`` is set once the worker serves, ``ended`` done once its link is gone. ``refused`` is why it cannot serve
    what it was told to; ``oldest`` the version of the oldest deployment that a request of it holds, -1 until it says.
    ``moved`` is called when that changes. ``owner`` is the worker's name, once it has been told."""

    def __init__(self, index: int, pid: int, office: Office, moved: Callable[[], None]) -> None:
        self.index = index
        self.owner = ""
        self.pid = pid
        self.up = asyncio.Event()
        self.refused: str | None = None
        self.oldest = -1
        self._office = office
        self._moved = moved
        self._link: Link[ToSupervisor, ToWorker] = supervisor_end(self._hear)
        self._asker: Asker[ToldOfWorker] = Asker(self._link.send)
        self._answerer: Answerer[ToldOfSupervisor] = Answerer(self._answer, self._link.send)
        self._desk = Desk(office.places)
        self._flights = FlightDesk(office.flights, self._link.send, lambda: self._link.waiting)
        self._settled: set[asyncio.Task[None]] = set()

    @property
    def ended(self) -> asyncio.Future[None]:
        return self._link.ended

    @property
    def held(self) -> int:
        """Places that the worker holds."""
        return self._desk.held

    @property
    def waiting(self) -> int:
        """Requests of it that wait for one."""
        return self._desk.waiting

    async def open(self, sock: socket.socket) -> None:
        """Takes the socket over."""
        await self._link.open(sock)

    def begin(self) -> None:
        """Tells it who it is, and who may call; before all else."""
        self.owner, messages = self._office.books.accounting.first(self.index)
        for message in messages:
            self._link.send_frame(message)

    def say(self, message: bytes) -> None:
        """Says something ``framed``; never waits."""
        self._link.send_frame(message)

    async def holding(self, within_s: float) -> tuple[tuple[str, tuple[Held, ...]], ...]:
        """What its open leases hold. Raises as ``report`` does."""
        return await self._ask(Holding(), tuple[tuple[str, tuple[Held, ...]], ...], within_s)

    async def tell(self, update: bytes) -> None:
        """Says a ``framed`` update; returns once the worker has room for the next one."""
        self._link.send_frame(update)
        await self._link.room()

    def stop(self, announce: bool) -> None:
        """Asks it to end."""
        self._link.send(Stop(announce))

    async def pulse(self) -> None:
        """Asks each second what it has measured. Returns when ten such questions in a row have had no answer within
        theirs: its event loop is stuck."""
        missed = 0
        while missed < MISSES:
            try:
                self._office.gathering.take(self.index, await self.report(BEAT_S))
            except TimeoutError:
                missed += 1
            except PenstockError:
                # It is alive, or its link's end is noticed elsewhere.
                await asyncio.sleep(BEAT_S)
            else:
                missed = 0
                await asyncio.sleep(BEAT_S)

    async def report(self, within_s: float) -> Report:
        """What it has measured. Raises ``TimeoutError``, and ``PenstockError`` once it is gone."""
        return await self._ask(Measured(), Report, within_s)

    async def stand(self, within_s: float) -> Stand:
        """What is under way in it. Raises as ``report`` does."""
        return await self._ask(Standing(), Stand, within_s)

    async def aclose(self) -> None:
        """The worker has ended: what it said last is heard, what it held is given back."""
        with contextlib.suppress(LinkBroken):
            await asyncio.wait((self.ended,), timeout=_EMPTIED_WITHIN_S)
        await self._link.aclose()
        self._asker.broken()
        await self._answerer.aclose()
        self._desk.close()
        self._flights.close()
        if self._settled:
            await asyncio.wait(self._settled)
        if self.owner:
            self._office.books.desks.ended(self.owner)
            await self._office.books.accounting.ended(self.owner)
        self._office.gathering.left(self.index)

    async def gave(self, request_id: str, project: str, within_s: float) -> str | None:
        """Which entry it gave to a request of the project, by its 40 digits. Raises as ``report`` does."""
        told = await self._asker.ask(Gave(request_id, project), within_s)
        return msgspec.msgpack.decode(told.answer, type=str | None)

    async def _ask(self, question: ToldOfWorker, answer: type[T], within_s: float) -> T:
        return msgspec.msgpack.decode((await self._asker.ask(question, within_s)).answer, type=answer)

    def _hear(self, message: ToSupervisor) -> None:
        match message:
            case Ask():
                self._answerer.hear(message)
            case Release():
                self._desk.release(message.id)
            case Cancel():
                # What was answered before the cancel came was a place, or nothing that is to be given back.
                if not self._answerer.cancel(message.id):
                    self._desk.release(message.id)
            case Told() | Denied():
                self._asker.hear(message)
            case SettleLease(lease, used):
                self._settling(lease, used)
            case LearnDesk(learnt):
                self._office.books.desks.learn(learnt)
            case TeachDesk(taught):
                self._office.books.desks.keep(taught)
            case EndFlight():
                self._flights.end(message)
            case Oldest(version):
                self.oldest = version
                self._moved()
            case Last(report):
                self._office.gathering.take(self.index, report)
            case Listening():
                self._office.gathering.joined(self)
                self.up.set()
            case Refused():
                self.refused = message.message

    def _settling(self, lease: str, used: Mapping[str, int]) -> None:
        # The supervisor's own book: a step, without a wait.
        task = asyncio.get_running_loop().create_task(self._office.books.accounting.settle(self.owner, lease, used))
        self._settled.add(task)
        task.add_done_callback(self._settled.discard)

    async def _answer(self, number: int, question: ToldOfSupervisor) -> object:
        match question:
            case Acquire():
                await self._desk.acquire(number, question)
                return None
            case Metrics():
                return await self._office.gathering.metrics()
            case LiveState():
                return await self._office.gathering.live()
            case Text():
                return self._office.text()
            case Apply():
                return await self._office.apply(question.text, question.dry_run, question.act)
            case Reserve(lease, needs):
                return await self._office.books.accounting.reserve(self.owner, lease, needs)
            case Administer(ask):
                return await self._office.books.administer(ask)
            case Page(ask):
                return await self._office.page(ask)
            case AuthorizeAt(issuer):
                return await self._office.books.sign_in.authorize_at(issuer)
            case Exchange(issuer, code, verifier, redirect_uri):
                return await self._office.books.sign_in.exchange(issuer, code, verifier, redirect_uri)
            case Learn(issuer):
                await self._office.books.learn(issuer)
                return None
            case SeekDesk(sought):
                return await self._office.books.desks.seek(self.owner, sought)
            case JoinFlight():
                return self._flights.join(question)
            case Disown(request_id, project, key_id):
                return await self._office.books.desks.disown(request_id, project, key_id)
