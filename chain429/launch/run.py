"""``chain429 run``: this process becomes the tool, with the proxy in its environment.

Because it becomes the tool, and does not merely start it, exit codes, signals, the terminal and job control are the
tool's own.
"""

from __future__ import annotations

import os
import shutil
import signal
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import NoReturn

from chain429.errors import StartError
from chain429.launch.authority import write_bundle
from chain429.launch.background import Background
from chain429.launch.running import Running, health, running_proxy
from chain429.launch.variables import variables

# What Python ignores, and other programs expect to be as it was.
_IGNORED_BY_PYTHON = ("SIGPIPE", "SIGXFSZ", "SIGXFZ")


class NoSuchCommand(StartError):
    """``status`` is what a shell would end with: 127 where there is none of that name, 126 where it can't be run."""

    def __init__(self, command: str, status: int) -> None:
        self.status = status
        super().__init__(f"{command}: " + ("there is no such command" if status == 127 else "it can't be run"))


def find_command(command: str, environ: Mapping[str, str]) -> str:
    """The path of a program, as a shell would find it. Raises NoSuchCommand."""
    found = shutil.which(command, path=environ.get("PATH", os.defpath))
    if found is None:
        raise NoSuchCommand(command, 126 if os.sep in command and Path(command).exists() else 127)
    return found


def options(config: Path | None, data: Path) -> list[str]:
    """mitmdump's, for a proxy that is in nobody's way: on ports that are free, and silent."""
    told = {
        "chain429_listen": "127.0.0.1:0",
        "chain429_pages": "127.0.0.1:0",
        "chain429_data_dir": str(data),
        "flow_detail": "0",
        **({"chain429_config": str(config.resolve())} if config else {}),
    }
    settings = [part for name, value in told.items() for part in ("--set", f"{name}={value}")]
    return ["-q", "--mode", "regular", "--listen-port", "0", *settings]


def surroundings(running: Running, environ: Mapping[str, str], data: Path) -> dict[str, str]:
    """The variables that send a tool to that proxy; the file that they name is written. Raises StartError."""
    if running.wants_login:
        raise StartError(
            f"the proxy at {running.proxy} asks for a name and a password (proxyauth): put HTTPS_PROXY into the "
            "environment by hand, with both in it"
        )
    bundle = write_bundle(running.certificate, environ, data)
    return variables(running.proxy, running.certificate, bundle, environ)


def found(data: Path) -> Running:
    """The proxy that runs. Raises StartError."""
    running = running_proxy(data)
    if running is None:
        raise StartError(
            f"no proxy runs with its data in {data}: start one with scripts/start, or use 'chain429 run -- COMMAND'"
        )
    return running


def become(
    command: Sequence[str], config: Path | None, data: Path, environ: Mapping[str, str], say: Callable[[str], None]
) -> NoReturn:
    """Become ``command``, with a proxy that lasts as long. ``say`` is told what somebody must know. Raises StartError;
    then nothing is left running."""
    path = find_command(command[0], environ)
    data = data.resolve()
    background = Background(data, options(config, data), environ)
    running, started = background.hold()
    try:
        added = surroundings(running, environ, data)
        if config and not started:
            say(f"a proxy runs already, with a configuration of its own: {config} is not used")
        if (environ.get("https_proxy") or environ.get("HTTPS_PROXY") or running.proxy) != running.proxy:
            say("HTTPS_PROXY named another proxy, which is not asked now")
        if (health(running) or {}).get("simulated"):
            say("no configuration and no provider's key was found: a built-in simulator answers")
        if sys.stderr.isatty() and started:
            say(f"the proxy is at {running.proxy}, its pages at {running.pages}")
        sys.stdout.flush()
        sys.stderr.flush()
        for name in _IGNORED_BY_PYTHON:
            if hasattr(signal, name):
                signal.signal(getattr(signal, name), signal.SIG_DFL)
        os.execve(path, list(command), {**environ, **added})  # noqa: S606  that is what is asked for
    except OSError as error:
        raise NoSuchCommand(command[0], 126) from error
    finally:
        background.release()
