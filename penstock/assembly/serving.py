"""What is served at this moment: made of the deployment file and the store together, and changed in one step when
either does."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Mapping
from typing import Protocol

import msgspec

from penstock.assembly import caching, engines
from penstock.assembly.engines import Crew
from penstock.config import Loaded, models_of, references, services_of
from penstock.config.versions import model_versions, text_of
from penstock.control import releases
from penstock.control.board import Board
from penstock.control.health import Watch
from penstock.control.releases import Composition
from penstock.control.upkeep import Upkeep
from penstock.core.accounts import Directory
from penstock.core.errors import BAD_DEPLOYMENT, PenstockError
from penstock.core.releases import ModelVersion, PromptVersion, Release, Served, release_id
from penstock.core.serving import Deployment, Service

_log = logging.getLogger(__name__)


class Source(Protocol):
    """The deployment file that this server was started with, and what it was told beside it."""

    name: str

    def text(self) -> bytes:
        """The file as it lies there now. Raises ``ConfigErrors`` when it cannot be read."""

    def load(self, text: bytes, name: str) -> Loaded:
        """A text with what this server's environment and command line say. Raises ``ConfigErrors``."""


class Planned(msgspec.Struct, frozen=True, kw_only=True):
    """What would be served; nothing of it is, yet. ``crew`` holds live engines."""

    loaded: Loaded
    directory: Directory
    served: Served
    composition: Composition
    crew: Crew


class Serving:
    """Whoever plans something and then serves it holds ``turn`` meanwhile. ``wall`` tells seconds since the epoch,
    ``say`` hears a line for people now and then."""

    def __init__(
        self, source: Source, *, created_at: float, wall: Callable[[], float], say: Callable[[str], None]
    ) -> None:
        self.turn = asyncio.Lock()
        self._source = source
        self._created_at = created_at
        self._wall = wall
        self._say = say
        self._now: Planned | None = None
        self._board: Board | None = None
        self._upkeep: Upkeep | None = None
        self._watch: Watch | None = None
        self._ready: tuple[Planned, Deployment, tuple[str, ...]] | None = None

    @property
    def now(self) -> Planned:
        """What is served. ``LookupError`` before ``first``."""
        if self._now is None:
            raise LookupError("nothing is served yet")
        return self._now

    async def first(self, loaded: Loaded, directory: Directory) -> Deployment:
        """What to serve at the start. Raises ``PenstockError`` when it cannot be."""
        planned = await self.planned(loaded, directory)
        if lines := releases.displaced(planned.served, directory, self._wall(), warm=False):
            await self.dropped(planned)
            raise PenstockError(BAD_DEPLOYMENT, "\n".join(lines))
        for line in releases.contradicted(Served(), planned.served, directory):
            self._say(f"Not as the file has it: {line}.")
        self._now = planned
        self._tell(planned, {})
        crew = planned.crew
        return Deployment(version=1, models=crew.models, services=planned.composition.services, replicas=crew.reached)

    def onto(self, board: Board, upkeep: Upkeep, watch: Watch) -> None:
        """Said once: where changes go."""
        self._board, self._upkeep, self._watch = board, upkeep, watch

    async def planned(self, loaded: Loaded, directory: Directory) -> Planned:
        """What these two make. Raises ``PenstockError`` when an engine cannot be built, or a prompt or a package
        is not there."""
        known = references(loaded.prompts, directory.prompts, directory.aliases)
        _check_prompts(loaded, known)
        served = served_of(loaded, known)
        services = services_of(loaded.file, self._created_at, known)
        caching.check(services.values())
        composition = releases.composed(services, served, directory, self._wall())
        models = dict(models_of(loaded.file))
        refused = dict(composition.refused)
        for version in composition.beside:
            try:
                extra = await asyncio.to_thread(self._source.load, text_of((version,)), f"the version {version.id}")
                models |= models_of(extra.file)
            except PenstockError as error:
                refused |= {
                    release.id: f"its model cannot be served here: {error.message}"
                    for release in directory.releases
                    if release.model == version.id
                }
        composition = msgspec.structs.replace(composition, refused=refused)
        before = Crew() if self._now is None else self._now.crew
        crew = await engines.crew(models, before)
        return Planned(loaded=loaded, directory=directory, served=served, composition=composition, crew=crew)

    def check(self, planned: Planned) -> None:
        """Whether a new file goes with what the store says. Raises ``PenstockError(BAD_DEPLOYMENT)``."""
        lines = [
            *releases.contradicted(self.now.served, planned.served, planned.directory),
            *releases.displaced(planned.served, planned.directory, self._wall()),
        ]
        if lines:
            raise PenstockError(BAD_DEPLOYMENT, "\n".join(lines))

    def serve(self, planned: Planned) -> None:
        """From now on: requests see all of it or none."""
        assert self._board is not None
        assert self._upkeep is not None
        assert self._watch is not None
        before, self._now = self.now, planned
        self._board.change(planned.crew.models, planned.composition.services, planned.crew.reached)
        self._upkeep.want(planned.crew.wanted.values())
        self._watch.want(planned.crew.watched.values())
        self._tell(planned, before.composition.refused)

    async def dropped(self, planned: Planned) -> None:
        """Lets go of what was built to see whether it can be."""
        kept = Crew() if self._now is None else self._now.crew
        for name, wanted in planned.crew.wanted.items():
            if kept.wanted.get(name) is not wanted:
                await wanted.engine.aclose()
        for name, watched in planned.crew.watched.items():
            if kept.watched.get(name) is not watched:
                await watched.engine.aclose()

    async def changed(self, directory: Directory) -> None:
        """The store says something new."""
        async with self.turn:
            before = self.now
            if _released(directory) == _released(before.directory):
                self._now = msgspec.structs.replace(before, directory=directory)
                return
            try:
                planned = await self.planned(before.loaded, directory)
            except PenstockError as error:
                _log.error("what the store says of releases is not served: %s", error.message)
                return
            self.serve(planned)

    def ready(self) -> tuple[str, ...]:
        """The releases that this gateway could serve at once."""
        if self._board is None:
            return ()
        now, deployment = self.now, self._board.deployment
        # Asked four times a second.
        if self._ready is None or self._ready[0] is not now or self._ready[1] is not deployment:
            found = releases.ready(now.composition, now.served, now.directory, deployment)
            self._ready = (now, deployment, found)
        return self._ready[2]

    def _tell(self, planned: Planned, before: Mapping[str, str]) -> None:
        for release, why in planned.composition.refused.items():
            if before.get(release) != why:
                self._say(f"The release {release} cannot be served: {why}.")


