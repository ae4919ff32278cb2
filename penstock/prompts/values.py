"""What a client puts into a prompt: checked against what the prompt declares."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TypeVar

from penstock.core.errors import INVALID_TYPE, INVALID_VALUE, MISSING_PARAMETER, Fault, PenstockError
from penstock.prompts.config import Prompt, Value, Variable

MEMBER = "prompt_variables"
"""The member of a request that has them."""
MOST_CHARS = 1 << 20
"""Characters in all variables of a request together."""
MOST_ITEMS = 1000
_INTEGERS = 1 << 63
_T = TypeVar("_T", str, float)


class Unfit(Exception):
    """A value is none of the variable's. ``fault`` says in which way; the message does not repeat the value."""

    def __init__(self, fault: Fault, message: str) -> None:
        super().__init__(message)
        self.fault = fault


def given(prompt: Prompt, values: Mapping[str, object]) -> Mapping[str, Value]:
    """Every variable of the prompt with its value, defaults filled in; ``null`` is as if it were left out.

    Raises ``PenstockError`` (INVALID_TYPE, INVALID_VALUE, MISSING_PARAMETER) whose ``param`` is
    ``prompt_variables.NAME``.
    """
    for name in values:
        if name not in prompt.variables:
            known = ", ".join(prompt.variables) or "none"
            shown = name[:80]
            raise PenstockError(
                INVALID_VALUE,
                f"'{MEMBER}.{shown}' is no variable of this prompt. Its variables are: {known}.",
                param=f"{MEMBER}.{shown}",
            )
    found = {name: _value(name, variable, values.get(name)) for name, variable in prompt.variables.items()}
    if size(found) > MOST_CHARS:
        raise PenstockError(
            INVALID_VALUE,
            f"'{MEMBER}' hold more than {MOST_CHARS} characters together. Send less.",
            param=MEMBER,
        )
    return found


def size(values: Mapping[str, Value]) -> int:
    """Characters in all of them; a number counts as one."""
    return sum(_size(value) for value in values.values())


def fit(variable: Variable, value: object) -> Value:
    """The value as one of the variable's. Raises ``Unfit``."""
    match variable.type:
        case "list":
            if not isinstance(value, list):
                raise Unfit(INVALID_TYPE, "must be a list of strings")
            if len(value) > MOST_ITEMS:
                raise Unfit(INVALID_VALUE, f"must have at most {MOST_ITEMS} items")
            items: list[str] = []
            for item in value:
                if not isinstance(item, str):
                    raise Unfit(INVALID_TYPE, "must be a list of strings")
                items.append(_chosen(variable, _text(variable, item)))
            return items
        case "string":
            if not isinstance(value, str):
                raise Unfit(INVALID_TYPE, "must be a string")
            return _chosen(variable, _text(variable, value))
        case "boolean":
            if not isinstance(value, bool):
                raise Unfit(INVALID_TYPE, "must be true or false")
            return value
        case "integer":
            if isinstance(value, bool) or not isinstance(value, int):
                raise Unfit(INVALID_TYPE, "must be a whole number")
            return _chosen(variable, _number(value))
        case "number":
            if isinstance(value, bool) or not isinstance(value, (int, float)):
                raise Unfit(INVALID_TYPE, "must be a number")
            return _chosen(variable, _number(value))


def _value(name: str, variable: Variable, value: object) -> Value:
    if value is None:
        if variable.default is not None:
            return variable.default
        if variable.required:
            what = f": {variable.description.rstrip('.')}" if variable.description else ""
            raise PenstockError(
                MISSING_PARAMETER,
                f"'{MEMBER}.{name}' is missing{what}. Add it to the request.",
                param=f"{MEMBER}.{name}",
            )
        return None
    try:
        return fit(variable, value)
    except Unfit as unfit:
        raise PenstockError(unfit.fault, f"'{MEMBER}.{name}' {unfit}.", param=f"{MEMBER}.{name}") from None


def _text(variable: Variable, text: str) -> str:
    if variable.max_length is not None and len(text) > variable.max_length:
        what = "have items of" if variable.type == "list" else "have"
        raise Unfit(INVALID_VALUE, f"must {what} at most {variable.max_length} characters")
    return text


def _number(number: float) -> float:
    if abs(number) >= _INTEGERS:
        raise Unfit(INVALID_VALUE, "is too large a number")
    return number


def _chosen(variable: Variable, value: _T) -> _T:
    if variable.choices and value not in variable.choices:
        raise Unfit(INVALID_VALUE, f"must be one of {', '.join(map(str, variable.choices))}")
    return value


def _size(value: Value) -> int:
    if isinstance(value, list):
        return len(value) + sum(map(len, value))
    return len(value) if isinstance(value, str) else 1
