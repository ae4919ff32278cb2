"""What a decision knew, as it is kept with it and shown."""

from __future__ import annotations

import msgspec

from penstock.quality.verdict import Standing


class Known(msgspec.Struct, frozen=True, kw_only=True):
    """The evidence of a decision, as the store keeps it: how each gate stood, by the scores up to the number
    ``scored_to``, which had come by ``heard_to``."""

    because: str
    reason: str
    standings: tuple[Standing, ...] = ()
    scored_to: int = 0
    heard_to: float = 0.0
