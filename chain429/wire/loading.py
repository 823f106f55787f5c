"""JSON read as quickly as the standard library can: a stream has a text of it in each event."""

from __future__ import annotations

import json
from typing import Any

_DECODER = json.JSONDecoder()
_SCAN = _DECODER.scan_once  # type: ignore[attr-defined]


def loads(text: str) -> Any:
    """The value that ``text`` is; raises ValueError or RecursionError where it is none, as ``json.loads`` does."""
    try:
        value, end = _SCAN(text, 0)
    except StopIteration:
        return _DECODER.decode(text)
    # White space around it, or something that is wrong: that is for the careful one.
    return value if end == len(text) else _DECODER.decode(text)
