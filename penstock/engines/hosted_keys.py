"""The keys of a hosted model at work: what ``upstream_keys`` decides, for each upstream that the model has."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Sequence
from functools import lru_cache

from penstock.core.chat import Upstream
from penstock.core.clock import Clock
from penstock.core.errors import UPSTREAM_REFUSED_KEY, PenstockError
from penstock.engines.upstream_keys import Rested, UpstreamKeys

_log = logging.getLogger("penstock.engines")
_UPSTREAMS = 256
"""Upstreams, and models of theirs, whose resting keys are remembered: those that were used last."""


class HostedKeys:
    """The keys of the model ``name``. ``only`` is the one there is, empty for none; None where there are several."""

    def __init__(self, name: str, keys: Sequence[str], clock: Clock) -> None:
        self._name = name
        self._keys = tuple(dict.fromkeys(keys))
        self._clock = clock
        self._of = lru_cache(_UPSTREAMS)(self._made)
        self.only: str | None = "".join(self._keys) if len(self._keys) < 2 else None

    async def ask(self, base_url: str, sent: str, ask: Callable[[str], Awaitable[Upstream]]) -> Upstream:
        """Calls ``ask`` with one key after another until one is not refused for its own sake, each at most once.

        ``sent`` is the upstream's name of the model: limits are often one model's. Raises ``PenstockError``: what
        ``ask`` raises for other reasons, or what ``upstream_keys.Turn.next`` does when no key is left.
        """
        now = self._clock.now
        turn = self._of(base_url, sent).turn()
        while True:
            key = turn.next(now())
            try:
                upstream = await ask(key)
            except PenstockError as error:
                if not turn.failed(error, now()):
                    raise
            else:
                turn.served(now())
                return upstream

    async def probe(self, base_url: str, sent: str, ask: Callable[[str], Awaitable[None]]) -> None:
        """Calls ``ask`` with one key after another until one is not refused, those that rest last. Rests none.

        Raises ``PenstockError``: what ``ask`` raises for other reasons, or for the last key.
        """
        keys = self._keys[:1] or ("",)
        if len(self._keys) > 1:
            keys = tuple(self._of(base_url, sent).rested(self._clock.now()))
        for key in keys:
            try:
                return await ask(key)
            except PenstockError as error:
                if error.fault is not UPSTREAM_REFUSED_KEY or key == keys[-1]:
                    raise

    def _made(self, base_url: str, sent: str) -> UpstreamKeys:
        return UpstreamKeys(self._name, self._keys, self._told)

    def _told(self, rested: Rested) -> None:
        _log.warning(
            "key %d of %d of model %r rests for %.0f s: %s; others are used, see to it if it happens often",
            rested.number,
            len(self._keys),
            self._name,
            rested.seconds,
            rested.fault.about.rstrip("."),
        )
