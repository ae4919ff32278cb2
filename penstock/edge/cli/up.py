"""``penstock up``: serve a deployment file, and say how it goes."""

from __future__ import annotations

import asyncio
import os
import shlex
import sys
import time
from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path

import click
import msgspec

from penstock.assembly.supervisor import supervise
from penstock.config import EMBEDDED, SENT, DeploymentFile, Loaded, home, loaded, locate, text
from penstock.core.errors import PenstockError
from penstock.core.serving import Deployment, Replica, ReplicaState
from penstock.edge.cli import credentials
from penstock.edge.cli.check import engine_of
from penstock.edge.cli.progress import Progress


@click.command()
@click.option(
    "-c",
    "--config",
    "path",
    type=click.Path(path_type=Path),
    help="The deployment file. [default: $PENSTOCK_CONFIG, ./penstock.yaml, or the built-in deployment]",
)
@click.option("--host", help="The address to listen on, whatever the file says.")
@click.option("--port", type=click.IntRange(1, 65535), help="The port, whatever the file and PENSTOCK_PORT say.")
def up(path: Path | None, host: str | None, port: int | None) -> None:
    """Serve a deployment file, or the built-in deployment.

    Fetches weights that are not here yet, starts the models that run here, and serves until Ctrl-C. Requests in
    progress may then end; a second Ctrl-C ends everything at once.
    """
    source = _Source(locate(path, os.environ), host, port)
    first = source.load(source.text(), source.name)
    place = home(os.environ).absolute()
    screen = Screen(first.file, place)
    screen.say(f"Penstock {version('penstock')}: {source.name}; home {place}")
    asyncio.run(supervise(first, source, place, os.environ, screen, _Credentials(place)))


class _Source:
    """One deployment file, with what the command line says beside it."""

    def __init__(self, path: Path | None, host: str | None, port: int | None) -> None:
        self.name = EMBEDDED if path is None else str(path)
        self._path = path
        self._host = host
        self._port = port

    def text(self) -> bytes:
        return text(self._path)

    def load(self, text: bytes, name: str) -> Loaded:
        sent = name == SENT
        beside = None if sent or self._path is None else self._path.parent
        found = loaded(text, name, os.environ, commands=not sent, beside=beside)
        server = found.file.server
        if self._host is not None:
            server = msgspec.structs.replace(server, host=self._host)
        if self._port is not None:
            server = msgspec.structs.replace(server, port=self._port)
        return found._replace(file=msgspec.structs.replace(found.file, server=server))


class _Credentials:
    """The credentials of one home."""

    def __init__(self, place: Path) -> None:
        self._place = place

    def kept(self) -> str | None:
        found = credentials.read(self._place)
        return None if found is None else found.key

    def keep(self, url: str, key: str) -> None:
        fresh = credentials.Credentials(url, key)
        try:
            credentials.write(self._place, fresh)
        except PenstockError:
            if credentials.read(self._place) != fresh:
                raise


class Screen:
    """Tells one server's start and what happens to its models, in few lines, on standard error.

    Standard output is left to the access log.
    """

    def __init__(self, file: DeploymentFile, place: Path) -> None:
        self._file = file
        self._place = place
        self._progress = Progress(sys.stderr)
        self._begun = time.monotonic()
        self._states: dict[str, tuple[ReplicaState, str]] = {}

    def step(self, what: str, done: int, total: int | None) -> None:
        self._progress.step(what, done, total)

    def say(self, line: str) -> None:
        self._progress.line(line)

    def changed(self, deployment: Deployment) -> None:
        there = {replica.id: replica for replicas in deployment.replicas.values() for replica in replicas}
        for replica in there.values():
            stands = (replica.state, replica.reason)
            before = self._states.get(replica.id)
            self._states[replica.id] = stands
            if stands != before and (line := told(replica, first=before is None)):
                self.say(f"  {line}")
        for gone in [replica_id for replica_id in self._states if replica_id not in there]:
            state, _ = self._states.pop(gone)
            if state is ReplicaState.DRAINING:
                self.say(f"  {gone}: stopped")

    def serving(self, url: str, deployment: Deployment) -> None:
        for line in banner(self._file, deployment, url, self._place, time.monotonic() - self._begun):
            self.say(line)

    def stopping(self) -> None:
        self.say("Stopping: requests in progress may end. Ctrl-C again ends them at once.")


def told(replica: Replica, first: bool) -> str:
    """One line about how a replica stands; empty when it is not worth one."""
    match replica.state:
        case ReplicaState.READY:
            return "" if first else f"{replica.id}: ready"
        case ReplicaState.DRAINING:
            return f"{replica.id}: takes no more requests; {replica.reason}"
        case ReplicaState.DOWN | ReplicaState.FAILED:
            # What has a URL though it is down is not ours to start.
            again = "; given up" if replica.state is ReplicaState.FAILED else "; starting it again"
            again = "" if replica.base_url else again
            return f"{replica.id}: {replica.state.value}: {replica.reason}{again}"
        case _:
            return f"{replica.id}: {replica.reason}"


def banner(file: DeploymentFile, deployment: Deployment, url: str, place: Path, took_s: float) -> Iterator[str]:
    """What somebody needs who has just started this."""
    yield ""
    yield f"Penstock serves on {url}/v1 after {took_s:.1f} s"
    yield ""
    width = max(len(name) for name in file.services)
    for name, service in file.services.items():
        state = _state(deployment.replicas.get(service.model, ()))
        chain = "".join(f", then {model}" for model in service.fallback)
        yield f"  {name:<{width}}  {service.model} ({engine_of(file, service.model)}), {state}{chain}"
    yield ""
    yield from curl(file, url, place)
    yield ""
    if file.observe.console:
        yield f"See everything at {url}/console: sign in with the key in {credentials.path_in(place)}."
    yield "Ctrl-C stops it. `penstock chat` talks to it from another terminal; `penstock top` watches it."


def curl(file: DeploymentFile, url: str, place: Path) -> Iterator[str]:
    """A request to paste into a shell; the key is read where it is kept and stands in nobody's history."""
    name = next((n for n, s in file.services.items() if n != "*" and not _embeds(file, s.model)), None)
    kept = shlex.quote(str(credentials.path_in(place)))
    bearer = f"\"Authorization: Bearer $(sed -n 's/^PENSTOCK_API_KEY=//p' {kept})\""
    if name is None:
        yield f"  curl {url}/v1/models -H {bearer}"
        return
    body = msgspec.json.encode({"model": name, "messages": [{"role": "user", "content": "Say hello."}]}).decode()
    yield f"  curl {url}/v1/chat/completions -H {bearer} \\"
    yield f"    -H 'Content-Type: application/json' -d {shlex.quote(body)}"


def _embeds(file: DeploymentFile, model: str) -> bool:
    return getattr(file.models[model], "task", "chat") != "chat"


def _state(replicas: tuple[Replica, ...]) -> str:
    ready = sum(replica.state is ReplicaState.READY for replica in replicas)
    if ready == len(replicas) > 0:
        return "ready"
    if ready:
        return f"{ready} of {len(replicas)} ready"
    return f"{replicas[0].state.value}: {replicas[0].reason}" if replicas else "starting"
