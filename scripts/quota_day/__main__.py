"""``scripts/quota-day``: play days, print the figures, keep them as JSON, hold them against the bars."""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import sys
import time
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from pathlib import Path

from scripts.quota_day.day import Figures, played
from scripts.quota_day.report import as_json, bars, table, total


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="scripts/quota-day", description="Plays days in virtual time, and holds the figures against the bars."
    )
    parser.add_argument("--seeds", type=seeds, default=seeds("1-3"), help="such as 7, 1-10 or 1,4,9 (default 1-3)")
    parser.add_argument("--hours", type=float, default=24.0, help="the length of a day (default 24)")
    parser.add_argument("--configured", action="store_true", help="write the true limits into the configuration")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures there, too")
    parser.add_argument("--bars", action="store_true", help="fail when a bar is missed")
    told = parser.parse_args(arguments)
    if told.hours <= 0:
        parser.error("--hours must be more than 0")
    days: list[Figures] = []
    began = time.perf_counter()
    # Each day on a core of its own, in a process of its own: a day takes all of one.
    with ProcessPoolExecutor(min(len(told.seeds), os.cpu_count() or 1), multiprocessing.get_context("spawn")) as cores:
        for figures in cores.map(partial(played, hours=told.hours, configured=told.configured), told.seeds):
            days.append(figures)
            seconds = time.perf_counter() - began
            print(f"seed {figures.seeds[0]}: {figures.requests} requests, after {seconds:.1f} s", file=sys.stderr)
    print(table(days, configured=told.configured))
    found = bars(days, configured=told.configured)
    if told.json:
        value = {
            "hours": told.hours,
            "configured": told.configured,
            "days": [as_json(day) for day in days],
            "all": as_json(total(days)),
            "bars": [{"title": bar.title, "value": bar.value, "holds": bar.holds} for bar in found],
        }
        told.json.write_text(json.dumps(value, indent=2) + "\n", encoding="utf-8")
    return int(told.bars and not all(bar.holds for bar in found))


def seeds(text: str) -> list[int]:
    """``1-3,7`` as 1, 2, 3 and 7."""
    found: list[int] = []
    for part in text.split(","):
        first, _, last = part.partition("-")
        found += range(int(first), int(last or first) + 1)
    if not found:
        raise ValueError(f"no seed in {text!r}")
    return found


if __name__ == "__main__":
    sys.exit(main())
