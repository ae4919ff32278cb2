"""A prompt, compiled: from what a client gives to the messages that go to the model.

What a client gives is data: it is put in as it is, and is never read as a template.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import NamedTuple

import msgspec
from jinja2 import Template as Jinja
from jinja2 import TemplateError, TemplateSyntaxError, nodes
from jinja2.meta import find_undeclared_variables

from penstock.core.errors import BAD_DEPLOYMENT, INVALID_VALUE, PenstockError
from penstock.prompts import values
from penstock.prompts.config import Prompt, Value
from penstock.prompts.filters import MOST_OUTPUT, WORK, TooMuch, Work
from penstock.prompts.language import MOST_TAGS, Environment, counted, refusals
from penstock.prompts.versions import read


class Message(msgspec.Struct, frozen=True):
    """One message of a chat request."""

    role: str
    content: str


class Read(NamedTuple):
    """What was found in a template: the variables that it takes, and what is wrong with it, by its own lines."""

    variables: frozenset[str]
    wrong: tuple[tuple[int, str], ...]


def look(text: str) -> Read:
    """What a template takes, and what is wrong with it."""
    return _made(text)[0]


class Compiled:
    """A prompt that can be rendered, any number of times and by anybody at once."""

    __slots__ = ("_system", "_user", "prompt")

    def __init__(self, prompt: Prompt) -> None:
        """Raises ``PenstockError(BAD_DEPLOYMENT)`` for a template that is none."""
        self.prompt = prompt
        self._system = _template("system", prompt.system)
        self._user = _template("user", prompt.user)

    def before(self, given: Mapping[str, Value]) -> Iterator[Message]:
        """What comes before the client's messages: the system message and the examples. ``given`` is what
        ``values.given`` says. Raises ``PenstockError(INVALID_VALUE)`` when they make too much."""
        if self._system is not None:
            yield Message("system", _rendered(self._system, given))
        for example in self.prompt.examples:
            yield Message("user", example.user)
            yield Message("assistant", example.assistant)

    def asked(self, given: Mapping[str, Value]) -> Message | None:
        """The user's message where the client sends none; None: the prompt has none. Raises as ``before`` does."""
        return None if self._user is None else Message("user", _rendered(self._user, given))


def compiled(source: bytes) -> Compiled:
    """The prompt of a version's ``source``. Raises ``PenstockError(BAD_DEPLOYMENT)`` when it is none."""
    return Compiled(read(source))


def _template(where: str, text: str) -> Jinja | None:
    if not text:
        return None
    found, template = _made(text)
    for line, wrong in found.wrong:
        raise PenstockError(BAD_DEPLOYMENT, f"the prompt's {where}, line {line}: {wrong}")
    return template


def _made(text: str) -> tuple[Read, Jinja | None]:
    environment = Environment()
    if text.count("{{") + text.count("{%") > MOST_TAGS:
        return Read(frozenset(), ((1, f"has more than {MOST_TAGS} tags; make it simpler"),)), None
    try:
        tree: nodes.Template = environment.parse(text)
        if wrong := tuple(refusals(tree)):
            return Read(frozenset(), wrong), None
        taken = frozenset(find_undeclared_variables(tree))
        code = environment.compile(counted(tree, environment))
    except TemplateSyntaxError as error:
        return Read(frozenset(), ((error.lineno, error.message or "cannot be read"),)), None
    except (RecursionError, SyntaxError, MemoryError):
        return Read(frozenset(), ((1, "is nested too deeply"),)), None
    return Read(taken, ()), Jinja.from_code(environment, code, environment.globals)


def _rendered(template: Jinja, given: Mapping[str, Value]) -> str:
    pieces: list[str] = []
    size = 0
    try:
        for piece in template.generate({**given, WORK: Work(values.size(given))}):
            size += len(piece)
            if size > MOST_OUTPUT:
                raise TooMuch(f"it makes more than {MOST_OUTPUT} characters")
            pieces.append(piece)
    except TooMuch as much:
        raise _unfit(f"{much}; send less") from None
    except (TemplateError, TypeError, ValueError, ArithmeticError, LookupError, AttributeError) as error:
        raise _unfit(f"{type(error).__name__}: {str(error)[:200]}; see what the prompt does with them") from None
    return "".join(pieces)


def _unfit(why: str) -> PenstockError:
    return PenstockError(
        INVALID_VALUE, f"The prompt cannot be rendered with these '{values.MEMBER}': {why}.", param=values.MEMBER
    )
