"""``penstock rules``: the objectives of a deployment file as rules for Prometheus, and boards for Grafana."""

from __future__ import annotations

import os
from pathlib import Path

import click

from penstock.assembly.metrics import ROWS
from penstock.config import EMBEDDED, load, locate
from penstock.observe.boards import boards
from penstock.observe.rules import rules_file


@click.command()
@click.option(
    "-c",
    "--config",
    "path",
    type=click.Path(path_type=Path),
    help="The deployment file. [default: $PENSTOCK_CONFIG, ./penstock.yaml, or the built-in deployment]",
)
@click.option(
    "--boards",
    "folder",
    type=click.Path(path_type=Path, file_okay=False),
    help="Write Grafana boards into this folder, in place of printing rules.",
)
def rules(path: Path | None, folder: Path | None) -> None:
    """Print Prometheus rules for the objectives of a deployment file.

    They are recording rules and alerts for each objective of availability, latency and first_chunk, in the same
    windows as the gateway's own alerts, and alerts about the gateway itself. Without any objective the availability
    of every service is watched. Nothing is connected to.

    \b
      penstock rules > penstock.rules.yaml
      penstock rules --boards /etc/grafana/dashboards
    """
    if folder is not None:
        folder.mkdir(parents=True, exist_ok=True)
        for name, text in boards(ROWS).items():
            (folder / name).write_bytes(text)
            click.echo(f"wrote {folder / name}")
        return
    found = locate(path, os.environ)
    file = load(found, os.environ)
    promises = {name: service.objectives for name, service in file.services.items()}
    source = EMBEDDED if found is None else found.name
    click.echo(rules_file(promises, ROWS, f"Written by `penstock rules` from {source}."), nl=False)
