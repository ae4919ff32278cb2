"""What a new deployment file changes, in lines for people: pure, and without a secret in it."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import TypeVar

import msgspec

from penstock.assembly.engines import launch_of
from penstock.config import DeploymentFile
from penstock.core.releases import PromptVersion
from penstock.engines.config import EngineSettings
from penstock.gateway.config import ServiceSettings

Path = tuple[str | int, ...]
T = TypeVar("T")

# Texts that are names and nothing else. Any other may hold a secret, and of it only the key is told.
_NAMES = frozenset(
    {
        "model",
        "fallback",
        "aliases",
        "policy",
        "session",
        "task",
        "pooling",
        "host",
        "access_log",
        "version",
        "prompt",
        "check",
        "judge",
        "embedder",
        "namespace",
    }
)
_LONGEST = 80

RESTART = ("server", "state", "access", "cache")
"""The parts of a deployment file that hold from one start to the next."""


class Difference(msgspec.Struct, frozen=True):
    """``changed`` takes effect at once, ``needs_restart`` only when Penstock is started again."""

    changed: tuple[str, ...] = ()
    needs_restart: tuple[str, ...] = ()


def difference(old: DeploymentFile, new: DeploymentFile, hidden: Collection[Path] = ()) -> Difference:
    """From ``old`` to ``new``. ``hidden`` are the places of values that must not be shown, beside those that by
    their key may be secret."""
    secret = frozenset(hidden)
    changed = [*_services(old.services, new.services, secret), *_models(old.models, new.models, secret)]
    restart = [
        f"{part}.{line}"
        for part in RESTART
        for line in _fields(getattr(old, part), getattr(new, part), (part,), secret)
    ]
    return Difference(tuple(changed), tuple(restart))


def of_prompts(old: Mapping[str, PromptVersion], new: Mapping[str, PromptVersion]) -> Sequence[str]:
    """From one folder of prompts to another, as ``Difference.changed`` has it."""
    lines: list[str] = []
    for name in _names(old, new):
        before, after = old.get(name), new.get(name)
        if after is None:
            lines.append(f"removed prompt {name}")
        elif before is None:
            lines.append(f"added prompt {name}")
        elif before.digest != after.digest:
            lines.append(f"changed prompt {name} {before.digest} -> {after.digest}")
    return lines


def _services(
    old: Mapping[str, ServiceSettings], new: Mapping[str, ServiceSettings], secret: frozenset[Path]
) -> Iterator[str]:
    for name in _names(old, new):
        before, after = old.get(name), new.get(name)
        if after is None:
            yield f"removed service {name}"
        elif before is None:
            yield f"added service {name}: {', then '.join((after.model, *after.fallback))}"
        elif lines := list(_fields(before, after, ("services", name), secret)):
            yield f"changed service {name}: {', '.join(lines)}"


def _models(
    old: Mapping[str, EngineSettings], new: Mapping[str, EngineSettings], secret: frozenset[Path]
) -> Iterator[str]:
    for name in _names(old, new):
        before, after = old.get(name), new.get(name)
        if after is None:
            ends = "; its copies end what they are at and stop" if before and launch_of(before) else ""
            yield f"removed model {name}{ends}"
        elif before is None:
            starts = f"; {_copies(after)} started" if launch_of(after) else ""
            yield f"added model {name} ({_engine(after)}){starts}"
        elif before != after:
            yield f"changed model {name}: {', '.join(_between(before, after, name, secret))}{_effect(before, after)}"


def _between(before: EngineSettings, after: EngineSettings, name: str, secret: frozenset[Path]) -> Iterator[str]:
    if type(before) is not type(after):
        yield f"engine {_engine(before)} -> {_engine(after)}"
    else:
        yield from _fields(before, after, ("models", name), secret)


def _effect(before: EngineSettings, after: EngineSettings) -> str:
    was, becomes = launch_of(before), launch_of(after)
    if was == becomes:
        return ""
    if was is None:
        return f"; {_copies(after)} started, and what there was serves until one is ready"
    if becomes is None:
        return "; its copies end what they are at and stop"
    return "; its copies are replaced one at a time"


def _copies(settings: EngineSettings) -> str:
    copies = int(getattr(settings, "replicas", 1))
    return "1 copy is" if copies == 1 else f"{copies} copies are"


def _engine(settings: EngineSettings) -> str:
    return str(settings.__struct_config__.tag)


def _fields(old: msgspec.Struct, new: msgspec.Struct, path: Path, secret: frozenset[Path]) -> Iterator[str]:
    """``key old -> new`` for each field that differs; the key alone where the values are not for showing."""
    for at, before, after in _leaves(old, new, path):
        key = ".".join(map(str, at[len(path) :]))
        shown = (_shown(at, before), _shown(at, after))
        if any(place[: len(at)] == at for place in secret) or None in shown:
            yield key
        else:
            yield f"{key} {shown[0]} -> {shown[1]}"


def _leaves(old: object, new: object, path: Path) -> Iterator[tuple[Path, object, object]]:
    if isinstance(old, msgspec.Struct) and type(old) is type(new):
        for field in msgspec.structs.fields(old):
            yield from _leaves(getattr(old, field.name), getattr(new, field.name), (*path, field.encode_name))
    elif old != new:
        yield path, old, new


def _shown(path: Path, value: object) -> str | None:
    """The value for people; None when it may be a secret, or is too much to read."""
    match value:
        case None:
            return "(none)"
        case bool():
            return str(value).lower()
        case int() | float():
            return f"{value:g}" if isinstance(value, float) else str(value)
        case str() if path[-1] in _NAMES or (path[-1] == "weights" and not set("@?") & set(value)):
            return value if 0 < len(value) <= _LONGEST else None
        case list() | tuple() if path[-1] in _NAMES and all(isinstance(item, str) for item in value):
            text = ", ".join(map(str, value)) or "(none)"
            return text if len(text) <= _LONGEST else None
    return None


def _names(old: Mapping[str, T], new: Mapping[str, T]) -> Sequence[str]:
    """Those of the new in its order, then those that are gone."""
    return [*new, *(name for name in old if name not in new)]
