"""Commands that are known by name until they are used, and how a command ends that fails."""

from __future__ import annotations

from collections.abc import Mapping
from importlib import import_module
from typing import Any, NamedTuple

import click

from chain429.errors import Chain429Error


class Listing(NamedTuple):
    """``place`` is ``module:attribute``; ``help`` the first sentence of the command's own help."""

    place: str
    help: str


class Listed(click.Group):
    """A group of commands in the order of ``listed``, each imported when it is asked for.

    A command that raises ``Chain429Error`` ends with its text in a line on stderr, and status 2.
    """

    def __init__(self, *arguments: Any, listed: Mapping[str, Listing], **attributes: Any) -> None:
        super().__init__(*arguments, **attributes)
        self._listed = listed

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(self._listed)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in self._listed:
            return None
        module, _, attribute = self._listed[cmd_name].place.partition(":")
        command = getattr(import_module(module), attribute)
        assert isinstance(command, click.Command)
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl([(name, listing.help) for name, listing in self._listed.items()])

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except Chain429Error as error:
            click.echo(f"chain429: {error}", err=True)
            ctx.exit(2)


class Failed(click.ClickException):
    """The command can't do what it was asked: one line on stderr that says why, and status 1."""

    def show(self, file: Any = None) -> None:
        click.echo(f"chain429: {self.format_message()}", file=file, err=file is None)
