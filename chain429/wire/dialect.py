"""What every dialect offers the engine. An attempt's exchange translates and nothing else: it touches no socket, and it
neither chooses nor retries."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol

from chain429.wire.cleanup import Cleanup
from chain429.wire.conversation import Conversation
from chain429.wire.events import Event, Seen
from chain429.wire.prompt import Prompt
from chain429.wire.wants import Ability

DialectName = Literal["chat", "messages", "responses"]
# What clients ask in: besides, what is only passed on.
RequestName = Literal["chat", "messages", "responses", "completions", "embeddings"]


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

    @property
    def name(self) -> RequestName: ...

    @property
    def provider(self) -> DialectName:
        """What those providers speak that may be asked in the client's own words."""

    @property
    def translates(self) -> bool:
        """Whether others may be asked, too."""

    @property
    def one_model(self) -> bool:
        """Whether no other model will do than the one that was asked for."""

    @property
    def keep_alive(self) -> bytes:
        """What a streaming client is sent where the provider says nothing for long; it may stand between any events."""

    def error(self, problem: Problem) -> bytes:
        """The body of an error answer."""


@dataclass(frozen=True, slots=True)
class Side:
    """A provider, as far as translation has to know it: its id, the dialect and the model's name that it is asked in,
    and what its catalog says must be changed. ``max_output``: the most tokens that the model makes, if that is known.
    ``vendor``: it is the one that made the dialect, so it takes all of it, and proves what it signed.
    """

    provider: str
    dialect: DialectName
    model: str
    rules: Sequence[Cleanup] = ()
    max_output: int | None = None
    vendor: bool = False


class Reader(Protocol):
    """Reads a provider's answer, in its dialect, into neutral events."""

    def read(self, data: bytes, name: str = "") -> Sequence[Event]:
        """The events of one server-sent event (its ``data`` and ``event`` name). Raises WireError."""

    def whole(self, body: bytes) -> Sequence[Event]:
        """The events of a whole answer, in the order in which a stream would have brought them. Raises WireError."""


class Writer(Protocol):
    """Writes one answer from neutral events, in the client's dialect. One is made for each answer.

    Whatever comes in, what goes out is well formed: blocks are opened and closed once and follow each other, their
    indexes have no gaps, and there is exactly one terminal event.
    """

    def add(self, event: Event) -> bytes:
        """What a streaming client is sent for ``event``; what needs more to be known first is kept back."""

    def close(self) -> bytes:
        """The answer is complete: what a streaming client is still sent."""

    def fail(self, problem: Problem) -> bytes:
        """The answer broke off: the end that tells a streaming client so."""

    def whole(self) -> bytes:
        """The body of an answer that is not streamed, of all events that were added."""


class AnswerStream(Protocol):
    """Translates one streamed answer, piece by piece; ``seen`` tells what it has amounted to so far."""

    seen: Seen

    def feed(self, chunk: bytes) -> bytes:
        """What the client is sent for these bytes of the provider: whole events, or nothing yet. Raises WireError."""

    def close(self) -> bytes:
        """The provider's stream has ended: what the client is still sent."""

    def fail(self, problem: Problem) -> bytes:
        """The stream broke after its beginning was sent: the end that tells the client so."""


class Exchange(Protocol):
    """One attempt's translation: the request as the provider wants it, and its answer as the client wants it."""

    @property
    def body(self) -> bytes: ...

    @property
    def headers(self) -> Mapping[str, str]:
        """What the dialect wants besides, in lower case."""

    @property
    def lost(self) -> tuple[str, ...]:
        """What the client sent that this provider is not sent."""

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
        """Length of the body in bytes, as a model would count it; see ``wants.length``."""

    @property
    def max_tokens(self) -> int | None:
        """How many tokens it allows to be made, if it says so."""

    @property
    def wants(self) -> tuple[Ability, ...]:
        """What a model must be able to do to serve it, as far as not every model can. Found anew at each call."""

    def conversation(self, session: str) -> Conversation:
        """Which conversation it belongs to: that of the ``session`` which a header names; without one (empty), what the
        body says of it. Made anew at each call."""

    def exchange(self, side: Side, refused: Iterable[str]) -> Exchange | None:
        """For a provider of the same dialect; ``refused`` are parameters that it is known not to take. None where it
        knows too little of the dialect to be asked in the client's own words."""

    def prompt(self) -> Prompt:
        """For providers of other dialects, and those that know too little of its own."""

    def writer(self, prompt: Prompt, side: Side, identifier: str, at: int) -> Writer:
        """Writes such a provider's answer; ``identifier`` is the request's id, ``at`` now in Unix seconds."""

    def droppable(self, param: str) -> str | None:
        """The field that may be left out after a provider of the same dialect refused ``param``, or None where it is
        needed."""
