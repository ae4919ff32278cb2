"""What answers a request, as the keys of kept answers name it."""

from __future__ import annotations

import functools
import hashlib

from penstock.core.serving import Deployment, Service


def release_of(service: Service, deployment: Deployment) -> str:
    """What serves, as keys name it: the release, or the digest of all that decides an answer where there is none.
    Only the first model's answers are kept."""
    if service.release:
        return service.release
    model = deployment.models.get(service.models[0])
    return _digest(service.name, service.prompt, service.defaults, "" if model is None else model.digest)


def served_by(service: Service, deployment: Deployment) -> str:
    """``release_of``, and the model where it is not the release's own: a key that may use only some of the models
    behind a service is answered by another one, and neither gets the other's answers."""
    release = release_of(service, deployment)
    whole = deployment.services.get(service.name)
    if not service.release or whole is None or whole.assignment is None:
        return release
    own = whole.assignment.variants.get(service.release)
    return release if own is None or own.models[:1] == service.models[:1] else f"{release} {service.models[0]}"


@functools.lru_cache(1024)
def _digest(name: str, prompt: bytes, defaults: bytes, model: str) -> str:
    said = hashlib.blake2b(digest_size=8)
    for part in (name.encode(), prompt, defaults, model.encode()):
        said.update(len(part).to_bytes(8, "big"))
        said.update(part)
    return f"now_{said.hexdigest()}"
