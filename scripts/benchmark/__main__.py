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

from scripts.benchmark.contestants import DIRECT, NAMES, NoStart, arena
from scripts.benchmark.load import Unexpected
from scripts.benchmark.report import bars, table
from scripts.benchmark.rounds import FULL, QUICK, Sizes, compete, figures


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="scripts/bench", description="Measures what the gateway costs, beside a bare relay."
    )
    parser.add_argument("--quick", action="store_true", help="half a minute, for a first impression")
    parser.add_argument("--rounds", type=int, help="how often everything is measured")
    parser.add_argument("--only", choices=NAMES, action="append", help="only this one; may be given several times")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures there, too")
    told = parser.parse_args(arguments)
    sizes = QUICK if told.quick else FULL
    if told.rounds:
        sizes = dataclasses.replace(sizes, rounds=told.rounds)
    # What is asked directly is what all the others are compared with.
    names = [name for name in NAMES if name == DIRECT or not told.only or name in told.only]
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
    with tempfile.TemporaryDirectory(prefix="chain429-bench-") as folder:
        with arena(Path(folder), names, sizes.models, sizes.limited * sizes.rounds) as running:
            results = compete(running, sizes, lambda words: print(words, file=sys.stderr))
            found = figures(results, sizes)
        print(table(found, running.skipped))
    if file:
        verdicts = [{**dataclasses.asdict(bar), "verdict": bar.verdict} for bar in bars(found)]
        value = {"sizes": dataclasses.asdict(sizes), "figures": found, "skipped": running.skipped, "bars": verdicts}
        file.write_text(json.dumps(value, indent=2) + "\n", encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
