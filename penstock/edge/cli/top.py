"""``penstock top``: how it goes, live."""

from __future__ import annotations

import curses
import os
import sys
import time

import click

from penstock.control.observed.views import OverviewView
from penstock.edge.cli.desk import Desk, at_gateway
from penstock.edge.cli.showing import json_of
from penstock.edge.cli.top_board import ORDERS, Wish, board
from penstock.edge.cli.top_feed import Feed
from penstock.edge.cli.top_screen import WINDOWS, Screen

_PATIENCE_S = 6.0


@click.command()
@click.option("--once", is_flag=True, help="Print it once. So without a terminal.")
@click.option("--window", type=click.Choice(WINDOWS), default="1m", show_default=True, help="Over how long.")
@click.option(
    "--every",
    type=click.FloatRange(0.5, 3600.0),
    default=2.0,
    show_default=True,
    metavar="S",
    help="Seconds between.",
)
@click.option("--project", help="Only of this project.")
@click.option("--sort", type=click.Choice(ORDERS), default="requests", show_default=True, help="What comes first.")
@at_gateway
def top(desk: Desk, once: bool, window: str, every: float, project: str | None, sort: str) -> None:
    """Watch services, replicas and alerts: requests, latency, errors, tokens and money a second.

    Keys: q quits, s sorts by something else, w takes another window, p pauses, the arrows choose a service.

    \b
    penstock top
    penstock top --once --window 15m
    """
    if desk.as_json:
        told = desk.ask.one("overview.get", OverviewView, query={"window": window, "project": project})
        click.echo(json_of(told.raw))
        return
    wish = Wish(window=window, order=sort)
    feed = Feed(desk.ask, window=window, project=project, every_s=every)
    if once or not (sys.stdout.isatty() and sys.stdin.isatty()) or os.environ.get("TERM", "dumb") == "dumb":
        for line in board(feed.seen, wish, time.time()):
            click.echo(line.text)
        return
    screen = Screen(feed, wish, coloured=not os.environ.get("NO_COLOR"), late_s=every + _PATIENCE_S)
    feed.start()
    try:
        curses.wrapper(screen.run)
    except KeyboardInterrupt:
        # As good a way to leave as any.
        return
    finally:
        feed.stop()
