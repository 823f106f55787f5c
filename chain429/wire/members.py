"""A JSON object whose members can be replaced without touching the bytes of the others.

A gateway that parses and re-writes a body changes more than it means to: 1e400 becomes Infinity, escapes move, numbers
are rounded. Here the text of every member is kept, and only what is changed is written anew.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from json.decoder import WHITESPACE, scanstring  # type: ignore[attr-defined]
from typing import Any

from chain429.errors import WireError
from chain429.wire.loading import dumps_ascii


class _Drop:
    """The mark for a member that is left out."""

    def __repr__(self) -> str:
        return "DROP"


DROP = _Drop()


class _Constant(ValueError):
    """NaN or an infinity, which Python's parser takes."""


def _no_constant(name: str) -> Any:
    raise _Constant(f"{name} is not JSON")


_DECODER = json.JSONDecoder(parse_constant=_no_constant)
_SCAN = _DECODER.scan_once  # type: ignore[attr-defined]
_COLON = re.compile(r"[ \t\n\r]*:[ \t\n\r]*")
_MARK = re.compile(r"[ \t\n\r]*([,}])[ \t\n\r]*")
# What Python's parser says, by its beginning, in words for whoever wrote the body; the place follows.
_WORDS = {
    "Expecting value": "a value was expected",
    "Expecting property name": "a member's name in double quotes was expected",
    "Expecting ':'": "':' was expected",
    "Expecting ','": "',' or a closing bracket was expected",
    "Illegal trailing comma": "there is a comma too many",
    "Extra data": "nothing was expected after the value",
    "Unterminated string": "a string that is never closed begins",
    "Invalid control character": "a control character, which must be escaped, is in a string",
    "Invalid \\uXXXX": "\\u without four hexadecimal digits is",
    "Invalid \\escape": "an unknown escape is",
}


def _skip(text: str, at: int) -> int:
    """Where the white space that may begin at ``at`` ends."""
    return int(WHITESPACE.match(text, at).end())


def _missing(what: str, text: str, at: int) -> Exception:
    at = _skip(text, at)
    return json.JSONDecodeError(f"{what} was expected", text, at) if at < len(text) else IndexError(at)


def _scan(text: str) -> dict[str, tuple[int, int]]:
    """Where each member of an object begins and ends, its name included. Raises what ``Members.parse`` words."""
    at = _skip(text, 0)
    if text[at : at + 1] != "{":
        _DECODER.decode(text)
        return {}
    spans: dict[str, tuple[int, int]] = {}
    at = _skip(text, at + 1)
    if text[at] == "}":
        at = _skip(text, at + 1)
    else:
        mark = None
        while mark is None or mark[1] == ",":
            if text[at] != '"':
                raise json.JSONDecodeError("a member's name in double quotes was expected", text, at)
            begin = at
            name, at = scanstring(text, at + 1, True)
            colon = _COLON.match(text, at)
            if colon is None:
                raise _missing("':'", text, at)
            try:
                _, at = _SCAN(text, colon.end())
            except StopIteration as stop:
                raise _missing("a value", text, stop.value) from None
            spans[name] = (begin, at)
            mark = _MARK.match(text, at)
            if mark is None:
                raise _missing("',' or '}'", text, at)
            at = mark.end()
    if at != len(text):
        raise json.JSONDecodeError("nothing was expected after the object", text, at)
    return spans


_CUT = "the body is not valid JSON: it ends too early"


def _worded(error: json.JSONDecodeError) -> str:
    if error.pos >= len(error.doc):
        return _CUT if error.doc.strip() else "the body is empty"
    words = next((ours for theirs, ours in _WORDS.items() if error.msg.startswith(theirs)), error.msg)
    return f"the body is not valid JSON: {words} at line {error.lineno}, column {error.colno}"


class Members:
    """The members of one JSON object: parsed values by name, and the text, name included, that each was read from.

    ``values`` is for reading only. Where a name occurs twice the last one counts, as JSON parsers do.
    """

    __slots__ = ("_spans", "_text", "values")

    def __init__(self, text: str, values: dict[str, Any]) -> None:
        self._text = text
        self._spans: dict[str, tuple[int, int]] | None = None
        self.values = values

    @classmethod
    def parse(cls, body: bytes) -> Members:
        """Read ``body`` (UTF-8, a BOM is tolerated); raises WireError where it is not one JSON object."""
        try:
            text = body.decode().removeprefix("\ufeff")
        except UnicodeDecodeError as error:
            raise WireError(f"the body is not UTF-8 (byte {error.start})") from error
        try:
            values = _DECODER.decode(text)
            if isinstance(values, dict):
                return cls(text, values)
        except (ValueError, RecursionError):
            pass  # what is wrong, and where, is told below
        try:
            _scan(text)
        except RecursionError as error:
            raise WireError("the body is nested too deeply") from error
        except json.JSONDecodeError as error:
            raise WireError(_worded(error)) from error
        except IndexError as error:
            raise WireError(_CUT) from error
        except _Constant as error:
            raise WireError(f"the body is not valid JSON: {error}") from error
        except ValueError as error:
            raise WireError("a number in the body has too many digits") from error
        raise WireError("the body must be a JSON object")

    def count(self, text: str) -> int:
        """How often ``text`` stands in the object as it was written."""
        return self._text.count(text)

    def render(self, changes: Mapping[str, Any]) -> bytes:
        """The object as UTF-8 bytes, with ``changes`` by member name: a new JSON value, or DROP."""
        text = self._in_place(changes)
        if text is not None:
            return text.encode("utf-8", "surrogatepass")
        text = self._text
        if self._spans is None:
            self._spans = _scan(text)
        parts = [text[begin:end] for name, (begin, end) in self._spans.items() if name not in changes]
        parts += [f"{dumps_ascii(name)}:{dumps_ascii(value)}" for name, value in changes.items() if value is not DROP]
        return ("{" + ",".join(parts) + "}").encode("utf-8", "surrogatepass")

    def _in_place(self, changes: Mapping[str, Any]) -> str | None:
        """The object with ``changes``, where these are only texts in the place of others and new members: then its
        other bytes need not be looked at. None for all else."""
        text = self._text
        if not self.values or "\\u" in text:  # which could hide a name
            return None
        added = ""
        for name, value in changes.items():
            if name not in self.values:
                if value is not DROP:
                    added += f",{dumps_ascii(name)}:{dumps_ascii(value)}"
                continue
            quoted = dumps_ascii(name)
            if not isinstance(value, str) or text.count(quoted) != 1:
                return None
            at = text.index(quoted)
            colon = _COLON.match(text, at + len(quoted))
            if colon is None or text[colon.end() : colon.end() + 1] != '"':
                return None
            _, end = scanstring(text, colon.end() + 1, True)
            text = text[: colon.end()] + dumps_ascii(value) + text[end:]
        if added:
            end = text.rindex("}")
            text = text[:end].rstrip() + added + text[end:]
        return text


def plain_size(body: bytes) -> int:
    """The bytes of JSON whose text is not escaped: an escaped letter is six, in UTF-8 two (three from U+1000 on)."""
    escaped = body.count(b"\\u")
    return len(body) - 3 * escaped - body.count(b"\\u0") if escaped else len(body)
