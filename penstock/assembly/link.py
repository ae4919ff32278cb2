"""The link between the supervisor and a worker: frames of msgpack over a Unix socket pair, each at most 64 MiB.

A frame is its length in four bytes, big-endian, and one message. It carries secrets and never leaves the machine.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable, Mapping
from typing import Generic, TypeVar

import msgspec

from penstock.access.config import AccessSettings
from penstock.assembly.link_desks import Disown, Gave, LearnDesk, SeekDesk, TeachDesk
from penstock.assembly.link_flights import EndFlight, JoinFlight
from penstock.caches.config import CacheSettings
from penstock.core import administration
from penstock.core.accounts import Directory, SigningKeys
from penstock.core.console import PageAsk
from penstock.core.leases import Need
from penstock.core.policy import Queue
from penstock.core.serving import Deployment
from penstock.core.usage import Act
from penstock.edge.http.config import ServerSettings
from penstock.observe.config import ObserveSettings
from penstock.observe.totals import Report
from penstock.store.config import StateSettings

LONGEST_FRAME = 64 * 1024 * 1024
# What may wait for an end that does not read, beside one frame. Places and answers are small.
_MOST_WAITING = LONGEST_FRAME
_CLOSES_WITHIN_S = 1.0

In = TypeVar("In")
Out = TypeVar("Out")
Question = TypeVar("Question")


# -- what the supervisor says ------------------------------------------------------------------------------------


class Update(msgspec.Struct, frozen=True, tag="update"):
    """What to serve from now on. ``server`` counts on the first one only."""

    deployment: Deployment
    server: ServerSettings

    def __repr__(self) -> str:
        return f"Update(version={self.deployment.version})"


class Begin(msgspec.Struct, frozen=True, tag="begin"):
    """Who this worker is: said once, before all else. ``gateway`` and ``owner`` are names, of which no other worker
    ever has the latter; its journal lies in ``folder``, what it has seen of requests in ``spool``. ``book`` is how
    the counters stand that it keeps itself, None: it asks others."""

    gateway: str
    owner: str
    index: int
    folder: str
    spool: str
    access: AccessSettings
    state: StateSettings
    observe: ObserveSettings
    cache: CacheSettings
    book: bytes | None


class Entrance(msgspec.Struct, frozen=True, tag="entrance"):
    """Who may call from now on, and how much. ``peppers`` are names and secrets, the current one first. ``begun``
    are budgets' counters that are new, with what was spent before and until when they are kept."""

    directory: Directory
    peppers: tuple[tuple[str, bytes], ...]
    signing: tuple[SigningKeys, ...]
    begun: Mapping[str, tuple[int, float]]

    def __repr__(self) -> str:
        return f"Entrance(version={self.directory.version})"


class Doors(msgspec.Struct, frozen=True, tag="doors"):
    """Why nobody is let in from now on; None: everybody is. ``code`` is a fault's."""

    code: str | None
    message: str = ""


class Stop(msgspec.Struct, frozen=True, tag="stop"):
    """End, as ``server.drain`` says; without ``announce`` no more requests are taken from now on."""

    announce: bool


class Measured(msgspec.Struct, frozen=True, tag="measured"):
    """A question: what has been measured? Answered by a ``Report``. Asked each second, it also tells who hangs."""


class Standing(msgspec.Struct, frozen=True, tag="standing"):
    """A question: what is under way? Answered by ``penstock.assembly.gathering.Stand``."""


class Holding(msgspec.Struct, frozen=True, tag="holding"):
    """A question: what do open leases hold? Answered by a list of leases, each with what it holds."""


# -- what a worker says ------------------------------------------------------------------------------------------


class Listening(msgspec.Struct, frozen=True, tag="listening"):
    """Requests are being answered."""


class Refused(msgspec.Struct, frozen=True, tag="refused"):
    """This deployment cannot be served, and starting again would not help."""

    message: str


class Oldest(msgspec.Struct, frozen=True, tag="oldest"):
    """No request here holds a deployment older than ``version``."""

    version: int


class Last(msgspec.Struct, frozen=True, tag="last"):
    """The last report of a worker that ends."""

    report: Report


