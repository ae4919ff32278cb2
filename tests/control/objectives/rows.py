"""Rows of the series, and objectives over them."""

from __future__ import annotations

from penstock.control.objectives.counting import index_of
from penstock.core.series import Fed, SeriesKey, SeriesRow
from penstock.observe.config import Objective

NOON = 1_700_049_600.0
AVAILABLE = Objective(kind="availability", target=0.999)
FAST = Objective(kind="latency", target=0.95, within_s=2.0)


def row(
    at: float,
    good: int,
    bad: int = 0,
    *,
    service: str = "assistant",
    project: str = "p",
    gateway: str = "gw",
    cost_nano: int = 0,
    refused: int = 0,
    left: int = 0,
    codes: dict[str, int] | None = None,
) -> SeriesRow:
    """Good requests take a second, those that fail three."""
    total = good + bad + refused + left
    sketch = tuple((index_of(s), n) for s, n in ((1.0, good + refused + left), (3.0, bad)) if n)
    return SeriesRow(
        at=at // 10 * 10,
        step_s=10.0,
        key=SeriesKey(gateway, service, "m", "", project, "k"),
        requests=total,
        failed=bad,
        refused=refused,
        left=left,
        codes=codes or {},
        cost_nano=cost_nano,
        duration=sketch,
        first_chunk=sketch,
    )


def fed(until: float, gateway: str = "gw", shed: int = 0) -> Fed:
    return Fed(gateway=gateway, until=until, shed=shed)
