"""How it goes, in one sentence. Pure."""

from __future__ import annotations

from typing import Literal

import msgspec

from penstock.control.observed.views import AlertView, OverviewView, PointView
from penstock.edge.console import showing

Kind = Literal["good", "warn", "bad", "unknown", "quiet"]

BAD_SHARE = 0.05
"""Share of requests that fail from which it goes badly."""
WARN_SHARE = 0.01


class Health(msgspec.Struct, frozen=True):
    """``text`` is what matters most, ``more`` what follows from it."""

    kind: Kind
    text: str
    more: str = ""


def health(overview: OverviewView, window: str) -> Health:
    """The worst thing first: what is not known, what does not answer, what fails, what wants somebody."""
    traffic = _traffic(overview.total, window)
    if overview.stale_since is not None:
        return Health(
            "unknown",
            "Unknown.",
            "The store has taken nothing since then. Requests are served all the same; what is known of them waits "
            "on the disks of the gateways.",
        )
    gone = [each.id for each in overview.gateways if not each.alive]
    down = [each.service for each in overview.services if not each.ready]
    firing = [each for each in overview.alerts if each.resolved_at is None and each.silenced_until is None]
    paging = [each for each in firing if each.severity == "page"]
    if down and len(down) == len(overview.services):
        return Health("bad", "No service can answer.", f"{_names(down)} {_is(down)} not ready. {traffic}")
    if down:
        return Health("bad", f"{_names(down)} cannot answer.", traffic)
    failing = _failing(overview.total)
    if failing is not None and failing >= BAD_SHARE:
        return Health("bad", f"{showing.share(failing)} of requests fail.", traffic)
    if paging:
        return Health("bad", _said(paging[0]), _others(len(paging) - 1, traffic))
    if gone:
        return Health("warn", f"Nothing is heard of {_names(gone)}.", traffic)
    if firing:
        return Health("warn", _said(firing[0]), _others(len(firing) - 1, traffic))
    if failing is not None and failing >= WARN_SHARE:
        return Health("warn", f"{showing.share(failing)} of requests fail.", traffic)
    if overview.total is None:
        return Health("unknown", "Nothing is known yet.", "The first requests show here within seconds.")
    if not overview.services:
        return Health("quiet", "Nothing is served yet.", "Name a service in the deployment file.")
    count = len(overview.services)
    text = "The service answers." if count == 1 else f"All {count} services answer."
    return Health("good", text, traffic)


def _traffic(total: PointView | None, window: str) -> str:
    if total is None:
        return ""
    if not total.requests:
        return f"No requests in the last {_long(window)}."
    words = f"{showing.count(total.requests)} requests in the last {_long(window)}"
    failing = _failing(total)
    words += f", {showing.share(failing)} failed" if failing else ", none failed"
    if total.duration is not None:
        half, most = showing.ms(total.duration.p50), showing.ms(total.duration.p95)
        words += f"; half took less than {half}, 95 % less than {most}"
    return words + "."


def _failing(total: PointView | None) -> float | None:
    return None if total is None or not total.requests else total.failed / total.requests


def _long(window: str) -> str:
    words = {"15m": "15 minutes", "1h": "hour", "6h": "6 hours", "24h": "24 hours", "7d": "7 days", "30d": "30 days"}
    return words.get(window, window)


def _names(names: list[str]) -> str:
    if len(names) <= 3:
        return " and ".join(filter(None, (", ".join(names[:-1]), names[-1])))
    return f"{', '.join(names[:2])} and {len(names) - 2} more"


def _is(names: list[str]) -> str:
    return "is" if len(names) == 1 else "are"


def _said(alert: AlertView) -> str:
    """What it says. An objective's tells numbers of when it began, which would stand beside those of now."""
    if alert.kind not in ("burn", "quality"):
        return alert.text.rstrip(".") + "."
    objective = alert.id.removeprefix(f"slo/{alert.service}/").rpartition("/")[0]
    return f"{alert.service} misses its objective {objective}."


def _others(count: int, traffic: str) -> str:
    return f"{count} more {'alert wants' if count == 1 else 'alerts want'} somebody. {traffic}" if count else traffic
