"""Rollouts: the evidence of each gate as a picture and a sentence, what was decided, and what people may decide."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import msgspec

from penstock.control.accounts.differences import DiffView
from penstock.control.accounts.rollout_seen import CourseView, PairView
from penstock.control.accounts.rollout_shown import RolloutView
from penstock.control.observed.views import ContentView
from penstock.core.errors import PenstockError
from penstock.core.releases import ENDED
from penstock.edge.console.page import Page, PageRoute, Redirect, Visit
from penstock.edge.console.pages.acts import Touched, sure
from penstock.edge.console.pages.evidence import pictures, stands
from penstock.edge.console.pages.parts import Part, part
from penstock.edge.console.pages.saying import asked_of, reply_of
from penstock.edge.console.pages.touching import reach
from penstock.edge.console.showing import link
from penstock.quality.verdict import PAIRED

WORST = 10

_SEEN = ("releases:read",)
_DECIDED = ("releases:write",)


class Answers(msgspec.Struct, frozen=True):
    """What champion and candidate said to the same request; empty: it is not kept, or not for these eyes."""

    pair: PairView
    question: str
    champion: str
    candidate: str


async def listed(visit: Visit) -> Page:
    service, state = visit.asked("service"), visit.asked("state")
    rows = await visit.api.list(
        "rollouts.list", RolloutView, service=service, state=state, after=visit.asked("after")
    )
    return Page("Rollouts", "rollouts.html", {"rows": rows, "service": service, "state": state, "ended": ENDED})


async def one(visit: Visit) -> Page:
    return await _shown(visit)


async def _shown(visit: Visit, error: PenstockError | None = None) -> Page:
    view = await visit.api.get("rollouts.get", RolloutView, visit.place)
    title, live = f"Rollout at {view.service}", {"view": view, "stands": stands(view)}
    if visit.ask.fragment:
        # The pictures are made of all scores: not every two seconds.
        return Page(title, "rollout_live.html", live)
    metric = visit.asked("metric", view.gates[0].metric if view.gates else "")
    course, pairs, diff = await asyncio.gather(
        part(visit.api.get("rollouts.course", CourseView, view.id)),
        _worst(visit, view, metric),
        part(visit.api.get("releases.diff", DiffView, view.candidate, from_=view.champion)),
    )
    values = {
        **live,
        "pictures": pictures(view, course.value.gates if course.value is not None else (), visit.now),
        "course": course,
        "pairs": pairs,
        "metric": metric,
        "paired": view.preset in PAIRED,
        "diff": diff,
        "ended": view.state in ENDED,
        "decides": may_decide(visit),
        "error": error,
    }
    status = 200 if error is None else error.fault.status
    return Page(title, "rollout.html", values, status=status)


def may_decide(visit: Visit) -> bool:
    """Whether whoever looks may move a service at all."""
    return visit.may(*_DECIDED) and visit.actor.everywhere


async def _worst(visit: Visit, view: RolloutView, metric: str) -> Part[Sequence[Answers]]:
    if view.preset not in PAIRED or not metric:
        return Part(())
    found = await part(visit.api.list("rollouts.pairs", PairView, view.id, metric=metric, limit=WORST))
    if found.value is None:
        return Part(None, found.why, found.hidden)
    return Part(await asyncio.gather(*(_answers(visit, each) for each in found.value.data)))


async def _answers(visit: Visit, pair: PairView) -> Answers:
    if not visit.may("requests:content"):
        return Answers(pair, "", "", "")
    got, copy = await asyncio.gather(
        part(visit.api.get("requests.content", ContentView, pair.request_id)),
        part(visit.api.get("requests.content", ContentView, pair.copy_id)),
    )
    return Answers(
        pair,
        asked_of(got.value.request) if got.value is not None else "",
        reply_of(got.value.reply) if got.value is not None else "",
        reply_of(copy.value.reply) if copy.value is not None else "",
    )


# -- deciding ----------------------------------------------------------------------------------------------------

_QUIET = {"pause": "It is paused; gates still roll back.", "resume": "It goes on."}


async def pause(visit: Visit) -> Page | Redirect:
    return await _quietly(visit, "pause")


async def resume(visit: Visit) -> Page | Redirect:
    return await _quietly(visit, "resume")


async def _quietly(visit: Visit, verb: str) -> Page | Redirect:
    """What can be taken back is done at once."""
    try:
        view = await visit.api.post(f"rollouts.{verb}", RolloutView, visit.place)
    except PenstockError as error:
        return await _shown(visit, error)
    return Redirect(link(f"/rollouts/{view.id}"), _QUIET[verb])


async def approve(visit: Visit) -> Page | Redirect:
    return await _asked(visit, "approve")


async def abort(visit: Visit) -> Page | Redirect:
    return await _asked(visit, "abort")


async def _asked(visit: Visit, verb: str) -> Page | Redirect:
    if visit.ask.method != "POST":
        return await _sure(visit, verb)
    body = {"everyone": visit.filled("everyone") == "yes"} if verb == "approve" else None
    try:
        view = await visit.api.post(f"rollouts.{verb}", RolloutView, visit.place, body=body)
    except PenstockError as error:
        return await _sure(visit, verb, error)
    return Redirect(link(f"/rollouts/{view.id}"), view.reason)


async def _sure(visit: Visit, verb: str, error: PenstockError | None = None) -> Page:
    view = await visit.api.get("rollouts.get", RolloutView, visit.place)
    spared = view.candidate if verb == "approve" else view.champion
    touched = await reach(visit, service=view.service, spared=(spared,))
    promotes = verb == "approve"
    text = (
        f"{view.candidate} takes the place of {view.champion}: everybody who has that gets it."
        if promotes
        else f"The rollout ends, and {view.champion} has all again."
    )
    facts = [
        Touched("Service", view.service, link(f"/services/{view.service}")),
        Touched("Share of the candidate now", f"{view.share:g} %"),
    ]
    if touched.value is not None:
        moved = link("/requests", service=view.service, since=f"{touched.value.since:.0f}")
        facts.append(
            Touched("Requests in the last day that would go elsewhere", f"{touched.value.requests:,}", moved)
        )
        facts.append(Touched("Users behind them", f"{touched.value.users:,}"))
    return sure(
        f"{'Promote the candidate' if promotes else 'End the rollout'} at {view.service}?",
        text,
        act="Promote" if promotes else "End it",
        path=f"/rollouts/{view.id}/{verb}",
        back=f"/rollouts/{view.id}",
        touched=facts,
        error=error,
        values={"everyone": promotes and view.segment is not None},
    )


ROUTES = (
    PageRoute("GET", "/rollouts", listed, _SEEN),
    PageRoute("GET", "/rollouts/{id}", one, _SEEN),
    PageRoute("POST", "/rollouts/{id}/pause", pause, _DECIDED),
    PageRoute("POST", "/rollouts/{id}/resume", resume, _DECIDED),
    PageRoute("GET", "/rollouts/{id}/approve", approve, _DECIDED),
    PageRoute("POST", "/rollouts/{id}/approve", approve, _DECIDED),
    PageRoute("GET", "/rollouts/{id}/abort", abort, _DECIDED),
    PageRoute("POST", "/rollouts/{id}/abort", abort, _DECIDED),
)
