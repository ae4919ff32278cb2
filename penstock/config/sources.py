"""Secrets that a deployment file names and does not hold: in files, from commands, in a Vault.

They are read once for each pass over a file; a new value is taken when the file is applied again. No message has any
of them.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Mapping

from penstock.config.environment import Unresolved
from penstock.config.mistakes import quotable
from penstock.config.secret_text import checked, secret_file

TOGETHER_S = 30.0
"""For all of a file's commands and Vaults."""
_COMMAND_S = 10.0
_VAULT_S = 5.0


class Sources:
    """What one pass over a file reads. ``commands``: it may run some. May be used by one thread at a time.

    ``now`` is a clock in seconds.
    """

    def __init__(self, env: Mapping[str, str], *, commands: bool, now: Callable[[], float] = time.monotonic) -> None:
        self._env = env
        self._commands = commands
        self._now = now
        self._until = now() + TOGETHER_S
        self._read: dict[tuple[str, str], str | Mapping[str, object] | Unresolved] = {}

    def value(self, kind: str, what: str) -> str:
        """What ``${kind:what}`` stands for. Raises ``Unresolved`` with the fault and the mend."""
        if not what:
            example = {"file": "/run/secrets/key", "command": "pass show key", "vault": "secret/data/app#key"}[kind]
            raise Unresolved(f"`${{{kind}:}}` names nothing; write `${{{kind}:{example}}}`, for example")
        if kind == "vault":
            return self._vault(what)
        found = self._once(kind, what, lambda: self._file(what) if kind == "file" else self._command(what))
        return found if isinstance(found, str) else ""

    def _once(
        self, kind: str, what: str, get: Callable[[], str | Mapping[str, object]]
    ) -> str | Mapping[str, object]:
        if (kind, what) not in self._read:
            try:
                self._read[kind, what] = get()
            except Unresolved as unresolved:
                self._read[kind, what] = unresolved
        found = self._read[kind, what]
        if isinstance(found, Unresolved):
            raise Unresolved(str(found))
        return found

    def _file(self, path: str) -> str:
        return secret_file(os.path.expanduser(path))

    def _command(self, line: str) -> str:
        if not self._commands:
            raise Unresolved(
                "a deployment that is sent cannot run commands; put `${command:...}` into the file that this gateway "
                "was started with, and send it SIGHUP"
            )
        from penstock.config.command import output

        return output(line, self._env, self._within(_COMMAND_S))

    def _vault(self, what: str) -> str:
        path, mark, field = what.partition("#")
        if not (path.strip("/") and mark and field):
            raise Unresolved("`${vault:...}` lacks its path or its field; write `${vault:secret/data/app#key}`")
        from penstock.config.vault import secret

        found = self._once("vault", path, lambda: secret(path, self._env, self._within(_VAULT_S)))
        value = found.get(field) if isinstance(found, Mapping) else None
        if not isinstance(value, str):
            state = "has no" if value is None else "has no text in the"
            raise Unresolved(f"{quotable(path)} in the Vault {state} field {quotable(field)}; put it there")
        return checked(value, f"the field {quotable(field)} of {quotable(path)} in the Vault")

    def _within(self, seconds: float) -> float:
        left = self._until - self._now()
        if left <= 0:
            raise Unresolved(
                f"the commands and Vaults of this file take more than {TOGETHER_S:g} s together; use fewer, or "
                "faster ones"
            )
        return min(left, seconds)
