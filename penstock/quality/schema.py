"""Does a JSON value satisfy a JSON Schema?

Of 2020-12 (https://json-schema.org/draft/2020-12), what describes a value by itself: every keyword below, and
references within the schema. ``format`` is an annotation there, and here. A keyword that is not known is refused when
the schema is read: one that was passed over would let through what it forbids.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from typing import Final

from penstock.core.errors import INVALID_VALUE, PenstockError

_DEEPEST: Final = 64
_ANNOTATIONS: Final = frozenset(
    {"$schema", "$id", "$comment", "$defs", "definitions", "title", "description", "default", "examples", "format"}
    | {"deprecated", "readOnly", "writeOnly"}
)


class Schema:
    """A schema, ready for use. Raises ``PenstockError`` (``INVALID_VALUE``) where it cannot be used."""

    def __init__(self, schema: Mapping[str, object]) -> None:
        self._whole = schema
        self._check(schema, "", 0)

    def fault(self, value: object) -> str:
        """What is wrong with a value, such as ``age: not a number``; empty: nothing."""
        try:
            return self._fault(self._whole, value, "", 0)
        except RecursionError:
            return "nested too deep"

    def _check(self, schema: object, place: str, depth: int) -> None:
        if isinstance(schema, bool):
            return
        if not isinstance(schema, Mapping) or depth > _DEEPEST:
            raise _unusable(place, "it is no schema" if depth <= _DEEPEST else "it is nested too deep")
        for word, meant in schema.items():
            here = f"{place}/{word}"
            if word in ("$defs", "definitions", "properties", "patternProperties"):
                self._check_all(meant, here, depth)
                for pattern in meant if word == "patternProperties" and isinstance(meant, Mapping) else ():
                    _compiled(pattern, here)
            elif word in ("anyOf", "allOf", "oneOf", "prefixItems"):
                if not isinstance(meant, Sequence) or isinstance(meant, str) or not meant:
                    raise _unusable(here, "it must be a list of schemas")
                for each in meant:
                    self._check(each, here, depth + 1)
            elif word in ("not", "items", "additionalProperties", "contains", "propertyNames", "if", "then", "else"):
                self._check(meant, here, depth + 1)
            elif word == "$ref":
                self._resolved(meant, here)
            elif word == "pattern":
                _compiled(meant, here)
            elif word not in _ANNOTATIONS and not _fits(word, meant):
                known = word in _FORMS
                raise _unusable(here, "its value does not fit it" if known else "the keyword is not known here")

    def _check_all(self, meant: object, place: str, depth: int) -> None:
        if not isinstance(meant, Mapping):
            raise _unusable(place, "it must be an object of schemas")
        for name, each in meant.items():
            self._check(each, f"{place}/{name}", depth + 1)

    def _resolved(self, reference: object, place: str) -> object:
        found: object = self._whole
        if not isinstance(reference, str) or not (reference == "#" or reference.startswith("#/")):
            raise _unusable(place, "only references within the schema (`#/$defs/name`) are followed")
        for part in reference.split("/")[1:]:
            name = part.replace("~1", "/").replace("~0", "~")
            if not isinstance(found, Mapping) or name not in found:
                raise _unusable(place, f"there is no {reference}")
            found = found[name]
        return found

    def _fault(self, schema: object, value: object, place: str, depth: int) -> str:
        if depth > _DEEPEST:
            return "nested too deep"
        if not isinstance(schema, Mapping):
            return "" if schema is True else f"{place or 'it'}: nothing is allowed here"
        for word, meant in schema.items():
            if rule := _RULES.get(word):
                if wrong := rule(meant, value):
                    return f"{place or 'it'}: {wrong}"
            elif wrong := self._nested(schema, word, meant, value, place, depth + 1):
                return wrong
        return ""

    def _nested(
        self, schema: Mapping[str, object], word: str, meant: object, value: object, place: str, depth: int
    ) -> str:
        def holds(other: object) -> bool:
            return not self._fault(other, value, place, depth)

        match word, meant:
            case "$ref", _:
                return self._fault(self._resolved(meant, place), value, place, depth)
            case "allOf", list() | tuple():
                return next((wrong for each in meant if (wrong := self._fault(each, value, place, depth))), "")
            case (("anyOf" | "oneOf"), list() | tuple()):
                held = sum(map(holds, meant))
                fits = held == 1 if word == "oneOf" else held > 0
                return "" if fits else f"{place or 'it'}: fits {held} of the {len(meant)} that {word} names"
            case "not", _:
                return f"{place or 'it'}: is what it must not be" if holds(meant) else ""
            case "if", _:
                then = schema.get("then" if holds(meant) else "else", True)
                return self._fault(then, value, place, depth)
        if isinstance(value, dict):
            return self._members(schema, word, meant, value, place, depth)
        return self._items(schema, word, meant, value, place, depth) if isinstance(value, list) else ""

    def _members(
        self, schema: Mapping[str, object], word: str, meant: object, value: dict[str, object], place: str, depth: int
    ) -> str:
        named, patterns = schema.get("properties", {}), schema.get("patternProperties", {})
        assert isinstance(named, Mapping)
        assert isinstance(patterns, Mapping)
        pairs: list[tuple[str, object]] = []
        if word == "properties":
            pairs = [(name, each) for name, each in named.items() if name in value]
        elif word == "patternProperties":
            pairs = [(name, each) for pattern, each in patterns.items() for name in value if re.search(pattern, name)]
        elif word == "additionalProperties":
            others = (name for name in value if name not in named)
            pairs = [(name, meant) for name in others if not any(re.search(each, name) for each in patterns)]
        elif word == "propertyNames":
            return next((wrong for name in value if (wrong := self._fault(meant, name, place, depth))), "")
        found = (self._fault(each, value[name], f"{place}.{name}".lstrip("."), depth) for name, each in pairs)
        return next(filter(None, found), "")

    def _items(
        self, schema: Mapping[str, object], word: str, meant: object, value: list[object], place: str, depth: int
    ) -> str:
        first = schema.get("prefixItems", [])
        assert isinstance(first, Sequence)
        pairs: list[tuple[int, object]] = []
        if word == "prefixItems":
            pairs = list(enumerate(first[: len(value)]))
        elif word == "items":
            pairs = [(at, meant) for at in range(len(first), len(value))]
        elif word == "contains":
            fits = any(not self._fault(meant, each, place, depth) for each in value)
            return "" if fits else f"{place or 'it'}: has no such item as it must contain"
        found = (self._fault(each, value[at], f"{place}[{at}]", depth) for at, each in pairs)
        return next(filter(None, found), "")


def _unusable(place: str, why: str) -> PenstockError:
    return PenstockError(INVALID_VALUE, f"The JSON Schema cannot be used at {place or '/'}: {why}.")


def _compiled(pattern: object, place: str) -> None:
    try:
        re.compile(str(pattern))
    except re.error as error:
        raise _unusable(place, f"{error}") from None


def _number(value: object) -> float | int | None:
    return value if isinstance(value, int | float) and not isinstance(value, bool) else None


_TYPES: Final[Mapping[str, Callable[[object], bool]]] = {
    "object": lambda value: isinstance(value, dict),
    "array": lambda value: isinstance(value, list),
    "string": lambda value: isinstance(value, str),
    "boolean": lambda value: isinstance(value, bool),
    "null": lambda value: value is None,
    "number": lambda value: _number(value) is not None,
    "integer": lambda value: (number := _number(value)) is not None and number == number // 1,
}


def _same(first: object, second: object) -> bool:
    """JSON's equality: 1 is 1.0, and neither is true."""
    if isinstance(first, bool) or isinstance(second, bool):
        return first is second
    if isinstance(first, list | tuple) and isinstance(second, list | tuple):
        return len(first) == len(second) and all(map(_same, first, second))
    if isinstance(first, Mapping) and isinstance(second, Mapping):
        return first.keys() == second.keys() and all(_same(first[name], second[name]) for name in first)
    return first == second


