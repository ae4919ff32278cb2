"""``penstock``: the group of commands. A command's file is imported when the command is used, never before."""

from __future__ import annotations

import importlib
import os
import sys
from collections.abc import Mapping, Sequence

import click

from penstock.config.mistakes import ConfigErrors, nearest
from penstock.core.errors import PenstockError

COMMANDS: Mapping[str, str] = {
    "up": "Serve a deployment file, or the built-in deployment.",
    "chat": "Talk to a service in the terminal.",
    "apply": "Change what a running gateway serves.",
    "init": "Write a deployment file that fits this machine.",
    "check": "Explain every mistake in a deployment file.",
    "doctor": "Say what this machine can run, and why not.",
    "schema": "Print the JSON Schema of deployment files.",
    "rules": "Print Prometheus rules for a deployment file's objectives.",
    "models": "See, keep, compare and name versions of models.",
    "prompts": "Check, render, try and push prompts; name their versions.",
    "release": "Freeze what a service is made of; compare and trace releases.",
    "rollout": "Bring a release in step by step, watch it, decide about it.",
    "rollback": "Give a service the release before, or another.",
    "split": "See and set who gets which release of a service.",
    "keys": "Make, see, change, rotate and revoke API keys.",
    "projects": "Make, see, change and archive projects.",
    "teams": "Make, see, rename and delete teams of a project.",
    "users": "Make, see, change and disable people and service accounts.",
    "roles": "See what keys and people may do, and make roles of your own.",
    "limits": "Set, see and remove limits on requests and tokens.",
    "budgets": "Set, see and remove budgets, and see what is spent.",
    "prices": "Set, see and remove what models cost.",
    "top": "Watch services, replicas and alerts, live.",
    "logs": "Find requests in the log, and follow it.",
    "trace": "Show the course of one request, and why it went so.",
    "alerts": "See alerts and objectives, and silence alerts.",
    "subjects": "See and erase what is kept of a person.",
    "cache": "See what caches answer and save; invalidate what they keep.",
    "usage": "Add up what was used and paid, and export it.",
    "audit": "See what was done, check that it is whole, redact it.",
    "pepper": "Change the secret that keys are hashed under.",
}
"""Each command and what it does. ``penstock.edge.cli.NAME:NAME`` is its click command."""


class _Commands(click.Group):
    """Knows its commands by name; imports one to run it, none to list them."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in COMMANDS:
            return None
        found = getattr(importlib.import_module(f"penstock.edge.cli.{cmd_name}"), cmd_name)
        if not isinstance(found, click.Command):
            raise TypeError(f"penstock.edge.cli.{cmd_name}:{cmd_name} is no command")
        return found

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl(list(COMMANDS.items()))

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        if args and args[0] not in COMMANDS and not args[0].startswith("-"):
            near = nearest(args[0], COMMANDS)
            hint = f'did you mean "{near}"?' if near else "there are " + ", ".join(COMMANDS)
            raise click.UsageError(f'no command "{args[0]}"; {hint}', ctx)
        return super().resolve_command(ctx, args)


@click.group(cls=_Commands, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(package_name="penstock", prog_name="penstock", message="%(prog)s %(version)s")
def cli() -> None:
    """Large language models in production, from one file and one process.

    `penstock up` serves an OpenAI-compatible API on http://127.0.0.1:8080, with a real model in the box.

    \b
    Environment:
      PENSTOCK_CONFIG     the deployment file, where -c gives none
      PENSTOCK_PORT       the port to serve on, whatever the file says
      PENSTOCK_HOME       where state, weights and credentials are kept (~/.penstock)
      PENSTOCK_ADMIN_KEY  the admin key, instead of one made by chance
      PENSTOCK_API_KEY    the key that every command that asks a gateway presents
    """


def main(args: Sequence[str] | None = None) -> int:
    """Runs one command line; None: this process's own. Returns the exit code: 1 for a failure, 2 for a command
    line that makes no sense, 130 for Ctrl-C. A failure is told on standard error, without a traceback."""
    try:
        code = cli.main(args=None if args is None else list(args), prog_name="penstock", standalone_mode=False)
        sys.stdout.flush()
    except click.ClickException as error:
        error.show()
        return error.exit_code
    except click.Abort:
        # Ctrl-C; click has ended the line.
        return 130
    except ConfigErrors as error:
        click.echo(error.message, err=True)
        return 1
    except PenstockError as error:
        click.echo("penstock: " + " ".join(error.message.split()), err=True)
        return 1
    except BrokenPipeError:
        # Whoever read us has gone; Python would complain once more when it flushes at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except OSError as error:
        where = f"{error.filename}: " if error.filename else ""
        click.echo(f"penstock: {where}{error.strerror or error}", err=True)
        return 1
    return code if isinstance(code, int) else 0


if __name__ == "__main__":
    sys.exit(main())
