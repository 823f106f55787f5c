"""What is logged: asked of the gateway where one runs, else read from its log, with the answers of the admin API."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any
from urllib.parse import quote

from chain429.cli.gateway import NoGateway, ask
from chain429.cli.listed import Failed
from chain429.folders import log_file
from chain429.store.queries import Filter, Queries
from chain429.store.told import told, told_request, told_sums
from chain429.store.usage import Dimension


def ask_requests(data: Path, wanted: Filter, limit: int, before: int | None) -> Any:
    """The answer to ``GET requests``."""
    try:
        return ask(data, "requests", {**dataclasses.asdict(wanted), "limit": limit, "before": before})
    except NoGateway as error:
        found = log(data, error).search(wanted, limit, before)
        return {"requests": list(map(told, found.requests)), "older": found.older, "searched_to": found.until}


def ask_request(data: Path, id: str) -> Any:
    """The answer to ``GET requests/{id}``."""
    try:
        return ask(data, f"requests/{quote(id, safe='')}")
    except NoGateway as error:
        found = log(data, error).request(id)
        if found is None:
            raise Failed("There is no request of that id in the log.") from None
        return told_request(found)


def ask_usage(data: Path, by: Dimension, since: float, until: float) -> Any:
    """The answer to ``GET usage``."""
    try:
        return ask(data, "usage", {"by": by, "since": since, "until": until})
    except NoGateway as error:
        found = log(data, error).usage(by, since, until)
        return {"by": by, "since": since, "until": until, "usage": list(map(told_sums, found))}


def log(data: Path, why: Exception | None = None) -> Queries:
    """The log that is kept there; ``why`` is what speaks against asking the gateway. Raises Failed where there is none,
    and so does a question that can't be answered."""
    path = log_file(data)
    if not path.exists():
        raise Failed(f"{why}; and there is no log in {data} yet" if why else f"there is no log in {data} yet")
    return Queries(path, on_failure=lambda words: _unreadable(path, words))


def _unreadable(path: Path, words: str) -> None:
    raise Failed(f"the log {path} can't be read: {words}")
