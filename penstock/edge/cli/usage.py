"""``penstock usage``: what was used and paid."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Generator, Sequence
from pathlib import Path
from typing import Any

import click

from penstock.control.accounts.usage import RequestUsage, SumView
from penstock.edge.cli.desk import Desk, at_gateway
from penstock.edge.cli.showing import Column, json_of, note, table, time_of
from penstock.edge.cli.words import ago

_AMOUNTS = (
    Column("REQUESTS", right=True),
    Column("INPUT", right=True),
    Column("CACHED", right=True),
    Column("OUTPUT", right=True),
    Column("ESTIMATED", right=True),
    Column("COST", right=True),
)
_SAVED = (Column("FROM CACHE", right=True), Column("SAVED", right=True))
_ATTEMPT = (
    Column("ATTEMPT", right=True),
    Column("MODEL"),
    Column("ENDING"),
    Column("INPUT", right=True),
    Column("CACHED", right=True),
    Column("OUTPUT", right=True),
    Column("ESTIMATED"),
    Column("COST", right=True),
    Column("PRICE"),
)


class _Usage(click.Group):
    """``penstock usage`` alone adds up."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        if not args or (args[0].startswith("-") and args[0] not in ctx.help_option_names):
            args.insert(0, "sums")
        return super().parse_args(ctx, args)


def filtered(run: Callable[..., Any]) -> Callable[..., Any]:
    """The options that choose rows of the ledger."""
    for name in ("project", "team", "user", "key", "service", "model", "release"):
        run = click.option(f"--{name}", help=f"Only of this {name}.")(run)
    purposes = click.Choice(["client", "internal"])
    run = click.option("--purpose", type=purposes, help="internal: what the gateway asked for itself.")(run)
    run = click.option("--until", type=ago, metavar="TIME", help="Before this time.")(run)
    return click.option("--since", type=ago, metavar="TIME", help="From 2026-11-01 on, or of the last 24h or 30d.")(
        run
    )


@click.group(cls=_Usage)
def usage() -> None:
    """Add up what was used and paid, look at one request, export all of it.

    \b
    penstock usage --by project --since 2026-11-01
    penstock usage --by model,day --project red --since 7d
    penstock usage show REQUEST_ID
    penstock usage export --since 30d -o usage.parquet
    """


@usage.command()
@click.option(
    "--by",
    default="project",
    show_default=True,
    help="What to add up by, with commas: project, team, user, key, service, model, release, day, hour.",
)
@filtered
@at_gateway
def sums(desk: Desk, /, by: str, **filters: str | float | None) -> None:
    """Add up requests, tokens and dollars. A row of the ledger counts where its request came in.

    Where caches answered, FROM CACHE is how many of the requests, and SAVED what those would have cost beyond COST;
    their tokens are in no column, as no model worked for them.
    """
    query = _query(filters)
    groups = tuple(filter(None, by.split(",")))
    found = list(desk.ask.pages("usage.sums", SumView, {**query, "by": by or None}))
    if desk.as_json:
        click.echo(json_of(b"[" + b",".join(bytes(told.raw) for told in found) + b"]"))
        return
    added = [([told.value.group.get(name, "") for name in groups], told.value) for told in found]
    if len(added) > 1:
        # Asked for, as a request that two models worked on is in two of the groups.
        total = next(iter(desk.ask.pages("usage.sums", SumView, query)), None)
        if total is not None:
            added.append((["all", *[""] * (len(groups) - 1)], total.value))
    cached = any(each.cached_requests for _, each in added)
    rows = [[*names, *_amounts(each), *(_saved(each) if cached else ())] for names, each in added]
    columns = (*(Column(name.upper()) for name in groups), *_AMOUNTS, *(_SAVED if cached else ()))
    lines = list(table(columns, rows))
    for line in lines:
        click.echo(line)
    if not lines:
        note("Nothing was used.")


@usage.command()
@click.argument("request_id")
@at_gateway
def show(desk: Desk, request_id: str) -> None:
    """Show what one request used and cost. Its id is in the header x-request-id of the reply."""
    told = desk.ask.one("usage.request", RequestUsage, request_id)
    if desk.as_json:
        click.echo(json_of(told.raw))
        return
    used = told.value
    first = used.entries[0]
    whose = ", ".join(
        filter(None, (f"project {first.project}", f"key {first.key_id}", first.user and f"user {first.user}"))
    )
    click.echo(f"{used.request_id}  {time_of(first.received_at)}  {first.service}  {whose}")
    rows = [
        (
            str(each.attempt),
            each.model,
            each.ending,
            str(each.tokens.input),
            str(each.tokens.cached_read),
            str(each.tokens.output),
            "yes" if each.estimated else "no",
            each.cost,
            each.price,
        )
        for each in used.entries
    ]
    for line in table(_ATTEMPT, rows):
        click.echo(line)
    given = next((each.cache for each in used.entries if each.cache), "")
    saved = f"; from the cache ({given}), which saved ${used.saved}" if given else ""
    click.echo(f"${used.cost}{' (estimated)' if used.estimated else ''}{saved}")


@usage.command()
@click.option("--format", "format_", type=click.Choice(["csv", "parquet"]), help="[default: as the file is called]")
@click.option("-o", "--output", type=click.Path(path_type=Path, dir_okay=False), help="[default: standard output]")
@filtered
@at_gateway
def export(desk: Desk, /, format_: str | None, output: Path | None, **filters: str | float | None) -> None:
    """Write the rows of the ledger as CSV or Parquet: one for each attempt that an upstream worked on, and for each
    answer from a cache.

    \b
    penstock usage export --since 2026-11-01 --until 2026-12-01 -o november.parquet
    """
    chosen = format_ or ("parquet" if output is not None and output.suffix == ".parquet" else "csv")
    if output is None and chosen == "parquet" and sys.stdout.isatty():
        raise click.UsageError("Parquet is not for a terminal: name a file with -o.")
    pieces = desk.ask.file("usage.export", {**_query(filters), "format": chosen})
    if output is None:
        for piece in pieces:
            sys.stdout.buffer.write(piece)
        sys.stdout.buffer.flush()
        return
    size = _write(output, pieces)
    note(f"{output}: {size:,} bytes.")


def _write(output: Path, pieces: Generator[bytes, None, None]) -> int:
    """The file is there whole or not at all."""
    draft = output.with_name(f".{output.name}.{os.getpid()}")
    size = 0
    try:
        with draft.open("wb") as file:
            for piece in pieces:
                size += file.write(piece)
        draft.replace(output)
    finally:
        draft.unlink(missing_ok=True)
    return size


def _query(filters: dict[str, str | float | None]) -> dict[str, str | None]:
    return {name: None if value is None else str(value) for name, value in filters.items()}


def _saved(total: SumView) -> Sequence[str]:
    return str(total.cached_requests), total.saved


def _amounts(total: SumView) -> Sequence[str]:
    return (
        str(total.requests),
        str(total.tokens.input),
        str(total.tokens.cached_read),
        str(total.tokens.output),
        str(total.estimated_rows),
        total.cost,
    )
