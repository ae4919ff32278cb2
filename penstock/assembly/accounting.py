"""The supervisor's side of who may call, and how much: it tells the workers, counts for them, and keeps the books."""

from __future__ import annotations

import asyncio
import logging
import secrets
from collections import deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path

import msgspec

from penstock.access.book import Book
from penstock.access.config import AccessSettings
from penstock.access.limits import WINDOWS, Amounts, budget_counter, counted, until
from penstock.access.peppers import Pepper
from penstock.assembly.link import Begin, Doors, Entrance, framed
from penstock.caches.config import CacheSettings
from penstock.control.shipping import Shipping
from penstock.core.accounts import Budget, Directory, SigningKeys
from penstock.core.clock import Clock
from penstock.core.errors import IDENTITIES_STALE, JOURNAL_FULL, PenstockError
from penstock.core.leases import Counters, Granted, Hold, Need, Refused
from penstock.core.money import period
from penstock.core.usage import Held, Opening, Settled
from penstock.observe.config import ObserveSettings
from penstock.store import LedgerStore
from penstock.store.config import StateSettings

_log = logging.getLogger(__name__)

_FLUSHED_WITHIN_S = 5.0
# A worker's settling is on its way for no longer than this, and there is no more of it.
_RECENT_S = 5.0
_RECENT = 5_000
_TRIES = 12


