"""From a path to a deployment that can be served, or to everything that is wrong with it."""

from __future__ import annotations

import os
from collections.abc import Mapping
from importlib import resources
from pathlib import Path
from typing import NamedTuple, cast

import msgspec
from msgspec import inspect

from penstock.access.config import AccessSettings
from penstock.caches.config import CacheSettings
from penstock.config.checks import cross_check
from penstock.config.deployment import DeploymentFile
from penstock.config.environment import expand, port
from penstock.config.masking import MASK, left_masked
from penstock.config.mistakes import ConfigErrors, Mistake, quotable
from penstock.config.mistakes import Path as Place
from penstock.config.prompts import FOLDER, Folder, folder
from penstock.config.sources import Sources
from penstock.config.tree import MAX_BYTES, Broken, parse
from penstock.config.typed import Reading
from penstock.core.releases import PromptVersion
from penstock.edge.http.config import ServerSettings
from penstock.engines.config import EngineSettings
from penstock.gateway.config import ServiceSettings
from penstock.observe.config import ObserveSettings
from penstock.store.config import StateSettings

EMBEDDED = "the built-in deployment"
SENT = "the deployment"
"""What the mistakes of a text that was sent are reported against."""


class Loaded(NamedTuple):
    """A deployment file, where in it values stand that come from outside it, never to be shown, its text, and the
    prompts of its folder by name."""

    file: DeploymentFile
    hidden: frozenset[Place]
    text: bytes = b""
    prompts: Mapping[str, PromptVersion] = {}


def load(path: Path | None, env: Mapping[str, str]) -> DeploymentFile:
    """Reads a deployment file; None is the embedded default. ``PENSTOCK_PORT`` in ``env`` wins over its port.

    Secrets that the file names are read, which may take seconds. Raises ``ConfigErrors`` with every mistake there
    is. What is filled in is in no message.
    """
    port(env)
    beside = None if path is None else path.parent
    return loaded(text(path), EMBEDDED if path is None else str(path), env, commands=True, beside=beside).file


def loaded(
    raw: bytes, source: str, env: Mapping[str, str], *, commands: bool = False, beside: Path | None = None
) -> Loaded:
    """The same for a text that has been read already, with what of it must not be shown. ``commands``: it may run
    some, because it lies on this machine. ``beside``: the folder it lies in, from which its folder of prompts is
    found; None: it has none, and what it says of prompts is for the store to know."""
    chosen_port = port(env)
    found = _read(raw, source, env, commands, beside)
    if chosen_port is None:
        return found
    server = msgspec.structs.replace(found.file.server, port=chosen_port)
    return found._replace(file=msgspec.structs.replace(found.file, server=server))


def text(path: Path | None) -> bytes:
    """The text of the file that ``load`` reads. Raises ``ConfigErrors`` when it cannot be read."""
    return embedded() if path is None else _bytes(path)


def read(raw: bytes, source: str, env: Mapping[str, str]) -> DeploymentFile:
    """A text as it stands; ``source`` is what its mistakes are reported against. Raises ``ConfigErrors``."""
    return _read(raw, source, env, False, None).file


def _read(raw: bytes, source: str, env: Mapping[str, str], commands: bool, beside: Path | None) -> Loaded:
    source = quotable(source, 300)
    outside = Sources(env, commands=commands).value
    reading = Reading(lambda written: expand(written, env, outside))
    try:
        root = parse(raw)
        values = reading.top(_FILE, root)
    except Broken as broken:
        raise ConfigErrors(source, [*reading.mistakes, broken.mistake]) from None
    # The walk has checked them against these very types.
    models = cast("dict[str, EngineSettings]", values.get("models", {}))
    services = cast("dict[str, ServiceSettings]", values.get("services", {}))
    server = cast("ServerSettings", values.get("server", ServerSettings()))
    cache = cast("CacheSettings", values.get("cache", CacheSettings()))
    prompts = _prompts(reading, cast("str | None", values.get("prompts")), beside)
    cross_check(reading, models, services, cache, None if beside is None else prompts.names)
    # What has no mistakes has been walked through, and is known to be of a bounded size.
    for path in () if reading.mistakes else left_masked(root):
        reading.note(path, f"has the `{MASK}` that is shown in place of a secret; write the secret, or what names it")
    if reading.mistakes or prompts.mistakes:
        raise ConfigErrors(source, [*reading.mistakes, *prompts.mistakes])
    state = cast("StateSettings", values.get("state", StateSettings()))
    access = cast("AccessSettings", values.get("access", AccessSettings()))
    observe = cast("ObserveSettings", values.get("observe", ObserveSettings()))
    file = DeploymentFile(
        server=server,
        state=state,
        access=access,
        observe=observe,
        cache=cache,
        prompts=cast("str | None", values.get("prompts")),
        models=models,
        services=services,
    )
    return Loaded(file, reading.hidden(), raw, prompts.prompts)


def _prompts(reading: Reading, named: str | None, beside: Path | None) -> Folder:
    if beside is None:
        return Folder({})
    try:
        if named is None:
            return folder(beside / FOLDER, str(beside / FOLDER))
        return folder(beside / os.path.expanduser(named), reading.shown(("prompts",), named))
    except FileNotFoundError:
        if named is not None:
            reading.note(("prompts",), "there is no such folder; make it, or mend the path")
    except NotADirectoryError:
        reading.note(("prompts",), "is a file; name the folder that prompts are in")
    except OSError as error:
        reading.note(("prompts",), f"cannot be read: {error.strerror or error}")
    return Folder({})


def embedded() -> bytes:
    """The text of the deployment file that is served when there is none."""
    return resources.files("penstock").joinpath("default.yaml").read_bytes()


def _bytes(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            return file.read(MAX_BYTES + 1)
    except FileNotFoundError:
        said = "there is no such file; `penstock init` writes one"
    except IsADirectoryError:
        said = "is a directory; name the file in it"
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else None
        said = f"cannot be read: {reason or error}"
    raise ConfigErrors(quotable(str(path), 300), [Mistake(0, 0, "", said)])


_FILE = cast("inspect.StructType", inspect.type_info(DeploymentFile))
