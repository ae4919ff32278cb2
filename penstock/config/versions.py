"""What a deployment file says of a model, kept as a version of it: from the file's text, and back to a text."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence

import yaml

from penstock.config.masking import masked
from penstock.config.tree import Budget, entries, is_null, parse
from penstock.core.releases import ModelVersion, digest

Json = bool | int | float | str | Sequence["Json"] | Mapping[str, "Json"] | None

# What a field for numbers or truths reads only without quotes, and JSON writes in the same way.
_PLAIN = re.compile(r"true|false|-?(0|[1-9][0-9]{0,40})(\.[0-9]{1,40})?([eE][-+]?[0-9]{1,3})?")


def model_versions(text: bytes) -> Mapping[str, ModelVersion]:
    """The models of a text that has been loaded, as versions. What they take from outside the file stays as it is
    written there; a secret that somebody has written into the file is masked, and such a version can be served from
    that file alone."""
    found: dict[str, ModelVersion] = {}
    root = parse(masked(text).encode())
    for name, section in _mapping(_mapping(_value(root)).get("models")).items():
        source = json.dumps(section, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()
        said = _mapping(section)
        found[name] = ModelVersion(
            name=name,
            digest=digest(source),
            engine=str(said.get("engine", "")),
            source=source,
            weights=str(said.get("weights", "")),
        )
    return found


def text_of(versions: Sequence[ModelVersion]) -> bytes:
    """A deployment file with these models, at least one and each of another name, and a service for each."""
    models = {each.name: json.loads(each.source) for each in versions}
    services = {each.name: {"model": each.name} for each in versions}
    return json.dumps({"models": models, "services": services}, ensure_ascii=False).encode()


def _value(node: yaml.Node) -> Json:
    if isinstance(node, yaml.MappingNode):
        return {entry.text: _value(entry.value) for entry in entries(node, (), Budget(), [])}
    if isinstance(node, yaml.SequenceNode):
        return [_value(each) for each in node.value]
    if is_null(node):
        return None
    text = str(node.value)
    if isinstance(node, yaml.ScalarNode) and node.style is None and _PLAIN.fullmatch(text):
        plain: Json = json.loads(text)
        return plain
    return text


def _mapping(value: Json) -> Mapping[str, Json]:
    return value if isinstance(value, Mapping) else {}
