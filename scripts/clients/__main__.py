"""``scripts/test-clients``: install, try each client at each dialect, one line for each; 0 unless one failed."""

from __future__ import annotations

import argparse
import asyncio
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from scripts.clients.packages import NotRun, Packages, install, names
from scripts.clients.trials import Trial, trials
from scripts.clients.world import SERVING, world

FOLDER = Path(__file__).resolve().parent.parent.parent / ".clients"
_AT_ONCE = 3


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="scripts/test-clients",
        description="Tries Claude Code, Codex and the SDKs for Node through the gateway, on simulated providers of "
        "each dialect, of which the first one refuses. npm installs the clients into .clients/, outside of git.",
    )
    parser.add_argument("--newest", action="store_true", help="try the newest versions, not those of the lock file")
    parser.add_argument("--client", metavar="TEXT", default="", help="only clients with this in their names")
    parser.add_argument("--upstream", choices=SERVING, action="append", help="only providers of this dialect")
    told = parser.parse_args(arguments)
    try:
        packages = install(FOLDER, newest=told.newest)
    except NotRun as error:
        print("\n".join(f"{name}: not run: {error}" for name in names()))
        return 0
    chosen = [trial for trial in trials() if told.client.lower() in trial.client.lower()]
    if not chosen:
        parser.error(f"no client's name has {told.client!r} in it; there are: {', '.join(t.client for t in trials())}")
    return asyncio.run(_all(chosen, packages, told.upstream or list(SERVING)))


async def _all(chosen: Sequence[Trial], packages: Packages, dialects: Sequence[str]) -> int:
    """A client waits more than it works, so some are tried at the same time; they are told of in order."""
    places = asyncio.Semaphore(_AT_ONCE)
    failed = 0
    async with asyncio.TaskGroup() as group:
        under_way: list[tuple[str, asyncio.Task[str | None]]] = []
        for trial in chosen:
            try:
                version = packages.version(trial.package)
            except NotRun as error:
                print(f"{trial.client}: not run: {error}", flush=True)
                continue
            for dialect in dialects:
                name = f"{trial.client} {version}, served by a provider that speaks {dialect}"
                under_way.append((name, group.create_task(_one(trial, packages, dialect, places))))
        for name, task in under_way:
            wrong = await task
            failed += wrong is not None
            print(f"{name}: {'passed' if wrong is None else 'FAILED: ' + wrong}", flush=True)
    return int(failed > 0)


async def _one(trial: Trial, packages: Packages, dialect: str, places: asyncio.Semaphore) -> str | None:
    async with places:
        with tempfile.TemporaryDirectory(prefix="chain429-client-", ignore_cleanup_errors=True) as name:
            folder = Path(name)
            async with world(dialect, folder) as there:
                return await trial.run(there, packages, folder)


if __name__ == "__main__":
    sys.exit(main())
