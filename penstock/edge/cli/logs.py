"""``penstock logs``: the log of requests."""

from __future__ import annotations

import itertools
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

import click

from penstock.control.observed.views import RequestView
from penstock.core.errors import PenstockError
from penstock.edge.cli.amounts import money, time_taken
from penstock.edge.cli.asking import PAGE, Told
from penstock.edge.cli.desk import Desk, at_gateway
from penstock.edge.cli.showing import Column, json_line, line_of, note, table, time_of
from penstock.edge.cli.words import ago

FOLLOW_S = 1.0
"""How often a log that is followed is asked for what is new."""
BEHIND_S = 300.0
"""How much later than it arrived a request may be told of and still be shown by ``--follow``: what takes longer to
answer is in the log, and is not shown."""
SWEEP_EVERY = 10
"""Every so many times all of these are looked at; else only as far back as there is something new."""
MOST_AT_ONCE = 5000

_MOST_SEEN = 20_000
_COLUMNS = (
    Column("ARRIVED"),
    Column("ID"),
    Column("SERVICE"),
    Column("MODEL"),
    Column("STATUS", right=True),
    Column("FIRST", right=True),
    Column("TOOK", right=True),
    Column("IN", right=True),
    Column("OUT", right=True),
    Column("COST", right=True),
    Column("KEY"),
    Column("NOTE"),
)
# What is followed has no table that could be measured first.
_WIDTHS = (20, 28, 16, 20, 6, 8, 8, 7, 7, 10, 16, 0)


def _filtered(run: Callable[..., Any]) -> Callable[..., Any]:
    """The options that choose requests."""
    for name, metavar, about in reversed(_TEXTS):
        run = click.option(f"--{name}", metavar=metavar, help=about)(run)
    run = click.option("--until", type=ago, metavar="TIME", help="Before this time.")(run)
    return click.option(
        "--since", type=ago, metavar="TIME", help="From 2026-11-01 on, or of the last 15m, 24h or 30d."
    )(run)


_TEXTS = (
    ("service", "NAME", "Only at this service."),
    ("model", "NAME", "Only by this model."),
    ("release", "ID", "Only of those that drew this release."),
    ("replica", "ID", "Only at this replica."),
    ("project", "ID", "Only of this project."),
    ("key", "ID", "Only of this key."),
    ("user", "ID", "Only of keys that act for this user."),
    ("team", "ID", "Only of this team."),
    ("subject", "ID", "Only of this person, as clients say `user`."),
    ("status", "STATUS", "429, or a class such as 5xx."),
    ("code", "CODE", "Only with this code of an error."),
    ("cache", "WORD", "hit, similar, stale, shared, fallback, refresh, miss or bypass."),
    ("trace", "ID", "Only of this trace."),
    ("min-cost", "DOLLARS", "Those that cost at least so much."),
    ("min-ms", "MS", "Those that took at least so long."),
    ("max-ms", "MS", "Those that took at most so long."),
    ("min-first-ms", "MS", "Those that waited so long for the first chunk."),
    ("text", "WORDS", "Those where this was said, as far as that is kept."),
)


@click.command()
@_filtered
@click.option("--failed", is_flag=True, help="Only those that failed or were refused.")
@click.option("--purpose", type=click.Choice(["client", "internal"]), help="internal: what the gateway asked itself.")
@click.option("-n", "--most", type=click.IntRange(1), default=50, show_default=True, help="How many at most.")
@click.option("-f", "--follow", is_flag=True, help="Go on with those that end from now on.")
@at_gateway
def logs(desk: Desk, /, most: int, follow: bool, failed: bool, **filters: str | float | None) -> None:
    """List requests, the newest last, each with what became of it. `penstock trace ID` says more of one.

    \b
    penstock logs --service assistant --since 1h
    penstock logs --status 5xx -f
    penstock logs --min-ms 5000 --since 24h --json
    """
    query = {name: None if value is None else str(value) for name, value in filters.items()}
    query["ending"] = "failed" if failed else None
    found = list(desk.ask.pages("requests.list", RequestView, query, most))
    found.reverse()
    if desk.as_json:
        for told in found:
            _print_json(told)
    else:
        _print_table(found, follow)
    if follow:
        try:
            for told in _following(desk, query, found, time.sleep, time.time):
                if desk.as_json:
                    _print_json(told)
                else:
                    click.echo(_line(_row(told.value)))
        except KeyboardInterrupt:
            # How one leaves what has no end.
            return
    elif not found and not desk.as_json:
        kept = " Only what a policy keeps of what was said can be found (observe: requests: content)."
        note(
            "There is no such request. The log has one a second or so after its reply has ended."
            + (kept if filters.get("text") else "")
        )