def _names(meant: object) -> list[str]:
    return [str(each) for each in meant] if isinstance(meant, list | tuple) else [str(meant)]


def _typed(meant: object, value: object) -> str:
    names = _names(meant)
    return "" if any(_TYPES[name](value) for name in names) else f"no {' or '.join(names)}"


def _one_of(meant: object, value: object) -> str:
    assert isinstance(meant, Sequence)
    return "" if any(_same(each, value) for each in meant) else "none of what it may be"


def _required(meant: object, value: object) -> str:
    lacking = [name for name in _names(meant) if name not in value] if isinstance(value, dict) else []
    return f"lacks {', '.join(lacking)}" if lacking else ""


def _bound(wrong: Callable[[float, float], bool], size: Callable[[object], float | None], why: str) -> _Rule:
    def rule(meant: object, value: object) -> str:
        limit, measured = _number(meant), size(value)
        assert limit is not None
        return f"{why} {meant}" if measured is not None and wrong(measured, limit) else ""

    return rule


def _of(*kinds: type) -> Callable[[object], float | None]:
    return lambda value: len(value) if isinstance(value, kinds) else None  # type: ignore[arg-type]


def _unique(meant: object, value: object) -> str:
    if not meant or not isinstance(value, list):
        return ""
    twice = any(_same(each, other) for at, each in enumerate(value) for other in value[:at])
    return "has an item twice" if twice else ""


