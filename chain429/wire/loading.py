"""JSON read and written as quickly as the standard library can: a stream has a text of it in each event, and a request
one in each call of a tool."""

from __future__ import annotations

import json
from json import encoder
from typing import Any

_DECODER = json.JSONDecoder()
_SCAN = _DECODER.scan_once  # type: ignore[attr-defined]
_ENCODER = json.JSONEncoder(separators=(",", ":"), ensure_ascii=False, check_circular=False)
_ASCII = json.JSONEncoder(separators=(",", ":"), allow_nan=False, check_circular=False)
# What the encoder makes anew for each text; not every Python has one that is compiled.
_COMPILED = encoder.c_make_encoder  # type: ignore[attr-defined]
# No indent, what stands between, neither sorted nor left out; the last part is whether NaN may be.
_FORM = (None, ":", ",", False, False)
_CHUNKS = _COMPILED and _COMPILED(None, _ENCODER.default, encoder.encode_basestring, *_FORM, True)
_ASCII_CHUNKS = _COMPILED and _COMPILED(None, _ASCII.default, encoder.encode_basestring_ascii, *_FORM, False)


def loads(text: str) -> Any:
    """The value that ``text`` is; raises ValueError or RecursionError where it is none, as ``json.loads`` does."""
    try:
        value, end = _SCAN(text, 0)
    except StopIteration:
        return _DECODER.decode(text)
    # White space around it, or something that is wrong: that is for the careful one.
    return value if end == len(text) else _DECODER.decode(text)


def dumps(value: Any) -> str:
    """``value``, which does not hold itself, as JSON without white space, and with no more escaped than has to be.
    Raises TypeError where it is none."""
    return "".join(_CHUNKS(value, 0)) if _CHUNKS else _ENCODER.encode(value)


def dumps_ascii(value: Any) -> str:
    """``value``, which does not hold itself, as JSON without white space in which all but ASCII is escaped. Raises
    TypeError where it is none, ValueError where a number in it is not."""
    return "".join(_ASCII_CHUNKS(value, 0)) if _ASCII_CHUNKS else _ASCII.encode(value)
