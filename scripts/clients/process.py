"""One run of a client: an environment of its own, no way out of this machine, a time-out, and nothing left behind."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO

# Nothing listens there: what a client asks of the world fails at once, and nobody hears of it.
_NOWHERE = "http://127.0.0.1:9"
_SHOWN = 600


@dataclass(frozen=True, slots=True)
class Done:
    """``status`` is None where time ran out."""

    status: int | None
    out: str
    err: str

    def complaint(self) -> str | None:
        """Why it failed, with the end of what it said; None where it did not."""
        if self.status == 0:
            return None
        how = "ran out of time" if self.status is None else f"ended with status {self.status}"
        said = " / ".join(line.strip() for line in (self.out + "\n" + self.err).splitlines() if line.strip())
        return f"{how}: …{said[-_SHOWN:]}" if said else how


def environment(folder: Path, programs: Path, **more: str) -> dict[str, str]:
    """A home and a place for temporary files in ``folder``, the programs of the packages first."""
    home = folder / "home"
    home.mkdir(exist_ok=True)
    return {
        "PATH": f"{programs}{os.pathsep}{os.environ.get('PATH', os.defpath)}",
        "HOME": str(home),
        "TMPDIR": str(folder),
        "LANG": "C.UTF-8",
        "HTTPS_PROXY": _NOWHERE,
        "HTTP_PROXY": _NOWHERE,
        "NO_PROXY": "127.0.0.1,localhost",
        **more,
    }


async def run(command: Sequence[str], *, cwd: Path, env: Mapping[str, str], seconds: float) -> Done:
    with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err:
        process = await asyncio.create_subprocess_exec(
            *command,
            cwd=cwd,
            env=env,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=out,
            stderr=err,
            # A group of its own, so that what it started ends with it.
            start_new_session=True,
        )
        status: int | None = None
        try:
            async with asyncio.timeout(seconds):
                status = await process.wait()
        except TimeoutError:
            pass
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            await process.wait()
        return Done(status, *(_text(file) for file in (out, err)))


def _text(file: IO[bytes]) -> str:
    file.seek(0)
    return file.read().decode("utf-8", "replace")
