"""A prompt's own tests: what goes to the model, and what a service says to it."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence

import msgspec

from penstock.core.chat import chunk_view
from penstock.core.errors import UPSTREAM_GARBLED, PenstockError
from penstock.edge.cli.chat import choose, reach
from penstock.edge.cli.prompt_files import conversation
from penstock.prompts.config import Case, Expectation, Prompt
from penstock.prompts.expectations import unmet
from penstock.prompts.templates import Message

Replies = Callable[[Case], str]
"""What a service says to a test. Raises ``PenstockError``."""


class Tried(msgspec.Struct, frozen=True):
    """One test: what is ``wrong`` in lines, nothing where it passes, and the ``text`` that is. ``unseen``: it expects
    something of a reply, and there was none."""

    case: str
    wrong: Sequence[str] = ()
    text: str = ""
    unseen: bool = False


class _Body(msgspec.Struct, frozen=True, omit_defaults=True):
    model: str
    prompt_variables: dict[str, bool | int | float | str | list[str]]
    messages: list[Message] = []


def tried(name: str, prompt: Prompt, replies: Replies | None) -> Iterator[Tried]:
    """The tests of a prompt, one by one. ``replies`` None: only what is rendered is looked at."""
    for case in prompt.tests:
        try:
            yield _one(prompt, case, replies)
        except PenstockError as error:
            yield Tried(case.name, (error.message,))


def answered(url: str | None, service: str) -> Replies:
    """The replies of a service of the gateway at ``url``, which has the prompt. Raises ``PenstockError``."""
    gateway = reach(url, os.environ)
    chosen = choose(gateway, service)

    def reply(case: Case) -> str:
        body = _Body(chosen, case.variables, _messages(case))
        answer = gateway.ask("POST", "/v1/chat/completions", msgspec.json.encode(body))
        try:
            message = next((choice.message for choice in chunk_view(answer).choices), None)
        except msgspec.DecodeError:
            message = None
        if message is None:
            raise PenstockError(UPSTREAM_GARBLED, f"{gateway.url} does not answer as a gateway does")
        return message.content or ""

    return reply


def _one(prompt: Prompt, case: Case, replies: Replies | None) -> Tried:
    made = "\n\n".join(message.content for message in conversation(prompt, case.variables, _messages(case)))
    if case.rendered is not None and (wrong := _wrong("the rendered prompt", case.rendered, made)):
        return Tried(case.name, wrong, made)
    if case.reply is None or replies is None:
        return Tried(case.name, unseen=case.reply is not None)
    said = replies(case)
    wrong = _wrong("the reply", case.reply, said)
    return Tried(case.name, wrong, said if wrong else "")


def _wrong(what: str, expectation: Expectation, text: str) -> Sequence[str]:
    return [f"{what} {line}" for line in unmet(expectation, text)]


def _messages(case: Case) -> list[Message]:
    return [Message(turn.role, turn.content) for turn in case.messages]
