"""What a worker asks the supervisor on behalf of those who ask it: for all workers, and for the deployment."""

from __future__ import annotations

import asyncio
from typing import TypeVar

import msgspec

from penstock.assembly.asking import Asker
from penstock.assembly.gathering import Sum
from penstock.assembly.link import (
    Administer,
    Apply,
    AuthorizeAt,
    Exchange,
    Learn,
    LiveState,
    Metrics,
    Page,
    Text,
    ToldOfSupervisor,
)
from penstock.assembly.metrics import ROWS
from penstock.core import administration
from penstock.core.console import PageAsk
from penstock.core.errors import OUT_OF_RESOURCES, PenstockError
from penstock.core.serving import Applied
from penstock.core.usage import Act
from penstock.edge.http.admin import Live
from penstock.observe.prometheus import Exposed, exposed

_WITHIN_S = 8.0
# Engines may be built to see whether they can be.
_APPLIED_WITHIN_S = 60.0
# The issuer is asked twice.
_SIGNED_WITHIN_S = 15.0
# Exports and the check of a long audit take a while.
_ADMINISTERED_WITHIN_S = 60.0

T = TypeVar("T")


class SupervisorControl:
    """Each raises ``PenstockError`` when the supervisor is gone or does not answer in time. ``watching`` are those
    who ask what is under way right now, in a page of the console say; they do not count as that."""

    def __init__(self, asker: Asker[ToldOfSupervisor]) -> None:
        self._asker = asker
        self.watching = 0

    async def live(self) -> Live:
        """What is under way in all workers."""
        return await self._watched(LiveState(), Live, _WITHIN_S)

    async def deployment(self) -> str:
        """The text of the deployment file that is served."""
        return await self._ask(Text(), str, _WITHIN_S)

    async def apply(self, text: str, dry_run: bool, act: Act) -> Applied:
        """Serves it from now on, or says what that would change. Raises ``PenstockError`` (BAD_DEPLOYMENT)."""
        return await self._ask(Apply(text, dry_run, act), Applied, _APPLIED_WITHIN_S)

    async def administer(self, ask: administration.Ask) -> administration.Answer:
        """Carries out an administrative request."""
        return await self._watched(Administer(ask), administration.Answer, _ADMINISTERED_WITHIN_S)

    async def page(self, ask: PageAsk) -> administration.Answer:
        """A page of the console."""
        return await self._watched(Page(ask), administration.Answer, _ADMINISTERED_WITHIN_S)

    async def authorize_at(self, number: int) -> str:
        """Where a browser goes to sign in by an issuer, called by its place in ``access.oidc``."""
        return await self._ask(AuthorizeAt(number), str, _SIGNED_WITHIN_S)

    async def exchange(self, number: int, code: str, verifier: str, redirect_uri: str) -> str:
        """The issuer's ID token for a code, unchecked."""
        return await self._ask(Exchange(number, code, verifier, redirect_uri), str, _SIGNED_WITHIN_S)

    async def learn(self, issuer: str) -> None:
        """Returns when this worker has been told the signing keys that the issuer has now, as far as it says."""
        await self._ask(Learn(issuer), type(None), _WITHIN_S)

    async def metrics(self, accept: str) -> Exposed:
        """What all workers have measured, in the form that an ``Accept`` header asks for."""
        measured = await self._ask(Metrics(), Sum, _WITHIN_S)
        # With thousands of label sets the page takes long enough for streams to stutter.
        return await asyncio.to_thread(exposed, ROWS, measured.report, measured.processes, accept)

    async def _watched(self, question: ToldOfSupervisor, answer: type[T], within_s: float) -> T:
        self.watching += 1
        try:
            return await self._ask(question, answer, within_s)
        finally:
            self.watching -= 1

    async def _ask(self, question: ToldOfSupervisor, answer: type[T], within_s: float) -> T:
        try:
            told = await self._asker.ask(question, within_s)
        except TimeoutError:
            raise PenstockError(
                OUT_OF_RESOURCES,
                f"The supervisor process has not answered within {within_s:g} s. Try again; when this stays, look "
                "for what keeps its machine busy.",
                retry_after=1.0,
            ) from None
        return msgspec.msgpack.decode(told.answer, type=answer)
