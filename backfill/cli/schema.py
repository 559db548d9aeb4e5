"""`backfill schema`."""

from __future__ import annotations

import json

import click

from backfill.cli.manual import Page


@click.command(cls=Page, short_help="The JSON Schema of the mapping language.")
def schema() -> None:
    """Print the JSON Schema of the mapping language, made from the models that check it.

    \b
    Example:
      backfill schema > mappings/schema.json
    and in the first line of each mapping beside it:
      # yaml-language-server: $schema=schema.json
    """
    from backfill.mapping.schema import json_schema  # noqa: PLC0415  heavy, and --help needs none of it

    click.echo(json.dumps(json_schema(), indent=2))
