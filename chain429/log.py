"""The log on stderr: one readable line a request, or one JSON object; with debug, each decision and why."""

from __future__ import annotations

import datetime
import functools
import json
import logging
import sys
import textwrap
from collections.abc import Callable, Mapping, Sequence
from typing import TextIO

from chain429.errors import StartError
from chain429.store.records import AttemptRecord, Recorder, RequestRecord

_log = logging.getLogger("chain429.request")
_TIME = "%H:%M:%S"
# The most characters of what others say in a line.
_LONGEST = 300

# In the environment: the format, where the configuration's is not meant.
LOG_FORMAT = "CHAIN429_LOG_FORMAT"


class RequestLog:
    """Hands each record on, and writes it as one line a little later, together with others.

    ``later`` calls what it is given in a moment, on the same thread; ``flush`` writes at once what is left. ``count``
    is given the same records, as many at a time.
    """

    def __init__(
        self,
        then: Recorder,
        later: Callable[[Callable[[], None]], object],
        count: Callable[[Sequence[RequestRecord]], object] = len,
    ) -> None:
        self._then = then
        self._later = later
        self._count = count
        self._waiting: list[RequestRecord] = []

    def record(self, record: RequestRecord) -> None:
        self._then.record(record)
        self._waiting.append(record)
        if len(self._waiting) == 1:
            self._later(self.flush)

    def flush(self) -> None:
        records, self._waiting = self._waiting, []
        if not records:
            return
        self._count(records)
        if _log.isEnabledFor(logging.INFO):
            # One entry for all: to hand a line over, write it and flush it costs more than to make it.
            _log.handle(_entry(_Requests(records), _end(records[0])))


class _Requests:
    """What is logged of requests: their lines, or their objects, whichever are asked for."""

    def __init__(self, records: Sequence[RequestRecord]) -> None:
        self.records = records

    def __str__(self) -> str:
        first, *others = self.records
        # The first line begins with its time of its own accord.
        rest = [f"{_time_of_day(int(_end(record)))} {line(record)}" for record in others]
        return "\n".join([line(first), *rest])


def _end(record: RequestRecord) -> float:
    return record.at + record.latency


# What all our entries have in common.
_COMMON = logging.makeLogRecord({"name": _log.name, "levelno": logging.INFO, "levelname": "INFO"}).__dict__


def _entry(requests: _Requests, created: float) -> logging.LogRecord:
    """A record without what is slow to find out and never shown: the caller, the thread, the task and the process."""
    entry = logging.LogRecord.__new__(logging.LogRecord)
    entry.__dict__.update(_COMMON, msg=requests, created=created)
    return entry


def line(record: RequestRecord) -> str:
    """``200 default gpt-4o -> groq/openai/gpt-oss-120b 0.41s (first token 0.18s) 12+40 tokens [req_…]``, then the
    trail, or why there is none: ``400 -> refused 0.00s [req_…] | the body is empty``."""
    parts = [str(record.status)]
    if record.chain:
        parts.append(_plain(record.chain))
    if record.model_asked != record.chain:
        parts.append(_plain(record.model_asked) or "-")
    parts.append(f"-> {record.provider}/{_plain(record.model or '')}" if record.provider else f"-> {record.outcome}")
    parts.append(f"{record.latency:.2f}s")
    if record.first_token is not None and record.streamed:
        parts.append(f"(first token {record.first_token:.2f}s)")
    if record.tokens_in is not None:
        parts.append(f"{record.tokens_in}+{record.tokens_out} tokens")
    if record.provider and record.outcome not in ("served", "exhausted"):
        parts.append(record.outcome)
    parts.append(f"[{record.id}]")
    trail = _trail(record.attempts)
    if trail:
        parts += ["|", trail]
    # A fault of ours is no attempt's; all else that ends a request is told by the last of them, if there is one.
    if record.error and (not trail or record.outcome == "failed"):
        # Cut between words: half a secret would not be known as one.
        parts += ["|", _plain(textwrap.shorten(record.error, _LONGEST, placeholder=" …"))]
    return " ".join(parts)


def _trail(attempts: Sequence[AttemptRecord]) -> str:
    if len(attempts) == 1 and attempts[0].outcome == "served":
        return ""
    return ", ".join(
        f"{attempt.provider}/{_plain(attempt.model)} {attempt.outcome}"
        + (f": {_plain(attempt.reason)}" if attempt.outcome != "served" and attempt.reason else "")
        for attempt in attempts
    )


