"""The snapshot of this moment. Engines are shared between snapshots, and closed when the last one lets go."""

from __future__ import annotations

import asyncio
import weakref
from collections.abc import Callable

from penstock.access.limits import Rules
from penstock.core.serving import Deployment, Model
from penstock.engines import Engine
from penstock.gateway.snapshot import Keyring, Prices, Snapshot


class _Engines(dict[str, Engine]):
    """The engines of one snapshot, by model name. Its end is noticed."""

    __slots__ = ("__weakref__",)


def _unheard(_: int) -> None:
    """Nobody wants to know."""


class Snapshots:
    """``build`` makes the engine of a model; two models of one digest share one. Belongs to one event loop.

    ``oldest`` hears the version of the oldest deployment that a snapshot in use has, whenever that changes: nobody
    can come to a replica that was not ready in it any more. It must neither block nor raise.
    """

    def __init__(self, build: Callable[[Model], Engine], oldest: Callable[[int], None] = _unheard) -> None:
        self._build = build
        self._hear_oldest = oldest
        self._oldest = -1
        self._versions: dict[int, int] = {}
        self._engines: dict[str, Engine] = {}
        self._holders: dict[str, int] = {}
        self._closing: set[asyncio.Task[None]] = set()
        self._current: Snapshot | None = None

    def current(self) -> Snapshot:
        """The newest snapshot. ``LookupError`` before the first one."""
        if self._current is None:
            raise LookupError("nothing has been taken yet")
        return self._current

    def take(self, deployment: Deployment, keyring: Keyring, rules: Rules, prices: Prices) -> None:
        """Makes it the snapshot of this moment. Requests that began with an older one keep theirs.

        Raises ``PenstockError`` when an engine cannot be built; the snapshot then stays as it was.
        """
        built = {m.digest: m for m in deployment.models.values() if m.digest not in self._engines}
        fresh: dict[str, Engine] = {}
        try:
            for digest, model in built.items():
                fresh[digest] = self._build(model)
        except BaseException:
            for engine in fresh.values():
                self._close(engine)
            raise
        self._engines |= fresh
        self._current = Snapshot(deployment, self._held(deployment), keyring, rules, prices)
        self._note_oldest()

    def sockets(self) -> tuple[int, int]:
        """Connections of all engines to replicas: those in use, and those kept for the next request."""
        each = [engine.sockets() for engine in self._engines.values()]
        return sum(used for used, _ in each), sum(idle for _, idle in each)

    async def aclose(self) -> None:
        """Lets go of the newest snapshot, closes every engine and waits for those that are closing."""
        self._current = None
        for digest in tuple(self._engines):
            self._close(self._engines.pop(digest))
        self._holders.clear()
        if self._closing:
            await asyncio.wait(self._closing)

    def _held(self, deployment: Deployment) -> _Engines:
        held = _Engines((name, self._engines[model.digest]) for name, model in deployment.models.items())
        digests = [model.digest for model in deployment.models.values()]
        for digest in digests:
            self._holders[digest] = self._holders.get(digest, 0) + 1
        self._versions[deployment.version] = self._versions.get(deployment.version, 0) + 1
        weakref.finalize(held, self._let_go, deployment.version, digests).atexit = False
        return held

    def _let_go(self, version: int, digests: list[str]) -> None:
        self._versions[version] -= 1
        if not self._versions[version]:
            del self._versions[version]
            self._note_oldest()
        for digest in digests:
            if digest not in self._holders:
                continue
            self._holders[digest] -= 1
            if not self._holders[digest]:
                del self._holders[digest]
                self._close(self._engines.pop(digest))

    def _note_oldest(self) -> None:
        oldest = min(self._versions, default=self._oldest)
        if oldest != self._oldest:
            self._oldest = oldest
            self._hear_oldest(oldest)

    def _close(self, engine: Engine) -> None:
        closing = asyncio.get_running_loop().create_task(engine.aclose())
        self._closing.add(closing)
        closing.add_done_callback(self._closing.discard)
