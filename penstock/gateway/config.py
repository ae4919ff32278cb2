"""What the deployment file may say of a service."""

from __future__ import annotations

import msgspec


class ServiceSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A public name that clients send as `model`. A service named `"*"` catches every name that no other has."""

    model: str
    """The model that serves it, by its name under `models`."""
    fallback: list[str] = []
    """Models to try, in order, when that one fails before its first token."""
    aliases: list[str] = []
    """Other names for the same service."""
    description: str = ""
    """What it is for, in one line; shown to clients in the list of models."""
