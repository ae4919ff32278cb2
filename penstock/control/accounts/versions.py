"""Versions of models and prompts by what people call them: ``NAME@DIGEST``, ``NAME@ALIAS``, or ``NAME`` for the one
that the deployment file has now, else the newest that is kept. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Literal, TypeVar

from penstock.control.accounts.turn import conflict, near
from penstock.core.accounts import Directory
from penstock.core.errors import NOT_FOUND, PenstockError
from penstock.core.releases import Alias, ModelVersion, PromptVersion, Served

Kind = Literal["model", "prompt"]
MASKED = b"********"
"""What a version has in place of a secret that was written into the deployment file."""
Version = TypeVar("Version", ModelVersion, PromptVersion)


def model_version(directory: Directory, served: Served, said: str, param: str | None = None) -> ModelVersion:
    """Raises ``PenstockError(NOT_FOUND)``, as the others here do."""
    return _found("model", directory.models, served.models, directory.aliases, said, param)


def prompt_version(directory: Directory, served: Served, said: str, param: str | None = None) -> PromptVersion:
    return _found("prompt", directory.prompts, served.prompts, directory.aliases, said, param)


def prompt_meant(directory: Directory, served: Served, said: str, param: str) -> PromptVersion:
    """For what goes live: a bare name of which the folder, as it was read last, says something else than what was
    pushed last is refused, as either may be meant. Raises ``PenstockError``: NOT_FOUND, CONFLICT."""
    found = prompt_version(directory, served, said, param)
    newest = _newest(directory.prompts, said)
    if newest is not None and newest.id != found.id:
        raise conflict(
            f"'{said}' is '{found.id}' in the folder that the gateway read when it started, and '{newest.id}' was "
            "pushed last. Name the one that is meant.",
            param,
        )
    return found


def any_version(
    kind: Kind, directory: Directory, served: Served, said: str, param: str
) -> ModelVersion | PromptVersion:
    find = model_version if kind == "model" else prompt_meant
    return find(directory, served, said, param)


def all_of(kept: Sequence[Version], served: Mapping[str, Version]) -> Iterator[Version]:
    """Those that are kept, and those of the deployment file that are not yet."""
    yield from kept
    ids = {each.id for each in kept}
    yield from (each for each in served.values() if each.id not in ids)


def aliases_of(directory: Directory, kind: Kind, version: ModelVersion | PromptVersion) -> tuple[str, ...]:
    """What stands for the version now."""
    return tuple(
        sorted(
            each.alias
            for each in directory.aliases
            if (each.kind, each.name, each.digest) == (kind, version.name, version.digest)
        )
    )


def _newest(kept: Sequence[Version], name: str) -> Version | None:
    return max((each for each in kept if each.name == name), key=lambda each: each.created_at, default=None)


def _found(
    kind: Kind,
    kept: Sequence[Version],
    served: Mapping[str, Version],
    aliases: Sequence[Alias],
    said: str,
    param: str | None,
) -> Version:
    name, at, which = said.rpartition("@")
    if not at:
        name = said
    ids = {each.id: each for each in all_of(kept, served)}
    if at:
        alias = next((each for each in aliases if (each.kind, each.name, each.alias) == (kind, name, which)), None)
        id = said if alias is None else f"{name}@{alias.digest}"
    elif name in served:
        id = served[name].id
    else:
        newest = _newest(kept, name)
        id = "" if newest is None else newest.id
    if id in ids:
        return ids[id]
    shown = said if len(said) <= 80 else said[:80] + "..."
    of_name = [each for each in ids if each.rpartition("@")[0] == name]
    mend = near(said, of_name or {each.name for each in ids.values()})
    raise PenstockError(
        NOT_FOUND,
        f"There is no {kind} '{shown}'. {mend} GET /admin/v1/{kind}s lists every version.",
        param=param,
    )
