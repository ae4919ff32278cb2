"""The parts of a prompt, as a file of the folder of prompts has them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Literal

import msgspec

Scalar = bool | int | float | str
Value = bool | int | float | str | list[str] | None
"""What a variable may hold; None is an optional one that nobody gave."""

VARIABLE = r"^[a-z][a-z0-9_]{0,63}$"
PROMPT = r"^[A-Za-z0-9][A-Za-z0-9._-]{0,127}$"
"""What a prompt may be called; the file's name without ``.yaml``."""

VariableName = Annotated[
    str,
    msgspec.Meta(pattern=VARIABLE, description="1 to 64 lower-case letters, digits and _ that begins with a letter"),
]
Member = Annotated[object, msgspec.Meta(extra_json_schema={"description": "any JSON"})]
Text = Annotated[str, msgspec.Meta(min_length=1, max_length=200_000)]
Template = Annotated[str, msgspec.Meta(max_length=200_000)]


class Part(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """A part of a prompt. What is left out is not written into its canonical JSON, so that a new key with a default
    changes no digest."""


class Variable(Part, frozen=True, kw_only=True):
    """Something that a client puts into the prompt, by `prompt_variables`. It is data: what looks like a template in
    it is shown as it is."""

    type: Literal["string", "integer", "number", "boolean", "list"] = "string"
    """`list` is one of strings, at most 1,000."""
    description: str = ""
    """What it is, for who writes a client."""
    required: bool = True
    """Whether it must be given where it has no default. An optional one that nobody gave is `none`, and is shown as
    nothing."""
    default: bool | int | float | str | list[str] | None = None
    """What it is when nobody gives it."""
    choices: list[int | float | str] = []
    """All that it may be, each item of a list too. Default: anything of its type."""
    max_length: Annotated[int, msgspec.Meta(ge=1, le=1_000_000)] | None = None
    """Characters in a string, or in each item of a list, at most."""


class Example(Part, frozen=True, kw_only=True):
    """A turn that never was, to show the model how. Not a template: both are taken as they are written."""

    user: Text
    """What somebody might say."""
    assistant: Text
    """What the model should answer."""


class Turn(Part, frozen=True, kw_only=True):
    """A message of a test's conversation."""

    role: Literal["system", "user", "assistant"]
    """Who says it."""
    content: str
    """What they say."""


class Expectation(Part, frozen=True, kw_only=True):
    """What must hold of a text; all of it."""

    contains: list[Text] = []
    """Each of these is in it."""
    not_contains: list[Text] = []
    """None of these is."""
    regex: str = ""
    """Something in it matches this regular expression of Python."""
    json: bool = False
    """It is JSON, and nothing else."""
    max_chars: Annotated[int, msgspec.Meta(ge=1)] | None = None
    """It has at most so many characters."""


class Case(Part, frozen=True, kw_only=True):
    """A test of the prompt: `penstock prompts test`."""

    name: Text
    """What it shows."""
    variables: dict[VariableName, bool | int | float | str | list[str]] = {}
    """As a client would give them."""
    messages: list[Turn] = []
    """As a client would send them. Default: none, so that the prompt's own `user` is asked."""
    rendered: Expectation | None = None
    """Of all that goes to the model, message by message, before it is sent."""
    reply: Expectation | None = None
    """Of what a service says; looked at where `--service` names one."""


class Prompt(Part, frozen=True, kw_only=True):
    """What a service says to its model before the client does, and how the model is sampled."""

    description: str = ""
    """What it is for, in one line."""
    variables: dict[VariableName, Variable] = {}
    """What clients may put in, by name."""
    system: Template = ""
    """The system message, a template."""
    examples: list[Example] = []
    """Turns that never were, between the system message and the client's messages."""
    user: Template = ""
    """The user's message where the client sends `prompt_variables` and no messages, a template."""
    defaults: dict[str, Member] = {}
    """Members of a request that hold where neither the client nor the service says anything: `temperature`,
    `max_tokens`, `stop`, ..."""
    tests: list[Case] = []
    """What the prompt is tried with."""


_NOT_DEFAULT: Mapping[str, str] = {
    "model": "the service is named by the client",
    "models": "the service's `model` and `fallback` say which serve it",
    "messages": "write a prompt, and name it in the service's `prompt`",
    "prompt": "write a prompt, and name it in the service's `prompt`",
    "input": "it is what the client asks",
    "prompt_variables": "give the variable itself a default, in the prompt",
    "stream": "the client decides how it reads",
    "stream_options": "the client decides how it reads",
    "user": "it says who asks",
    "n_predict": "write `max_tokens`",
    "n_cmpl": "write `n`",
    "best_of": "write `n`",
    "tools": "which tools a key may offer is checked in what the client sends",
    "functions": "which tools a key may offer is checked in what the client sends",
    "plugins": "which tools a key may offer is checked in what the client sends",
    "mcp_servers": "which tools a key may offer is checked in what the client sends",
    "web_search_options": "which tools a key may offer is checked in what the client sends",
}
_TOKENS = (1, 2**31 - 1)
_WHOLE: Mapping[str, tuple[int, int]] = {
    "max_tokens": _TOKENS,
    "max_completion_tokens": _TOKENS,
    "n": (1, 128),
    "seed": (-(2**63), 2**63 - 1),
}
_NUMBERS = frozenset({"temperature", "top_p", "frequency_penalty", "presence_penalty"})


def default_wrong(name: str, value: object) -> str:
    """What is wrong with a member of a request as a default, with the mend; empty: nothing."""
    if name in _NOT_DEFAULT:
        return f"can have no default: {_NOT_DEFAULT[name]}"
    if not (name.isascii() and name.islower() and name.isidentifier()):
        return "is no member of a request: write it in lower case, as OpenAI's API does"
    if value is None:
        return "has no value; write one, or remove it"
    if name in _WHOLE:
        least, most = _WHOLE[name]
        if isinstance(value, bool) or not isinstance(value, int) or not least <= value <= most:
            return f"must be a whole number, {least} to {most}"
    if name in _NUMBERS and (isinstance(value, bool) or not isinstance(value, (int, float))):
        return "must be a number"
    return ""


def defaults_wrong(defaults: Mapping[str, object]) -> Mapping[str, str]:
    """What is wrong with each of these, by name."""
    found = {name: wrong for name, value in defaults.items() if (wrong := default_wrong(name, value))}
    if "max_tokens" in defaults and "max_completion_tokens" in defaults:
        found.setdefault("max_completion_tokens", "is the same as `max_tokens`; write one of the two")
    return found
