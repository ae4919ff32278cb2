"""GGUF files cut in parts, ``name-00001-of-00003.gguf``: llama.cpp is given the first, and finds the others."""

from __future__ import annotations

import re

_PART = re.compile(r"(.*)-([0-9]{5})-of-([0-9]{5})\.gguf", re.DOTALL)


def parts_of(name: str) -> tuple[str, ...]:
    """The names (or paths) of all parts, in order, given any one of them; a file that is not cut is its own part."""
    match = _PART.fullmatch(name)
    if match is None:
        return (name,)
    return tuple(f"{match[1]}-{number:05}-of-{match[3]}.gguf" for number in range(1, int(match[3]) + 1))
