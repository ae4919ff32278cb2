"""The deployment file as it is served, for people to read, and what reading it again would change."""

from __future__ import annotations

from typing import Literal, Protocol

import msgspec

from penstock.core.errors import NOT_FOUND, PenstockError


class LineView(msgspec.Struct, frozen=True, kw_only=True):
    """A line of the file, and of the key that begins in it where it is in the file (`models.small.engine`), what it
    takes, and what the schema says of it; all empty where no key does."""

    number: int
    text: str
    key: str = ""
    takes: str = ""
    about: str = ""


class DeploymentView(msgspec.Struct, frozen=True, kw_only=True):
    """The file that is served: what it takes from outside is not filled in, and secrets in it are masked. `source` is
    where it was read from, `version` counts what was served since the start."""

    object: Literal["deployment"] = "deployment"
    source: str
    version: int
    lines: tuple[LineView, ...]


class PendingView(msgspec.Struct, frozen=True, kw_only=True):
    """What reading the file again would change: `changed` at once, `needs_restart` only at the next start. With
    `mistakes` nothing would be."""

    object: Literal["deployment_pending"] = "deployment_pending"
    source: str
    changed: tuple[str, ...] = ()
    needs_restart: tuple[str, ...] = ()
    mistakes: tuple[str, ...] = ()


class Deployed(Protocol):
    """Whoever knows the file. Called in a thread."""

    def shown(self) -> DeploymentView:
        """As it is served."""

    def pending(self) -> PendingView:
        """What is in it now and not served; takes seconds where it reads secrets. Raises ``PenstockError``."""


def shown(deployed: Deployed | None) -> DeploymentView:
    """Raises ``PenstockError(NOT_FOUND)`` where nobody knows it."""
    return _known(deployed).shown()


def pending(deployed: Deployed | None) -> PendingView:
    """Raises ``PenstockError``: NOT_FOUND where nobody knows it, and what ``Deployed.pending`` does."""
    return _known(deployed).pending()


def _known(deployed: Deployed | None) -> Deployed:
    if deployed is None:
        raise PenstockError(NOT_FOUND, "This gateway does not show its deployment file here. See it where it lies.")
    return deployed
