"""Programs that begin with their imports done: forked from a process that has done them once, which is nine tenths of a
start. All else is as when a shell starts them: arguments, environment and folder, what they print, and how they end.

Not for what depends on the environment during imports: aiohttp reads then whom to trust. That a shell can start them,
too, is told by ``test_start.py``, ``test_install.py`` and ``tests/cli/test_serve.py``.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from multiprocessing.connection import Connection
from pathlib import Path
from typing import IO

_CONTEXT = multiprocessing.get_context("forkserver")
_CONTEXT.set_forkserver_preload(
    [
        "mitmproxy.tools.dump",
        "mitmproxy.tools.main",
        "mitmproxy.tools.web.master",
        "chain429.cli.serve",
        "chain429.proxy.addon",
    ]
)


class Forked:
    """What one needs of ``subprocess.Popen``. The command is one of ``mitmdump``, ``mitmweb``, ``chain429`` or
    ``python -c``."""

    def __init__(self, command: Sequence[str], *, cwd: Path, env: Mapping[str, str]) -> None:
        self.stdout, out = _pipe()
        self.stderr, err = _pipe()
        told = (command, str(cwd), dict(env), out, err)
        self._process = _CONTEXT.Process(target=_become, args=told, daemon=True)
        self._process.start()
        out.close()
        err.close()
        assert self._process.pid
        self.pid = self._process.pid

    def send_signal(self, number: signal.Signals) -> None:
        if self.poll() is None:
            os.kill(self.pid, number)

    def kill(self) -> None:
        self._process.kill()

    def poll(self) -> int | None:
        return self._process.exitcode

    def wait(self, seconds: float) -> int:
        self._process.join(seconds)
        status = self._process.exitcode
        if status is None:
            raise subprocess.TimeoutExpired(str(self.pid), seconds)
        return status


def _pipe() -> tuple[IO[str], Connection]:
    reading, writing = _CONTEXT.Pipe(duplex=False)
    with reading:
        return os.fdopen(os.dup(reading.fileno()), encoding="utf-8"), writing


def _become(command: Sequence[str], cwd: str, env: Mapping[str, str], out: Connection, err: Connection) -> None:
    for connection, standard in ((out, 1), (err, 2)):
        os.dup2(connection.fileno(), standard)
        connection.close()
    os.chdir(cwd)
    os.environ.clear()
    os.environ.update(env)
    program, *arguments = command
    sys.argv = list(command)
    if program == "chain429":
        from chain429 import cli

        cli.main(arguments, prog_name=program)
    elif program == "python":  # -c CODE ARGUMENT...
        sys.argv = ["-c", *arguments[2:]]
        exec(arguments[1], {"__name__": "__main__"})
    else:
        from mitmproxy.tools import main

        getattr(main, program)(arguments)
