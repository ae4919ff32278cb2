"""The deployment file as a value, and as the values that the rest of the house is made from."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from types import MappingProxyType
from typing import Annotated

import msgspec

from penstock.access.config import AccessSettings
from penstock.caches.config import CacheSettings
from penstock.core.policy import Policy
from penstock.core.releases import PromptVersion
from penstock.core.serving import Model, Service
from penstock.edge.http.config import ServerSettings
from penstock.engines.config import EngineSettings
from penstock.gateway.config import ServiceSettings
from penstock.observe.config import ObserveSettings
from penstock.store.config import StateSettings

_PLAIN = r"[A-Za-z0-9][A-Za-z0-9._:/-]{0,127}"
_WORDS = "1 to 128 letters, digits and . _ - / : that begins with a letter or a digit"

NAME = f"^{_PLAIN}$"
ModelName = Annotated[str, msgspec.Meta(pattern=NAME, description=_WORDS)]
ServiceName = Annotated[str, msgspec.Meta(pattern=rf"^({_PLAIN}|\*)$", description=f'{_WORDS}, or "*"')]


class DeploymentFile(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Everything that one gateway serves, and how."""

    server: ServerSettings = ServerSettings()
    """Where the gateway listens, and what it lets in."""
    state: StateSettings = StateSettings()
    """What outlives a process, and where."""
    access: AccessSettings = AccessSettings()
    """Who may call, and how much."""
    observe: ObserveSettings = ObserveSettings()
    """What is seen of the gateway, and where it goes."""
    cache: CacheSettings = CacheSettings()
    """Where answers and embeddings are kept, as far as services have them kept."""
    prompts: str | None = None
    """The folder of prompts, one YAML file each, from where this file is. Default: `prompts`, where there is one. A
    file that is sent to a gateway is in none: its prompts are those that the gateway has."""
    models: Annotated[dict[ModelName, EngineSettings], msgspec.Meta(min_length=1)]
    """What can be served, by name. The key `engine` says what serves it, and which other keys there are."""
    services: Annotated[dict[ServiceName, ServiceSettings], msgspec.Meta(min_length=1)]
    """The public names that clients send as `model`, and what serves each."""

    def __repr__(self) -> str:
        # Settings hold keys.
        return f"DeploymentFile(models={list(self.models)!r}, services={list(self.services)!r})"


def models_of(file: DeploymentFile) -> Mapping[str, Model]:
    """The models as the house hands them around. ``settings`` is the struct as msgpack, its ``engine`` included:
    ``msgspec.msgpack.decode(model.settings, type=EngineSettings)`` gives it back."""
    return {name: _model(name, settings) for name, settings in file.models.items()}


def services_of(
    file: DeploymentFile, now: float, prompts: Mapping[str, PromptVersion] = MappingProxyType({})
) -> Mapping[str, Service]:
    """The services as the house hands them around. ``now``: seconds since the epoch, shown as their creation.
    ``prompts`` by all names under which services may call for them; one that is not among them is left out."""
    return {
        name: Service(
            name=name,
            models=(settings.model, *settings.fallback),
            aliases=tuple(settings.aliases),
            created=int(now),
            description=settings.description,
            policy=Policy(
                balance=settings.balance,
                retry=settings.retry,
                deadlines=settings.deadlines,
                breaker=settings.breaker,
                queue=settings.queue,
                hedge=settings.hedge,
                refusal=settings.refusal,
                history=settings.history,
                cache=settings.cache,
            ),
            prompt=prompts[settings.prompt].source if settings.prompt in prompts else b"",
            defaults=msgspec.json.encode(settings.defaults, order="deterministic"),
            content=settings.log.content or "",
        )
        for name, settings in file.services.items()
    }


def _model(name: str, settings: EngineSettings) -> Model:
    packed = msgspec.msgpack.encode(settings, order="deterministic")
    digest = hashlib.sha256(name.encode() + b"\0" + packed).hexdigest()[:16]
    engine = str(settings.__struct_config__.tag)
    return Model(name, engine, digest, packed, upstream=str(getattr(settings, "model", "") or ""))
