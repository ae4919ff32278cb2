"""The books of one gateway, kept: journals shipped, the directory fresh, administrative acts carried out."""

from __future__ import annotations

import contextlib
import logging
import secrets
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Mapping
from dataclasses import dataclass
from pathlib import Path

from penstock import catalog
from penstock.access.book import Book
from penstock.access.config import AccessSettings
from penstock.access.counters_memory import MemoryCounters
from penstock.assembly.accounting import Accounting
from penstock.assembly.desk_office import DeskOffice, disowning
from penstock.assembly.loops import running
from penstock.assembly.rebuilding import Rebuilding
from penstock.assembly.redis import Open
from penstock.assembly.seeing import Sight
from penstock.assembly.serving import Serving
from penstock.assembly.state import State
from penstock.assembly.sweeping import Sweeper
from penstock.caches.config import CacheSettings
from penstock.control import metrics
from penstock.control.accounts.administration import Administration
from penstock.control.accounts.deployment import Deployed
from penstock.control.accounts.operation import Sources
from penstock.control.directories import Directories
from penstock.control.heads import Heads
from penstock.control.issuers import Answer, Fetch, Issuers, Unfetched
from penstock.control.retention import Retention
from penstock.control.rollouts.loop import Rollouts
from penstock.control.rollouts.weighing import Scale
from penstock.control.shipping import Shipping
from penstock.control.sign_in import Replied, Send, SignIn
from penstock.core import administration
from penstock.core.accounts import Directory
from penstock.core.clock import Clock
from penstock.core.errors import PenstockError
from penstock.core.leases import Counters
from penstock.core.usage import Act, Audited
from penstock.observe.config import ObserveSettings
from penstock.observe.totals import Report, Series
from penstock.quality.gates import Evidence
from penstock.store.config import StateSettings
from penstock.store.journal import Journal
from penstock.store.journal_folder import segments

_log = logging.getLogger(__name__)

_SHIPPED_WITHIN_S = 10.0
_FRESH_WITHIN_S = 1.0
_COUNTED_WITHIN_S = 5.0


@dataclass(frozen=True)
class Books:
    """What workers ask of the supervisor beside the queue."""

    accounting: Accounting
    shipping: Shipping
    directories: Directories
    issuers: Issuers
    acts: Administration
    journal: Journal
    sight: Sight
    sign_in: SignIn
    desks: DeskOffice
    sweeper: Sweeper

    async def administer(self, ask: administration.Ask) -> administration.Answer:
        """Carries it out; what it changed is known to every worker of this gateway when it returns, and what was used
        or done before it is in the store, unless that is slow. Raises ``PenstockError``."""
        if ask.operation.startswith(("usage.", "budgets.", "audit.")):
            with contextlib.suppress(TimeoutError):
                await self.shipping.flush(_FRESH_WITHIN_S)
        answer = await self.acts.carry_out(ask)
        if self.directories.asked:
            await self.directories.once()
        return answer

    async def learn(self, issuer: str) -> None:
        """The issuer's signing keys are asked for again."""
        await self.issuers.wanted(issuer)

    def note(self, act: Act) -> None:
        """For the audit, whether or not the store is there. Never raises."""
        try:
            self.journal.write(Audited(f"act_{secrets.token_hex(12)}", act))
        except PenstockError as error:
            _log.error("the audit does not hear of %s by %s: %s", act.action, act.actor, error.message)

    def measured(self) -> Report:
        """What the supervisor measures."""
        levels = {
            metrics.JOURNAL_WAITING.name: self.shipping.waiting(),
            metrics.JOURNAL_DAMAGED.name: self.shipping.damaged,
            metrics.STORE_AWAY.name: self.directories.away,
        }
        told = {name: (Series((), (float(level),)),) for name, level in levels.items()}
        return Report({**self.sight.measured().metrics, **told, **self.desks.measured(), **self.sweeper.measured()})


