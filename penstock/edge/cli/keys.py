"""``penstock keys``: make, see, change, rotate and revoke API keys."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Any, Literal

import click
import msgspec
from msgspec import UNSET

from penstock.control.accounts.keys import ChangeKey, CreateKey, KeySecret, KeyView, RotateKey, ScopesForm
from penstock.core.errors import BAD_REQUEST, PenstockError
from penstock.edge.cli.asking import Told
from penstock.edge.cli.desk import Desk, at_gateway, sure, yes
from penstock.edge.cli.showing import Column, json_of, note, time_of
from penstock.edge.cli.words import ahead, duration

Priority = Literal["high", "normal", "low"]

_COLUMNS = tuple(map(Column, ("ID", "NAME", "PROJECT", "ROLE", "USER", "STATE", "EXPIRES", "LAST USED")))
_SCOPES = {
    "service": "A service that it may use.",
    "model": "A model that may answer it.",
    "endpoint": "A path that it may call, such as /v1/chat/completions.",
    "tool": "A tool that it may offer to a model, by the function's name.",
    "network": "A network that it may be used from, such as 10.0.0.0/8.",
}


def scoped(run: Callable[..., Any]) -> Callable[..., Any]:
    """The options of a key's scopes, each of which may be given several times."""
    for name, about in reversed(_SCOPES.items()):
        run = click.option(f"--{name}", f"{name}s", multiple=True, help=f"{about} May be given several times.")(run)
    return run


@click.group()
def keys() -> None:
    """Make, see, change, rotate and revoke API keys.

    \b
    KEY=$(penstock keys create --project red --name nightly --expires 90d)
    penstock keys list --project red
    penstock keys rotate 4026909f9448 --grace 24h
    penstock keys revoke 4026909f9448
    """


@keys.command()
@click.option("--project", default="", help="Whose key it is; '*' for the whole gateway. [default: that of your key]")
@click.option("--role", default="developer", show_default=True, help="What it may do; `penstock roles list`.")
@click.option("--name", default="", help="What people call it.")
@click.option("--user", default="", help="The person or service account that it acts for.")
@click.option("--team", default="", help="The team that it belongs to.")
@scoped
@click.option("--priority", type=click.Choice(["high", "normal", "low"]), help="The best that it may claim.")
@click.option(
    "--expires", type=ahead, metavar="TIME", help="When it ends: 90d from now, or 2027-01-31. [default: never]"
)
@click.option("--id", "id_", default="", help="Its public part. [default: one is made]")
@at_gateway
def create(
    desk: Desk,
    /,
    project: str,
    role: str,
    name: str,
    user: str,
    team: str,
    priority: Priority | None,
    expires: float | None,
    id_: str,
    **scopes: Sequence[str],
) -> None:
    """Make a key, and print its secret: once, alone on standard output.

    \b
    KEY=$(penstock keys create --project red)
    penstock keys create --project red --service assistant --network 10.0.0.0/8 --expires 90d
    """
    asked = CreateKey(
        project=project,
        role=role,
        name=name,
        user=user,
        team=team,
        scopes=ScopesForm(**_given(scopes)),
        priority=priority or "",
        expires_at=expires,
        id=id_,
    )
    told = desk.ask.one("keys.create", KeySecret, body=asked)
    key = told.value.key
    whose = "the whole gateway" if key.project == "*" else f"project {key.project}"
    until = f", until {time_of(key.expires_at)}" if key.expires_at is not None else ""
    _tell_secret(desk, told, f"Key {key.id} for {whose}, as {key.role}{until}.")


@keys.command("list")
@click.option("--project", help="Only of this project.")
@click.option("--user", help="Only those that act for this user.")
@click.option("--team", help="Only of this team.")
@click.option("--role", help="Only of this role.")
@at_gateway
def list_(desk: Desk, /, **filters: str | None) -> None:
    """List keys, without their secrets, which nobody has."""
    found = desk.ask.pages("keys.list", KeyView, filters)
    desk.rows(found, _COLUMNS, _row, "There is no such key.")


@keys.command()
@click.argument("id_", metavar="ID")
@at_gateway
def show(desk: Desk, id_: str) -> None:
    """Show one key: its scopes, and when it was used last."""
    desk.show(desk.ask.one("keys.get", KeyView, id_))


