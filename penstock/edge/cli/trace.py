"""``penstock trace``: the course of one request."""

from __future__ import annotations

import shutil
from collections.abc import Iterator

import click

from penstock.control.observed.views import ContentView, RequestDetail, SpanView
from penstock.edge.cli.amounts import money, time_taken
from penstock.edge.cli.desk import Desk, at_gateway
from penstock.edge.cli.showing import json_of, line_of, time_of

_LEAST_BAR = 16
_MOST_BAR = 80
_INDENT = "  "


@click.command()
@click.argument("request_id")
@click.option("--at", help="When it arrived, as `penstock logs --json` says it, where several have this id.")
@click.option("--content", is_flag=True, help="Show what was said, too; the audit notes that you read it.")
@at_gateway
def trace(desk: Desk, request_id: str, at: str | None, content: bool) -> None:
    """Show when a request was where, why it went so, and what it cost. Its id is in the header x-request-id.

    \b
    penstock trace req_0d2eb39448d0ad7e
    penstock logs --status 5xx --since 1h
    """
    told = desk.ask.one("requests.get", RequestDetail, request_id, query={"at": at})
    if desk.as_json:
        click.echo(json_of(told.raw))
    else:
        for line in course(told.value, shutil.get_terminal_size().columns):
            click.echo(line)
    if not content:
        return
    # After its course: that is shown, too, where nothing of what was said was kept.
    said = desk.ask.one("requests.content", ContentView, request_id, query={"at": str(told.value.at)})
    if desk.as_json:
        click.echo(json_of(said.raw))
        return
    click.echo()
    click.echo("What was said" + (", with personal data masked:" if said.value.masked else ":"))
    for part in (said.value.request, said.value.reply):
        for line in json_of(part).splitlines():
            click.echo(_indented(line))


def course(view: RequestDetail, width: int) -> Iterator[str]:
    """All that is known of it, for a terminal of so many columns."""
    whose = ", ".join(
        filter(
            None,
            (
                f"project {view.project}",
                f"key {view.key_id}",
                view.user and f"user {view.user}",
                view.subject and f"subject {view.subject}",
            ),
        )
    )
    yield _line(view.id, time_of(view.at), view.service or view.asked, whose)
    ending = "refused" if view.ending == "failed" and 400 <= view.status < 500 else view.ending
    parts = [f"{ending} {view.status}", f"took {time_taken(view.duration_ms)}"]
    if view.first_chunk_ms is not None:
        parts.append(f"first chunk {time_taken(view.first_chunk_ms)}")
    parts.append(f"overhead {time_taken(view.overhead_ms)}")
    parts.append(money(view.cost))
    if view.trace:
        parts.append(f"trace {view.trace}")
    yield _line(*parts)
    yield ""
    yield from waterfall(view.spans, width)
    yield ""
    for sentence in view.why:
        yield line_of(sentence)
    if view.scores:
        scores = ", ".join(f"{name} {value:.3g}" for name, value in sorted(view.scores.items()))
        yield line_of(f"Scores: {scores}.")


def waterfall(spans: tuple[SpanView, ...], width: int) -> Iterator[str]:
    """A line for each span: where it stands, its bar in the whole, how long it took."""
    if not spans:
        return
    names = [f"{_INDENT * span.depth}{line_of(span.name)}" for span in spans]
    name_width = min(32, max(map(len, names)))
    end = max(span.begin_ms + span.ms for span in spans) or 1.0
    abouts = ["  ".join(filter(None, (line_of(span.about), line_of(span.error)))) for span in spans]
    # Beside the name and what is said: the bar's ends, how long it took, and what keeps them apart.
    room = min(_MOST_BAR, max(_LEAST_BAR, width - name_width - max(map(len, abouts)) - 15))
    for span, name, said in zip(spans, names, abouts, strict=True):
        begin = min(room - 1, int(room * span.begin_ms / end))
        # What was too short to be seen is still there.
        length = max(1, round(room * span.ms / end))
        bar = (" " * begin + ("x" if span.error else "=") * min(length, room - begin)).ljust(room)
        shown = name if len(name) <= name_width else f"{name[: name_width - 1]}~"
        yield f"{shown.ljust(name_width)} |{bar}| {time_taken(span.ms).rjust(8)}  {said}".rstrip()


def _line(*parts: str) -> str:
    return "  ".join(map(line_of, parts))


def _indented(text: str) -> str:
    """Harmless, with its indent."""
    return " " * (len(text) - len(text.lstrip(" "))) + line_of(text)
