"""`backfill schema`."""

from __future__ import annotations

import json

import click


@click.command(short_help="The JSON Schema of the mapping language.")
def schema() -> None:
    """Print the JSON Schema of the mapping language, made from the models that check it.

    \b
    Example:
      backfill schema > backfill.schema.json
    and in a mapping's first line:
      # yaml-language-server: $schema=backfill.schema.json
    """
    from backfill.mapping import json_schema  # noqa: PLC0415  heavy, and --help needs none of it

    click.echo(json.dumps(json_schema(), indent=2))
