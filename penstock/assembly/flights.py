"""Equal requests that several workers have at the same time: the supervisor knows who leads, workers ask it.

A worker that ends leaves its seats. A supervisor that does not answer is not waited for: each worker goes by itself.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Final, Literal

import msgspec

from penstock.assembly.asking import Asker
from penstock.assembly.link import Told, ToldOfSupervisor
from penstock.assembly.link_flights import EndFlight, Joined, JoinFlight
from penstock.caches.answers import packed, unpacked
from penstock.caches.flight import Flights, Follower, Part, Seat
from penstock.core.caching import Entry
from penstock.core.errors import PenstockError

LONGEST: Final = 4 << 20
"""An answer with more bytes is not passed to other workers."""
BELOW: Final = 16 << 20
"""Nor is one while so many bytes wait on a link."""
_ANSWERS_WITHIN_S: Final = 1.0
# Beyond the wait, so that the supervisor, which counts it, too, has the first word.
_MARGIN_S: Final = 0.2


class FlightDesk:
    """The supervisor's side, for one worker: where it leads and waits in ``flights``. ``send`` is the link's,
    ``waiting`` how many bytes wait on it."""

    def __init__(self, flights: Flights[bytes], send: Callable[[Told], None], waiting: Callable[[], int]) -> None:
        self._flights = flights
        self._send = send
        self._waiting = waiting
        self._led: dict[int, Seat[bytes]] = {}
        self._follows: dict[int, tuple[Follower[bytes], asyncio.Task[None]]] = {}

    def join(self, asked: JoinFlight) -> bool:
        """Whether it leads; else it waits."""
        if (seat := self._flights.lead(asked.key)) is not None:
            self._led[asked.number] = seat
            return True
        follower = self._flights.follow(asked.key, asked.within_s)
        task = asyncio.get_running_loop().create_task(self._followed(asked.number, follower))
        self._follows[asked.number] = (follower, task)
        return False

    def end(self, said: EndFlight) -> None:
        """Nothing happens when it neither leads nor waits by this number."""
        if (follow := self._follows.pop(said.number, None)) is not None:
            follower, task = follow
            follower.leave()
            task.cancel()
        if (seat := self._led.pop(said.number, None)) is None:
            return
        match said.how:
            case "land":
                seat.land(said.value)
            case "leave":
                seat.leave()
            case "fail":
                seat.fail()
            case "disband":
                seat.disband()

    def close(self) -> None:
        """The worker is gone."""
        for number in (*self._follows, *self._led):
            self.end(EndFlight(number, "leave"))

    async def _followed(self, number: int, follower: Follower[bytes]) -> None:
        seat = await follower.seat()
        del self._follows[number]
        if seat.leads:
            self._led[number] = seat
        value = seat.value if self._waiting() < BELOW else None
        self._send(Told(number, msgspec.Raw(msgspec.msgpack.encode(Joined(seat.leads, value)))))


class RemoteFlights:
    """The worker's side: the flights ``Beyond`` its own. ``send`` is the link's, ``waiting`` how many bytes wait on
    it; ``heard`` gets what another worker has landed."""

    def __init__(
        self,
        asker: Asker[ToldOfSupervisor],
        send: Callable[[EndFlight], None],
        waiting: Callable[[], int],
        heard: Callable[[Entry], object],
    ) -> None:
        self._asker = asker
        self._heard = heard
        self._send = send
        self._waiting = waiting

    async def seat(self, key: bytes, within_s: float) -> Part[Entry]:
        """As ``Beyond`` has it."""
        number, told = self._asker.expect()
        joined: Joined | None = None
        try:
            asked = await self._asker.ask(JoinFlight(number, key, within_s), _ANSWERS_WITHIN_S)
            if msgspec.msgpack.decode(asked.answer, type=bool):
                joined = Joined(leads=True)
            else:
                heard = await asyncio.wait_for(told, within_s + _MARGIN_S)
                joined = msgspec.msgpack.decode(heard.answer, type=Joined)
        except (TimeoutError, PenstockError):
            return _Seat(self, number, None, leads=False)
        finally:
            self._asker.forget(number)
            if joined is None:
                self._send(EndFlight(number, "leave"))
        value = None if joined.value is None else unpacked(joined.value)
        if value is not None:
            self._heard(value)
        return _Seat(self, number, value, leads=joined.leads)

    def land(self, number: int, entry: Entry) -> None:
        """For a seat that leads."""
        value = packed(entry)
        if len(value) <= LONGEST and self._waiting() < BELOW:
            self._send(EndFlight(number, "land", value))
        else:
            self.end(number, "disband")

    def end(self, number: int, how: Literal["leave", "fail", "disband"]) -> None:
        """The same."""
        self._send(EndFlight(number, how))


class _Seat:
    __slots__ = ("_flights", "_number", "leads", "value")

    def __init__(self, flights: RemoteFlights, number: int, value: Entry | None, *, leads: bool) -> None:
        self._flights = flights
        self._number = number
        self.value = value
        self.leads = leads

    def land(self, value: Entry) -> None:
        if self._ends():
            self._flights.land(self._number, value)

    def leave(self) -> None:
        if self._ends():
            self._flights.end(self._number, "leave")

    def fail(self) -> None:
        if self._ends():
            self._flights.end(self._number, "fail")

    def disband(self) -> None:
        if self._ends():
            self._flights.end(self._number, "disband")

    def _ends(self) -> bool:
        led, self.leads = self.leads, False
        return led
