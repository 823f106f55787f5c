"""Which conversation a request belongs to, as far as the request tells. What follows from it is decided elsewhere.

A dialect finds the parts in its own body; how they become a key is the same for all of them. A key is Python's own
hash: quick, different in every process, and nothing that was said can be read in it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

# The first that a request has names its session: ours, then those of Claude Code, opencode (two) and Codex.
SESSION_HEADERS = (
    "x-chain429-session",
    "x-claude-code-session-id",
    "x-session-affinity",
    "x-opencode-session",
    "session_id",
)
# Of a text, so much is enough to tell it from others.
_MOST_CHARACTERS = 2048


@dataclass(frozen=True, slots=True)
class Conversation:
    """``key``: the same for every request of one conversation. ``begun``: the request has an answer in it already."""

    key: int
    begun: bool


def session_of(headers: Mapping[str, str]) -> str:
    """The session that a client names in a header; empty where it names none. ``headers`` is asked in lower case."""
    for name in SESSION_HEADERS:
        session = headers.get(name)
        if session:
            return session
    return ""


def session_key(session: str) -> int:
    """The key of all that belongs to a session which the client names."""
    return hash(("session", session))


def opening_key(owner: str, texts: Iterable[str]) -> int:
    """The key of a conversation that is known by what stands before its first answer.

    ``owner`` is what the client says of itself (a user, a cache's key; it may be shared by many conversations), or
    empty.
    """
    return hash(("opening", owner, *[text[:_MOST_CHARACTERS] for text in texts]))