@keys.command()
@click.argument("id_", metavar="ID")
@click.option(
    "--grace",
    type=duration,
    default="24h",
    show_default=True,
    help="How long the secret before works too, at most 30d; 0 ends it now.",
)
@at_gateway
def rotate(desk: Desk, id_: str, grace: float) -> None:
    """Give a key a new secret, and print it: once, alone on standard output.

    The secret before works beside it until the grace is over. Put the new one in place meanwhile.
    """
    told = desk.ask.one("keys.rotate", KeySecret, id_, body=RotateKey(grace_s=grace))
    until = told.value.key.previous_until
    ends = "does not work any more" if until is None else f"works until {time_of(until)}"
    _tell_secret(desk, told, f"Key {told.value.key.id} has a new secret; the one before {ends}.")


@keys.command()
@click.argument("id_", metavar="ID")
@yes
@at_gateway
def revoke(desk: Desk, id_: str, yes: bool) -> None:
    """Refuse a key from now on, for good. Every gateway does within a second."""
    sure(f"Revoke the key {id_} for good?", yes)
    told = desk.ask.one("keys.revoke", KeyView, id_)
    desk.tell(told, f"Key {id_} is revoked.")


@keys.command()
@click.argument("id_", metavar="ID")
@click.option("--name", help="What people call it.")
@scoped
@click.option(
    "--any",
    "free",
    multiple=True,
    type=click.Choice([f"{name}s" for name in _SCOPES]),
    help="Take this bound away. May be given several times.",
)
@click.option("--priority", type=click.Choice(["high", "normal", "low", "project"]), help="The best it may claim.")
@click.option("--expires", type=ahead, metavar="TIME", help="When it ends: 90d from now, or 2027-01-31.")
@click.option("--never-expires", is_flag=True, help="It does not end.")
@at_gateway
def update(
    desk: Desk,
    /,
    id_: str,
    name: str | None,
    free: Sequence[str],
    priority: Priority | Literal["project"] | None,
    expires: float | None,
    never_expires: bool,
    **scopes: Sequence[str],
) -> None:
    """Change a key. What is not mentioned stays; services that are given take the place of all services it had.

    \b
    penstock keys update 4026909f9448 --service assistant --service embed
    penstock keys update 4026909f9448 --any networks --expires 30d
    """
    if expires is not None and never_expires:
        raise click.UsageError("--expires and --never-expires exclude each other; give one.")
    given = _given(scopes) | dict.fromkeys(free)
    asked = ChangeKey(
        name=UNSET if name is None else name,
        priority=UNSET if priority is None else "" if priority == "project" else priority,
        expires_at=None if never_expires else UNSET if expires is None else expires,
    )
    if given:
        # The API takes all scopes together.
        before = desk.ask.one("keys.get", KeyView, id_).value.scopes
        asked = msgspec.structs.replace(asked, scopes=msgspec.structs.replace(before, **given))
    if asked == ChangeKey():
        raise PenstockError(BAD_REQUEST, "nothing to change was given; see `penstock keys update --help`")
    told = desk.ask.one("keys.change", KeyView, id_, body=asked)
    desk.tell(told, f"Key {id_} is changed.")


def _given(scopes: dict[str, Sequence[str]]) -> dict[str, tuple[str, ...] | None]:
    return {name: tuple(values) for name, values in scopes.items() if values}


def _tell_secret(desk: Desk, told: Told[KeySecret], said: str) -> None:
    """The secret alone on standard output, so that a shell can take it."""
    if desk.as_json:
        click.echo(json_of(told.raw))
        return
    note(said)
    if told.value.secret:
        note("This is the only time that its secret is shown:")
        click.echo(told.value.secret)


def _row(key: KeyView) -> Sequence[str]:
    expires = "never" if key.expires_at is None else time_of(key.expires_at)
    state, used = state_of(key, time.time()), time_of(key.last_used_at)
    return key.id, key.name, key.project, key.role, key.user, state, expires, used


def state_of(key: KeyView, now: float) -> str:
    """In a word, whether it works; ``now`` in seconds since the epoch."""
    if key.revoked_at is not None:
        return "revoked"
    if key.expires_at is not None and key.expires_at <= now:
        return "expired"
    rotating = key.previous_until is not None and now < key.previous_until
    return "rotating" if rotating else "active"
