"""What every dialect offers the engine. An attempt's exchange translates and nothing else: it touches no socket, and it
neither chooses nor retries."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from chain429.wire.cleanup import Cleanup
from chain429.wire.events import Seen


@dataclass(frozen=True, slots=True)
class Problem:
    """Something that a client must be told, before a dialect words it.

    ``status`` is the HTTP status; ``kind`` the dialect-independent type where it is not the status's usual one;
    ``details`` is added for people and tools that know chain429.
    """

    status: int
    message: str
    kind: str | None = None
    code: str | None = None
    param: str | None = None
    details: Mapping[str, Any] = field(default_factory=dict)


class Dialect(Protocol):
    """How a family of clients wants to be spoken to."""

    name: str

    def error(self, problem: Problem) -> bytes:
        """The body of an error answer."""

    def error_event(self, problem: Problem) -> bytes:
        """The end of a stream that broke after its beginning was sent."""


class AnswerStream(Protocol):
    """Translates one streamed answer, piece by piece; ``seen`` tells what it has amounted to so far."""

    seen: Seen

    def feed(self, chunk: bytes) -> bytes:
        """What the client is sent for these bytes of the provider. Raises WireError."""

    def close(self) -> bytes:
        """The provider's stream has ended: what the client is still sent."""


class Exchange(Protocol):
    """One attempt's translation: the request as the provider wants it, and its answer as the client wants it."""

    body: bytes

    @property
    def path(self) -> str:
        """Appended to the provider's base URL."""

    def stream(self) -> AnswerStream: ...

    def answer(self, body: bytes) -> tuple[Seen, bytes]:
        """A whole answer: what it amounts to, and the client's body. Raises WireError."""


class ClientRequest(Protocol):
    """A client's request, checked, in whatever dialect. Every attempt is made from it afresh."""

    @property
    def dialect(self) -> Dialect: ...

    @property
    def model(self) -> str: ...

    @property
    def stream(self) -> bool: ...

    @property
    def size(self) -> int:
        """Length of the body in bytes."""

    @property
    def max_tokens(self) -> int | None:
        """How many tokens it allows to be made, if it says so."""

    def exchange(self, model: str, rules: Sequence[Cleanup], refused: Iterable[str]) -> Exchange:
        """For one provider: its model's name, its clean-up rules, and the parameters that it is known to refuse."""

    def droppable(self, param: str) -> str | None:
        """The field that may be left out after a provider refused ``param``, or None where it is needed."""
