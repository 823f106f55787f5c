"""Where something stands in the file, and the words for what is wrong with it. No secret is ever part of them."""

from __future__ import annotations

import difflib
import re
from collections.abc import Collection

from chain429.errors import ConfigError, Fault

Where = tuple[str | int, ...]


class Places:
    """The line of every key of one file, and the faults that were found in it."""

    def __init__(self, file: str) -> None:
        self.file = file
        self.lines: dict[Where, int] = {}
        self.faults: list[Fault] = []
        self._spoilt: list[Where] = []

    def fault(self, message: str, *where: str | int, line: int | None = None, spoils: bool = False) -> None:
        """Report it, unless it may only follow from what is known to be wrong above or below that place.

        What ``spoils`` a place leaves something there out, so that nothing else can be said of it."""
        if not self.is_spoilt(*where):
            self.faults.append(Fault(message, _dotted(where), line or self._line(where), self.file))
        if spoils:
            self.spoil(where)

    def is_spoilt(self, *where: str | int) -> bool:
        return any(where[: len(spoilt)] == spoilt[: len(where)] for spoilt in self._spoilt)

    def spoil(self, *places: Where) -> None:
        self._spoilt += places

    def told(self, message: str, *where: str | int) -> str:
        return str(Fault(message, _dotted(where), self._line(where), self.file))

    def raise_faults(self) -> None:
        if self.faults:
            raise ConfigError(sorted(self.faults, key=lambda fault: fault.line or 0)) from None

    def _line(self, where: Where) -> int | None:
        while where not in self.lines and where:
            where = where[:-1]
        return self.lines.get(where)


def _dotted(where: Where) -> str:
    """The place as people write it. A key that stands where the name of a setting belongs is not repeated."""
    parts = [clip(str(part)) for part in where]
    return ".".join(
        "…" if depth > 1 and len(part) > 15 and re.search("[0-9]", part) else part for depth, part in enumerate(parts)
    )


def clip(text: str) -> str:
    """Printable, and no longer than a message can bear."""
    plain = text if text.isprintable() else ascii(text)[1:-1]
    return plain if len(plain) <= 60 else f"{plain[:59]}…"


def quoted(text: str) -> str:
    return f"'{clip(text)}'"


def near(name: str, known: Collection[str]) -> str:
    """What was probably meant by a name that is not among the known ones."""
    close = difflib.get_close_matches(name[:60].lower(), known, 1)
    if close:
        return f": did you mean '{close[0]}'?"
    return f"; there are: {', '.join(map(clip, known))}" if known else ""


def why(error: Exception) -> str:
    if isinstance(error, OSError):
        return error.strerror or "it is not readable"
    return "it is not UTF-8" if isinstance(error, UnicodeDecodeError) else "there can't be such a file"
