"""``scripts/bench``: measure, print, and keep the figures as JSON where that is asked for."""

from __future__ import annotations

import argparse
import dataclasses
import json
import signal
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from scripts.benchmark import idling, pages, translation
from scripts.benchmark.contestants import DIRECT, NAMES, NoStart, arena
from scripts.benchmark.idling import IDLING
from scripts.benchmark.load import Unexpected
from scripts.benchmark.pages import PAGES
from scripts.benchmark.report import Bar, bars, table
from scripts.benchmark.rounds import FULL, QUICK, Sizes, compete, figures
from scripts.benchmark.translation import TRANSLATION

# What is measured by itself.
_ALONE = (TRANSLATION, IDLING, PAGES)


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="scripts/bench", description="Measures what the gateway costs, beside a bare relay."
    )
    parser.add_argument("--quick", action="store_true", help="half a minute, for a first impression")
    parser.add_argument("--rounds", type=int, help="how often everything is measured")
    parser.add_argument(
        "--only", choices=(*NAMES, *_ALONE), action="append", help="only this one; may be given several times"
    )
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures there, too")
    told = parser.parse_args(arguments)
    sizes = QUICK if told.quick else FULL
    if told.rounds:
        sizes = dataclasses.replace(sizes, rounds=told.rounds)
    names = [name for name in (*NAMES, *_ALONE) if not told.only or name in told.only]
    if not set(names) <= set(_ALONE) and DIRECT not in names:
        # What is asked directly is what all the others are compared with.
        names.insert(0, DIRECT)
    # Being asked to end unwinds too: no process that was started here is left behind.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    try:
        return run(sizes, names, told.json)
    except KeyboardInterrupt:
        return 130
    except (NoStart, Unexpected) as error:
        print(f"bench: {error}", file=sys.stderr)
        return 1


def run(sizes: Sizes, names: Sequence[str], file: Path | None) -> int:
    """Measure ``names`` and print what came of it. Raises NoStart and Unexpected."""
    value: dict[str, Any] = {"sizes": dataclasses.asdict(sizes)}
    contestants = [name for name in names if name not in _ALONE]
    reached: list[Bar] = []
    if contestants:
        with tempfile.TemporaryDirectory(prefix="chain429-bench-") as folder:
            with arena(Path(folder), contestants, sizes.models, sizes.limited * sizes.rounds) as running:
                results = compete(running, sizes, _say)
                found = figures(results, sizes)
            print(table(found, running.skipped))
        value |= {"figures": found, "skipped": running.skipped}
        reached += bars(found)
    if TRANSLATION in names:
        _say("translation")
        translated = translation.measure(sizes.translated)
        print(("\n" if contestants else "") + translation.table(translated))
        value["translation"] = translated
        reached += translation.bars(translated)
    if IDLING in names:
        _say("idling")
        with tempfile.TemporaryDirectory(prefix="chain429-bench-") as folder:
            idle = idling.measure(Path(folder), sizes.idle, sizes.idled, sizes.pause)
        print(("\n" if len(names) > 1 else "") + idling.table(idle, sizes.idle))
        value["idling"] = idle
        reached += idling.bars(idle)
    if PAGES in names:
        _say(f"pages, and first a log of {sizes.logged} requests")
        with tempfile.TemporaryDirectory(prefix="chain429-bench-") as folder:
            shown = pages.measure(Path(folder), sizes.logged, sizes.shown)
        print(("\n" if len(names) > 1 else "") + pages.table(shown, sizes.logged))
        value["pages"] = shown
        reached += pages.bars(shown)
    if file:
        value["bars"] = [{**dataclasses.asdict(bar), "verdict": bar.verdict} for bar in reached]
        file.write_text(json.dumps(value, indent=2) + "\n", encoding="utf-8")
    return 0


def _say(words: str) -> None:
    print(words, file=sys.stderr)


if __name__ == "__main__":
    sys.exit(main())
