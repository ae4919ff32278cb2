"""Prompts as files: found in their folder, and rendered with what is written on the command line."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import click

from penstock.config import ConfigErrors, folder
from penstock.config.mistakes import quotable, suggestion
from penstock.core.errors import NOT_FOUND, PenstockError
from penstock.core.releases import PromptVersion
from penstock.prompts import values, versions
from penstock.prompts.config import Prompt, Variable
from penstock.prompts.templates import Compiled, Message

_TRUTHS = {"true": True, "false": False}


def prompts_in(path: Path) -> Mapping[str, PromptVersion]:
    """Every prompt of the folder. Raises ``ConfigErrors`` with every mistake, and ``PenstockError``."""
    try:
        found = folder(path, str(path))
    except FileNotFoundError:
        raise PenstockError(NOT_FOUND, f"there is no folder {path}; name the folder of prompts") from None
    if found.mistakes:
        raise ConfigErrors(str(path), found.mistakes)
    return found.prompts


def one(path: Path, name: str) -> PromptVersion:
    """The prompt of this name. Raises as ``prompts_in`` does."""
    found = prompts_in(path)
    if name not in found:
        raise PenstockError(NOT_FOUND, f"{path} has no prompt `{quotable(name)}`; {suggestion(name, list(found))}")
    return found[name]


def rendered(version: PromptVersion, given: Mapping[str, object], messages: Sequence[str] = ()) -> Sequence[Message]:
    """All that goes to the model: the prompt's messages, then the client's. Raises ``PenstockError``."""
    asked = [Message("user", content) for content in messages]
    return conversation(versions.read(version.source), given, asked)


def conversation(prompt: Prompt, given: Mapping[str, object], asked: Sequence[Message]) -> Sequence[Message]:
    """The same for a prompt, with ``asked`` in the place of its own question."""
    made = Compiled(prompt)
    found = values.given(prompt, given)
    own = None if asked else made.asked(found)
    return [*made.before(found), *asked, *([] if own is None else [own])]


def said(version: PromptVersion, given: Sequence[str]) -> Mapping[str, object]:
    """``NAME=VALUE``, each as the variable's type has it. Raises ``click.BadParameter``."""
    variables = versions.read(version.source).variables
    found: dict[str, object] = {}
    for each in given:
        name, equals, text = each.partition("=")
        if not equals:
            raise click.BadParameter(f"{each!r} has no value; write --var NAME=VALUE")
        variable = variables.get(name)
        if variable is None:
            raise click.BadParameter(f"there is no variable {name!r}; {suggestion(name, list(variables))}")
        if variable.type == "list":
            items = found.setdefault(name, [])
            assert isinstance(items, list)
            items.append(text)
        elif name in found:
            raise click.BadParameter(f"{name!r} is given twice, and is no list")
        else:
            found[name] = _value(name, variable, text)
    return found


def _value(name: str, variable: Variable, text: str) -> object:
    try:
        match variable.type:
            case "integer":
                return int(text)
            case "number":
                return float(text)
            case "boolean":
                return _TRUTHS[text]
            case _:
                return text
    except (ValueError, KeyError):
        raise click.BadParameter(f"{name!r} is of type {variable.type}, and {text!r} is not") from None
