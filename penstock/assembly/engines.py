"""Models to engines, and what each of them needs beside itself: replicas to start, or the one that is implied."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Protocol, cast, runtime_checkable

import msgspec

from penstock import catalog
from penstock.control.upkeep import Wanted
from penstock.core.serving import Model, Replica
from penstock.engines import Engine, Launcher
from penstock.engines.config import EngineSettings

_settings = msgspec.msgpack.Decoder(EngineSettings)


@runtime_checkable
class RunsHere(Protocol):
    """Settings of an engine whose replicas are started here."""

    weights: str
    sha256: str | None
    replicas: int


@runtime_checkable
class Reached(Protocol):
    """Settings of an engine that is reached by URL."""

    base_url: str


class LocalEngine(Engine, Launcher, Protocol):
    """An engine whose replicas are started here."""


def build(model: Model) -> Engine:
    """The engine of one model. Raises ``PenstockError`` when its settings cannot be carried out here."""
    return cast(Engine, catalog.load(f"engine.{model.engine}")(model.name, _settings.decode(model.settings)))


def implied(models: Iterable[Model]) -> Mapping[str, tuple[Replica, ...]]:
    """The one replica of each model that is not started here; it counts as ready, and requests find out."""
    found = {}
    for model in models:
        settings = _settings.decode(model.settings)
        if not isinstance(settings, RunsHere):
            url = settings.base_url.rstrip("/") if isinstance(settings, Reached) else ""
            found[model.name] = (Replica(id=model.name, model=model.name, base_url=url),)
    return found


def wanted(models: Iterable[Model]) -> Mapping[LocalEngine, Wanted]:
    """What has to run here, by the engine that was built for it; whoever asked closes the engines."""
    found = {}
    for model in models:
        settings = _settings.decode(model.settings)
        if isinstance(settings, RunsHere):
            engine = cast(LocalEngine, build(model))
            found[engine] = Wanted(
                model=model.name,
                engine=engine,
                address=engine.weights(),
                sha256=settings.sha256,
                copies=settings.replicas,
            )
    return found
