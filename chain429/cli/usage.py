"""``chain429 usage``: sums of what was used, and what that saved."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import click

from chain429.cli import options
from chain429.cli.logged import ask_usage
from chain429.cli.tables import Column, Table, show
from chain429.cli.words import NOTHING, count, local
from chain429.clock import SystemClock
from chain429.store.usage import DIMENSIONS, Dimension
from chain429.web.view import money, seconds

_DAY = 86_400.0
_NUMBERS = (
    Column("REQUESTS", right=True),
    Column("SERVED", right=True),
    Column("FAILURES", right=True),
    Column("TOKENS IN", right=True),
    Column("TOKENS OUT", right=True),
    Column("CACHED", right=True, spare=True),
    Column("WASTED", right=True, spare=True),
    Column("COST", right=True),
    Column("SAVED", right=True),
    Column("HALF WITHIN", right=True, spare=True),
    Column("95 % WITHIN", right=True, spare=True),
)


@click.command()
@options.data_dir
@click.option("--by", type=click.Choice(DIMENSIONS), default="provider", show_default=True, help="What to sum up by.")
@options.since("A day ago where it is not said. Whole hours are summed up.")
@options.until
@options.as_json
def usage(data_dir: Path | None, by: Dimension, since: float | None, until: float | None, as_json: bool) -> None:
    """Sum up what was used, and what that saved.

    Where no gateway runs, its log is read.
    """
    now = SystemClock().now()
    found = ask_usage(
        options.data_folder(data_dir), by, now - _DAY if since is None else since, now if until is None else until
    )
    if as_json:
        click.echo(json.dumps(found, indent=2))
        return
    if not found["usage"]:
        click.echo(f"Nothing was used since {local(found['since'])}.", err=True)
        return
    show(Table((Column(by.upper()), *_NUMBERS), [_row(sums) for sums in found["usage"]]))
    if unpriced := sum(sums["unpriced"] for sums in found["usage"]):
        click.echo(f"{unpriced:,} served without a known price are not in COST and SAVED.", err=True)


def _row(sums: Mapping[str, Any]) -> tuple[str, ...]:
    priced = sums["served"] > sums["unpriced"]
    return (
        sums["name"] or "nobody",
        count(sums["requests"]),
        count(sums["served"]),
        count(sums["failures"]),
        count(sums["tokens_in"]),
        count(sums["tokens_out"]),
        count(sums["tokens_cached"]),
        count(sums["tokens_wasted"]),
        *(money(sums[name], sums["currency"]) if priced else NOTHING for name in ("cost", "saved")),
        *(NOTHING if sums[name] is None else seconds(sums[name]) for name in ("latency_p50", "latency_p95")),
    )
