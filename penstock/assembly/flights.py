"""Equal requests that several workers have at the same time: the supervisor knows who leads, workers ask it.

A seat is named by the number of the question that it answered. A worker that ends leaves its seats.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

import msgspec

from penstock.assembly.asking import Asker
from penstock.assembly.link import ToldOfSupervisor
from penstock.assembly.link_flights import EndFlight, Joined, JoinFlight
from penstock.caches.answers import packed, unpacked
from penstock.caches.flight import Flights, Part, Seat
from penstock.core.caching import Entry
from penstock.core.errors import PenstockError

LONGEST: Final = 4 << 20
"""An answer with more bytes is not passed to other workers."""
_BELOW: Final = 16 << 20
"""Nor is one while so many bytes wait on the link."""
# What the supervisor may take beyond the wait, which it counts itself.
_MARGIN_S: Final = 1.0


class FlightDesk:
    """The supervisor's side, for one worker: where it leads in ``flights``."""

    def __init__(self, flights: Flights[bytes]) -> None:
        self._flights = flights
        self._led: dict[int, Seat[bytes]] = {}

    async def join(self, number: int, asked: JoinFlight) -> Joined:
        """The seat of the question ``number``."""
        seat = await self._flights.seat(asked.key, asked.within_s)
        if seat.leads:
            self._led[number] = seat
        return Joined(seat.leads, seat.value)

    def end(self, said: EndFlight) -> None:
        """Nothing happens when it does not lead by this number."""
        if (seat := self._led.pop(said.id, None)) is None:
            return
        match said.how:
            case "land":
                seat.land(said.value)
            case "leave":
                seat.leave()
            case "disband":
                seat.disband()

    def leave(self, number: int) -> None:
        """Nobody has heard that it leads by this number."""
        self.end(EndFlight(number, "leave"))

    def close(self) -> None:
        """The worker is gone."""
        for number in tuple(self._led):
            self.leave(number)


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
        try:
            told = await self._asker.ask(JoinFlight(key, within_s), within_s + _MARGIN_S)
        except (TimeoutError, PenstockError):
            return _Seat(self, 0, None, leads=False)
        joined = msgspec.msgpack.decode(told.answer, type=Joined)
        value = None if joined.value is None else unpacked(joined.value)
        if value is not None:
            self._heard(value)
        return _Seat(self, told.id, value, leads=joined.leads)

    def over(self, number: int, entry: Entry | None, *, shared: bool) -> None:
        """For a seat that leads. ``entry`` None: it left, or, not ``shared``, it disbanded."""
        if entry is not None:
            value = packed(entry)
            if len(value) <= LONGEST and self._waiting() < _BELOW:
                self._send(EndFlight(number, "land", value))
                return
            shared = False
        self._send(EndFlight(number, "leave" if shared else "disband"))


class _Seat:
    __slots__ = ("_flights", "_number", "leads", "value")

    def __init__(self, flights: RemoteFlights, number: int, value: Entry | None, *, leads: bool) -> None:
        self._flights = flights
        self._number = number
        self.value = value
        self.leads = leads

    def land(self, value: Entry) -> None:
        self._over(value, shared=True)

    def leave(self) -> None:
        self._over(None, shared=True)

    def disband(self) -> None:
        self._over(None, shared=False)

    def _over(self, entry: Entry | None, *, shared: bool) -> None:
        led, self.leads = self.leads, False
        if led:
            self._flights.over(self._number, entry, shared=shared)
