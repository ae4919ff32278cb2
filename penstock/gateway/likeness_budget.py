"""What one worker may spend on making sure that answers from the semantic cache are right."""

from __future__ import annotations

from penstock.core.caching import Semantic
from penstock.core.chat import Call
from penstock.core.clock import Clock
from penstock.core.money import NANO
from penstock.core.serving import Service
from penstock.gateway.most import price_of
from penstock.gateway.snapshot import Snapshot

_DAY_S = 86_400


class Spending:
    """Tokens and money of this UTC day, for each service. Of a budget this worker has its share, one of ``workers``:
    what a day comes to is no more than that and what was under way when it was reached. A worker that is started anew
    has spent nothing."""

    def __init__(self, clock: Clock, workers: int) -> None:
        self._clock = clock
        self._workers = workers
        self._day = 0
        self._tokens: dict[str, int] = {}
        self._nano: dict[str, int] = {}

    def left(self, service: Service, semantic: Semantic, call: Call, on: Snapshot, *, share: float = 1.0) -> bool:
        """Whether less than ``share`` of the budget is spent. Never so where it is in money and a model that would
        be asked has no price."""
        at = self._clock.wall()
        self._turn(at)
        most = share / self._workers
        if self._tokens.get(service.name, 0) >= semantic.audit_tokens * most:
            return False
        if semantic.audit_budget is None:
            return True
        if any(price_of(call, model, on, at) is None for model in _asked(service, semantic, on)):
            return False
        return self._nano.get(service.name, 0) < semantic.audit_budget * NANO * most

    def spent(self, service: str, tokens: int, nano: int) -> None:
        """What one request for this service's sake came to."""
        self._turn(self._clock.wall())
        self._tokens[service] = self._tokens.get(service, 0) + tokens
        self._nano[service] = self._nano.get(service, 0) + nano

    def _turn(self, at: float) -> None:
        if (day := int(at // _DAY_S)) != self._day:
            self._day = day
            self._tokens.clear()
            self._nano.clear()


def _asked(service: Service, semantic: Semantic, on: Snapshot) -> tuple[str, ...]:
    """The models that audits ask, those of the judge among them."""
    named = semantic.agreement.judge if semantic.agreement.check == "judge" else None
    judge = None if named is None else on.deployment.services.get(named)
    return service.models if judge is None else (*service.models, *judge.models)
