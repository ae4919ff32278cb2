"""Typed checks of the fields we own or need: what msgspec finds wrong, said so that a client can mend it."""

from __future__ import annotations

import re
from typing import Annotated, Generic, TypeVar

import msgspec

from penstock.core.errors import INVALID_TYPE, INVALID_VALUE, MISSING_PARAMETER, PenstockError
from penstock.edge.http.body import parsed

T = TypeVar("T", bound=msgspec.Struct)

Name = Annotated[str, msgspec.Meta(min_length=1, max_length=512)]
Tokens = Annotated[int, msgspec.Meta(ge=0, le=2**31 - 1)]
Int64 = Annotated[int, msgspec.Meta(ge=-(2**63), le=2**63 - 1)]
Count = Annotated[int, msgspec.Meta(ge=1, le=128)]

_NAMES = {
    "str": "a string",
    "int": "an integer",
    "float": "a number",
    "bool": "true or false",
    "array": "an array",
    "object": "an object",
    "null": "null",
}
_AT = re.compile(r"(.*) - at `([^`]*)`\Z", re.DOTALL)
_MISSING = re.compile(r"Object missing required field `([^`]*)`")
_TYPE = re.compile(r"Expected `([^`]*)`, got `([^`]*)`")
_BOUND = re.compile(r"Expected `([^`]*)` (of length )?(>=|<=|>|<) (\S+)")
_BOUND_WORDS = {">=": "at least", "<=": "at most", ">": "more than", "<": "less than"}
_ENUM = re.compile(r"Invalid enum value (.*)", re.DOTALL)


class Head(Generic[T]):
    """Reads one kind of request: the typed head, and all top-level members as the client's own bytes."""

    __slots__ = ("_decoder", "_type")

    def __init__(self, of: type[T]) -> None:
        self._type = of
        self._decoder = msgspec.json.Decoder(of)

    def read(self, body: bytes) -> tuple[T, dict[str, msgspec.Raw]]:
        """Raises ``PenstockError``: a 400 that names the field at fault, as a path such as ``messages[2].role``."""
        fields = parsed(body)
        try:
            return self._decoder.decode(body), fields
        except msgspec.ValidationError as error:
            raise self._refusal(str(error)) from None

    def _refusal(self, text: str) -> PenstockError:
        placed = _AT.match(text)
        said, path = placed.groups() if placed else (text, "$")
        param = path.removeprefix("$").removeprefix(".")
        if missing := _MISSING.match(said):
            param = f"{param}.{missing[1]}" if param else missing[1]
            return PenstockError(MISSING_PARAMETER, f"'{param}' is missing. Add it to the request.", param=param)
        shown = f"'{param}'" if param else "The request body"
        if kinds := _TYPE.match(said):
            wanted, got = _either(kinds[1]), _NAMES.get(kinds[2], kinds[2])
            return PenstockError(INVALID_TYPE, f"{shown} must be {wanted}, not {got}.", param=param or None)
        return PenstockError(INVALID_VALUE, f"{shown} {self._demand(said, param)}.", param=param or None)

    def _demand(self, said: str, param: str) -> str:
        if bound := _BOUND.match(said):
            words = f"{_BOUND_WORDS[bound[3]]} {bound[4]}"
            if bound[2]:
                return f"must hold {words} {'characters' if bound[1] == 'str' else 'items'}"
            return f"must be {words}"
        if enum := _ENUM.match(said):
            given = enum[1] if len(enum[1]) <= 80 else enum[1][:80] + "..."
            if known := _literals(self._type, param):
                return f"must be one of {', '.join(known)}, not {given}"
            return f"must not be {given}"
        if said.startswith("Number out of range"):
            return "is too large a number; send a smaller one"
        return f"is not valid: {said}"


def _either(kinds: str) -> str:
    names = [_NAMES.get(kind, kind) for kind in kinds.split(" | ")]
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} or {names[-1]}"


def _literals(of: type[msgspec.Struct], param: str) -> list[str]:
    for field in msgspec.structs.fields(of):
        if field.encode_name == param:
            info = msgspec.inspect.type_info(field.type)
            kinds = info.types if isinstance(info, msgspec.inspect.UnionType) else (info,)
            return [repr(v) for kind in kinds if isinstance(kind, msgspec.inspect.LiteralType) for v in kind.values]
    return []
