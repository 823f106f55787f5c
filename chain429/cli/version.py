"""``chain429 version``."""

from __future__ import annotations

import click

from chain429 import __version__


@click.command()
def version() -> None:
    """Print the version."""
    click.echo(f"chain429 {__version__}")
