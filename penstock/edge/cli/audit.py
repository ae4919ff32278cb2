"""``penstock audit``: what was done, and whether the record of it is whole."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

import click
import msgspec

from penstock.control.accounts.audit import HeadView, KeptHead, Redact, Redacted, RowView, Verified, Verify
from penstock.core.errors import BAD_REQUEST, PenstockError
from penstock.core.usage import Finding
from penstock.edge.cli.desk import Desk, at_gateway, sure, yes
from penstock.edge.cli.showing import Column, json_of, note, table, time_of
from penstock.edge.cli.words import ago

_ROWS = (Column("NUMBER", right=True), *map(Column, ("AT", "BY", "PROJECT", "ACTION", "TARGET", "OUTCOME", "FROM")))
_FINDINGS = (Column("NUMBER", right=True), Column("FAULT"), Column("ABOUT"))
_HEADS_AT_ONCE = 100


@click.group()
def audit() -> None:
    """See what was done, check that nothing of it was changed, redact prompts.

    \b
    penstock audit list --action 'keys.*' --since 7d
    penstock audit head -o heads.jsonl      # daily, on another machine
    penstock audit verify --head heads.jsonl
    """


@audit.command("list")
@click.option("--since", type=ago, metavar="TIME", help="From 2026-11-01 on, or of the last 24h or 30d.")
@click.option("--until", type=ago, metavar="TIME", help="Before this time.")
@click.option("--project", help="Only of this project.")
@click.option("--actor", help="Only by the key of this id.")
@click.option("--action", help="Only this action; 'keys.*': all that begin so.")
@click.option("--kind", type=click.Choice(["administrative", "content"]), help="content: prompts and replies.")
@click.option("--request", "request_id", help="Only of this request.")
@click.option("--most", type=click.IntRange(1), default=50, show_default=True, help="How many at most.")
@at_gateway
def list_(desk: Desk, /, most: int, **filters: str | float | None) -> None:
    """List what was done, newest first. `--json` has all of it, contents too."""
    query = {name: None if value is None else str(value) for name, value in filters.items()}
    desk.rows(desk.ask.pages("audit.list", RowView, query, most), _ROWS, _row, "Nothing of the kind was done.")


@audit.command()
@click.option(
    "--head",
    "files",
    multiple=True,
    type=click.Path(path_type=Path, exists=True, dir_okay=False),
    help="Heads that `penstock audit head` kept. May be given several times.",
)
@at_gateway
def verify(desk: Desk, files: Sequence[Path]) -> int:
    """Check the whole audit. The exit code is 1 when anything in it was changed, removed or cut off.

    What the store itself has can be cut by whoever can write to it. Heads that were kept elsewhere find that.
    """
    heads = [head for file in files for head in read_heads(file)]
    batches = [heads[at : at + _HEADS_AT_ONCE] for at in range(0, len(heads), _HEADS_AT_ONCE)] or [[]]
    answers = [desk.ask.one("audit.verify", Verified, body=Verify(heads=tuple(batch))) for batch in batches]
    findings = sorted({found for told in answers for found in told.value.findings}, key=lambda each: each.number)
    head = answers[-1].value.head
    whole = all(told.value.whole for told in answers)
    if desk.as_json:
        both = Verified(whole=whole, findings=tuple(findings), head=head)
        click.echo(json_of(msgspec.json.encode(both)))
    elif whole:
        rows = "it is empty" if head is None else f"{head.number} rows, signed {time_of(head.at)}"
        against = f", and every head that was kept fits ({len(heads)})" if heads else ""
        click.echo(f"The audit is whole: {rows}{against}.")
    else:
        for line in _found(findings):
            click.echo(line)
        note(f"The audit is not whole: {len(findings)} findings.")
    return 0 if whole else 1


@audit.command()
@click.option(
    "-o", "--output", type=click.Path(path_type=Path, dir_okay=False), help="Add it to this file, as a line."
)
@at_gateway
def head(desk: Desk, output: Path | None) -> None:
    """Print the signed statement of how the audit ends now. Keep it where the gateway cannot write."""
    told = desk.ask.one("audit.head", HeadView)
    if output is None:
        click.echo(json_of(told.raw) if desk.as_json else bytes(told.raw).decode())
        return
    with output.open("ab") as file:
        file.write(bytes(told.raw) + b"\n")
        file.flush()
        os.fsync(file.fileno())
    note(f"{output}: the head of row {told.value.number} was added.")


@audit.command()
@click.argument("numbers", metavar="NUMBER...", nargs=-1, required=True, type=click.IntRange(1))
@click.option("--reason", required=True, help="Why; this stays in the audit.")
@yes
@at_gateway
def redact(desk: Desk, numbers: Sequence[int], reason: str, yes: bool) -> None:
    """Empty the content of rows for good. That they were there stays, and the audit stays whole."""
    sure(f"Empty the content of {len(numbers)} rows for good?", yes)
    told = desk.ask.one("audit.redact", Redacted, body=Redact(numbers=tuple(numbers), reason=reason))
    desk.tell(told, f"{told.value.redacted} rows were emptied.")


def read_heads(file: Path) -> Iterator[KeptHead]:
    """Heads, one on each line. Raises ``PenstockError`` for a line that is none."""
    for number, line in enumerate(file.read_bytes().splitlines(), 1):
        if not line.strip():
            continue
        try:
            yield msgspec.json.decode(line, type=KeptHead)
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            raise PenstockError(
                BAD_REQUEST, f"{file}:{number} is no head ({error}); keep heads with `penstock audit head -o FILE`"
            ) from None


def _found(findings: Iterable[Finding]) -> Iterator[str]:
    return table(_FINDINGS, [(str(each.number), each.fault, each.about) for each in findings])


def _row(row: RowView) -> Sequence[str]:
    gone = " (redacted)" if row.redacted_by is not None else ""
    where = (row.actor, row.project, row.action + gone, row.target, row.outcome, row.address)
    return str(row.number), time_of(row.at), *where