@contextlib.asynccontextmanager
async def keeping(
    state: State,
    home: Path,
    access: AccessSettings,
    settings: StateSettings,
    observe: ObserveSettings,
    cache: CacheSettings,
    *,
    alone: bool,
    clock: Clock,
    tell: Callable[[bytes], None],
    holding: Callable[[], Coroutine[object, object, Open]],
    gave: Callable[[str, str], Awaitable[str | None]],
    serving: Serving,
    sight: Sight,
    deployed: Deployed | None = None,
) -> AsyncIterator[Books]:
    """Keeps the books for the time of the block; what is in the journals then is brought to the store, and how the
    audit ends then is signed, as far as the store answers. ``alone``: there is one worker. ``tell``, ``holding`` and
    ``gave`` are those of ``WorkerLoop``; ``serving`` hears what the store says of releases; ``sight`` tells what is
    seen beside, ``deployed`` the file that is served."""
    folder = home / "journal"
    folder.mkdir(mode=0o700, exist_ok=True)
    spool = home / "spool"
    spool.mkdir(mode=0o700, exist_ok=True)
    book = Book()
    async with contextlib.AsyncExitStack() as held:
        rebuilding: Rebuilding | None = None
        counters: Counters = MemoryCounters(book, clock)
        if access.counters:
            rebuilding = Rebuilding(access, state, clock, holding)
            held.push_async_callback(rebuilding.aclose)
            counters = rebuilding.counters
        accounting = Accounting(
            gateway=state.gateway, folder=folder, spool=spool, access=access, observe=observe, state=settings,
            cache=cache, peppers=state.peppers, ledger=state.ledger, counters=counters, book=book,
            alone=alone and not access.counters, clock=clock, tell=tell,
        )  # fmt: skip

        async def disowned(key: str, project: str, key_id: str) -> None:
            await acts.carry_out(disowning(key, project, key_id))
            await directories.once()

        desks = DeskOffice(
            home / "semantic", clock, cache=cache, gateway=state.gateway, gave=gave, invalidate=disowned
        )

        sweeper = Sweeper(cache, clock, gateway=state.gateway, standing=lambda: directories.standing)

        async def changed(directory: Directory) -> None:
            desks.invalidate(directory.invalidations)
            sweeper.told(directory.invalidations)
            await accounting.changed(directory)
            await serving.changed(directory)

        shipping = Shipping(
            folder, state.ledger, state.audit, state.store.used, state.scores.append_scores,
            limit_bytes=settings.journal.limit_bytes, clock=clock, follow=accounting.follow,
            orphaned=accounting.orphaned, changed=accounting.full,
        )  # fmt: skip
        accounting.ship_by(shipping)
        directories = Directories(
            state.store, clock, gateway=state.gateway, stale_after_s=access.stale_after_s,
            changed=changed, stale=accounting.stale, ready=serving.ready,
        )  # fmt: skip
        rollouts = Rollouts(
            state=state.store, scores=state.scores, weigh=Scale, gateway=state.gateway,
            standing=lambda: directories.standing, clock=clock, changed=directories.look,
        )  # fmt: skip
        sources = Sources(
            directory=state.store.directory, ledger=state.ledger, audit=state.audit, scores=state.scores,
            evidence=rollouts.evidence, proof=Evidence, live=sight.live, replicas=sight.replicas,
            objectives=sight.objectives, desks=sight.desks, flush=sight.flush,
            requests=sight.requests, series=sight.series, alerts=sight.alerts, deployment=deployed,
        )  # fmt: skip
        acts = Administration(
            state=state.store, sources=sources, peppers=state.peppers, clock=clock.wall,
            changed=directories.look, served=lambda: serving.now.served, standing=lambda: directories.standing,
        )  # fmt: skip
        held.push_async_callback(acts.aclose)
        held.push_async_callback(desks.aclose)
        fetch, send = _outside(access, held)
        issuers = Issuers(access.oidc, fetch=fetch, clock=clock, changed=accounting.signed)
        sign_in = SignIn(access.oidc, fetch=fetch, send=send)
        retention = Retention(state.ledger, state.audit, state.scores, settings, clock, seen=sight.kept())
        heads = Heads(state.audit)
        before = tuple(segments(folder))
        owner = f"{state.gateway}-s-{secrets.token_hex(4)}"
        journal = Journal(folder, owner, sync_s=settings.journal.sync_ms / 1000.0)
        await held.enter_async_context(running(shipping.run()))
        held.push_async_callback(heads.sign)
        held.push_async_callback(_shipped, shipping)
        held.callback(shipping.ended, owner)
        held.callback(journal.close)
        await directories.first()
        loops = [directories.run(), issuers.run(), retention.run(), heads.run(), rollouts.run()]
        if rebuilding is not None:
            rebuilding.begin(shipping, directories, accounting)
            await rebuilding.ready(_COUNTED_WITHIN_S)
            await accounting.given_back(before)
            loops.append(rebuilding.run())
        for loop in loops:
            await held.enter_async_context(running(loop))
        await held.enter_async_context(sweeper.running())
        yield Books(accounting, shipping, directories, issuers, acts, journal, sight, sign_in, desks, sweeper)


def _outside(access: AccessSettings, held: contextlib.AsyncExitStack) -> tuple[Fetch, Send]:
    """How identity providers are asked; nothing is loaded for it where there are none."""
    if not access.oidc:
        return _nothing, _nobody
    documents = catalog.load("issuers.documents")()
    held.push_async_callback(documents.aclose)
    return documents, documents.send


async def _nothing(url: str) -> Answer:
    raise Unfetched(f"{url} is not asked for: there are no issuers")


async def _nobody(url: str, form: Mapping[str, str], headers: Mapping[str, str]) -> Replied:
    raise Unfetched(f"{url} is not asked for: there are no issuers")


async def _shipped(shipping: Shipping) -> None:
    try:
        await shipping.flush(_SHIPPED_WITHIN_S)
    except TimeoutError:
        _log.warning("the store did not take all that was used; the journal keeps it for the next start")
