"""``penstock check``: is this deployment file right, and what does it say? Imports nothing heavy."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import click

from penstock.config import EMBEDDED, DeploymentFile, load, locate


@click.command()
@click.option(
    "-c",
    "--config",
    "path",
    type=click.Path(path_type=Path),
    help="The deployment file. [default: $PENSTOCK_CONFIG, ./penstock.yaml, or the built-in deployment]",
)
def check(path: Path | None) -> None:
    """Explain every mistake in a deployment file.

    Each mistake is one line on standard error, with its place in the file and what to write instead; the exit code
    is then 1. Secrets that the file names are read, to see that they are there; nothing else is started, fetched or
    connected to.
    """
    found = locate(path, os.environ)
    file = load(found, os.environ)
    for line in summary(file, EMBEDDED if found is None else str(found)):
        click.echo(line)


def summary(file: DeploymentFile, source: str) -> Iterator[str]:
    """What a good file says, in a few lines without secrets."""
    models, services = len(file.models), len(file.services)
    yield f"ok: {source}: {models} model{'s' * (models != 1)}, {services} service{'s' * (services != 1)}"
    host = f"[{file.server.host}]" if ":" in file.server.host else file.server.host
    scheme = "http" if file.server.tls is None else "https"
    yield f"  on {scheme}://{host}:{file.server.port}"
    width = max(len(name) for name in file.services)
    for name, service in file.services.items():
        chain = ", then ".join(f"{model} ({engine_of(file, model)})" for model in (service.model, *service.fallback))
        also = f"; also called {', '.join(service.aliases)}" if service.aliases else ""
        prompt = f"; prompt {service.prompt}" if service.prompt else ""
        yield f"  {name:<{width}}  {chain}{prompt}{also}"


def engine_of(file: DeploymentFile, model: str) -> str:
    """The engine that serves a model of the file."""
    return str(file.models[model].__struct_config__.tag)
