"""The neutral events: what an answer consists of, in whatever dialect it came.

Each dialect has one parser into these; "meaningful", usage and the time to the first token are read off them, and
nowhere else. A whole answer is the fold of the same events as a streamed one.

Nothing here is changed once it is made. Those that a stream is full of are not frozen only because that takes twice the
time to make them.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any


@dataclass(slots=True)
class Text:
    """Words of the answer; never empty."""

    text: str


@dataclass(slots=True)
class Reasoning:
    """Words of the model's thinking; never empty."""

    text: str


@dataclass(frozen=True, slots=True)
class Signature:
    """The proof of the thinking before it, which its provider wants back with it.

    ``redacted``: it comes without words, and holds the thoughts itself.
    """

    data: str
    redacted: bool = False


@dataclass(frozen=True, slots=True)
class ToolCall:
    """A tool call opens. ``index`` counts the calls of an answer from 0."""

    index: int
    id: str
    name: str


@dataclass(slots=True)
class ToolArguments:
    """A piece of the JSON text of a call's arguments; never empty."""

    index: int
    text: str


@dataclass(frozen=True, slots=True)
class Usage:
    """Tokens as the provider counted them.

    ``input`` includes those read from a cache (``cached``) and written to one, ``output`` includes reasoning.
    """

    input: int
    output: int
    cached: int = 0
    reasoning: int = 0
    written: int = 0


@dataclass(frozen=True, slots=True)
class Finish:
    """The answer is complete. ``reason`` is in Chat Completions' words (stop, length, tool_calls, content_filter).

    ``sequence``: the stop sequence that ended it, where that is told.
    """

    reason: str
    sequence: str | None = None


@dataclass(frozen=True, slots=True)
class Error:
    """The provider reports an error inside an answer that began as a success. ``error`` is what it said, as parsed."""

    error: Any


@dataclass(frozen=True, slots=True)
class End:
    """The stream's own end mark."""


Event = Text | Reasoning | Signature | ToolCall | ToolArguments | Usage | Finish | Error | End


@dataclass(slots=True)
class Seen:
    """What has been seen of an answer so far. ``meaningful`` is the commit point: it never goes back to False."""

    meaningful: bool = False
    usage: Usage | None = None
    finish: str | None = None
    error: Error | None = None
    ended: bool = False

    def add(self, event: Event) -> None:
        kind = type(event)
        if kind is Text or kind is ToolArguments:  # as most are
            self.meaningful = True
        elif isinstance(event, Usage):
            self.usage = event
        elif isinstance(event, Error):
            self.error = self.error or event
        elif isinstance(event, End):
            self.ended = True
        else:
            self.meaningful = True
            if isinstance(event, Finish):
                self.finish = event.reason

    @property
    def complete(self) -> bool:
        """Whether the answer came to its proper end."""
        return self.error is None and (self.ended or self.finish is not None)
