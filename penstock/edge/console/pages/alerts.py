"""Alerts, what was promised, and silences."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping

from penstock.control.accounts.turn import Gone
from penstock.control.observed.views import AlertView, MakeSilence, ObjectiveView, SilenceView
from penstock.core.errors import INVALID_VALUE, PenstockError
from penstock.edge.console.page import Page, PageRoute, Redirect, Shown, Visit
from penstock.edge.console.pages.parts import part
from penstock.edge.console.showing import link

LENGTHS: Mapping[str, str] = {
    "1800": "30 minutes",
    "3600": "an hour",
    "14400": "4 hours",
    "86400": "a day",
    "604800": "a week",
}

_SEEN = ("alerts:read",)
_WRITTEN = ("alerts:write",)


async def show(visit: Visit) -> Page:
    return await _shown(visit)


async def _shown(visit: Visit, error: PenstockError | None = None) -> Page:
    live = await _firing(visit)
    if visit.ask.fragment:
        # How objectives stand is summed up over weeks: not every two seconds.
        return Page("Alerts", "alerts_live.html", live)
    objectives, silences = await asyncio.gather(
        part(visit.api.list("objectives.list", ObjectiveView)),
        part(visit.api.list("silences.list", SilenceView)),
    )
    promised = objectives.value.data if objectives.value is not None else ()
    values = {
        **live,
        "objectives": objectives,
        "promised": [each for each in promised if visit.asked("service") in ("", each.service)],
        "silences": silences,
        "pattern": visit.filled("pattern") or visit.asked("silence"),
        "lengths": LENGTHS,
        "typed": visit.ask.form,
        "error": error,
    }
    return Page("Alerts", "alerts.html", values, status=200 if error is None else error.fault.status)


async def _firing(visit: Visit) -> dict[str, object]:
    """All that is live of the page, and what was over before."""
    alerts = await part(visit.api.list("alerts.list", AlertView))
    service, severity, id = visit.asked("service"), visit.asked("severity"), visit.asked("id")
    found = [
        each
        for each in (alerts.value.data if alerts.value is not None else ())
        if service in ("", each.service) and severity in ("", each.severity) and id in ("", each.id)
    ]
    return {
        "alerts": alerts,
        "firing": [each for each in found if each.resolved_at is None],
        "past": [each for each in found if each.resolved_at is not None],
        "service": service,
        "severity": severity,
        "id": id,
    }


async def silence(visit: Visit) -> Shown:
    try:
        length = visit.filled("for_s", "3600")
        if length not in LENGTHS:
            raise PenstockError(INVALID_VALUE, "A silence lasts as long as the list says. Choose from it.")
        body = MakeSilence(pattern=visit.filled("pattern"), reason=visit.filled("reason"), for_s=float(length))
        made = await visit.api.post("silences.create", SilenceView, body=body)
    except PenstockError as error:
        return await _shown(visit, error)
    return Redirect(link("/alerts"), f"Alerts that match {made.pattern} tell nobody for {LENGTHS[length]}.")


async def end(visit: Visit) -> Shown:
    """A silence that ends early does no harm, so it is not asked about."""
    try:
        await visit.api.post("silences.delete", Gone, visit.place)
    except PenstockError as error:
        return await _shown(visit, error)
    return Redirect(link("/alerts"), "The silence has ended.")


ROUTES = (
    PageRoute("GET", "/alerts", show, _SEEN),
    PageRoute("POST", "/alerts", silence, _WRITTEN),
    PageRoute("POST", "/silences/{id}/end", end, _WRITTEN),
)
