"""The deployment file for people: as it is served, in the words of its schema, and what reading it again would do."""

from __future__ import annotations

import asyncio

from penstock.assembly.apply import Applying
from penstock.config.explained import explained
from penstock.control.accounts.deployment import DeploymentView, LineView, PendingView
from penstock.core.errors import BAD_DEPLOYMENT, OUT_OF_RESOURCES, PenstockError

WITHIN_S = 20.0
"""For secrets that the file names."""


class Explaining:
    """``penstock.control.accounts.deployment.Deployed`` of a server. Asked in threads; ``loop`` is the one that
    ``applying`` lives on."""

    def __init__(self, applying: Applying, loop: asyncio.AbstractEventLoop) -> None:
        self._applying = applying
        self._loop = loop

    def shown(self) -> DeploymentView:
        """As it is served."""
        text = self._applying.text()
        words = {each.line: each for each in reversed(explained(text))}
        lines = []
        for number, line in enumerate(text.splitlines(), 1):
            word = words.get(number)
            if word is None:
                lines.append(LineView(number=number, text=line))
            else:
                lines.append(LineView(number=number, text=line, key=word.key, takes=word.takes, about=word.about))
        return DeploymentView(source=self._applying.source, version=self._applying.version, lines=tuple(lines))

    def pending(self) -> PendingView:
        """What the file says now and is not served. Raises ``PenstockError``: OUT_OF_RESOURCES when its secrets take
        too long, STOPPING."""
        asked = asyncio.run_coroutine_threadsafe(self._applying.pending(), self._loop)
        try:
            found = asked.result(WITHIN_S)
        except TimeoutError:
            asked.cancel()
            raise PenstockError(
                OUT_OF_RESOURCES, f"What the file names was not there within {WITHIN_S:.0f} s. Try again."
            ) from None
        except PenstockError as error:
            if error.fault is not BAD_DEPLOYMENT:
                raise
            return PendingView(source=self._applying.source, mistakes=tuple(error.message.splitlines()))
        return PendingView(source=self._applying.source, changed=found.changed, needs_restart=found.needs_restart)
