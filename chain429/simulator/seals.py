"""What vouches for a model's reasoning when a client brings it back: made from the reasoning alone, so nothing is kept.

A real provider's seal is a secret of its own; this one only has to be one that no other provider would have given.
"""

from __future__ import annotations

import base64
import binascii
import hashlib


def seal(owner: str, reasoning: str) -> str:
    """What ``owner`` gives out with this reasoning: text that looks like the real one, the same each time."""
    return base64.b64encode(_digest(owner, reasoning)).decode("ascii")


def vouches(owner: str, reasoning: str, given: object) -> bool:
    """Whether ``given`` is what ``owner`` gave out with this reasoning."""
    return given == seal(owner, reasoning)


def wrap(owner: str, reasoning: str) -> str:
    """The reasoning itself, sealed: what a client carries without reading it."""
    inner = reasoning.encode("utf-8", "replace")
    return base64.urlsafe_b64encode(_digest(owner, reasoning) + inner).decode("ascii")


def unwrap(owner: str, given: object) -> str | None:
    """The reasoning that ``owner`` wrapped up; None when this comes from someone else, or was changed."""
    if not isinstance(given, str):
        return None
    try:
        raw = base64.urlsafe_b64decode(given.encode("ascii"))
        reasoning = raw[_SIZE:].decode()
    except (binascii.Error, UnicodeError):
        return None
    return reasoning if raw[:_SIZE] == _digest(owner, reasoning) else None


_SIZE = hashlib.sha256().digest_size


def _digest(owner: str, reasoning: str) -> bytes:
    return hashlib.sha256(f"{owner}\0{reasoning}".encode("utf-8", "replace")).digest()
