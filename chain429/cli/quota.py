"""``chain429 quota``: what is left of each target's limits."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import click

from chain429.cli import options
from chain429.cli.gateway import ask
from chain429.cli.listed import Failed
from chain429.cli.tables import STATES, Column, Table, show, visible
from chain429.cli.words import NOTHING, span

_COLUMNS = (
    Column("TARGET"),
    Column("KEY"),
    Column("STATE", styles=STATES),
    Column("LIMIT"),
    Column("SIZE", right=True),
    Column("USED", right=True),
    Column("LEFT", right=True),
    Column("ALL BACK IN", right=True),
    Column("KNOWN", spare=True),
)


@click.command()
@options.data_dir
@click.option("--chain", "only", metavar="NAME", help="Only this chain.")
@click.option("--json", "as_json", is_flag=True, help="As GET /admin/api/limits gives it.")
def quota(data_dir: Path | None, only: str | None, as_json: bool) -> None:
    """Show what is left of each target's limits.

    Asks the gateway that runs here and keeps its data in the same folder.
    """
    found = ask(options.data_folder(data_dir), "limits")
    if only is not None:
        names = [chain["name"] for chain in found["chains"]]
        found["chains"] = [chain for chain in found["chains"] if chain["name"] == only]
        if not found["chains"]:
            raise Failed(f"there is no chain {only!r}; there are: {', '.join(names)}")
    if as_json:
        click.echo(json.dumps(found, indent=2))
        return
    for index, chain in enumerate(found["chains"]):
        if index:
            click.echo()
        rows = [row for target, rank in _targets(chain) for row in _rows(target, rank, found["now"])]
        show(Table(_COLUMNS, rows, f"chain {chain['name']}"))
        for target, rank in _targets(chain):
            if target["reason"]:
                click.echo(visible(f"{_name(target, rank)} ({target['credential']}): {target['reason']}"))


def _targets(chain: Mapping[str, Any]) -> Iterator[tuple[Mapping[str, Any], int]]:
    """Each target with the rank of its tier, counted from 1."""
    for rank, tier in enumerate(chain["tiers"], 1):
        for target in tier:
            yield target, rank


def _rows(target: Mapping[str, Any], rank: int, now: float) -> Iterator[tuple[str, ...]]:
    """A row for each of its limits; the target itself stands in the first."""
    back = "" if target["until"] is None else f", back in {span(target['until'] - now)}"
    first = (_name(target, rank), target["credential"], target["state"] + back)
    for limit in target["limits"]:
        yield (*first, *_cells(limit, now))
        first = ("", "", "")
    if not target["limits"]:
        yield (*first, *[""] * (len(_COLUMNS) - len(first)))


def _name(target: Mapping[str, Any], rank: int) -> str:
    return f"{rank}. {target['provider']}/{target['model']}"


def _cells(limit: Mapping[str, Any], now: float) -> tuple[str, ...]:
    name = limit["metric"].replace("_", " ") + (f" per {limit['window']}" if limit["window"] else " at a time")
    size = "?" if limit["limit"] is None else f"{limit['limit']:,g}" if limit["limit"] < 1 else f"{limit['limit']:,.0f}"
    left = "?" if limit["left"] is None else f"{limit['left']:,}"
    back = NOTHING if limit["resets_at"] is None else span(limit["resets_at"] - now)
    return name, size, f"{limit['used']:,}", left, back, limit["layer"]
