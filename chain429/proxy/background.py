"""A program: mitmdump that leaves its parent, and ends when nobody holds a lock on a file any more.

``python -P background.py LOCK OPTIONS…``; see ``chain429/launch/background.py``. Nothing of chain429 is imported here:
the script among the options finds its own package.
"""

from __future__ import annotations

import fcntl
import os
import signal
import sys
import threading

from mitmproxy.tools.main import mitmdump


def end_when_free(path: str) -> None:
    """Wait until the lock can be had, keep it till this process ends, and ask for that."""
    descriptor = os.open(path, os.O_RDWR)
    fcntl.flock(descriptor, fcntl.LOCK_EX)
    os.kill(os.getpid(), signal.SIGTERM)


def main(arguments: list[str]) -> None:
    lock, *options = arguments
    if os.fork():
        # Whoever started this becomes another program, which must not find a child that it knows nothing of.
        os._exit(0)
    threading.Thread(target=end_when_free, args=(lock,), daemon=True).start()
    mitmdump(options)


if __name__ == "__main__":
    main(sys.argv[1:])
