"""The log on stderr: one readable line a request; with debug, each decision and why."""

from __future__ import annotations

import datetime
import functools
import logging
import sys
from collections.abc import Callable, Sequence
from typing import TextIO

from chain429.store.records import AttemptRecord, Recorder, RequestRecord

_log = logging.getLogger("chain429.request")
_TIME = "%H:%M:%S"


class RequestLog:
    """Hands each record on, and writes it as one line a little later, together with others.

    ``later`` calls what it is given in a moment, on the same thread; ``flush`` writes at once what is left.
    """

    def __init__(self, then: Recorder, later: Callable[[Callable[[], None]], object]) -> None:
        self._then = then
        self._later = later
        self._waiting: list[RequestRecord] = []

    def record(self, record: RequestRecord) -> None:
        self._then.record(record)
        if _log.isEnabledFor(logging.INFO):
            self._waiting.append(record)
            if len(self._waiting) == 1:
                self._later(self.flush)

    def flush(self) -> None:
        records, self._waiting = self._waiting, []
        if not records:
            return
        ended = [record.at + record.latency for record in records]
        # One entry for all: to hand a line over, write it and flush it costs more than to make it. It begins with the
        # first one's time of its own accord.
        rest = [f"{_time_of_day(int(at))} {line(record)}" for record, at in zip(records[1:], ended[1:], strict=True)]
        _log.handle(_entry("\n".join([line(records[0]), *rest]), ended[0]))


# What all our entries have in common.
_COMMON = logging.makeLogRecord({"name": _log.name, "levelno": logging.INFO, "levelname": "INFO"}).__dict__


def _entry(text: str, created: float) -> logging.LogRecord:
    """A record without what is slow to find out and never shown: the caller, the thread, the task and the process."""
    entry = logging.LogRecord.__new__(logging.LogRecord)
    entry.__dict__.update(_COMMON, msg=text, created=created)
    return entry


def line(record: RequestRecord) -> str:
    """``200 default gpt-4o -> groq/openai/gpt-oss-120b 0.41s (first token 0.18s) 12+40 tokens [req_…]``, then the
    trail."""
    parts = [str(record.status), record.chain]
    if record.model_asked != record.chain:
        parts.append(_plain(record.model_asked) or "-")
    parts.append(f"-> {record.provider}/{record.model}" if record.provider else f"-> {record.outcome}")
    parts.append(f"{record.latency:.2f}s")
    if record.first_token is not None and record.streamed:
        parts.append(f"(first token {record.first_token:.2f}s)")
    if record.tokens_in is not None:
        parts.append(f"{record.tokens_in}+{record.tokens_out} tokens")
    if record.outcome not in ("served", "exhausted"):
        parts.append(record.outcome)
    parts.append(f"[{record.id}]")
    trail = _trail(record.attempts)
    return " ".join(parts) + (f" | {trail}" if trail else "")


def _trail(attempts: Sequence[AttemptRecord]) -> str:
    if len(attempts) == 1 and attempts[0].outcome == "served":
        return ""
    return ", ".join(
        f"{attempt.provider}/{attempt.model} {attempt.outcome}"
        + (f": {_plain(attempt.reason)}" if attempt.outcome != "served" and attempt.reason else "")
        for attempt in attempts
    )


def _plain(text: str) -> str:
    """One line of printable characters: what a client or a provider says must not forge a line or move a cursor."""
    text = text[:300]
    return text if text.isprintable() else "".join(char if char.isprintable() else "?" for char in text)


@functools.lru_cache(maxsize=8)
def _time_of_day(second: int) -> str:
    return datetime.datetime.fromtimestamp(second).strftime(_TIME)  # noqa: DTZ006  the reader's own time


class _Redacting(logging.Formatter):
    """``12:30:45 words``, without secrets."""

    def __init__(self, redact: Callable[[str], str]) -> None:
        super().__init__("%(asctime)s %(message)s", _TIME)
        self._redact = redact

    def format(self, record: logging.LogRecord) -> str:
        return self._redact(super().format(record))

    def formatTime(self, record: logging.LogRecord, datefmt: str | None = None) -> str:  # noqa: N802
        return _time_of_day(int(record.created))


def start(redact: Callable[[str], str], *, debug: bool, to: TextIO | None = None) -> logging.Handler:
    """Send chain429's log to ``to`` (stderr). Returns the handler, for ``stop``."""
    handler = logging.StreamHandler(to or sys.stderr)
    handler.setFormatter(_Redacting(redact))
    root = logging.getLogger("chain429")
    root.addHandler(handler)
    root.setLevel(logging.DEBUG if debug else logging.INFO)
    root.propagate = False
    return handler


def stop(handler: logging.Handler) -> None:
    root = logging.getLogger("chain429")
    root.removeHandler(handler)
    root.propagate = True