def _plain(text: str) -> str:
    """One line of printable characters: what a client or a provider says must not forge a line or move a cursor."""
    text = text[:_LONGEST]
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


class _Json(logging.Formatter):
    """One JSON object a line, without secrets; see ``told``."""

    def __init__(self, redact: Callable[[str], str]) -> None:
        super().__init__()
        self._redact = redact

    def format(self, record: logging.LogRecord) -> str:
        common = {"level": record.levelname.lower(), "logger": record.name}
        if isinstance(record.msg, _Requests):
            return "\n".join([self._request({"time": _moment(_end(one)), **common}, one) for one in record.msg.records])
        words = {"message": record.getMessage()}
        if record.exc_info:
            words["exception"] = self.formatException(record.exc_info)
        return _encode(self._clean({"time": _moment(record.created), **common, **words}))

    def _request(self, common: Mapping[str, object], record: RequestRecord) -> str:
        found = {**common, **_told(record)}
        attempts = [{**one._asdict(), "duration": round(one.duration, 4)} for one in record.attempts]
        # All texts at once: nearly always there is no secret in any.
        texts = "\n".join([text for part in (found, *attempts) for text in _texts(part)])
        if self._redact(texts) != texts:
            found, attempts = self._clean(found), [self._clean(attempt) for attempt in attempts]
        return _encode({**found, "attempts": attempts})

    def _clean(self, found: Mapping[str, object]) -> dict[str, object]:
        """Before it is encoded: a secret is not found in its escaped form."""
        return {name: self._redact(value) if isinstance(value, str) else value for name, value in found.items()}


_encode = json.JSONEncoder().encode


def _told(record: RequestRecord) -> dict[str, object]:
    return {
        "message": "request",
        "id": record.id,
        "dialect": record.dialect,
        "chain": record.chain,
        "model_asked": record.model_asked,
        "provider": record.provider,
        "model": record.model,
        "credential": record.credential,
        "client": record.client,
        "status": record.status,
        "outcome": record.outcome,
        "error": record.error,
        "streamed": record.streamed,
        "latency": round(record.latency, 4),
        "first_token": None if record.first_token is None else round(record.first_token, 4),
        "tokens_in": record.tokens_in,
        "tokens_out": record.tokens_out,
        "tokens_cached": record.tokens_cached,
    }


def _texts(found: Mapping[str, object]) -> list[str]:
    return [value for value in found.values() if isinstance(value, str)]


@functools.lru_cache(maxsize=8)
def _second(second: int) -> str:
    return datetime.datetime.fromtimestamp(second, datetime.UTC).strftime("%Y-%m-%dT%H:%M:%S")


def _moment(at: float) -> str:
    second, fraction = divmod(at, 1)
    return f"{_second(int(second))}.{int(fraction * 1000):03}Z"


class _Output(logging.StreamHandler[TextIO]):
    """Writes lines for people or JSON. ``json``: which was told; None where that is for the configuration to say."""

    def __init__(self, redact: Callable[[str], str], to: TextIO, json: bool | None) -> None:
        super().__init__(to)
        self._redact = redact
        self._told = json
        self.choose(json=False)

    def choose(self, *, json: bool) -> None:
        wanted = json if self._told is None else self._told
        self.setFormatter(_Json(self._redact) if wanted else _Redacting(self._redact))


def told(text: str | None) -> bool | None:
    """Whether ``text``, from outside, asks for JSON; None where it is empty. Raises StartError."""
    if not text:
        return None
    if text not in ("text", "json"):
        raise StartError(f"the format of the log is {text!r}; it can be 'text' or 'json'")
    return text == "json"


def choose(*, json: bool) -> None:
    """The configuration's choice, which counts from now on, unless ``start`` was told."""
    for handler in logging.getLogger("chain429").handlers:
        if isinstance(handler, _Output):
            handler.choose(json=json)


def start(
    redact: Callable[[str], str], *, debug: bool, json: bool | None = None, to: TextIO | None = None
) -> logging.Handler:
    """Send chain429's log to ``to`` (stderr): as JSON, for people, or (None) as ``choose`` says. Returns the handler,
    for ``stop``."""
    handler = _Output(redact, to or sys.stderr, json)
    root = logging.getLogger("chain429")
    root.addHandler(handler)
    root.setLevel(logging.DEBUG if debug else logging.INFO)
    root.propagate = False
    return handler


def stop(handler: logging.Handler) -> None:
    root = logging.getLogger("chain429")
    root.removeHandler(handler)
    root.propagate = True
