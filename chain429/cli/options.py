"""Options that several commands have."""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import Any

import click

from chain429 import folders

config = click.option(
    "--config",
    type=click.Path(path_type=Path, dir_okay=False),
    help="The configuration file. Else $CHAIN429_CONFIG, ./chain429.yaml, then the user's configuration folder.",
)
data_dir = click.option(
    "--data-dir",
    type=click.Path(path_type=Path, file_okay=False),
    help="Where tokens and the request log are kept. Else $CHAIN429_DATA_DIR, or the user's data folder.",
)
as_json = click.option("--json", "as_json", is_flag=True, help="As JSON, for scripts.")

_TIMES = "From when on: 90m, 24h or 7d ago, 2026-11-01, '2026-11-01 18:30', or Unix seconds."
_Decorator = Callable[[Callable[..., Any]], Callable[..., Any]]
_AGO = re.compile(r"(\d{1,6})\s*([smhdw])")
_SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86_400, "w": 7 * 86_400}


def data_folder(told: Path | None) -> Path:
    return folders.data_folder(told, os.environ)


def moment(text: str, now: float) -> float | None:
    """The time that ``text`` means at ``now``, both Unix seconds; None where it means none."""
    if ago := _AGO.fullmatch(text):
        return max(now - int(ago[1]) * _SECONDS[ago[2]], 0.0)
    try:
        # A date always has a dash in it; without, there would be two ways to read 20261101.
        found = datetime.fromisoformat(text).timestamp() if "-" in text else float(text)
    except (ValueError, OverflowError, OSError):
        return None
    return found if 0 <= found < 1e12 else None


def _moment(context: click.Context, option: click.Parameter, value: str | None) -> float | None:
    if value is None:
        return None
    from chain429.clock import SystemClock  # it brings asyncio, which most commands do without

    found = moment(value, SystemClock().now())
    if found is None:
        raise click.BadParameter(f"{value!r} is not a time such as 90m, 24h, 7d, 2026-11-01 or '2026-11-01 18:30'.")
    return found


def since(usual: str) -> _Decorator:
    return click.option("--since", metavar="TIME", callback=_moment, help=f"{_TIMES} {usual}")


until: _Decorator = click.option(
    "--until", metavar="TIME", callback=_moment, help="Likewise; now where it is not said."
)
