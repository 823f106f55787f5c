"""The log where mitmproxy draws its interface in the terminal: into mitmproxy's event log, not across the screen."""

from __future__ import annotations

import logging
from collections.abc import Callable

_ours = logging.getLogger("chain429")
_events = logging.getLogger("mitmproxy.chain429")


class _EventLog(logging.Handler):
    def __init__(self, redact: Callable[[str], str]) -> None:
        super().__init__()
        self._redact = redact

    def emit(self, record: logging.LogRecord) -> None:
        _events.log(record.levelno, "%s", self._redact(self.format(record)))


def start(redact: Callable[[str], str], *, debug: bool) -> logging.Handler:
    """Hand chain429's log on to mitmproxy, without keys. Returns the handler, for ``chain429.log.stop``."""
    handler = _EventLog(redact)
    _ours.addHandler(handler)
    _ours.setLevel(logging.DEBUG if debug else logging.INFO)
    _ours.propagate = False
    return handler