class Release(msgspec.Struct, frozen=True, tag="release"):
    """The place that the question ``id`` was answered with is given back."""

    id: int


class SettleLease(msgspec.Struct, frozen=True, tag="settle"):
    """What a lease used of each counter; it is closed."""

    lease: str
    used: Mapping[str, int]


class Reserve(msgspec.Struct, frozen=True, tag="reserve"):
    """A question: may the lease have these? Answered by ``Granted`` or ``Refused``."""

    lease: str
    needs: tuple[Need, ...]


class Administer(msgspec.Struct, frozen=True, tag="administer"):
    """A question: an administrative request, answered as ``core.administration`` has it."""

    ask: administration.Ask


class Page(msgspec.Struct, frozen=True, tag="page"):
    """A question: a page of the console, answered as ``core.administration`` has it."""

    ask: PageAsk


class AuthorizeAt(msgspec.Struct, frozen=True, tag="authorize_at"):
    """A question: where does a browser go to sign in by the issuer of this place in ``access.oidc``? Answered by a
    string."""

    number: int


class Exchange(msgspec.Struct, frozen=True, tag="exchange"):
    """A question: what ID token does the issuer give for this code? Answered by a string."""

    number: int
    code: str
    verifier: str
    redirect_uri: str

    def __repr__(self) -> str:
        return f"Exchange(number={self.number})"


class Learn(msgspec.Struct, frozen=True, tag="learn"):
    """A question: what are the signing keys of this issuer now? Answered when every worker has been told them."""

    issuer: str


class Acquire(msgspec.Struct, frozen=True, tag="acquire"):
    """A question: a place, as ``Places.acquire`` has it. Its answer means that it is held."""

    service: str
    project: str
    priority: int
    queue: Queue
    concurrency: int


class Metrics(msgspec.Struct, frozen=True, tag="metrics"):
    """A question: what have all workers measured? Answered by ``penstock.assembly.gathering.Sum``."""


class LiveState(msgspec.Struct, frozen=True, tag="live"):
    """A question: what is under way in all workers? Answered by ``penstock.edge.http.admin.Live``."""


class Text(msgspec.Struct, frozen=True, tag="text"):
    """A question: the text of the deployment file that is served. Answered by a string."""


class Apply(msgspec.Struct, frozen=True, tag="apply"):
    """A question: may this deployment file be served from now on? Answered by ``Applied``. ``act`` is who asks."""

    text: str
    dry_run: bool
    act: Act

    def __repr__(self) -> str:
        return f"Apply({len(self.text)} characters, dry_run={self.dry_run})"


# -- what both say: questions and their answers ------------------------------------------------------------------


class Ask(msgspec.Struct, Generic[Question], frozen=True, tag="ask"):
    """``id`` names the question on this link, in this direction, and is used once."""

    id: int
    question: Question


class Told(msgspec.Struct, frozen=True, tag="told"):
    """An answer to the question ``id``, in msgpack; whoever asked knows its type."""

    id: int
    answer: msgspec.Raw


class Denied(msgspec.Struct, frozen=True, tag="denied"):
    """The ``PenstockError`` that the question ``id`` was answered with; ``code`` is its fault's."""

    id: int
    code: str
    message: str
    param: str | None = None
    retry_after: float | None = None


class Cancel(msgspec.Struct, frozen=True, tag="cancel"):
    """Nobody waits for the answer to ``id`` any more; a place that it has been answered with is given back."""

    id: int


ToldOfWorker = Measured | Standing | Holding | Gave
ToldOfSupervisor = (
    Acquire | Metrics | LiveState | Text | Apply | Reserve | Administer | Page | Learn | AuthorizeAt | Exchange
    | SeekDesk | Disown | JoinFlight
)  # fmt: skip

ToWorker = Begin | Entrance | Doors | Update | Stop | Ask[ToldOfWorker] | Told | Denied | Cancel
ToSupervisor = (
    Listening | Refused | Oldest | Last | Release | SettleLease | Ask[ToldOfSupervisor] | Told | Denied | Cancel
    | LearnDesk | TeachDesk | EndFlight
)  # fmt: skip


# -- how it is said ----------------------------------------------------------------------------------------------


class LinkBroken(Exception):
    """What was said is no frame of this link, or there is more of it than it carries."""


