"""Tables: fitted to a terminal and coloured there, elsewhere plain aligned text that other programs can take apart."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from io import StringIO
from typing import NamedTuple

import click

_GAP = 2  # columns between two cells
_SHORT = 24  # text that is no wider is not folded, and wider text not to less, where there is room for that


class Column(NamedTuple):
    """``right`` is for numbers. A ``spare`` one is left out where a terminal is too narrow for all. ``styles`` are
    rich's, by the first word of a cell."""

    name: str
    right: bool = False
    spare: bool = False
    styles: Mapping[str, str] = {}


# How states of targets, and outcomes of requests, are told apart at a glance.
STATES = {
    **dict.fromkeys(("available", "tracking", "served"), "green"),
    **dict.fromkeys(("cooling", "half-open", "cancelled"), "yellow"),
    **dict.fromkeys(("exhausted", "refused", "gone", "open", "broken"), "red"),
}


@dataclass(frozen=True, slots=True)
class Table:
    """Rows of as many cells as there are ``columns``. What is no character to be seen is shown as U+FFFD: a cell may
    hold what a client or a provider sent, and must not steer the terminal."""

    columns: Sequence[Column]
    rows: Sequence[Sequence[str]]
    title: str = ""

    def plain(self) -> str:
        """Lines that end where their last cell does, each column as wide as it needs."""
        widths = self._widths()
        lines = [visible(self.title)] if self.title else []
        for row in ([column.name for column in self.columns], *self.rows):
            cells = [
                visible(cell).rjust(width) if column.right else visible(cell).ljust(width)
                for cell, width, column in zip(row, widths, self.columns, strict=True)
            ]
            lines.append((" " * _GAP).join(cells).rstrip())
        return "\n".join(lines)

    def fitted(self, width: int, *, colours: bool) -> str:
        """For a terminal of that width: cells that are too long go on in the line below."""
        from rich.console import Console
        from rich.table import Table as RichTable
        from rich.text import Text

        widths = self._narrowest()
        kept = _fitting(self.columns, widths, width)
        roomy = _total(widths, kept) <= width
        table = RichTable(box=None, pad_edge=False, padding=(0, _GAP, 0, 0), header_style="bold underline")
        for index in kept:
            column = self.columns[index]
            table.add_column(
                Text(column.name),
                justify="right" if column.right else "left",
                no_wrap=column.right or (roomy and widths[index] < _SHORT),
                overflow="fold",
            )
        for row in self.rows:
            table.add_row(*(Text(visible(row[index]), _style(row[index], self.columns[index])) for index in kept))
        screen = StringIO()
        console = Console(
            file=screen,
            width=width,
            force_terminal=colours,
            no_color=not colours,
            color_system="standard" if colours else None,
            legacy_windows=False,
        )
        console.print(*([Text(visible(self.title), "bold")] if self.title else []), table, sep="\n")
        return "\n".join(line.rstrip() for line in screen.getvalue().splitlines())

    def _widths(self) -> list[int]:
        return [
            max(len(column.name), *(len(row[index]) for row in self.rows), 0)
            for index, column in enumerate(self.columns)
        ]

    def _narrowest(self) -> list[int]:
        """How wide each column has to be, if wide ones are folded."""
        widths = zip(self._widths(), self.columns, strict=True)
        return [width if column.right else min(width, _SHORT) for width, column in widths]


def visible(text: str) -> str:
    """As many characters, all of which can be seen."""
    return "".join(char if char.isprintable() else "\N{REPLACEMENT CHARACTER}" for char in text)


def show(table: Table) -> None:
    """Prints it as fits where it goes to."""
    if sys.stdout.isatty():
        from rich.console import Console

        terminal = Console()
        click.echo(table.fitted(terminal.width, colours=terminal.color_system is not None and not terminal.no_color))
    else:
        click.echo(table.plain())


def _fitting(columns: Sequence[Column], widths: Sequence[int], width: int) -> list[int]:
    """Which columns there is room for; the last spare one goes first."""
    kept = list(range(len(columns)))
    for index in reversed(range(len(columns))):
        if _total(widths, kept) <= width:
            break
        if columns[index].spare:
            kept.remove(index)
    return kept


def _total(widths: Sequence[int], kept: Sequence[int]) -> int:
    return sum(widths[index] + _GAP for index in kept) - _GAP


def _style(cell: str, column: Column) -> str:
    return column.styles.get(cell.partition(" ")[0].rstrip(",:"), "")
