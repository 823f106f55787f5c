"""What a model thought, as this dialect hides it: ``encrypted_content``, which clients keep and send back unread.

A provider's own stays as it is, but for the mark of who made it. Where an answer was translated it holds the thoughts
themselves beside their signature, since not every client gives back the words that it was shown.
"""

from __future__ import annotations

import base64
import re
from typing import NamedTuple

from chain429.wire.prompt import marked, unmarked

_SEALED = re.compile(r"([tr])\.([A-Za-z0-9+/=]*)\.(.*)", re.DOTALL)


class Thoughts(NamedTuple):
    """What ``encrypted_content`` says. ``text`` is None where the words are not in it."""

    origin: str
    text: str | None
    signature: str
    redacted: bool = False


def sealed(origin: str, text: str, signature: str, *, redacted: bool = False) -> str:
    """The ``encrypted_content`` of thoughts that the provider ``origin`` had in another dialect."""
    held = base64.b64encode(text.encode("utf-8", "surrogatepass")).decode()
    return marked(origin, f"{'r' if redacted else 't'}.{held}.{signature}")


def opened(content: str) -> Thoughts:
    """What ``sealed`` put in; what comes from elsewhere is a signature."""
    origin, own = unmarked(content)
    found = _SEALED.fullmatch(own) if origin else None
    if found is None:
        return Thoughts(origin, None, own)
    try:
        text = base64.b64decode(found[2], validate=True).decode("utf-8", "surrogatepass")
    except ValueError:
        return Thoughts(origin, None, own)
    return Thoughts(origin, text, found[3], found[1] == "r")
