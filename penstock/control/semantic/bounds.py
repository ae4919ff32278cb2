"""How much desks may take of memory."""

from __future__ import annotations

import msgspec


class Bounds(msgspec.Struct, frozen=True):
    """``entries`` and their ``entry_bytes`` of all scopes together; ``scopes`` that are open at a time, and what
    their desks may take, ``desk_bytes``, of which one is always there."""

    entries: int = 2_000_000
    entry_bytes: int = 512 << 20
    scopes: int = 256
    desk_bytes: int = 512 << 20