class Accounting:
    """``counters`` are those that workers share: Redis, or the supervisor's own book; with ``alone`` the one worker
    keeps its own, of which ``book`` is the mirror that its journal makes. ``tell`` says a framed message to every
    worker there is. ``living`` are the names of workers that have not ended."""

    def __init__(
        self,
        *,
        gateway: str,
        folder: Path,
        spool: Path,
        access: AccessSettings,
        observe: ObserveSettings,
        state: StateSettings,
        cache: CacheSettings,
        peppers: Sequence[Pepper],
        ledger: LedgerStore,
        counters: Counters,
        book: Book,
        alone: bool,
        clock: Clock,
        tell: Callable[[bytes], None],
    ) -> None:
        self._gateway = gateway
        self._folder = folder
        self._spool = spool
        self._access = access
        self._observe = observe
        self._state = state
        self._cache = cache
        self._peppers = tuple((each.name, each.secret) for each in peppers)
        self._ledger = ledger
        self._counters = counters
        self._book = book
        self._alone = alone
        self._clock = clock
        self._tell = tell
        self._shipping: Shipping | None = None
        self._directory = Directory()
        self._signing: tuple[SigningKeys, ...] = ()
        self._begun: set[tuple[str, float]] = set()
        self._late: dict[str, tuple[int, float]] = {}
        self._orphans: dict[str, list[str]] = {}
        self._recent: dict[str, deque[tuple[float, Settled]]] = {}
        self._stale = self._full = False
        self.living: set[str] = set()

    def ship_by(self, shipping: Shipping) -> None:
        """Said once, before anything else: how journals get into the store."""
        self._shipping = shipping

    # -- what workers are told -----------------------------------------------------------------------------------

    def first(self, index: int) -> tuple[str, Sequence[bytes]]:
        """The name of a new worker, and what it is told before all else."""
        owner = f"{self._gateway}-w{index}-{secrets.token_hex(4)}"
        self.living.add(owner)
        book = self._book.state() if self._alone else None
        begin = Begin(
            self._gateway,
            owner,
            index,
            str(self._folder),
            str(self._spool),
            self._access,
            self._state,
            self._observe,
            self._cache,
            book,
        )
        messages = [framed(begin), self._entrance({})]
        if self._stale or self._full:
            messages.append(framed(self._doors()))
        return owner, messages

    async def changed(self, directory: Directory) -> None:
        """The store says something new: budgets that are new begin with what was spent in their period, then every
        worker hears of it. Raises ``PenstockError`` when the store does not say what was spent."""
        if not self._directory.version:
            self._directory = directory
            self._book.count(await self.used_lately())
        begun = await self._spent(directory)
        if begun:
            self._book.begin(begun)
            self._late |= begun
            await self.begin_late()
        self._directory = directory
        self._tell(self._entrance(begun))

    async def begin_late(self) -> None:
        """Budgets that are new begin in the counters as soon as these answer."""
        if not self._late or self._alone:
            self._late.clear()
            return
        begun = dict(self._late)
        try:
            await self._counters.begin(begun)
        except PenstockError as error:
            _log.warning("new budgets begin when the counters are back: %s", error.message)
        else:
            for counter in begun:
                del self._late[counter]

    def signed(self, signing: Mapping[str, SigningKeys]) -> None:
        """Issuers have other keys."""
        self._signing = tuple(signing.values())
        self._tell(self._entrance({}))

    def stale(self, stale: bool) -> None:
        """Whether the store has been away for too long to trust a key."""
        self._stale = stale
        self._tell(framed(self._doors()))

    def full(self, full: bool) -> None:
        """Whether the journal is full."""
        self._full = full
        self._tell(framed(self._doors()))

    def _entrance(self, begun: Mapping[str, tuple[int, float]]) -> bytes:
        # What is released reaches workers as the services that it makes.
        directory = msgspec.structs.replace(
            self._directory, models=(), prompts=(), aliases=(), releases=(), splits=(), rollouts=()
        )
        return framed(Entrance(directory, self._peppers, self._signing, begun))

    def _doors(self) -> Doors:
        if self._full:
            return Doors(
                JOURNAL_FULL.code,
                "The store has been away for so long that the journal is full, and what is used could not be "
                "recorded. Bring the store back, or make `state: journal: limit_bytes` larger.",
            )
        if self._stale:
            return Doors(
                IDENTITIES_STALE.code,
                "The store has been away for longer than `access: stale_after_s`, and nobody can say which keys are "
                "still good. Bring the store back.",
            )
        return Doors(None)

    async def used_lately(self) -> Sequence[Held]:
        """What the ledger has of the windows of limits that are not over. Raises ``PenstockError``."""
        now = self._clock.wall()
        past: list[Held] = []
        for limit in self._directory.limits:
            if limit.per not in WINDOWS:
                continue
            window_s = WINDOWS[limit.per]
            rows = await asyncio.to_thread(
                lambda: tuple(self._ledger.counted(limit.kind, limit.service, now - window_s, window_s / 600))  # noqa: B023
            )
            for subject, at, requests, input, output in rows:
                if limit.kind == "global" or limit.subject in ("*", subject):
                    amount = counted(limit, Amounts(requests, input, output, 0))
                    past.append(Held(f"{limit.id}:{subject}", Hold.SLIDING, amount, window_s, 0.0, at))
        return sorted(past, key=lambda held: held.at)

    async def spent_by_now(self) -> dict[str, tuple[int, float]]:
        """What the ledger has of the periods of budgets that are not over. Raises ``PenstockError``."""
        self._begun.clear()
        return await self._spent(self._directory)

    async def _spent(self, directory: Directory) -> dict[str, tuple[int, float]]:
        """Of budgets that were not there before: counters, with what was spent."""
        now = self._clock.wall()
        found: dict[str, tuple[int, float]] = {}
        fresh = []
        for budget in directory.budgets:
            begin, end = period(budget.period, now)
            if (_named(budget), begin) not in self._begun:
                fresh.append((budget, begin, end))
        if not fresh:
            return found
        assert self._shipping is not None
        try:
            await self._shipping.flush(_FLUSHED_WITHIN_S)
        except TimeoutError:
            _log.warning("a new budget begins without what was used in the last seconds; the store is slow")
        for budget, begin, end in fresh:
            spent = await asyncio.to_thread(self._ledger.spent, budget.kind, budget.service, begin)
            for subject, nano in spent.items():
                if budget.kind == "global" or budget.subject in ("*", subject):
                    found[budget_counter(f"{budget.id}:{subject}", begin)] = (nano, until(end))
        self._begun |= {(_named(budget), begin) for budget, begin, _ in fresh}
        return found

    # -- what workers count --------------------------------------------------------------------------------------

    async def reserve(self, owner: str, lease: str, needs: Sequence[Need]) -> Granted | Refused:
        """For a worker that shares the supervisor's book."""
        return await self._counters.reserve(owner, lease, needs)

    async def settle(self, owner: str, lease: str, used: Mapping[str, int]) -> None:
        """The same."""
        await self._counters.settle(owner, lease, used)

    def follow(self, owner: str, record: Opening | Settled) -> None:
        """Keeps the mirror of the only worker's book; of others, what they settled last, which may not have reached
        the counters when they end."""
        if self._alone:
            # Where nothing is counted, there is nothing to mirror.
            if record.used if isinstance(record, Settled) else record.held:
                self._book.follow(owner, record)
        elif isinstance(record, Settled) and record.used:
            recent = self._recent.get(owner)
            if recent is None:
                recent = self._recent[owner] = deque(maxlen=_RECENT)
            recent.append((self._clock.now(), record))

    def orphaned(self, owner: str, lease: str) -> None:
        """The owner is gone, and nobody will settle the lease."""
        self._orphans.setdefault(owner, []).append(lease)

    async def ended(self, owner: str) -> None:
        """The worker is gone: what it left open is charged at its bound, and what it held without having sent
        anything is given back."""
        assert self._shipping is not None
        self.living.discard(owner)
        self._shipping.ended(owner)
        await self.given_back((owner,))

    async def given_back(self, owners: Iterable[str]) -> None:
        """The same, of owners whose journals are known to be all that there will be."""
        assert self._shipping is not None
        for _ in range(_TRIES):
            try:
                await self._shipping.caught_up(_FLUSHED_WITHIN_S)
                break
            except TimeoutError:
                continue
        else:
            _log.error("the journals of workers that ended cannot be read; what they held stays reserved")
            return
        for owner in owners:
            since = self._clock.now() - _RECENT_S
            recent = [record for at, record in self._recent.pop(owner, ()) if at >= since]
            try:
                for record in recent:
                    await self._counters.settle(owner, record.lease, record.used)
                for lease in self._orphans.pop(owner, ()):
                    await self._counters.settle(owner, lease, {})
                await self._counters.end(owner)
            except PenstockError as error:
                # They are rebuilt from the ledger when they are back.
                _log.warning("a worker's leases are not given back: %s", error.message)


def _named(budget: Budget) -> str:
    """It, and what it is spent by: when that changes it begins anew."""
    return f"{budget.id}:{budget.kind}:{budget.subject}:{budget.service}"
