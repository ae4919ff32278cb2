"""A deployment file for people to look at: as it was written, but for the secrets that somebody has written into it.

What takes its value from outside, ``${NAME}`` and its like, stays as it is: it names a secret and does not hold one.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator

import yaml

from penstock.config.environment import refers
from penstock.config.mistakes import Path
from penstock.config.tree import parse

MASK = "********"

_SECRET = frozenset({"api_key", "password", "pepper", "headers"})
_NO_KEY = frozenset({"", "none"})
_PASSWORD = re.compile(r"(?<=://)(?P<user>[^/?#:@\s]*):(?P<password>[^/?#\s]*)@")
_PARAMETER = re.compile(r"(?P<name>[?&][\w.-]*(?:password|secret|token|key)=)(?P<value>[^&#\s]+)", re.IGNORECASE)


def masked(raw: bytes) -> str:
    """The text of a file that has been loaded."""
    text = raw.decode("utf-8-sig")
    spans: dict[tuple[int, int], tuple[yaml.ScalarNode, str]] = {}
    for _, node, secret in _scalars(parse(raw), (), False, frozenset()):
        shown = _shown(node.value, secret)
        if shown != node.value:
            spans[node.start_mark.index, node.end_mark.index] = (node, shown)
    for start, end in sorted(spans, reverse=True):
        node, shown = spans[start, end]
        written = text[start:end]
        # What has a name is known by it elsewhere in the file.
        name = written.split(maxsplit=1)[0] + " " if written.startswith("&") else ""
        line = "\n" if node.style in ("|", ">") and written.endswith("\n") else ""
        text = text[:start] + name + json.dumps(shown, ensure_ascii=False) + line + text[end:]
    return text


def left_masked(root: yaml.Node) -> Iterator[Path]:
    """Where a text still has the mask in place of a secret."""
    for path, node, secret in _scalars(root, (), False, frozenset()):
        if MASK in node.value and (secret or f":{MASK}@" in node.value or f"={MASK}" in node.value):
            yield path


def _scalars(
    node: yaml.Node, path: Path, secret: bool, above: frozenset[int]
) -> Iterator[tuple[Path, yaml.ScalarNode, bool]]:
    """Every value, and whether its place says that it is a secret."""
    if isinstance(node, yaml.ScalarNode):
        yield path, node, secret
    elif id(node) not in above:
        inside = above | {id(node)}
        if isinstance(node, yaml.MappingNode):
            for key, value in node.value:
                name = key.value if isinstance(key, yaml.ScalarNode) else ""
                yield from _scalars(value, (*path, name), secret or name in _SECRET, inside)
        elif isinstance(node, yaml.SequenceNode):
            for index, value in enumerate(node.value):
                yield from _scalars(value, (*path, index), secret, inside)


def _shown(value: str, secret: bool) -> str:
    if secret:
        return value if value in _NO_KEY or _named(value) else MASK
    value = _PASSWORD.sub(lambda found: f"{found['user']}:{_part(found['password'])}@", value)
    return _PARAMETER.sub(lambda found: found["name"] + _part(found["value"]), value)


def _part(text: str) -> str:
    return text if not text or _named(text) else MASK


def _named(text: str) -> bool:
    """Whether it is taken from outside, without a default that would be the secret itself."""
    return refers(text) and ":-" not in text
