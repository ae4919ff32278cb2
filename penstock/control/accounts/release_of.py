"""Which release a service has now, and what the store must hold so that a release of it can be served. Pure."""

from __future__ import annotations

import msgspec

from penstock.control.accounts.turn import conflict, near
from penstock.control.releases import main
from penstock.core.accounts import Directory, Record
from penstock.core.errors import NOT_FOUND, PenstockError
from penstock.core.releases import Release, Served, Split

FROM_FILE = "from the deployment file"


def split_of(directory: Directory, service: str) -> Split | None:
    """None: the deployment file still says who gets what."""
    return next((each for each in directory.splits if each.service == service), None)


def current(directory: Directory, served: Served, service: str) -> Release:
    """The release that most of the service's traffic gets. Raises ``PenstockError(NOT_FOUND)`` of a service that the
    deployment file does not have."""
    given = served.services.get(service)
    if given is None:
        raise PenstockError(
            NOT_FOUND,
            f"There is no service '{service[:80]}' in the deployment file. {near(service, served.services)}",
            param="service",
        )
    split = split_of(directory, service)
    return given if split is None else released(directory, served, service, main(split.ranges))


def released(directory: Directory, served: Served, service: str, id: str, param: str = "release") -> Release:
    """The release of this id, which the store has or the deployment file makes. Raises ``PenstockError``: NOT_FOUND,
    CONFLICT where it is of another service."""
    found = next((each for each in (*directory.releases, *served.services.values()) if each.id == id), None)
    if found is None:
        there = [each.id for each in directory.releases if each.service == service]
        raise PenstockError(
            NOT_FOUND,
            f"There is no release '{id[:80]}'. {near(id, there)} GET /admin/v1/releases lists them.",
            param=param,
        )
    if found.service != service:
        raise conflict(
            f"Release '{id}' is of service '{found.service}', and not of '{service[:80]}'. Name one of "
            f"'{service[:80]}', or make one.",
            param,
        )
    return found


def with_parts(directory: Directory, served: Served, release: Release, *, at: float) -> tuple[Record, ...]:
    """The records that are missing in the store for the release: its model, its prompt and itself. What comes from
    the deployment file is noted as made ``at``. Raises ``PenstockError(CONFLICT)`` when a part is nowhere any more.
    """
    missing: list[Record] = []
    if all(each.id != release.model for each in directory.models):
        model = next((each for each in served.models.values() if each.id == release.model), None)
        if model is None:
            raise _lost(release, f"model {release.model}")
        missing.append(msgspec.structs.replace(model, author=release.author, created_at=at))
    if release.prompt and all(each.id != release.prompt for each in directory.prompts):
        prompt = next((each for each in served.prompts.values() if each.id == release.prompt), None)
        if prompt is None:
            raise _lost(release, f"prompt {release.prompt}")
        missing.append(msgspec.structs.replace(prompt, author=release.author, created_at=at))
    if all(each.id != release.id for each in directory.releases):
        noted = msgspec.structs.replace(release, message=FROM_FILE, created_at=at)
        missing.append(release if release.created_at else noted)
    return tuple(missing)


def _lost(release: Release, part: str) -> PenstockError:
    return conflict(
        f"Release '{release.id}' needs the {part}, which neither the store nor the deployment file has any more. "
        "Bring it back to the file, or make a release of what there is.",
        "release",
    )
