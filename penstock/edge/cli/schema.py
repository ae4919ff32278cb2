"""``penstock schema``: the JSON Schema of deployment files, for editors."""

from __future__ import annotations

import click

from penstock.config import reference


@click.command()
@click.option("--markdown", is_flag=True, help="Print the reference page instead.")
def schema(markdown: bool) -> None:
    """Print the JSON Schema of deployment files.

    Editors that know YAML schemas then complete and check a deployment file as it is typed. Keep it beside the file
    (`penstock schema > penstock.schema.json`) and let the file begin with

    \b
      # yaml-language-server: $schema=penstock.schema.json
    """
    click.echo(reference.page() if markdown else reference.json_schema(), nl=False)