def _following(
    desk: Desk,
    query: Mapping[str, str | None],
    found: Sequence[Told[RequestView]],
    sleep: Callable[[float], object],
    now: Callable[[], float],
) -> Iterator[Told[RequestView]]:
    """Those that come after ``found``, in the order in which they are told of."""
    seen = Seen(found)
    began, away = now(), False
    for turn in itertools.count(1):
        sleep(FOLLOW_S)
        # A request is listed by when it came, and told of when it has ended.
        since = max(now() - BEHIND_S, 0.0 if found else began - FOLLOW_S)
        try:
            pages = desk.ask.pages("requests.list", RequestView, {**query, "since": str(since)}, MOST_AT_ONCE)
            new = list(seen.new(pages, all_of_them=turn % SWEEP_EVERY == 0))
        except PenstockError as error:
            if not away:
                note(f"{error.message}; looking on")
            away = True
            continue
        away = False
        yield from reversed(new)


class Seen:
    """Which requests have been shown, as far as it matters."""

    def __init__(self, found: Sequence[Told[RequestView]]) -> None:
        self._order = deque(map(_name, found))
        self._known = set(self._order)

    def new(self, listed: Iterable[Told[RequestView]], *, all_of_them: bool) -> Iterator[Told[RequestView]]:
        """Those of the list, newest first, that have not been; it is read as far as a page of known ones, unless
        ``all_of_them`` are to be looked at."""
        known = 0
        for told in listed:
            name = _name(told)
            if name in self._known:
                known += 1
                if known == PAGE and not all_of_them:
                    return
                continue
            known = 0
            self._order.append(name)
            self._known.add(name)
            if len(self._order) > _MOST_SEEN:
                self._known.discard(self._order.popleft())
            yield told


def _name(told: Told[RequestView]) -> tuple[float, str]:
    return told.value.at, told.value.id


def _print_json(told: Told[RequestView]) -> None:
    # A line each, so that they can be piped on while more come.
    click.echo(json_line(told.raw))


def _print_table(found: Sequence[Told[RequestView]], follow: bool) -> None:
    rows = [_row(told.value) for told in found]
    if follow:
        click.echo(_line([column.title for column in _COLUMNS]))
        for row in rows:
            click.echo(_line(row))
    else:
        for line in table(_COLUMNS, rows):
            click.echo(line)


def _line(cells: Sequence[str]) -> str:
    placed = (
        line_of(cell).rjust(width) if column.right else line_of(cell).ljust(width)
        for cell, width, column in zip(cells, _WIDTHS, _COLUMNS, strict=True)
    )
    return "  ".join(placed).rstrip()


def _row(view: RequestView) -> Sequence[str]:
    tokens = view.tokens
    return (
        time_of(view.at),
        view.id,
        view.service or view.asked,
        view.model,
        str(view.status),
        time_taken(view.first_chunk_ms),
        time_taken(view.duration_ms),
        "" if tokens is None else str(tokens.input),
        # Where the upstream did not say, it is at most so much.
        "" if tokens is None else f"{'≤' if view.estimated else ''}{tokens.output}",
        money(view.cost),
        view.key_id,
        _note(view),
    )


def _note(view: RequestView) -> str:
    said = [view.code] if view.code else ["client left"] if view.ending == "client_gone" else []
    if view.attempts > 1:
        said.append(f"{view.attempts} attempts")
    if view.cache:
        said.append(f"cache {view.cache}")
    if view.purpose == "internal":
        said.append("internal")
    return ", ".join(said)
