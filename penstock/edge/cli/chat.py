"""``penstock chat``: a conversation with a running gateway, in the terminal, as it streams."""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Mapping, Sequence

import click

from penstock.config import home
from penstock.core.errors import BAD_REQUEST, MODEL_NOT_FOUND, PenstockError
from penstock.edge.cli import credentials
from penstock.edge.cli.talk import Gateway, Message, same_place
from penstock.edge.cli.terminal import Screen

_MAX_PROMPT = 8 << 20


@click.command()
@click.argument("service", required=False)
@click.option("--url", help="The gateway. [default: the one whose credentials are in $PENSTOCK_HOME]")
@click.option("--once", "prompt", metavar="PROMPT", help="Answer this and end.")
def chat(service: str | None, url: str | None, prompt: str | None) -> int:
    """Talk to a service in the terminal.

    SERVICE is the first that the gateway lists where none is given. Ctrl-C stops an answer, Ctrl-D ends the
    conversation. What is piped in is one prompt.
    """
    gateway = reach(url, os.environ)
    chosen = choose(gateway, service)
    screen = Screen(sys.stdout)
    if prompt is None and not sys.stdin.isatty():
        prompt = sys.stdin.read(_MAX_PROMPT)
    if prompt is not None:
        return _once(gateway, chosen, prompt, screen)
    screen.note(f"{chosen} at {gateway.url}. Ctrl-C stops an answer, Ctrl-D ends.")
    _converse(gateway, chosen, screen)
    return 0


def reach(url: str | None, env: Mapping[str, str]) -> Gateway:
    """The gateway meant, with the key for it. A key from the credentials is shown to their own gateway alone.

    Raises ``PenstockError`` when there is nothing to go by.
    """
    key = env.get("PENSTOCK_API_KEY", "")
    if url is not None and key:
        return Gateway(url, key)
    place = home(env)
    kept = credentials.read(place)
    if kept is None:
        if url is not None:
            return Gateway(url, key)
        raise PenstockError(
            BAD_REQUEST, f"there are no credentials in {place}; start a gateway with `penstock up`, or give --url"
        )
    if url is not None and not same_place(kept.url, url):
        return Gateway(url, key)
    return Gateway(url or kept.url, key or kept.key)


def choose(gateway: Gateway, service: str | None) -> str:
    """The service to talk to. Raises ``PenstockError`` that lists what there is when it is unknown."""
    known = gateway.services()
    if service is None:
        named = [name for name in known if name != "*"]
        if not named:
            raise PenstockError(MODEL_NOT_FOUND, f"{gateway.url} lists no service that your key may use; name one")
        return named[0]
    if service not in known and "*" not in known:
        raise gateway.unknown(service, known)
    return service


def _once(gateway: Gateway, service: str, prompt: str, screen: Screen) -> int:
    if not prompt.strip():
        raise PenstockError(BAD_REQUEST, "the prompt is empty")
    try:
        _answer(gateway, service, [Message("user", prompt)], screen, [])
    finally:
        screen.end()
    return 0


def _converse(gateway: Gateway, service: str, screen: Screen) -> None:
    with contextlib.suppress(ImportError):
        import readline  # noqa: F401 - its import gives input() a line editor; not every Python has it
    messages: list[Message] = []
    while True:
        try:
            line = input("> ")
        except KeyboardInterrupt:
            screen.note("\n(Ctrl-D ends)")
            continue
        except EOFError:
            screen.note("")
            return
        if not line.strip():
            continue
        turn = [*messages, Message("user", line)]
        said: list[str] = []
        try:
            _answer(gateway, service, turn, screen, said)
        except KeyboardInterrupt:
            screen.note("(stopped)")
        except PenstockError as error:
            screen.end()
            click.echo(f"penstock: {error.message}", err=True)
        screen.end()
        if said:
            messages = [*turn, Message("assistant", "".join(said))]


def _answer(gateway: Gateway, service: str, messages: Sequence[Message], screen: Screen, said: list[str]) -> None:
    """Shows one answer, and adds it to ``said`` as far as it gets. Its connection is closed however this ends."""
    cut = False
    with contextlib.closing(gateway.answer(service, messages)) as chunks:
        for chunk in chunks:
            for choice in chunk.choices[:1]:
                delta = choice.delta
                if delta and delta.reasoning_content:
                    screen.think(delta.reasoning_content)
                if delta and delta.content:
                    said.append(delta.content)
                    screen.say(delta.content)
                cut = cut or choice.finish_reason == "length"
    if cut:
        screen.note("(cut off: the context or the limit on tokens is used up)")