def served_of(loaded: Loaded, known: Mapping[str, PromptVersion]) -> Served:
    """What a deployment file says, in the words of releases. ``known`` are prompts by all names that they go by."""
    models = model_versions(loaded.text)
    prompts = {name: known[each.prompt].id for name, each in loaded.file.services.items() if each.prompt in known}
    return Served(
        models=models,
        prompts=loaded.prompts,
        services={
            name: _release(each, models, prompts.get(name, ""))
            for name, each in services_of(loaded.file, 0.0).items()
        },
    )


def _release(service: Service, models: Mapping[str, ModelVersion], prompt: str) -> Release:
    model = models[service.models[0]].id
    id = release_id(service.name, model, prompt, "", "", service.defaults)
    return Release(id=id, service=service.name, model=model, prompt=prompt, defaults=service.defaults)


def _check_prompts(loaded: Loaded, known: Mapping[str, PromptVersion]) -> None:
    lines = [
        f"service {name}: there is no prompt {each.prompt}. Push it (penstock prompts push), or mend its name"
        for name, each in loaded.file.services.items()
        if each.prompt and each.prompt not in known
    ]
    if lines:
        raise PenstockError(BAD_DEPLOYMENT, "\n".join(lines))


def _released(directory: Directory) -> tuple[object, ...]:
    return (
        directory.releases,
        directory.splits,
        directory.rollouts,
        directory.prompts,
        directory.models,
        directory.aliases,
    )
