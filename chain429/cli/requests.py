"""``chain429 requests``: what was asked, and who answered."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import click

from chain429.cli import options
from chain429.cli.logged import ask_request, ask_requests
from chain429.cli.tables import STATES, Column, Table, show, visible
from chain429.cli.words import NOTHING, count, local
from chain429.store.queries import Filter
from chain429.web.view import money, request_words, seconds

_OUTCOMES = ("served", "broken", "cancelled", "refused", "exhausted")
_COLUMNS = (
    Column("TIME"),
    Column("OUTCOME", styles=STATES),
    Column("CHAIN"),
    Column("SERVED BY, OR WHY NOT"),
    Column("TOOK", right=True),
    Column("TRIES", right=True, spare=True),
    Column("TOKENS IN", right=True, spare=True),
    Column("OUT", right=True, spare=True),
    Column("COST", right=True, spare=True),
    Column("ID", spare=True),
)
_ATTEMPTS = (
    Column("TARGET"),
    Column("KEY"),
    Column("OUTCOME", styles=STATES),
    Column("STATUS", right=True),
    Column("TOOK", right=True),
    Column("WHY"),
)


@click.command()
@click.argument("id", required=False)
@options.data_dir
@options.since("The beginning of the log where it is not said.")
@options.until
@click.option("--chain", default="", metavar="NAME", help="Only of this chain.")
@click.option("--provider", default="", metavar="NAME", help="Only those that it served, or was asked for.")
@click.option("--outcome", type=click.Choice(_OUTCOMES), help="Only those that ended so.")
@click.option("--status", type=click.IntRange(100, 599), help="Only those that were answered with this HTTP status.")
@click.option("--text", default="", help="Part of the id, of the model that was asked for, or of the error.")
@click.option("--limit", type=click.IntRange(1, 500), default=20, show_default=True, help="How many.")
@click.option("--before", type=click.IntRange(0), help="Go on from what the JSON before calls 'older'.")
@options.as_json
def requests(
    id: str | None,
    data_dir: Path | None,
    since: float | None,
    until: float | None,
    chain: str,
    provider: str,
    outcome: str | None,
    status: int | None,
    text: str,
    limit: int,
    before: int | None,
    as_json: bool,
) -> None:
    """List what was asked, and who answered.

    The newest come first. With an ID, only that request is shown, with what was tried for it; IDs are in the last
    column, where a terminal has room for it, and in the JSON. Where no gateway runs, its log is read.
    """
    data = options.data_folder(data_dir)
    if id is not None:
        found = ask_request(data, id)
    else:
        wanted = Filter(since, until, chain, provider, outcome or "", status, text)
        found = ask_requests(data, wanted, limit, before)
    if as_json:
        click.echo(json.dumps(found, indent=2))
    elif id is not None:
        _show_one(found)
    else:
        _show(found)


def _show(found: Mapping[str, Any]) -> None:
    if found["requests"]:
        show(Table(_COLUMNS, [_row(row) for row in found["requests"]]))
    else:
        click.echo("No such request is in the log.", err=True)
    if found["searched_to"] is not None:
        click.echo(f"Searched back to {local(found['searched_to'])}; --until goes on from there.", err=True)


def _row(request: Mapping[str, Any]) -> tuple[str, ...]:
    tried = sum(attempt["outcome"] != "skipped" for attempt in request["attempts"])
    return (
        local(request["at"]),
        f"{request['outcome']} {request['status']}",
        request["chain"],
        _served_by(request) or request["error"],
        seconds(request["latency"]),
        str(tried),
        count(request["tokens_in"]),
        count(request["tokens_out"]),
        _cost(request),
        request["id"],
    )


def _served_by(request: Mapping[str, Any]) -> str:
    return f"{request['provider']}/{request['model']}" if request["provider"] else ""


def _cost(request: Mapping[str, Any]) -> str:
    return NOTHING if request["cost"] is None else money(request["cost"], request["currency"])


def _show_one(request: Mapping[str, Any]) -> None:
    """With its attempts."""
    first = "" if request["first_token"] is None else f", the first token after {seconds(request['first_token'])}"
    cached = f", {request['tokens_cached']:,} of them cached" if request["tokens_cached"] else ""
    lines = {
        "request": request["id"],
        "at": f"{local(request['at'])}, by {request['client'] or 'nobody known'}",
        "asked": f"{request['model_asked']}, of the chain {request['chain']} ({request['dialect']})",
        "ended": f"{request_words(request['outcome'])}, HTTP {request['status']}",
        "by": _served_by(request),
        "error": request["error"],
        "took": seconds(request["latency"]) + first,
        "tokens": f"{count(request['tokens_in'])} in{cached}, {count(request['tokens_out'])} out",
        "cost": _cost(request),
    }
    for name, value in lines.items():
        if value:
            click.echo(f"{name:<9}{visible(value)}")
    if request["attempts"]:
        click.echo()
        show(Table(_ATTEMPTS, [_attempt(attempt) for attempt in request["attempts"]]))


def _attempt(attempt: Mapping[str, Any]) -> tuple[str, ...]:
    return (
        f"{attempt['provider']}/{attempt['model']}",
        attempt["credential"],
        attempt["outcome"].replace("_", " "),
        NOTHING if attempt["status"] is None else str(attempt["status"]),
        NOTHING if attempt["outcome"] == "skipped" else seconds(attempt["duration"]),
        attempt["reason"],
    )
