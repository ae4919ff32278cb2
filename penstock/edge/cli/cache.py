"""``penstock cache``: what caches answered and saved, and what they are not to serve any more."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence

import click
import msgspec

from penstock.control.accounts.caches import Invalidate, Invalidated, InvalidationView, SemanticView
from penstock.control.accounts.usage import SumView
from penstock.control.observed.views import OverviewView, PointView
from penstock.core.caching import GIVEN, Scope
from penstock.edge.cli.amounts import money
from penstock.edge.cli.desk import Desk, at_gateway, sure, yes
from penstock.edge.cli.showing import Column, json_of, line_of, note, table, time_of
from penstock.edge.cli.words import duration

WINDOWS: Mapping[str, float] = {"1h": 3600.0, "6h": 21600.0, "24h": 86400.0, "7d": 604800.0, "30d": 2592000.0}
_VERDICTS = ("hit", "similar", "stale", "shared", "fallback", "refresh", "miss", "bypass")
_SERVICES = (
    Column("SERVICE"),
    *(Column(verdict.upper(), right=True) for verdict in _VERDICTS),
    Column("SERVED", right=True),
    Column("SAVED", right=True),
)
_SEMANTIC = (
    Column("SEMANTIC"),
    Column("PROJECT"),
    Column("CALLER"),
    *(
        Column(title, right=True)
        for title in ("REQUESTS", "HITS", "AUDITS", "WRONG", "AT MOST", "ALLOWED", "ENTRIES")
    ),
)
_INVALID = (Column("SINCE"), Column("WHAT"), Column("VALUE"), Column("PROJECT"))


class Shown(msgspec.Struct, frozen=True):
    """What ``penstock cache show --json`` prints: by service the counts by verdict and what was saved, then the
    semantic caches."""

    services: dict[str, dict[str, int]]
    saved: dict[str, str]
    semantic: Sequence[SemanticView]


@click.group()
def cache() -> None:
    """See what caches answer and save, and invalidate what they keep.

    \b
    penstock cache show --window 7d
    penstock cache invalidate --service assistant --older-than 1h
    penstock cache invalidate --user customer-4711
    """


@cache.command()
@click.option("--window", type=click.Choice(list(WINDOWS)), default="24h", show_default=True)
@click.option("--project", help="Only of this project.")
@at_gateway
def show(desk: Desk, /, window: str, project: str | None) -> None:
    """Show by service how requests were answered, and how the semantic caches stand.

    SERVED is the share that got an answer which was there already, SAVED what those would have cost beyond what was
    charged. WRONG is an estimate of how many hits of a semantic cache were wrong; it is proven that there are no more
    than AT MOST, and it stops hitting before that is more than ALLOWED.
    """
    overview = desk.ask.one("overview.get", OverviewView, query={"window": window, "project": project}).value
    since = str(time.time() - WINDOWS[window])
    sums = desk.ask.pages("usage.sums", SumView, {"by": "service", "since": since, "project": project})
    saved = {each.value.group["service"]: each.value.saved for each in sums if each.value.cached_requests}
    semantic = [each.value for each in desk.ask.pages("caches.semantic", SemanticView, {"project": project})]
    points = {each.service: now for each in overview.services if (now := each.now) is not None and now.caches}
    if desk.as_json:
        shown = Shown({name: dict(point.caches) for name, point in points.items()}, saved, semantic)
        click.echo(json_of(msgspec.json.encode(shown)))
        return
    rows = [_service(name, point, saved.get(name)) for name, point in sorted(points.items())]
    for line in table(_SERVICES, rows):
        click.echo(line)
    if rows and semantic:
        click.echo("")
    for line in table(_SEMANTIC, [_desk(each) for each in semantic]):
        click.echo(line)
    if not rows and not semantic:
        note("No service kept answers in this time. A service does with `cache: {exact: {}}` in the deployment file.")


@cache.command()
@click.option("--service", help="Answers of this service.")
@click.option("--release", help="Answers of this release.")
@click.option("--project", help="Answers to this project.")
@click.option("--tag", help="Answers that were kept under this word.")
@click.option("--key", metavar="HEX", help="One answer, by the header x-penstock-cache-key of a reply.")
@click.option("--user", metavar="ID", help="Answers to this person, by the id that clients send as `user`.")
@click.option("--all", "all_", is_flag=True, help="All answers.")
@click.option("--older-than", type=duration, default="0", metavar="1h", help="Only those made longer ago.")
@click.option("--in-project", default="", metavar="PROJECT", help="Only those to this project.")
@yes
@at_gateway
def invalidate(desk: Desk, /, all_: bool, older_than: float, in_project: str, yes: bool, **named: str | None) -> None:
    """Serve answers no more, from any cache. They are made anew, at full cost, when they are asked for.

    \b
    penstock cache invalidate --tag handbook
    penstock cache invalidate --release rel_1c9f --in-project red
    penstock cache invalidate --all --older-than 1d
    """
    scopes: list[tuple[Scope, str]] = [("all", "")] if all_ else []
    scopes += [(_SCOPES[name], value) for name, value in named.items() if value is not None]
    if len(scopes) != 1:
        options = ", ".join(f"--{name}" for name in (*_SCOPES, "all"))
        raise click.UsageError(f"Say which answers, by one of {options}.")
    ((scope, value),) = scopes
    if scope == "all":
        sure("Serve no answer that caches keep now, and make each anew when it is asked for?", yes)
    body = Invalidate(scope=scope, value=value, project=in_project, older_than_s=older_than)
    told = desk.ask.one("caches.invalidate", Invalidated, body=body)
    view = told.value
    desk.tell(
        told,
        line_of(
            f"{_what(view)}: what was made until {time_of(view.at)} is not served any more. Every worker knows "
            f"within {view.known_within_s:g} s."
        ),
    )


@cache.command("list")
@click.option("--project", help="Only of this project.")
@at_gateway
def list_(desk: Desk, project: str | None) -> None:
    """List what was invalidated, newest first."""
    desk.rows(
        desk.ask.pages("caches.list", InvalidationView, {"project": project}),
        _INVALID,
        lambda each: (
            time_of(each.at),
            "person" if each.scope == "subject" else each.scope,
            each.value,
            each.project,
        ),
        "Nothing was invalidated.",
    )


_SCOPES: Mapping[str, Scope] = {
    "service": "service",
    "release": "release",
    "project": "project",
    "tag": "tag",
    "key": "key",
    "user": "subject",
}


def _service(name: str, point: PointView, saved: str | None) -> Sequence[str]:
    counts = point.caches
    asked = sum(counts.values())
    given = sum(count for verdict, count in counts.items() if verdict in GIVEN)
    cells = [str(counts.get(verdict, 0)) for verdict in _VERDICTS]
    return (name, *cells, f"{100 * given / asked:.1f} %" if asked else "", money(saved) if saved else "")


def _desk(each: SemanticView) -> Sequence[str]:
    return (
        each.service,
        each.project,
        each.caller,
        str(each.requests),
        str(each.hits),
        str(each.audits),
        f"{each.wrong_estimate:.1f}",
        str(each.wrong_at_most),
        f"{each.allowed:.1f}",
        str(each.entries),
    )


def _what(view: Invalidated) -> str:
    where = f" of the project {view.project}" if view.project and view.scope != "project" else ""
    if view.scope == "all":
        return "All answers"
    word = "person" if view.scope == "subject" else view.scope
    value = "" if view.scope == "subject" else f" {view.value}"
    return f"Answers of the {word}{value}{where}"
