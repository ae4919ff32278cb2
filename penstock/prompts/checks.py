"""What is wrong with a prompt beside the types of its parts: every mistake, by its place."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterator, Sequence

from penstock.core.errors import INVALID_VALUE, PenstockError
from penstock.prompts import values
from penstock.prompts.config import Case, Expectation, Prompt, Variable, defaults_wrong
from penstock.prompts.templates import look
from penstock.prompts.versions import read

Place = tuple[str | int, ...]
"""Keys and list indices from the top of the prompt."""
Problem = tuple[Place, str]


def problems(prompt: Prompt) -> Iterator[Problem]:
    """Every mistake with its mend, in one line each; none for a good prompt."""
    if not (prompt.system or prompt.examples or prompt.user):
        yield (), "says nothing; write `system`, `examples` or `user`"
    for name, variable in prompt.variables.items():
        for key, wrong in _variable(variable):
            yield ("variables", name, *key), wrong
    yield from _templates(prompt)
    for name, wrong in defaults_wrong(prompt.defaults).items():
        yield ("defaults", name), wrong
    names: set[str] = set()
    for number, case in enumerate(prompt.tests):
        if case.name in names:
            yield ("tests", number, "name"), "is the name of another test; give it its own"
        names.add(case.name)
        for key, wrong in _case(prompt, case):
            yield ("tests", number, *key), wrong


def accepted(source: bytes) -> Prompt:
    """The prompt that somebody sends as JSON. Raises ``PenstockError(INVALID_VALUE)`` with a line for each mistake;
    ``param`` is the place of the first, below ``source``."""
    try:
        prompt = read(source)
    except PenstockError as error:
        raise PenstockError(INVALID_VALUE, f"'source': {error.message}", param="source") from None
    found = [(_dotted(place), wrong) for place, wrong in problems(prompt)]
    if found:
        lines = [f"{place}: {wrong}" if place else wrong for place, wrong in found]
        raise PenstockError(INVALID_VALUE, "\n".join(lines), param=f"source.{found[0][0]}".rstrip("."))
    return prompt


def _variable(variable: Variable) -> Iterator[Problem]:
    textual = variable.type in ("string", "list")
    if variable.max_length is not None and not textual:
        yield ("max_length",), f"is for strings and lists, not for a variable of type {variable.type}; remove it"
    if variable.choices and variable.type == "boolean":
        yield ("choices",), "are not for a variable of type boolean; remove them"
        return
    kinds = {"integer": (int,), "number": (int, float)}.get(variable.type, (str,))
    if not all(isinstance(choice, kinds) for choice in variable.choices):
        yield ("choices",), f"must fit its type, {variable.type}" + ("; quote them" if textual else "")
    elif variable.default is not None:
        try:
            values.fit(variable, variable.default)
        except values.Unfit as unfit:
            yield ("default",), str(unfit) + ("; quote it" if variable.type == "string" else "")


def _templates(prompt: Prompt) -> Iterator[Problem]:
    declared = list(prompt.variables)
    used: set[str] = set()
    good = True
    for where, text in (("system", prompt.system), ("user", prompt.user)):
        taken, wrong = look(text)
        used |= taken
        good = good and not wrong
        for line, said in wrong:
            yield (where,), f"line {line} of it: {said}"
        for name in sorted(taken - prompt.variables.keys()):
            yield (where,), f"`{name}` is not declared under `variables`; {_near(name, declared)}"
    for name in declared if good else ():
        if name not in used:
            yield ("variables", name), "is used nowhere; use it in `system` or `user`, or remove it"


def _case(prompt: Prompt, case: Case) -> Iterator[Problem]:
    try:
        values.given(prompt, case.variables)
    except PenstockError as error:
        name = (error.param or "").removeprefix(f"{values.MEMBER}.")
        yield ("variables", name) if name in case.variables else ("variables",), error.message
    if not case.messages and not prompt.user:
        yield (), "has no `messages`, and the prompt has no `user` to ask instead"
    for key, expectation in (("rendered", case.rendered), ("reply", case.reply)):
        wrong = "" if expectation is None else _regex(expectation)
        if wrong:
            yield (key, "regex"), wrong


def _regex(expectation: Expectation) -> str:
    try:
        re.compile(expectation.regex)
    except (re.error, RecursionError, OverflowError) as error:
        return f"is no regular expression of Python: {error}"
    return ""


def _near(name: str, known: Sequence[str]) -> str:
    found = difflib.get_close_matches(name, known, n=1, cutoff=0.55)
    return f'did you mean "{found[0]}"?' if found else f"declared: {', '.join(known) or 'none'}"


def _dotted(place: Place) -> str:
    return "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in place).removeprefix(".")
