"""The fleet: substrates start and stop replicas; what to do about one that died is a pure decision."""

from __future__ import annotations

from typing import Protocol

from penstock.core.serving import Launch


class Running(Protocol):
    """One started copy."""

    @property
    def base_url(self) -> str:
        """Where it serves."""

    def memory(self) -> int | None:
        """Bytes that it holds in memory now; None where that is not known, as once it has ended."""

    async def wait(self) -> str:
        """Returns when the copy has ended, with the reason in one line for people. May be awaited by many."""

    async def stop(self, grace_s: float) -> None:
        """Asks it to end, and makes it after ``grace_s`` seconds. Idempotent. Nothing of it is left afterwards."""


class Substrate(Protocol):
    """The port: where replicas run."""

    async def start(self, replica_id: str, launch: Launch) -> Running:
        """Starts a copy and returns once it says that it serves.

        Raises ``PenstockError(ENGINE_START_FAILED)`` with the child's own words when it ends first or takes longer
        than ``launch.ready_within_s``; nothing is left running then, nor when cancelled.
        """

    async def aclose(self) -> None:
        """Stops every copy. Idempotent."""
