"""A worker's side of who may call, and how much: what the supervisor tells it, made ready for the live path."""

from __future__ import annotations

import itertools
import logging
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple, Protocol

from penstock import catalog
from penstock.access.book import Book
from penstock.access.keyring import Keyring
from penstock.access.limits import Rules
from penstock.access.peppers import Pepper
from penstock.access.prices import PriceList
from penstock.access.sessions import Identity
from penstock.assembly.asking import Asker
from penstock.assembly.counting import LinkedCounting, OwnCounting, RemoteCounting
from penstock.assembly.link import Begin, Entrance, SettleLease, ToldOfSupervisor
from penstock.core.caching import Invalidation
from penstock.core.clock import Clock
from penstock.core.errors import IDENTITIES_STALE, JOURNAL_FULL, PenstockError
from penstock.core.identity import Principal
from penstock.core.usage import Act, Audited, Used
from penstock.gateway.means import Count, Counting, Means
from penstock.gateway.reserve import Reserving
from penstock.store.journal import Journal

_log = logging.getLogger(__name__)

_DOORS = {fault.code: fault for fault in (IDENTITIES_STALE, JOURNAL_FULL)}


class _Closing(Counting, Protocol):
    async def ready(self) -> None: ...

    async def aclose(self) -> None: ...


def shut(code: str, message: str) -> PenstockError:
    """Why nobody is let in, as the supervisor said it."""
    return PenstockError(_DOORS[code], message, retry_after=5.0)


class Verifier(Protocol):
    """Takes tokens in place of keys, and people who have signed in by one."""

    def verify(self, token: str) -> Principal:
        """Whose token it is. Raises ``PenstockError``."""

    def identity(self, token: str, number: int, nonce: str) -> Identity:
        """Who has signed in, by an ID token. Raises ``PenstockError``."""

    def of(self, identity: Identity) -> Principal:
        """What they may do now. Raises ``PenstockError``."""


class View(NamedTuple):
    """Who may call at this moment, and how much; ``people`` None: nobody signs in by an identity provider."""

    keyring: Keyring
    rules: Rules
    prices: PriceList
    people: Verifier | None


class Access:
    """``view`` is what was said last; None before the first ``Entrance``; ``invalidations`` what caches may not give.
    ``journal`` is this worker's."""

    def __init__(
        self,
        begin: Begin,
        clock: Clock,
        asker: Asker[ToldOfSupervisor],
        send: Callable[[SettleLease], None],
        count: Count,
    ) -> None:
        self._begin = begin
        self._clock = clock
        self.journal = Journal(Path(begin.folder), begin.owner, sync_s=begin.state.journal.sync_ms / 1000.0)
        self._book: Book | None = None
        self._counting = self._made(asker, send)
        means = Means(
            self._counting,
            self.journal,
            clock,
            gateway=begin.gateway,
            on_failure=begin.access.on_failure,
            cap=begin.access.max_output_tokens,
            count=count,
            capture=begin.state.audit.capture,
        )
        self.reserving = Reserving(means, begin.owner)
        self.view: View | None = None
        self.invalidations: tuple[Invalidation, ...] = ()
        self._noted = itertools.count(1)

    def take(self, entrance: Entrance) -> None:
        """What holds from now on."""
        directory = entrance.directory
        self.invalidations = directory.invalidations
        if self._book is not None:
            self._book.begin(entrance.begun)
        tokens: Verifier | None = None
        if self._begin.access.oidc:
            made: Callable[..., Verifier] = catalog.load("tokens.jwt")
            signing = {each.issuer: each for each in entrance.signing}
            tokens = made(self._begin.access.oidc, signing, directory, self._clock.wall)
        peppers = [Pepper(name, secret) for name, secret in entrance.peppers]
        before = None if self.view is None else self.view.keyring
        verify = None if tokens is None else tokens.verify
        keyring = Keyring(directory, peppers, self._clock.wall, self._used, verify, before)
        prices = PriceList(directory.prices, before=None if self.view is None else self.view.prices)
        self.view = View(keyring, Rules(directory), prices, tokens)

    @property
    def now(self) -> View:
        """``LookupError`` before the first ``Entrance``."""
        if self.view is None:
            raise LookupError("nobody is let in yet")
        return self.view

    async def ready(self) -> None:
        """Returns once requests can be counted, or nobody knows when: before it, limits would let through what they
        must not."""
        await self._counting.ready()

    def note(self, act: Act) -> None:
        """For the audit, whether or not the store is there. Never raises."""
        try:
            self.journal.write(Audited(f"{self._begin.owner}.a{next(self._noted)}", act))
        except PenstockError as error:
            _log.error("the audit does not hear of %s by %s: %s", act.action, act.actor, error.message)

    async def aclose(self) -> None:
        """What was settled is counted, and the journal on disk."""
        await self._counting.aclose()
        self.journal.close()

    def _made(self, asker: Asker[ToldOfSupervisor], send: Callable[[SettleLease], None]) -> _Closing:
        begin = self._begin
        if begin.book is not None:
            self._book = Book.from_state(begin.book)
            return OwnCounting(self._book, begin.owner, self._clock)
        if begin.access.counters:
            return RemoteCounting(begin.access, begin.owner, self._clock)
        return LinkedCounting(asker, send)

    def _used(self, used: Used) -> None:
        try:
            self.journal.write(used)
        except PenstockError as error:
            # Only when a key was last used is lost.
            _log.warning("the use of a key is not noted: %s", error.message)