def _patterned(meant: object, value: object) -> str:
    return "does not match its pattern" if isinstance(value, str) and not re.search(str(meant), value) else ""


_Rule = Callable[[object, object], str]
_RULES: Final[Mapping[str, _Rule]] = {
    "type": _typed,
    "enum": _one_of,
    "const": lambda meant, value: "" if _same(meant, value) else "not what it must be",
    "required": _required,
    "pattern": _patterned,
    "uniqueItems": _unique,
    "minimum": _bound(lambda size, limit: size < limit, _number, "below"),
    "maximum": _bound(lambda size, limit: size > limit, _number, "above"),
    "exclusiveMinimum": _bound(lambda size, limit: size <= limit, _number, "not above"),
    "exclusiveMaximum": _bound(lambda size, limit: size >= limit, _number, "not below"),
    "multipleOf": _bound(lambda size, limit: size / limit != size / limit // 1, _number, "no multiple of"),
    "minLength": _bound(lambda size, limit: size < limit, _of(str), "characters fewer than"),
    "maxLength": _bound(lambda size, limit: size > limit, _of(str), "characters more than"),
    "minItems": _bound(lambda size, limit: size < limit, _of(list), "items fewer than"),
    "maxItems": _bound(lambda size, limit: size > limit, _of(list), "items more than"),
    "minProperties": _bound(lambda size, limit: size < limit, _of(dict), "members fewer than"),
    "maxProperties": _bound(lambda size, limit: size > limit, _of(dict), "members more than"),
}
_FORMS: Final[Mapping[str, Callable[[object], bool]]] = {
    "type": lambda meant: bool(_names(meant)) and all(name in _TYPES for name in _names(meant)),
    "enum": lambda meant: isinstance(meant, list | tuple),
    "const": lambda _: True,
    "required": lambda meant: isinstance(meant, list | tuple) and all(isinstance(each, str) for each in meant),
    "uniqueItems": lambda meant: isinstance(meant, bool),
    "multipleOf": lambda meant: (_number(meant) or 0) > 0,
}


def _fits(word: str, meant: object) -> bool:
    if word in _FORMS:
        return _FORMS[word](meant)
    return word in _RULES and _number(meant) is not None
