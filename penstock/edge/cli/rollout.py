"""``penstock rollout``: one release takes the place of another, step by step and by what its gates say."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from decimal import Decimal
from typing import Literal

import click

from penstock.control.accounts.rollout_preflight import PreflightView
from penstock.control.accounts.rollout_request import GateForm, SegmentForm, StartRollout, StepForm
from penstock.control.accounts.rollout_shown import DecisionView, RolloutView
from penstock.control.accounts.rollouts import Approve
from penstock.control.rollouts.presets import Asked
from penstock.core.errors import MODEL_NOT_FOUND, PenstockError
from penstock.core.releases import ENDED
from penstock.edge.cli.asking import Told
from penstock.edge.cli.desk import Desk, at_gateway, sure, yes
from penstock.edge.cli.rollout_check import check
from penstock.edge.cli.rollout_words import gate, gates, header, percent, step
from penstock.edge.cli.showing import Column, note, table, time_of
from penstock.edge.cli.words import dollars, duration

_COLUMNS = (
    Column("ID"),
    Column("SERVICE"),
    Column("PRESET"),
    Column("CANDIDATE"),
    Column("STATE"),
    Column("SHARE", right=True),
    Column("STARTED"),
    Column("REASON"),
)
_GATES = (
    Column("GATE"),
    Column("CANDIDATE", right=True),
    Column("CHAMPION", right=True),
    Column("DIFFERENCE", right=True),
    Column("BETWEEN", right=True),
    Column("MARGIN", right=True),
    Column("UNITS", right=True),
)
_POLL_S = 2.0


@click.group()
def rollout() -> None:
    """Bring a release in, watch it, and decide about it.

    \b
    penstock rollout start chat rel_c01f3a6ef0f8d5b2
    penstock rollout start chat rel_c01f3a6ef0f8d5b2 --step 1%:10m --step 10%:500 --gate success --gate latency:0.03
    penstock rollout watch chat
    """


rollout.add_command(check)


@rollout.command()
@click.argument("service")
@click.argument("release")
@click.option(
    "--preset",
    type=click.Choice(("canary", "blue_green", "shadow", "ab", "champion_challenger")),
    default="canary",
    show_default=True,
    help="How the release comes in.",
)
@click.option("--gate", "gate_", multiple=True, type=gate, metavar="METRIC[:MARGIN]", help="What must not be worse.")
@click.option("--gates", "gates_", type=gates, metavar="FILE", help="Gates in their long form, YAML or JSON.")
@click.option("--no-gates", is_flag=True, help="By time alone.")
@click.option("--step", "steps", multiple=True, type=step, metavar="SHARE[:TIME][:SAMPLES]", help="1%:10m, 10%:500.")
@click.option("--share", type=percent, metavar="SHARE", help="Of an A/B test.")
@click.option("--copies", type=percent, metavar="SHARE", help="Of the requests that are copied.")
@click.option("--copies-budget", type=dollars, metavar="DOLLARS", help="What copies may cost a day.")
@click.option("--deadline", type=duration, metavar="TIME", help="By when it must be decided.")
@click.option("--on-deadline", type=click.Choice(("rollback", "ask")), help="What happens then.")
@click.option("--ask", is_flag=True, help="Ask before it promotes.")
@click.option("--alpha", type=float, help="The chance of a wrong decision. [default: 0.05]")
@click.option("--min-samples", type=int, help="Nothing is decided below. [default: 50]")
@click.option("--max-samples", type=int, help="At most so many, then as at the deadline.")
@click.option("--window", type=duration, metavar="TIME", help="A user counts once in it. [default: 1d]")
@click.option("--sticky", type=click.Choice(("user", "conversation", "request")), help="Who stays on one release.")
@click.option("--header", "headers", multiple=True, type=header, metavar="NAME=VALUE", help="Only who sends this.")
@click.option("--key", "keys", multiple=True, metavar="ID", help="Only this key.")
@click.option("--project", "projects", multiple=True, metavar="ID", help="Only this project.")
@click.option(
    "--keep-warm", type=duration, metavar="TIME", help="How long the one before stays loaded. [default: 1d]"
)
@yes
@at_gateway
def start(
    desk: Desk,
    /,
    service: str,
    release: str,
    preset: Asked,
    gate_: Sequence[GateForm],
    gates_: tuple[GateForm, ...] | None,
    no_gates: bool,
    steps: tuple[StepForm, ...],
    share: float | None,
    copies: float | None,
    copies_budget: Decimal | None,
    deadline: float | None,
    on_deadline: Literal["rollback", "ask"] | None,
    ask: bool,
    alpha: float | None,
    min_samples: int | None,
    max_samples: int | None,
    window: float | None,
    sticky: Literal["user", "conversation", "request"] | None,
    headers: Sequence[tuple[str, str]],
    keys: tuple[str, ...],
    projects: tuple[str, ...],
    keep_warm: float | None,
    yes: bool,
) -> None:
    """Have RELEASE take the place of the one that SERVICE has now.

    First it says how long a decision will take at the service's traffic, and asks. Then the release is loaded on
    every gateway; nobody gets it before.
    """
    wanted = (*gate_, *(gates_ or ()))
    if no_gates and wanted:
        raise click.UsageError("--no-gates and gates exclude one another")
    values: dict[str, tuple[str, ...]] = {}
    for name, value in headers:
        values[name] = (*values.get(name, ()), value)
    asked = StartRollout(
        service=service,
        release=release,
        preset=preset,
        gates=wanted if wanted or no_gates else None,
        steps=steps or None,
        share=share,
        alpha=alpha,
        min_samples=min_samples,
        max_samples=max_samples,
        window_s=window,
        deadline_s=deadline,
        on_deadline=on_deadline,
        promote="ask" if ask else None,
        sticky=sticky,
        segment=SegmentForm(headers=values, keys=keys, projects=projects) if values or keys or projects else None,
        keep_warm_s=keep_warm,
        mirror_share=copies,
        mirror_budget=copies_budget,
    )
    note(desk.ask.one("rollouts.preflight", PreflightView, body=asked).value.sentence)
    sure(f"Start the {preset.replace('_', ' ')} of {release} at {service}?", yes)
    told = desk.ask.one("rollouts.create", RolloutView, body=asked)
    view = told.value
    desk.tell(told, f"Rollout {view.id} has begun: {view.reason} `penstock rollout watch {view.id}` follows it.")


@rollout.command("list")
@click.argument("service", required=False)
@click.option("--state", help="Only in this state; `running` is each that has not ended, `ended` the others.")
@at_gateway
def list_(desk: Desk, service: str | None, state: str | None) -> None:
    """List rollouts, newest first."""
    found = desk.ask.pages("rollouts.list", RolloutView, {"service": service, "state": state})
    desk.rows(found, _COLUMNS, _row, "There is no such rollout; `penstock rollout start` begins one.")


@rollout.command()
@click.argument("which", metavar="ROLLOUT|SERVICE")
@at_gateway
def show(desk: Desk, which: str) -> None:
    """Show a rollout: how its gates stand, and all that was decided. Of a SERVICE it is the newest."""
    told = _found(desk, which)
    if desk.as_json:
        desk.show(told)
        return
    for line in _shown(told.value):
        click.echo(line)


@rollout.command()
@click.argument("which", metavar="ROLLOUT|SERVICE")
@at_gateway
def watch(desk: Desk, which: str) -> int:
    """Follow a rollout to its end, or until it asks. The exit code is 1 when it was not promoted."""
    told = _found(desk, which)
    seen = 0
    while True:
        view = told.value
        for decision in view.decisions[seen:]:
            click.echo(_line(decision))
        seen = len(view.decisions)
        if view.state in ENDED or view.state == "asking":
            break
        time.sleep(_POLL_S)
        told = desk.ask.one("rollouts.get", RolloutView, view.id)
    for line in _standings(view):
        click.echo(line)
    return 0 if view.state in ("promoted", "asking", "done") or view.preset == "rollback" else 1


@rollout.command()
@click.argument("which", metavar="ROLLOUT|SERVICE")
@click.option("--everyone", is_flag=True, help="Not only those whom it is limited to.")
@at_gateway
def approve(desk: Desk, which: str, everyone: bool) -> None:
    """Promote the candidate of a rollout that asks."""
    _acted(desk, "approve", which, Approve(everyone=everyone))


@rollout.command()
@click.argument("which", metavar="ROLLOUT|SERVICE")
@at_gateway
def pause(desk: Desk, which: str) -> None:
    """Take no step and promote nothing until it is resumed. Gates still roll back."""
    _acted(desk, "pause", which)


@rollout.command()
@click.argument("which", metavar="ROLLOUT|SERVICE")
@at_gateway
def resume(desk: Desk, which: str) -> None:
    """Go on with a rollout that was paused."""
    _acted(desk, "resume", which)


@rollout.command()
@click.argument("which", metavar="ROLLOUT|SERVICE")
@at_gateway
def abort(desk: Desk, which: str) -> None:
    """End a rollout now. The release before has all again."""
    _acted(desk, "abort", which)


def _found(desk: Desk, which: str) -> Told[RolloutView]:
    """By its id, else the newest of the service of this name."""
    for told in desk.ask.pages("rollouts.list", RolloutView, {"service": which}, 1):
        return desk.ask.one("rollouts.get", RolloutView, told.value.id)
    try:
        return desk.ask.one("rollouts.get", RolloutView, which)
    except PenstockError as error:
        if error.fault is not MODEL_NOT_FOUND:
            raise
        raise PenstockError(
            MODEL_NOT_FOUND,
            f"There is no rollout '{which}', and no service of this name has had one. `penstock rollout list` lists "
            "them.",
        ) from None


def _acted(desk: Desk, verb: str, which: str, body: Approve | None = None) -> None:
    told = desk.ask.one(f"rollouts.{verb}", RolloutView, _found(desk, which).value.id, body=body)
    view = told.value
    state = view.state.replace("_", " ")
    desk.tell(told, f"Rollout {view.id} is {state}: {view.candidate} has {view.share:g} % at {view.service}.")


def _row(view: RolloutView) -> Sequence[str]:
    return (
        view.id,
        view.service,
        view.preset,
        view.candidate,
        view.state,
        "" if view.state in ENDED else f"{view.share:g} %",
        time_of(view.started_at),
        view.reason,
    )


def _shown(view: RolloutView) -> Iterator[str]:
    step = f", step {view.step} of {len(view.steps)}" if view.step else ""
    place = "beside" if view.preset == "shadow" else "in the place of"
    yield f"{view.id}: {view.preset.replace('_', ' ')} of {view.candidate} at {view.service}, {place} {view.champion}"
    # What it had in the end is no share of today's traffic.
    share = "" if view.state in ENDED else f": {view.candidate} has {view.share:g} %"
    yield f"{view.state.replace('_', ' ')}{step}{share}"
    if not view.decisions or view.reason != view.decisions[-1].reason:
        yield view.reason
    yield from _standings(view)
    yield ""
    yield from (_line(each) for each in view.decisions)


def _standings(view: RolloutView) -> Iterator[str]:
    if not view.standings:
        return
    yield ""
    yield from table(
        _GATES,
        (
            (
                each.metric,
                f"{each.candidate_mean:.3f}" if each.candidate_units else "",
                # It is that of the champion's side of pairs: before there is one, nobody knows it.
                f"{each.champion_mean:.3f}" if each.candidate_units and each.champion_units else "",
                *(
                    (f"{each.difference:+.3f}", f"{each.low:+.3f} to {each.high:+.3f}")
                    if each.candidate_units and each.champion_units
                    else ("", "")
                ),
                f"-{each.margin:g}",
                str(each.candidate_units),
            )
            for each in view.standings
        ),
    )


def _line(decision: DecisionView) -> str:
    by = f" ({decision.actor})" if decision.actor else ""
    return f"{time_of(decision.at)}  {decision.what.ljust(8)}  {decision.reason}{by}"
