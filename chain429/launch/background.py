"""A proxy in the background, for as long as tools run that need it.

Each tool holds a shared lock on one file, by a descriptor that it inherits without knowing; the proxy waits for the
lock on its own and then ends (``chain429/proxy/background.py``). So it goes away whichever way the last tool does, and
two tools at once share one proxy.
"""

from __future__ import annotations

import os
import select
import subprocess
import sys
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path

from chain429.errors import StartError
from chain429.launch.running import Running, running_proxy

if sys.platform != "win32":
    import fcntl

_LOCK = "run.lock"
_START_LOCK = "run-start.lock"
_LOG = "run.log"
# The first start on a slow machine makes an authority and compiles every module.
_LONGEST_START = 60.0
_LOOK_EVERY = 0.05


def addon_path() -> Path:
    """What is given to ``mitmdump -s``: in the package when installed, beside it in a checkout."""
    package = Path(__file__).parent.parent
    installed = package / "_addon" / "chain429.py"
    return installed if installed.is_file() else package.parent / "addons" / "chain429.py"


class Background:
    """The proxy whose data is in ``data``. ``options`` are those of mitmdump that a new one is started with."""

    def __init__(self, data: Path, options: Sequence[str], environ: Mapping[str, str]) -> None:
        self._data = data
        self._options = options
        self._environ = environ
        self._held: int | None = None

    def hold(self) -> tuple[Running, bool]:
        """A proxy that listens, and whether it was started for that. It runs for as long as this process and those
        that inherit its descriptors, or until ``release``. Raises StartError."""
        if sys.platform == "win32":
            raise StartError("'chain429 run' needs Linux or macOS; here, start the proxy and use 'chain429 env'")
        try:
            self._data.mkdir(parents=True, exist_ok=True, mode=0o700)
            # Waits for a proxy that is about to end: the next one then begins with what that one has learned.
            self._held = self._locked(_LOCK, fcntl.LOCK_SH)
            starting = self._locked(_START_LOCK, fcntl.LOCK_EX)
        except OSError as error:
            raise StartError(f"the data folder {self._data} can't be used: {error.strerror or error}") from None
        try:
            found = running_proxy(self._data)
            started = found is None
            if found is None:
                found = self._start()
            os.set_inheritable(self._held, True)
        except BaseException:
            self.release()
            raise
        finally:
            os.close(starting)
        return found, started

    def release(self) -> None:
        if self._held is not None:
            os.close(self._held)
            self._held = None

    def _locked(self, name: str, kind: int) -> int:
        descriptor = os.open(self._data / name, os.O_RDWR | os.O_CREAT, 0o600)
        fcntl.flock(descriptor, kind)
        return descriptor

    def _start(self) -> Running:
        program = Path(__file__).parent.parent / "proxy" / "background.py"
        # -P: the folder of that file holds names that are not meant for everybody.
        command = [sys.executable, "-P", str(program), str(self._data / _LOCK), "-s", str(addon_path()), *self._options]
        log = os.open(self._data / _LOG, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        alive, kept = os.pipe()
        try:
            try:
                subprocess.run(  # noqa: S603  our own program
                    command,
                    env=self._environ,
                    stdin=subprocess.DEVNULL,
                    stdout=subprocess.DEVNULL,
                    stderr=log,
                    start_new_session=True,
                    pass_fds=(kept,),
                    check=True,
                )
            finally:
                os.close(kept)
            for _ in range(round(_LONGEST_START / _LOOK_EVERY)):
                # Nothing is ever written to it: it can be read once the proxy has ended.
                ended, _, _ = select.select([alive], [], [], _LOOK_EVERY)
                found = None if ended else running_proxy(self._data)
                if found:
                    return found
                if ended:
                    raise StartError(f"the proxy did not start:\n{self._last_words()}")
        except subprocess.CalledProcessError:
            raise StartError(f"the proxy did not start:\n{self._last_words()}") from None
        finally:
            os.close(log)
            os.close(alive)
        raise StartError(f"the proxy has not come up within {_LONGEST_START:g} s; see {self._data / _LOG}")

    def _last_words(self) -> str:
        said = ""
        with suppress(OSError):
            said = (self._data / _LOG).read_text(encoding="utf-8", errors="replace").strip()
        return "\n".join(said.splitlines()[-20:]) or f"it has not said why; try: mitmdump -s {addon_path()}"
