"""Engines: what turns a prompt into tokens. One file per engine; each translates its wire and its errors at its wall.

An engine of the deployment is one object per model, shared by all requests. Adapters are built as
``Class(name, settings)`` with the model's name in the deployment file and its struct from ``engines/config.py``;
``catalog.py`` names the class. An engine that can be run here also offers ``Launcher``.
"""

from __future__ import annotations

from pathlib import Path
from typing import Protocol

from penstock.core.chat import Call, Upstream
from penstock.core.serving import Launch, Replica


class Engine(Protocol):
    """The port. ``tests/contracts/engine.py`` is its law, and every adapter runs it."""

    async def start(self, call: Call, replica: Replica, *, connect_s: float | None = None) -> Upstream:
        """Sends the call to one replica and returns once the upstream has accepted it (a good status line).

        The chunks that follow are OpenAI's JSON for ``call.kind``: chunks when ``call.stream``, else one whole
        object. ``usage`` is always among them, on the last chunk or on a chunk of its own with empty ``choices``,
        when the upstream reports it at all. Raises ``PenstockError``; nothing is left open when it does, nor when
        it is cancelled. Makes exactly one attempt, except that what one of several keys is refused is asked with the
        next at once. ``connect_s`` bounds the way to a connection, in place of the engine's own setting.
        """

    async def probe(self, replica: Replica) -> None:
        """Asks the replica whether it can serve, within 5 seconds. Raises ``PenstockError`` when it cannot."""

    def sockets(self) -> tuple[int, int]:
        """Its connections to replicas: those in use, and those kept for the next request."""

    async def aclose(self) -> None:
        """Closes idle connections; running answers end on their own. Idempotent."""


class Launcher(Protocol):
    """What an engine that runs here adds: how one of its replicas is started."""

    def weights(self) -> str:
        """The address of the weights that ``launch`` needs, in the form that the weights room reads."""

    def launch(self, weights: Path) -> Launch:
        """How to start one replica with the weights that lie at ``weights``. Pure but for reading the machine."""
