"""Whether a release can be served at all, and in the place of another. Pure."""

from __future__ import annotations

from penstock.control.accounts.turn import Turn, conflict
from penstock.control.accounts.versions import MASKED, prompt_version
from penstock.control.rollouts.fitting import misfit
from penstock.control.rollouts.shares import served
from penstock.core.accounts import Directory
from penstock.core.errors import PenstockError
from penstock.core.releases import Release, Split
from penstock.prompts import versions
from penstock.prompts.config import Prompt


def check_servable(directory: Directory, turn: Turn, release: Release, split: Split, param: str) -> None:
    """Whether its model can run beside what the deployment file has, and beside what is served now. Raises
    ``PenstockError(CONFLICT)``."""
    name = release.model.rpartition("@")[0]
    there = turn.served.models.get(name)
    if there is not None:
        if there.id != release.model:
            raise conflict(
                f"Release '{release.id}' is of model '{release.model}', and the deployment file has '{there.id}' "
                "under that name. Bring the one back to the file, or give the other a name of its own.",
                param,
            )
        return
    kept = next((each for each in directory.models if each.id == release.model), None)
    if kept is not None and MASKED in kept.source:
        raise conflict(
            f"The model '{release.model}' of release '{release.id}' is not in the deployment file any more, and a "
            f"secret that was written into it is not kept. Bring '{name}' back to the file.",
            param,
        )
    for each in directory.releases:
        if each.id in served(split) and each.model != release.model and each.model.rpartition("@")[0] == name:
            raise conflict(
                f"'{each.id}' is served by the model '{each.model}', and '{release.id}' needs another of the same "
                f"name, '{release.model}'. Give one of them a name of its own in the deployment file.",
                param,
            )


def check_prompt(directory: Directory, turn: Turn, champion: Release, candidate: Release) -> None:
    """Whether the candidate takes what clients send to the champion. Raises ``PenstockError(CONFLICT)``."""
    why = misfit(_prompt(directory, turn, champion), _prompt(directory, turn, candidate))
    if why:
        raise conflict(
            f"The prompt of '{candidate.id}' does not take what clients send to '{champion.id}'. {why} Mend the "
            "prompt, and make a release of it.",
            "release",
        )


def _prompt(directory: Directory, turn: Turn, release: Release) -> Prompt | None:
    if not release.prompt:
        return None
    try:
        return versions.read(prompt_version(directory, turn.served, release.prompt).source)
    except PenstockError as error:
        raise conflict(f"The prompt of '{release.id}' cannot be read: {error.message}", "release") from None
