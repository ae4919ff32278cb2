"""Bodies in the real formats of each provider, as their references and sources show them."""

from __future__ import annotations

from pathlib import Path

_HERE = Path(__file__).parent


def recorded(provider: str, name: str) -> bytes:
    """One body; names of refusals begin with their HTTP status."""
    return (_HERE / provider / name).read_bytes()


def refusals(provider: str) -> dict[str, tuple[int, bytes]]:
    """Every recorded refusal: its name without the ending, its status and its body."""
    return {
        path.stem: (int(path.stem[:3]), path.read_bytes())
        for path in sorted((_HERE / provider).iterdir())
        if path.stem[:3].isdigit()
    }
