"""Whether a text is as a prompt's test expects it."""

from __future__ import annotations

import re
from collections.abc import Iterator

import msgspec

from penstock.prompts.config import Expectation

_SHOWN = 80


def unmet(expectation: Expectation, text: str) -> Iterator[str]:
    """What does not hold of the text, a line each; nothing when all does."""
    for each in expectation.contains:
        if each not in text:
            yield f"does not contain {_quoted(each)}"
    for each in expectation.not_contains:
        if each in text:
            yield f"contains {_quoted(each)}"
    if expectation.regex and not re.search(expectation.regex, text):
        yield f"nothing in it matches {_quoted(expectation.regex)}"
    if expectation.json and (wrong := _no_json(text)):
        yield f"is not JSON: {wrong}"
    if expectation.max_chars is not None and len(text) > expectation.max_chars:
        yield f"has {len(text)} characters, more than {expectation.max_chars}"


def _no_json(text: str) -> str:
    try:
        msgspec.json.decode(text.strip().encode())
    except (msgspec.DecodeError, UnicodeEncodeError, RecursionError) as error:
        return str(error)
    return ""


def _quoted(text: str) -> str:
    return repr(text if len(text) <= _SHOWN else text[:_SHOWN] + "...")
