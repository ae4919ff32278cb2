"""What desks say of themselves: counted since this process began, by service."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping

from penstock.caches import metrics
from penstock.core.caching import DeskFigures, Sought
from penstock.observe.totals import Series


class Counted:
    """For one thread."""

    def __init__(self) -> None:
        self._counts: Counter[tuple[str, str]] = Counter()

    def sought(self, service: str, told: Sought) -> None:
        """A question was answered so."""
        self._counts[metrics.SEMANTIC_REQUESTS.name, service] += 1
        self._counts[metrics.SEMANTIC_HITS.name, service] += told.hit
        self._counts[metrics.SEMANTIC_AUDITS.name, service] += told.audited

    def wrong(self, service: str) -> None:
        """An audit found that a hit was wrong."""
        self._counts[metrics.SEMANTIC_WRONG.name, service] += 1

    def report(self, figures: Iterable[DeskFigures]) -> Mapping[str, tuple[Series, ...]]:
        """The rows by name."""
        levels: dict[tuple[str, str], float] = {key: float(count) for key, count in self._counts.items()}
        for each in figures:
            service = each.scope.service
            entries, bound = (metrics.SEMANTIC_ENTRIES.name, service), (metrics.SEMANTIC_BOUND.name, service)
            levels[entries] = levels.get(entries, 0.0) + each.entries
            allowed = each.max_error * max(1, each.requests)
            levels[bound] = max(levels.get(bound, 0.0), each.wrong_at_most / allowed)
        found: dict[str, tuple[Series, ...]] = {}
        for (name, service), level in levels.items():
            found[name] = (*found.get(name, ()), Series((service,), (level,)))
        return found