def framed(message: object) -> bytes:
    """A message as it goes over the link. Raises ``LinkBroken`` when it is too long."""
    encoded = msgspec.msgpack.encode(message)
    if len(encoded) > LONGEST_FRAME:
        raise LinkBroken(f"a frame of {len(encoded)} bytes is too long for the link")
    return len(encoded).to_bytes(4, "big") + encoded


class Link(asyncio.Protocol, Generic[In, Out]):
    """One end. ``hear`` is called with each message as it comes, and must neither wait nor raise.

    ``ended`` becomes done once nothing more can come: with None when the other end is gone, with ``LinkBroken`` when
    it said something that is no frame.
    """

    def __init__(self, decoder: msgspec.msgpack.Decoder[In], hear: Callable[[In], None]) -> None:
        self._decoder = decoder
        self._hear = hear
        self._buffer = bytearray()
        self._room = asyncio.Event()
        self._room.set()
        self._closed = asyncio.Event()
        self._transport: asyncio.Transport | None = None
        self.ended: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    async def open(self, sock: socket.socket) -> None:
        """Takes the socket over. From here on messages come and go."""
        await asyncio.get_running_loop().create_connection(lambda: self, sock=sock)

    def send(self, message: Out) -> None:
        """Never waits. To an end that is gone nothing is said; one that lets too much wait is given up."""
        self.send_frame(framed(message))

    def send_frame(self, frame: bytes) -> None:
        """The same for a message that is ``framed`` already."""
        transport = self._transport
        if transport is None or transport.is_closing():
            return
        transport.write(frame)
        if transport.get_write_buffer_size() > _MOST_WAITING + LONGEST_FRAME:
            self._end(LinkBroken("the other end of the link does not read"))

    @property
    def waiting(self) -> int:
        """Bytes that have been said and wait for the other end to take them."""
        return 0 if self._transport is None else self._transport.get_write_buffer_size()

    async def room(self) -> None:
        """Returns once the other end has taken nearly all that was said, or is gone."""
        await self._room.wait()

    async def aclose(self) -> None:
        """What has been said still goes out, unless the other end does not read. Idempotent."""
        if self._transport is not None:
            self._transport.close()
            try:
                async with asyncio.timeout(_CLOSES_WITHIN_S):
                    await self._closed.wait()
            except TimeoutError:
                self._transport.abort()

    # -- asyncio.Protocol ----------------------------------------------------------------------------------------

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        buffer = self._buffer
        buffer += data
        at = 0
        while not self.ended.done() and len(buffer) - at >= 4:
            length = int.from_bytes(buffer[at : at + 4], "big")
            if length > LONGEST_FRAME:
                self._end(LinkBroken(f"a frame of {length} bytes is too long for the link"))
                return
            if len(buffer) - at - 4 < length:
                break
            try:
                message = self._decoder.decode(bytes(memoryview(buffer)[at + 4 : at + 4 + length]))
            except (msgspec.DecodeError, UnicodeDecodeError) as error:
                self._end(LinkBroken(str(error)))
                return
            at += 4 + length
            self._hear(message)
        del buffer[:at]

    def pause_writing(self) -> None:
        self._room.clear()

    def resume_writing(self) -> None:
        self._room.set()

    def connection_lost(self, _: Exception | None) -> None:
        self._room.set()
        self._closed.set()
        self._end(None)

    def _end(self, error: LinkBroken | None) -> None:
        if self.ended.done():
            return
        if error is None:
            self.ended.set_result(None)
        else:
            self.ended.set_exception(error)
            # Whoever waits for the end hears of it; that nobody does is no second fault.
            self.ended.exception()
            if self._transport is not None:
                self._transport.abort()


def supervisor_end(hear: Callable[[ToSupervisor], None]) -> Link[ToSupervisor, ToWorker]:
    """The supervisor's end, to be opened."""
    return Link(msgspec.msgpack.Decoder(ToSupervisor), hear)


def worker_end(hear: Callable[[ToWorker], None]) -> Link[ToWorker, ToSupervisor]:
    """The worker's end, to be opened."""
    return Link(msgspec.msgpack.Decoder(ToWorker), hear)
