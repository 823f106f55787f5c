"""Tool calls that a model has written as text, read as calls.

Some models put a call into their words instead of where calls belong: between ``<tool_call>`` tags, in a code fence, or
as bare JSON and nothing else. Which ones do is told by the catalog; the words of all others are left as they are.
"""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Iterable, Iterator
from typing import Any

from chain429.wire.dialect import Reader
from chain429.wire.events import End, Event, Finish, Text, ToolArguments, ToolCall
from chain429.wire.loading import dumps

# How a call may begin. The end of what is not yet one of these may grow into it.
_MARK = re.compile(r"<tool_call>|```")
_MARKS = ("<tool_call>", "```")
# What stands between a mark and the JSON of a call, and what may yet become that.
_LANGUAGE = re.compile(r"\s*(?:json|tool_call|tool_code)?\s*(?=[\[{])")
_PART_OF_LANGUAGE = re.compile(r"\s*[a-z_]{0,9}\s*")
# Bare JSON that may be a call, by its first member, as far as that is there.
_BARE = re.compile(r'\{\s*(?:"(?:name|function|type|arguments|parameters)"|"?[a-z]*$)')

# Models put line breaks into strings as they are.
_DECODE = json.JSONDecoder(strict=False).raw_decode

_Calls = list[tuple[str, str]]


class RescuingReader:
    """Reads with another reader, and looks for calls of the tools of ``names`` in the words that it finds. See
    ``dialect.Reader``.

    Words that may become a call are held back until that is certain. What names no tool that was offered is not one.
    """

    __slots__ = ("_count", "_found", "_held", "_looked", "_names", "_numbers", "_reader", "_said")

    def __init__(self, reader: Reader, names: Collection[str]) -> None:
        self._reader = reader
        self._names = names
        self._held = ""
        self._looked = 0  # up to here the held words have nothing that closes the call they begin with
        self._said = False  # whether there was anything but white space yet
        self._found = False  # whether nothing but white space has come since a call was found
        self._numbers: dict[int, int] = {}  # of calls that are where they belong
        self._count = 0

    def read(self, data: bytes, name: str = "") -> list[Event]:
        return list(self._rescued(self._reader.read(data, name)))

    def whole(self, body: bytes) -> list[Event]:
        events = list(self._rescued([*self._reader.whole(body), End()]))
        return [event for event in events if not isinstance(event, End)]

    def _rescued(self, events: Iterable[Event]) -> Iterator[Event]:
        for event in events:
            if isinstance(event, Text):
                self._held += event.text
                yield from self._settle(last=False)
            elif isinstance(event, ToolArguments):
                yield ToolArguments(self._numbers[event.index], event.text)
            elif isinstance(event, ToolCall):
                yield from self._settle(last=True)
                self._numbers[event.index] = self._count
                yield ToolCall(self._count, event.id, event.name)
                self._count += 1
            else:
                if isinstance(event, Finish | End):
                    yield from self._settle(last=True)
                yield event

    def _settle(self, *, last: bool) -> Iterator[Event]:
        """What is certain of the held words: all of them, where no more come."""
        while self._held:
            certain = self._next(last=last)
            if certain is None:
                return
            end, calls = certain
            text, self._held = self._held[:end], self._held[end:]
            self._looked = 0
            for name, arguments in calls:
                yield ToolCall(self._count, "", name)
                yield ToolArguments(self._count, arguments)
                self._count += 1
            if calls:
                self._said = self._found = True
            else:
                # Wherever the words are cut, white space after a call is none of them.
                text = text.lstrip() if self._found else text
                if text:
                    yield Text(text)
                    self._found = False
                    self._said = self._said or bool(text.strip())

    def _next(self, *, last: bool) -> tuple[int, _Calls] | None:
        """How much of the held words is certain, and the calls that it is; None where nothing is."""
        held = self._held
        start = 0 if self._said else len(held) - len(held.lstrip())
        if start == len(held):
            return (start, []) if last else None
        if not self._said and _BARE.match(held, start):
            return (len(held), self._calls_in(held[start:])) if last else None
        mark = _MARK.search(held)
        if mark is None:
            end = len(held) if last else len(held) - _begun(held)
            # White space alone is none of the words, should a call come of what may begin a mark.
            return (end, []) if end > start else None
        if mark.start() > start:
            return mark.start(), []
        opening = _LANGUAGE.match(held, mark.end())
        if opening is None:
            waits = not last and _PART_OF_LANGUAGE.fullmatch(held, mark.end())
            return None if waits else (mark.end(), [])
        closing = "</tool_call>" if mark[0] == "<tool_call>" else "```"
        at = held.find(closing, max(self._looked, opening.end()))
        while at >= 0:
            calls = self._calls_in(held[opening.end() : at])
            # A file that a call writes may hold what closes a call; but nothing written as JSON holds a line's end.
            if calls or held[at - 1] == "\n":
                return at + len(closing), calls
            self._looked = at + len(closing)  # what has been looked at does not change
            at = held.find(closing, self._looked)
        return (len(held), self._calls_in(held[opening.end() :])) if last else None

    def _calls_in(self, text: str) -> _Calls:
        """The calls, name and arguments, that ``text`` is; none where it is anything else."""
        found: _Calls = []
        text = text.strip()
        at = 0
        while at < len(text):
            try:
                value, at = _DECODE(text, at)
            except (ValueError, RecursionError):
                return []
            for one in value if isinstance(value, list) else [value]:
                call = self._call(one)
                if call is None:
                    return []
                found.append(call)
            at = len(text) - len(text[at:].lstrip())
        return found

    def _call(self, value: Any) -> tuple[str, str] | None:
        if isinstance(value, dict) and isinstance(value.get("function"), dict):
            value = value["function"]
        if not isinstance(value, dict):
            return None
        name, given = value.get("name"), value.get("arguments", value.get("parameters"))
        if not isinstance(name, str) or name not in self._names:
            return None
        if isinstance(given, str):
            return name, given
        return (name, dumps(given or {})) if given is None or isinstance(given, dict) else None


def _begun(text: str) -> int:
    """How many characters at the end of ``text`` may be the beginning of a mark."""
    sizes = range(min(len(text), len(_MARKS[0]) - 1), 0, -1)
    return next((size for size in sizes if any(mark.startswith(text[-size:]) for mark in _MARKS)), 0)
