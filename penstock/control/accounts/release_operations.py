"""The operations on what is released: versions of models and prompts, aliases, releases."""

from __future__ import annotations

import msgspec

from penstock.control.accounts import aliases, models, prompts, release_history, releases
from penstock.control.accounts.differences import FROM, DiffView
from penstock.control.accounts.operation import (
    BASE,
    PAGES,
    Operation,
    Parameter,
    Reads,
    creating,
    getting,
    listing,
    of_directory,
    removing,
)
from penstock.control.accounts.release_shown import ReleaseView

_NAME = Parameter("name", "Only of this name.")


def _whole(operation: Operation) -> Operation:
    """What infrastructure and prompts there are is nothing for one project to see."""
    return msgspec.structs.replace(operation, everywhere=True)


def _diff(what: str, one: str, default: str, run: Reads) -> Operation:
    return Operation(
        name=f"{what}.diff",
        method="GET",
        path=f"{BASE}/{what}/{{id}}/diff",
        permissions=("releases:read",),
        everywhere=True,
        summary=f"What has changed in a {one}, since another",
        answer=DiffView,
        query=(Parameter(FROM, f"Since this one. Default: {default}."),),
        reads=run,
    )


RELEASED: tuple[Operation, ...] = (
    _whole(
        listing(
            "models",
            models.ModelVersionView,
            of_directory(models.listed),
            _NAME,
            about="The versions of models, those of the deployment file included, by id",
        )
    ),
    creating(
        "models",
        "model version",
        models.RegisterModel,
        models.ModelVersionView,
        models.register,
        everywhere=True,
        summary="Keep a model as the deployment file has it now, as a version",
    ),
    _whole(getting("models", "version of a model", models.ModelVersionView, of_directory(models.one))),
    _diff("models", "version of a model", "the one that the deployment file has now", of_directory(models.diff)),
    _whole(
        listing(
            "prompts",
            prompts.PromptVersionView,
            of_directory(prompts.listed),
            _NAME,
            about="The versions of prompts, those of the folder of prompts included, by id",
        )
    ),
    creating(
        "prompts",
        "prompt version",
        prompts.CreatePrompt,
        prompts.PromptVersionView,
        prompts.create,
        everywhere=True,
        summary="Keep a version of a prompt",
    ),
    _whole(getting("prompts", "version of a prompt", prompts.PromptVersionView, of_directory(prompts.one))),
    _diff("prompts", "version of a prompt", "the one that the folder of prompts has now", of_directory(prompts.diff)),
    _whole(
        listing(
            "aliases",
            aliases.AliasView,
            of_directory(aliases.listed),
            Parameter("kind", "Only of this kind: model or prompt."),
            _NAME,
            about="The aliases of versions, by id",
        )
    ),
    creating(
        "aliases",
        "alias",
        aliases.SetAlias,
        aliases.AliasView,
        aliases.put,
        everywhere=True,
        summary="Have a name stand for a version, whatever it stood for before",
    ),
    _whole(getting("aliases", "alias", aliases.AliasView, of_directory(aliases.one))),
    msgspec.structs.replace(
        removing("aliases", "alias", aliases.delete, everywhere=True),
        summary="Remove an alias; the version stays",
    ),
    listing(
        "releases",
        ReleaseView,
        of_directory(releases.listed),
        Parameter("service", "Only of this service."),
        about="The releases and who gets them, newest first",
    ),
    creating(
        "releases",
        "release",
        releases.CreateRelease,
        ReleaseView,
        releases.create,
        everywhere=True,
        summary="Freeze model, prompt and defaults of a service as a release; nobody gets it yet",
    ),
    getting("releases", "release", ReleaseView, of_directory(releases.one)),
    _diff("releases", "release", "the one that most of the service's traffic gets now", of_directory(releases.diff)),
    Operation(
        name="releases.history",
        method="GET",
        path=f"{BASE}/services/{{id}}/history",
        permissions=("releases:read",),
        summary="What became of the releases of a service, newest first",
        answer=release_history.EventView,
        listed=True,
        query=PAGES,
        reads=release_history.listed,
    ),
)
