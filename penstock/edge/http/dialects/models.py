"""GET /v1/models and /v1/models/{id}: the services that a key may use, in OpenAI's words."""

from __future__ import annotations

from collections.abc import Iterable

import msgspec

from penstock.core.serving import Service


class Model(msgspec.Struct, frozen=True, omit_defaults=True):
    """One name that can be sent as `model`. `created` is in seconds since the epoch."""

    id: str
    object: str
    created: int
    owned_by: str
    description: str = ""


class ModelList(msgspec.Struct, frozen=True):
    """Every name that can be sent as `model`, aliases among them."""

    object: str
    data: list[Model]


def listed(services: Iterable[Service]) -> bytes:
    """Each service by its name, then by its aliases."""
    data = [_model(name, service) for service in services for name in (service.name, *service.aliases)]
    return msgspec.json.encode(ModelList("list", data))


def retrieved(name: str, service: Service) -> bytes:
    """``name`` is what the client called the service; it is what a request may send as ``model``."""
    return msgspec.json.encode(_model(name, service))


def _model(name: str, service: Service) -> Model:
    return Model(name, "model", service.created, "penstock", service.description)
