"""A new deployment file under traffic: refused whole, with every mistake, or taken whole and at once."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Callable, Sequence

import msgspec

from penstock.assembly.difference import RESTART, difference, of_prompts
from penstock.assembly.serving import Serving, Source
from penstock.config import SENT, Loaded, masked
from penstock.control.board import Board
from penstock.core.errors import STOPPING, PenstockError
from penstock.core.serving import Applied
from penstock.core.usage import Act


class Sent(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What the audit keeps of a deployment file: which it was, and as ``Applied`` has it what it changed."""

    sha256: str
    length: int = msgspec.field(name="bytes")
    version: int = 0
    changed: Sequence[str] = ()
    needs_restart: Sequence[str] = ()


class Applying:
    """The one way in which what is served changes while it is served.

    ``serving`` is what is served, the file in it too. ``say`` hears, in one line each, what has changed, and
    ``note``, for the audit, who has changed it or tried to; it must neither wait nor raise. What a file says of
    ``server`` is not taken: the listening socket and the workers are as they were made.
    """

    def __init__(
        self,
        serving: Serving,
        *,
        source: Source,
        board: Board,
        say: Callable[[str], None],
        note: Callable[[Act], None],
    ) -> None:
        self._serving = serving
        self._source = source
        self._board = board
        self._say = say
        self._note = note
        self._turn = asyncio.Lock()
        self._ended = False

    async def apply(self, text: str, dry_run: bool, act: Act) -> Applied:
        """Serves ``text`` from now on, or says what that would change. One at a time, in the order they came.

        Requests in progress end with what they began with. A model that runs here goes on as it was until a copy of
        what it is now is ready. ``act`` is who asks. Raises ``PenstockError`` (BAD_DEPLOYMENT, with a line for every
        mistake; STOPPING) and changes nothing then.
        """
        async with self._turn:
            if dry_run:
                return await self._applied(text.encode(), SENT, True)
            return await self._noted(text.encode(), SENT, act)

    async def reread(self, act: Act) -> None:
        """The same for the file that this server was started with, as it is now; what comes of it is said."""
        async with self._turn:
            try:
                applied = await self._noted(self._source.text(), self._source.name, act)
            except PenstockError as error:
                for line in error.message.splitlines():
                    self._say(line)
                self._say(f"{self._source.name} is not applied; what was served before is served on.")
                return
        if not applied.changed:
            self._tell(applied.needs_restart)
            if not applied.needs_restart:
                self._say(f"{self._source.name} says nothing new.")

    async def pending(self) -> Applied:
        """What ``reread`` would change now. Raises ``PenstockError``, as ``apply`` does."""
        async with self._turn:
            return await self._applied(await asyncio.to_thread(self._source.text), self._source.name, True)

    @property
    def source(self) -> str:
        """Where the file was read from."""
        return self._source.name

    @property
    def version(self) -> int:
        """That of what is served."""
        return self._board.deployment.version

    def text(self) -> str:
        """The file that is served, as it was sent or read: what it takes from outside is not filled in, and secrets
        that it holds are masked."""
        return masked(self._serving.now.loaded.text)

    def end(self) -> None:
        """From now on nothing is taken any more."""
        self._ended = True

    async def _noted(self, text: bytes, name: str, act: Act) -> Applied:
        sent = Sent(sha256=hashlib.sha256(text).hexdigest(), length=len(text))
        try:
            applied = await self._applied(text, name, False)
        except PenstockError as error:
            self._note(msgspec.structs.replace(act, outcome=error.fault.code, content=msgspec.json.encode(sent)))
            raise
        what = msgspec.structs.replace(
            sent, version=applied.version, changed=applied.changed, needs_restart=applied.needs_restart
        )
        self._note(msgspec.structs.replace(act, content=msgspec.json.encode(what)))
        return applied

    async def _applied(self, text: bytes, name: str, dry_run: bool) -> Applied:
        # Secrets may come from a command, or from a Vault that is slow to answer.
        new = await asyncio.to_thread(self._source.load, text, name)
        async with self._serving.turn:
            now = self._serving.now
            old = now.loaded
            # What is sent lies nowhere: its prompts are those of the folder that was read last, and the store's.
            prompts = old.prompts if name == SENT else new.prompts
            found = difference(old.file, new.file, old.hidden | new.hidden)
            changed = (*found.changed, *of_prompts(old.prompts, prompts))
            hidden = new.hidden | {place for place in old.hidden if place[0] in RESTART}
            file = msgspec.structs.replace(
                new.file,
                server=old.file.server,
                state=old.file.state,
                access=old.file.access,
                cache=old.file.cache,
            )
            planned = await self._serving.planned(Loaded(file, hidden, new.text, prompts), now.directory)
            try:
                self._serving.check(planned)
                if self._ended:
                    raise PenstockError(
                        STOPPING, "Penstock is shutting down and takes no other deployment; start it with it."
                    )
            except PenstockError:
                await self._serving.dropped(planned)
                raise
            if dry_run or not changed:
                await self._serving.dropped(planned)
                return Applied(changed, found.needs_restart, self._board.deployment.version)
            # No await from here on: requests see all of it or none.
            self._serving.serve(planned)
        for line in changed:
            self._say(f"Applied: {line}.")
        self._tell(found.needs_restart)
        return Applied(changed, found.needs_restart, self._board.deployment.version)

    def _tell(self, needs_restart: Sequence[str]) -> None:
        for line in needs_restart:
            self._say(f"Not applied before the next start: {line}.")
