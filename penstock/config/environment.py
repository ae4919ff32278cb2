"""``${NAME}`` and its like in the deployment file, and the environment variables that say where it is."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Mapping
from pathlib import Path

from penstock.config.mistakes import ConfigErrors, Mistake

_REFERENCE = re.compile(
    r"\$(?:(?P<escaped>\$)|\{(?P<kind>file|command|vault):(?!-)(?P<what>[^}]*)\}"
    r"|\{(?P<name>[A-Za-z_][A-Za-z0-9_]*)(?P<default>:-[^}]*)?\}|(?P<open>\{))"
)

Outside = Callable[[str, str], str]
"""Gets what ``${file:...}``, ``${command:...}`` or ``${vault:...}`` names, by that word and what is after it. Raises
``Unresolved``."""


class Unresolved(Exception):
    """A reference that has no value. The message is one line, with the mend."""


def expand(text: str, env: Mapping[str, str], outside: Outside) -> str:
    """The text with ``${NAME}``, ``${NAME:-default}`` and ``${file:...}`` with its like filled in, and ``$$`` as
    ``$``. Any other ``$`` stays. What is filled in is not looked at again.

    As in a shell, the default also stands in for a variable that is set but empty. Raises ``Unresolved``.
    """

    def value(match: re.Match[str]) -> str:
        if match["escaped"]:
            return "$"
        if match["open"]:
            raise Unresolved("`${` must be followed by a variable's name and `}`; write `$${` to mean the characters")
        if match["kind"]:
            return outside(match["kind"], match["what"].strip())
        name, default = match["name"], match["default"]
        found = env.get(name, "")
        if found or default is not None:
            return found or default[2:]
        state = "set but empty" if name in env else "not set"
        raise Unresolved(
            f"the environment variable {name} is {state}; set it, or write `${{{name}:-...}}` to give a default"
        )

    return _REFERENCE.sub(value, text)


def refers(text: str) -> bool:
    """Whether the text takes anything from outside the file, so that what it becomes may be a secret."""
    return any(match["name"] or match["kind"] for match in _REFERENCE.finditer(text))


def home(env: Mapping[str, str]) -> Path:
    """Where Penstock keeps its state: ``PENSTOCK_HOME``, else ``~/.penstock``. May not exist yet."""
    named = env.get("PENSTOCK_HOME")
    return _expanded(named) if named else Path(env.get("HOME") or os.path.expanduser("~")) / ".penstock"


def locate(flag: Path | None, env: Mapping[str, str]) -> Path | None:
    """The deployment file: the flag's, else ``PENSTOCK_CONFIG``, else ``./penstock.yaml`` where there is one.

    None stands for the embedded default.
    """
    if flag is not None:
        return flag
    if env.get("PENSTOCK_CONFIG"):
        return _expanded(env["PENSTOCK_CONFIG"])
    here = Path("penstock.yaml")
    return here if here.exists() else None


def _expanded(path: str) -> Path:
    # Not Path.expanduser, which raises where there is no such home.
    return Path(os.path.expanduser(path))


def port(env: Mapping[str, str]) -> int | None:
    """``PENSTOCK_PORT``, or None where it is not set. Raises ``ConfigErrors`` when it is not a port."""
    text = env.get("PENSTOCK_PORT", "")
    if not text:
        return None
    if text.isascii() and text.isdigit() and len(text) <= 5 and 1 <= int(text) <= 65535:
        return int(text)
    raise ConfigErrors("PENSTOCK_PORT", [Mistake(0, 0, "", "must be a port, a whole number from 1 to 65535")])
