"""Typed checks of the fields we own or need: what msgspec finds wrong, said so that a client can mend it."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Annotated, Generic, TypeVar

import msgspec

from penstock.core.errors import INVALID_TYPE, INVALID_VALUE, MISSING_PARAMETER, UNSUPPORTED_PARAMETER, PenstockError
from penstock.edge.http.body import parsed

T = TypeVar("T", bound=msgspec.Struct)

Name = Annotated[str, msgspec.Meta(min_length=1, max_length=512)]
Tokens = Annotated[int, msgspec.Meta(ge=0, le=2**31 - 1)]
Int64 = Annotated[int, msgspec.Meta(ge=-(2**63), le=2**63 - 1)]
Count = Annotated[int, msgspec.Meta(ge=1, le=128)]
Candidates = Annotated[int, msgspec.Meta(ge=0, le=128)]
Predicted = Annotated[int, msgspec.Meta(ge=-2, le=2**31 - 1)]
"""llama.cpp's own word for the tokens to make; -1 is no bound, -2 what the context has room for."""

_NAMES = {
    "str": "a string",
    "int": "an integer",
    "float": "a number",
    "bool": "true or false",
    "array": "an array",
    "object": "an object",
    "null": "null",
}
_WEIGHTY = frozenset(("models", "functions", "n_cmpl", "n_predict", "best_of", "max_completion_tokens"))
"""Beside the typed fields: what bears on what a request costs, or may do."""
_AT = re.compile(r"(.*) - at `([^`]*)`\Z", re.DOTALL)
_MISSING = re.compile(r"Object missing required field `([^`]*)`")
_TYPE = re.compile(r"Expected `([^`]*)`, got `([^`]*)`")
_BOUND = re.compile(r"Expected `([^`]*)` (of length )?(>=|<=|>|<) (\S+)")
_BOUND_WORDS = {">=": "at least", "<=": "at most", ">": "more than", "<": "less than"}
_ENUM = re.compile(r"Invalid enum value (.*)", re.DOTALL)


class Head(Generic[T]):
    """Reads one kind of request: the typed head, and all top-level members as the client's own bytes."""

    __slots__ = ("_decoder", "_names", "_type")

    def __init__(self, of: type[T]) -> None:
        self._type = of
        self._names = {field.encode_name for field in msgspec.structs.fields(of)} | _WEIGHTY
        self._decoder = msgspec.json.Decoder(of)

    def read(self, body: bytes) -> tuple[T, dict[str, msgspec.Raw]]:
        """Raises ``PenstockError``: a 400 that names the field at fault, as a path such as ``messages[2].role``."""
        fields = parsed(body)
        names = "".join(fields)
        if not (names.isascii() and names.islower()):
            self._check_spelling(fields)
        try:
            return self._decoder.decode(body), fields
        except msgspec.ValidationError as error:
            raise self._refusal(str(error)) from None

    def _check_spelling(self, fields: Iterable[str]) -> None:
        """Some upstreams, those written in Go among them, take ``Max_Tokens`` for ``max_tokens``: what is checked
        here under the one name must not go out under another."""
        for name in fields:
            meant = name.casefold()
            if meant != name and meant in self._names:
                shown = name[:80]
                raise PenstockError(INVALID_VALUE, f"'{shown}' must be written '{meant}'.", param=shown)

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


def check_one_model(fields: Mapping[str, msgspec.Raw]) -> None:
    """OpenRouter takes ``models`` beside ``model``, to fall back on: at prices, and past scopes, that were looked up
    for another. Raises ``PenstockError(UNSUPPORTED_PARAMETER)``."""
    given = fields.get("models")
    if given is not None and bytes(given) not in (b"null", b"[]"):
        raise PenstockError(
            UNSUPPORTED_PARAMETER,
            "'models' is not taken: a request names one model, in 'model', and what it falls back on is for its "
            "service in the deployment file to say.",
            param="models",
        )


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
