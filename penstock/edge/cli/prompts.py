"""``penstock prompts``: prompts as files, and their versions in a gateway."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import click
import msgspec

from penstock.control.accounts.prompts import CreatePrompt, PromptVersionView
from penstock.edge.cli import comparing
from penstock.edge.cli.desk import Desk, at_gateway, yes
from penstock.edge.cli.prompt_files import one, prompts_in, rendered, said
from penstock.edge.cli.prompt_tests import Tried, answered, tried
from penstock.edge.cli.showing import Column, json_of, line_of, note, time_of
from penstock.edge.cli.terminal import harmless
from penstock.prompts import versions

_COLUMNS = tuple(map(Column, ("ID", "IN FOLDER", "ALIASES", "KEPT", "BY", "MESSAGE")))
_DIR = click.Path(path_type=Path, file_okay=False)
_HERE = Path("prompts")

_folder = click.argument("folder", metavar="[DIR]", type=_DIR, default=_HERE)
_in_folder = click.option(
    "--dir", "folder", type=_DIR, default=_HERE, show_default=True, help="The folder of prompts."
)


@click.group()
def prompts() -> None:
    """Check, render, try and push prompts; see and compare their versions, give them aliases.

    A prompt is a YAML file in a folder, `prompts` where none is given. A version is what it says, under the digest of
    that; VERSION is NAME@DIGEST, NAME@ALIAS, or NAME for the one that the gateway's folder has now.

    \b
    penstock prompts check
    penstock prompts render greeting --var name=Ada
    penstock prompts test --service assistant
    penstock prompts push -m "greets by name"
    """


@prompts.command()
@_folder
def check(folder: Path) -> None:
    """Explain every mistake in a folder of prompts.

    Each mistake is one line on standard error, with its file and line and what to write instead; the exit code is
    then 1.
    """
    found = prompts_in(folder)
    click.echo(f"ok: {folder}: {len(found)} prompt{'s' * (len(found) != 1)}")
    width = max(map(len, found), default=0)
    for name, version in found.items():
        prompt = versions.read(version.source)
        takes = ", ".join(prompt.variables) or "no variables"
        tests = f"{len(prompt.tests)} test{'s' * (len(prompt.tests) != 1)}"
        click.echo(f"  {name:<{width}}  {version.digest}  {takes}; {tests}")


@prompts.command()
@click.argument("name")
@click.option(
    "--var", "given", metavar="NAME=VALUE", multiple=True, help="A variable; for a list, once for each item."
)
@click.option("--message", "messages", multiple=True, help="What the client says, in the place of the prompt's own.")
@click.option("--json", "as_json", is_flag=True, help="Print the messages as JSON.")
@_in_folder
def render(name: str, given: Sequence[str], messages: Sequence[str], as_json: bool, folder: Path) -> None:
    """Show what goes to the model.

    These are all messages that the prompt NAME makes of its variables.
    """
    made = rendered(one(folder, name), said(one(folder, name), given), messages)
    if as_json:
        click.echo(json_of(msgspec.json.encode(made)))
        return
    for number, message in enumerate(made):
        click.echo(("\n" if number else "") + f"[{message.role}]")
        click.echo(harmless(message.content).rstrip("\n"))


@prompts.command()
@click.argument("name", required=False)
@click.option("--service", help="Send each test to this service, and look at its replies.")
@click.option("--url", help="The gateway. [default: the one whose credentials are in $PENSTOCK_HOME]")
@_in_folder
def test(name: str | None, service: str | None, url: str | None, folder: Path) -> int:
    """Try prompts with their own tests; all of them, or those of NAME. The exit code is 1 when one fails.

    Without a service nothing is sent: what the tests expect of the rendered prompt is looked at. With one, its own
    version of the prompt answers, which may be older than the file.
    """
    found = prompts_in(folder) if name is None else {name: one(folder, name)}
    if service is not None and len(found) > 1:
        raise click.UsageError(f"{folder} has {len(found)} prompts, and {service} has one; name it before --service")
    replies = None if service is None else answered(url, service)
    results: list[Tried] = []
    for each, version in found.items():
        for result in tried(each, versions.read(version.source), replies):
            results.append(result)
            click.echo(f"{'FAILED' if result.wrong else 'ok':<6} {each}: {line_of(result.case)}")
            for wrong in result.wrong:
                click.echo(f"       {line_of(wrong)}")
            if result.wrong and result.text:
                click.echo("".join(f"       | {line}\n" for line in harmless(result.text).splitlines()), nl=False)
    failed = sum(bool(result.wrong) for result in results)
    unseen = sum(result.unseen for result in results)
    click.echo(f"{len(results) - failed} of {len(results)} tests pass.")
    if unseen:
        note(f"What {unseen} of them expect of a reply was not looked at; give --service for that.")
    return 1 if failed else 0


@prompts.command()
@_folder
@click.option("-m", "--message", default="", help="What is special about them.")
@at_gateway
def push(desk: Desk, folder: Path, message: str) -> None:
    """Keep every prompt of a folder as a version in the gateway. One that says the same is kept once."""
    found = prompts_in(folder)
    kept = [
        desk.ask.one(
            "prompts.create",
            PromptVersionView,
            body=CreatePrompt(name=name, source=versions.read(version.source), message=message),
        )
        for name, version in found.items()
    ]
    if desk.as_json:
        click.echo(json_of(b"[" + b",".join(bytes(told.raw) for told in kept) + b"]"))
        return
    for told in kept:
        click.echo(f"{told.value.id} is kept.")
    if not kept:
        note(f"{folder} has no prompts.")


@prompts.command("list")
@click.option("--name", help="Only of this name.")
@at_gateway
def list_(desk: Desk, name: str | None) -> None:
    """List versions.

    They are those that are kept, and what the gateway's folder has now.
    """
    desk.rows(
        desk.ask.pages("prompts.list", PromptVersionView, {"name": name}),
        _COLUMNS,
        lambda each: (
            each.id,
            "yes" if each.current else "",
            ", ".join(each.aliases),
            time_of(each.created_at),
            each.author,
            each.message,
        ),
        "There is no such prompt.",
    )


@prompts.command()
@click.argument("version")
@at_gateway
def show(desk: Desk, version: str) -> None:
    """Show one version, with all that it says."""
    comparing.show(desk, desk.ask.one("prompts.get", PromptVersionView, version), "source")


@prompts.command()
@click.argument("version")
@click.argument("other", required=False)
@at_gateway
def diff(desk: Desk, version: str, other: str | None) -> None:
    """Say what has changed from VERSION to OTHER.

    OTHER is what the gateway's folder has now, where it is left out.
    """
    comparing.compare(desk, "prompts.diff", version, other or version.partition("@")[0])


@prompts.command()
@click.argument("version")
@click.argument("alias")
@at_gateway
def alias(desk: Desk, version: str, alias: str) -> None:
    """Have NAME@ALIAS stand for VERSION, whatever it stood for before."""
    comparing.set_alias(desk, "prompt", version, alias)


@prompts.command()
@click.argument("alias", metavar="NAME@ALIAS")
@yes
@at_gateway
def unalias(desk: Desk, alias: str, yes: bool) -> None:
    """Remove an alias. The version stays."""
    comparing.remove_alias(desk, "prompt", alias, yes)
