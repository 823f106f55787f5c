"""Every exception that chain429 raises on purpose.

::

    Chain429Error
     +-- ConfigError        the configuration is wrong; carries every fault
     +-- StartError         the machine refuses: a port is taken, a folder can't be written
     +-- EditConflict       the configuration was edited by somebody else in between
     +-- StoreError         what is kept on the disk can't be read, or not be written
     +-- RequestError       the client's request is wrong; becomes a 4xx in the client's dialect
     +-- WireError          bytes that are not what their protocol promises
     +-- UpstreamError      talking to a provider failed
          +-- ConnectFailed    no connection: refused, DNS, TLS, unreachable
          +-- TimedOut         a time-out ran out; ``phase`` says which
          +-- Cut              the connection broke in the middle of an answer

What a *provider* answers is never an exception: it is an ``Outcome`` (see ``routing/outcome.py``). Exceptions say
that a contract was broken or that I/O failed, and foreign ones are mapped to these once, where the foreign library is
called."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass


class Chain429Error(Exception):
    """Base of all errors below. ``str(error)`` is fit for the user."""


@dataclass(frozen=True, slots=True)
class Fault:
    """One thing that is wrong in a configuration: where (file, line counted from 1, dotted key) and what to do."""

    message: str
    key: str = ""
    line: int | None = None
    file: str = ""

    def __str__(self) -> str:
        place = ":".join(part for part in (self.file, str(self.line or "")) if part)
        return ": ".join(part for part in (place, self.key, self.message) if part)


class ConfigError(Chain429Error):
    """The configuration can't be used. ``faults`` lists everything that is wrong with it."""

    def __init__(self, faults: Sequence[Fault]) -> None:
        self.faults = tuple(faults)
        super().__init__("\n".join(str(fault) for fault in self.faults))


class StartError(Chain429Error):
    """Starting failed for a reason outside of the configuration; one clear line."""


class EditConflict(Chain429Error):
    """The configuration is no longer what the one who edits it has seen; nothing was changed."""


class StoreError(Chain429Error):
    """What is kept on the disk can't be read, or can't be written; one clear line."""


class RequestError(Chain429Error):
    """The client asked for something that can't be served as asked.

    ``status`` is the HTTP status (4xx), ``code`` a machine-readable word, ``param`` the field at fault, if one is.
    """

    def __init__(self, message: str, *, status: int = 400, code: str | None = None, param: str | None = None) -> None:
        self.message = message
        self.status = status
        self.code = code
        self.param = param
        super().__init__(message)


class WireError(Chain429Error):
    """A peer sent bytes that break their protocol: not JSON where JSON was promised, not an event stream."""


class UpstreamError(Chain429Error):
    """Talking to a provider failed before or during its answer."""


class ConnectFailed(UpstreamError):
    """No connection could be made, so the provider has seen nothing of the request."""


class TimedOut(UpstreamError):
    """A time-out ran out. ``phase`` is ``connect``, ``first event``, ``idle`` or ``deadline``."""

    def __init__(self, phase: str, seconds: float) -> None:
        self.phase = phase
        self.seconds = seconds
        super().__init__(f"{phase} time-out after {seconds:g} s")


class Cut(UpstreamError):
    """The connection ended or broke before the answer was complete."""
