"""``penstock rollback``: a service gets the release before, or another."""

from __future__ import annotations

import time

import click

from penstock.control.accounts.rollout_shown import RolloutView
from penstock.control.accounts.splits import RollBack
from penstock.control.rollouts.back import LOAD_WITHIN_S
from penstock.core.errors import CONFLICT, PenstockError
from penstock.core.releases import ENDED
from penstock.edge.cli.desk import Desk, at_gateway
from penstock.edge.cli.showing import note

_POLL_S = 0.5
_MARGIN_S = 60.0


@click.command()
@click.argument("service")
@click.option("--to", metavar="RELEASE", help="The release that everybody gets. [default: the one before]")
@click.option("--no-wait", is_flag=True, help="Do not wait for one that has to be loaded first.")
@at_gateway
def rollback(desk: Desk, service: str, to: str | None, no_wait: bool) -> None:
    """Give everybody the release that SERVICE had before, or another.

    A rollout that runs ends. A release that is loaded has all at once; any other is loaded first, and requests stay
    where they are until then. Requests in progress end on what they began with.

    \b
    penstock rollback chat
    penstock rollback chat --to rel_0d2eb39448d0ad7e
    """
    began = time.monotonic()
    told = desk.ask.one("services.rollback", RolloutView, service, body=RollBack(to=to))
    view = told.value
    said = ""
    # The gateway gives a release up that is not loaded by then; one that says nothing of it is waited for no longer.
    while view.state not in ENDED and not no_wait and time.monotonic() - began < LOAD_WITHIN_S + _MARGIN_S:
        if (now := _loading(view)) != said:
            note(now)
            said = now
        time.sleep(_POLL_S)
        told = desk.ask.one("rollouts.get", RolloutView, view.id)
        view = told.value
    if view.state not in ENDED:
        desk.tell(told, f"{view.candidate} is loaded first; `penstock rollout watch {view.id}` shows how far it is.")
        return
    if view.state != "rolled_back":
        raise PenstockError(CONFLICT, f"{service} was not rolled back: {view.reason}")
    gets = view.champion if view.preset != "rollback" else view.candidate
    desk.tell(told, f"Everybody has {gets} at {service}, {time.monotonic() - began:.2f} s after the command.")


def _loading(view: RolloutView) -> str:
    ready = sum(view.loaded.values())
    return f"{view.candidate} is being loaded: ready on {ready} of {len(view.loaded)} gateways."
