"""``chain429 status``: whether all is well, and what the last day was like."""

from __future__ import annotations

import dataclasses
import json
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import click

from chain429.cli import options
from chain429.cli.gateway import NoGateway, ask
from chain429.cli.listed import Failed
from chain429.cli.logged import log
from chain429.cli.tables import STATES, Column, Table, show, visible
from chain429.cli.words import NOTHING, local, span
from chain429.clock import SystemClock
from chain429.folders import running_pages
from chain429.routing.status import TargetStatus
from chain429.store.queries import Summary
from chain429.web.view import seconds

_DAY = 86_400.0
_CHAINS = (Column("CHAIN"), Column("READY", right=True), Column("NEXT"), Column("MORE IN", right=True))
_PROVIDERS = (Column("PROVIDER"), Column("TIER"), Column("BREAKER", styles={"closed": "green", **STATES}))


@click.command()
@options.data_dir
@options.as_json
def status(data_dir: Path | None, as_json: bool) -> None:
    """Show whether all is well, and what the last day was like.

    Ends with 1 where something is wrong, or where no gateway runs.
    """
    data = options.data_folder(data_dir)
    now = SystemClock().now()
    found: Any = None
    why = ""
    try:
        found = ask(data, "status")
    except NoGateway as error:
        why = error.message
    day = _day(data, now)
    pages = running_pages(data) if found else None
    if as_json:
        told = {"running": bool(found), "pages": pages, "gateway": found, "day": day and dataclasses.asdict(day)}
        click.echo(json.dumps(told, indent=2))
    else:
        gateway = _gateway(found, pages or "") if found else (("running", "no"), ("", why))
        for name, value in (*gateway, *_day_lines(day)):
            click.echo(f"{name:<10}{visible(value)}")
        if found:
            click.echo()
            show(Table(_CHAINS, [_chain(chain, now) for chain in found["chains"]]))
            click.echo()
            rows = [(provider["id"], provider["tier"], provider["breaker"]) for provider in found["providers"]]
            show(Table(_PROVIDERS, rows))
    sys.exit(0 if found and found["healthy"] else 1)


def _gateway(found: Mapping[str, Any], pages: str) -> Iterator[tuple[str, str]]:
    simulated = ", on simulated providers" if found["simulated"] else ""
    yield "running", f"since {local(found['started'])}, version {found['version']}{simulated}"
    yield "pages", pages
    yield "healthy", "yes" if found["healthy"] else "no"
    for problem in found["problems"]:
        yield "", problem


def _day(data: Path, now: float) -> Summary | None:
    """What the last day was like; None where there is no log, or none that can be read."""
    try:
        return log(data).summary(now - _DAY)
    except Failed as error:
        click.echo(f"chain429: {error}", err=True)
        return None


def _day_lines(day: Summary | None) -> Iterator[tuple[str, str]]:
    if day is None:
        return
    yield "last day", f"{day.requests:,} requests: {day.served:,} served, {day.failed:,} failed"
    if day.latency_p50 is not None and day.latency_p95 is not None:
        yield "", f"half within {seconds(day.latency_p50)}, 95 % within {seconds(day.latency_p95)}"


def _chain(chain: Mapping[str, Any], now: float) -> tuple[str, ...]:
    targets = [_target(target) for tier in chain["tiers"] for target in tier]
    ready = [target for target in targets if target.ready]
    back = min((target.until for target in targets if not target.ready and target.until is not None), default=None)
    return (
        chain["name"],
        f"{len(ready)} of {len(targets)}",
        f"{ready[0].provider}/{ready[0].model}" if ready else NOTHING,
        NOTHING if back is None else span(back - now),
    )


def _target(told: Mapping[str, Any]) -> TargetStatus:
    """Without its limits."""
    return TargetStatus(
        told["provider"], told["model"], told["credential"], told["state"], told["reason"], told["until"]
    )
