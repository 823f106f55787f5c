"""Embeddings (``POST /embeddings``), as in OpenAI's API reference: passed on, and never to another model than was asked
for, since what different models make of two texts can't be compared."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import NoReturn

from chain429.errors import WireError
from chain429.wire.chat_reader import parsed, usage_events
from chain429.wire.dialect import Dialect, Side
from chain429.wire.events import Error, Finish, Seen
from chain429.wire.members import plain_size
from chain429.wire.passed import PassedDialect, PassedExchange, PassedRequest, how_many, members_of

PATH = "/embeddings"
EMBEDDINGS: Dialect = PassedDialect("embeddings", one_model=True)


@dataclass(frozen=True, slots=True)
class EmbeddingsRequest(PassedRequest):
    """See ``dialect.ClientRequest``. ``count``: of so many texts."""

    count: int

    dialect = EMBEDDINGS

    @classmethod
    def parse(cls, body: bytes) -> EmbeddingsRequest:
        """Check a body; raises RequestError (400) that names the field at fault."""
        members = members_of(body, ("model", "input"))
        count = how_many("input", members.values["input"])
        return cls(members, members.values["model"], stream=False, size=plain_size(body), max_tokens=0, count=count)

    def exchange(self, side: Side, refused: Iterable[str]) -> EmbeddingsExchange:
        return EmbeddingsExchange(PATH, self.members.render({"model": side.model}), (), self.count)


@dataclass(frozen=True, slots=True)
class EmbeddingsExchange(PassedExchange):
    """See ``dialect.Exchange``."""

    count: int

    def stream(self) -> NoReturn:
        raise WireError("embeddings are not streamed")

    def answer(self, body: bytes) -> tuple[Seen, bytes]:
        seen, answer = Seen(), parsed(body)
        rows = answer.get("data")
        if answer.get("error") or not isinstance(rows, list):
            seen.add(Error(answer.get("error") or answer))
            return seen, body
        if len(rows) != self.count:
            raise WireError(f"it has {len(rows)} embeddings where {self.count} were asked for")
        found = [row.get("embedding") for row in rows if isinstance(row, dict)]
        if not all(isinstance(one, list | str) and one for one in found) or len(found) < len(rows):
            raise WireError("one of its embeddings is none")
        usage = answer.get("usage")
        for event in usage_events(usage) if isinstance(usage, dict) else ():
            seen.add(event)
        seen.add(Finish("stop"))
        return seen, body
