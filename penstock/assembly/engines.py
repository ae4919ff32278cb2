"""Models to engines, and what each of them needs beside itself: copies to run, or replicas reached by URL."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import Protocol, cast, runtime_checkable

import msgspec

from penstock import catalog
from penstock.control.health import Watched
from penstock.control.upkeep import Wanted
from penstock.core.serving import Model, Replica
from penstock.engines import Engine, Launcher
from penstock.engines.config import Endpoint, EngineSettings, Health, LocalHealth

_settings = msgspec.msgpack.Decoder(EngineSettings)


@runtime_checkable
class RunsHere(Protocol):
    """Settings of an engine whose replicas are started here."""

    weights: str
    sha256: str | None
    task: str
    replicas: int
    ready_within_s: float
    timeout_s: float
    health: LocalHealth


@runtime_checkable
class Reached(Protocol):
    """Settings of an engine that is reached by URL."""

    base_url: str
    replicas: list[Endpoint]
    health: Health | None


class LocalEngine(Engine, Launcher, Protocol):
    """An engine whose replicas are started here."""


class Crew(msgspec.Struct, frozen=True):
    """What the models of one deployment need: copies that run here, replicas that are reached, which are watched.

    All by model name; ``wanted`` and ``watched`` hold live engines.
    """

    models: Mapping[str, Model] = {}
    reached: Mapping[str, tuple[Replica, ...]] = {}
    wanted: Mapping[str, Wanted] = {}
    watched: Mapping[str, Watched] = {}


def build(model: Model) -> Engine:
    """The engine of one model. Raises ``PenstockError`` when its settings cannot be carried out here."""
    return cast(Engine, catalog.load(f"engine.{model.engine}")(model.name, _settings.decode(model.settings)))


async def crew(models: Mapping[str, Model], before: Crew) -> Crew:
    """What ``models`` need, with the very objects of ``before`` for those that are unchanged.

    Raises ``PenstockError`` when an engine cannot be built; nothing new is left open then. Whoever is handed
    ``wanted`` and ``watched`` closes the engines in them.
    """
    reached: dict[str, tuple[Replica, ...]] = {}
    wanted: dict[str, Wanted] = {}
    watched: dict[str, Watched] = {}
    built: list[Engine] = []
    try:
        for name, model in models.items():
            settings = _settings.decode(model.settings)
            same = before.models.get(name) == model
            if not isinstance(settings, RunsHere):
                reached[name] = _replicas(model, settings)
            if same:
                wanted |= {name: before.wanted[name]} if name in before.wanted else {}
                watched |= {name: before.watched[name]} if name in before.watched else {}
                continue
            engine = build(model)
            built.append(engine)
            if isinstance(settings, RunsHere):
                wanted[name] = _wanted(model, settings, cast(LocalEngine, engine))
            elif health := _health(settings, len(reached[name])):
                watched[name] = Watched(name, engine, reached[name], health)
            else:
                await engine.aclose()
    except BaseException:
        for engine in built:
            await engine.aclose()
        raise
    return Crew(models, reached, wanted, watched)


def launch_of(settings: EngineSettings) -> str | None:
    """Names what a copy of it is started with; None when it does not run here. Of the same, none is replaced."""
    if not isinstance(settings, RunsHere):
        return None
    # How many there are, how they are watched and how long they are waited for is no copy's own affair.
    alike = msgspec.structs.replace(settings, replicas=1, health=LocalHealth(), timeout_s=1.0, ready_within_s=1.0)
    return hashlib.sha256(msgspec.msgpack.encode(alike, order="deterministic")).hexdigest()[:16]


def _wanted(model: Model, settings: RunsHere, engine: LocalEngine) -> Wanted:
    return Wanted(
        model=model.name,
        engine=engine,
        address=engine.weights(),
        sha256=settings.sha256,
        copies=settings.replicas,
        health=settings.health,
        launch=launch_of(cast(EngineSettings, settings)) or "",
        kind=f"{model.engine} {settings.task}",
        becomes=model,
    )


def _replicas(model: Model, settings: object) -> tuple[Replica, ...]:
    """They count as ready until a check or a request finds out."""
    if isinstance(settings, Reached) and settings.replicas:
        return tuple(
            Replica(
                id=f"{model.name}-{number}",
                model=model.name,
                base_url=each.base_url.rstrip("/"),
                key="" if each.api_key.lower() == "none" else each.api_key,
                weight=each.weight,
            )
            for number, each in enumerate(settings.replicas)
        )
    url = settings.base_url.rstrip("/") if isinstance(settings, Reached) else ""
    return (Replica(id=model.name, model=model.name, base_url=url),)


def _health(settings: object, replicas: int) -> Health | None:
    if not isinstance(settings, Reached):
        return None
    return settings.health or (Health() if replicas > 1 else None)
