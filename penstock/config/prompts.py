"""The folder of prompts: each file to a version, or to everything that is wrong with it. The language of templates is
imported when there is a prompt to read."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import NamedTuple, cast

import msgspec
from msgspec import inspect

from penstock.config.mistakes import ConfigErrors, Mistake, quotable
from penstock.config.tree import MAX_BYTES, Broken
from penstock.config.tree import parse as parse_yaml
from penstock.config.typed import Reading
from penstock.core.releases import Alias, PromptVersion
from penstock.prompts.config import PROMPT, Prompt

FOLDER = "prompts"
"""Where prompts are, beside the deployment file, when it names no other folder."""
REFERENCE = re.compile(rf"{PROMPT[:-1]}(?:@[a-z0-9][a-z0-9._-]{{0,63}})?$")
"""How a prompt is named: ``NAME``, ``NAME@DIGEST`` or ``NAME@ALIAS``."""
_MOST_FILES = 2000
_NEEDS = "it needs `system`, `examples` or `user`"
_SUFFIXES = (".yaml", ".yml")


class Folder(NamedTuple):
    """What was found: the good prompts by name, and the mistakes of the others. ``names`` are those of both."""

    prompts: Mapping[str, PromptVersion]
    names: tuple[str, ...] = ()
    mistakes: tuple[Mistake, ...] = ()


def prompt(raw: bytes, source: str) -> Prompt:
    """One file's text. Raises ``ConfigErrors`` with every mistake there is, reported against ``source``."""
    from penstock.prompts.checks import problems

    reading = Reading()
    source = quotable(source, 300)
    try:
        found = reading.top(_PROMPT, parse_yaml(raw, _NEEDS))
    except Broken as broken:
        raise ConfigErrors(source, [*reading.mistakes, broken.mistake]) from None
    if not reading.mistakes:
        # The walk has checked them against these very types.
        read = msgspec.convert(found, Prompt)
        for place, wrong in problems(read):
            reading.note(place, quotable(wrong, 500))
        if not reading.mistakes:
            return read
    raise ConfigErrors(source, reading.mistakes)


def folder(path: Path, shown: str) -> Folder:
    """Every prompt of a folder: its files that end in ``.yaml`` or ``.yml``. ``shown`` is the folder as mistakes have
    it. Raises ``OSError`` when there is no such folder."""
    from penstock.prompts.versions import version

    found: dict[str, PromptVersion] = {}
    names: list[str] = []
    mistakes: list[Mistake] = []
    for file in _files(path):
        source = os.path.join(shown, file.name)
        name = file.stem
        if not re.match(PROMPT, name):
            mistakes.append(_about(source, "a prompt's name is 1 to 128 letters, digits and . _ -; rename the file"))
        elif name in names:
            mistakes.append(_about(source, f"is another file of the name `{quotable(name)}`; rename one of them"))
        elif len(names) == _MOST_FILES:
            mistakes.append(_about(shown, f"has more than {_MOST_FILES} prompts; remove some"))
            break
        else:
            names.append(name)
            try:
                found[name] = version(name, prompt(_bytes(file), source))
            except ConfigErrors as errors:
                mistakes += [msgspec.structs.replace(each, source=errors.source) for each in errors.mistakes]
            except OSError as error:
                mistakes.append(_about(source, f"cannot be read: {error.strerror or error}"))
    return Folder(found, tuple(names), tuple(mistakes))


def references(
    prompts: Mapping[str, PromptVersion], kept: Iterable[PromptVersion] = (), aliases: Iterable[Alias] = ()
) -> Mapping[str, PromptVersion]:
    """Every name by which a service may call for a prompt. ``prompts`` are those of the folder by name, ``kept`` and
    ``aliases`` those of the store; of a name that the folder does not have the newest kept one is meant."""
    found: dict[str, PromptVersion] = {}
    for each in sorted(kept, key=lambda each: each.created_at):
        found[each.name] = found[each.id] = each
    for alias in aliases:
        version = found.get(f"{alias.name}@{alias.digest}")
        if alias.kind == "prompt" and version is not None:
            found[f"{alias.name}@{alias.alias}"] = version
    for name, each in prompts.items():
        found[name] = each
        found.setdefault(each.id, each)
    return found


def _files(path: Path) -> Iterator[Path]:
    for file in sorted(path.iterdir()):
        if file.suffix in _SUFFIXES and not file.name.startswith(".") and not file.is_dir():
            yield file


def _bytes(path: Path) -> bytes:
    with path.open("rb") as file:
        return file.read(MAX_BYTES + 1)


def _about(source: str, message: str) -> Mistake:
    return Mistake(0, 0, "", message, quotable(source, 300))


_PROMPT = cast("inspect.StructType", inspect.type_info(Prompt))
