"""Completions of the time before there were chats (``POST /completions``), as in OpenAI's API reference: passed on as
they are. Editors still ask so to have code filled in."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from chain429.errors import WireError
from chain429.wire import sse
from chain429.wire.chat import RENAMES, SAFE_TO_DROP
from chain429.wire.chat_reader import parsed, usage_events
from chain429.wire.chat_writer import DONE, error_body
from chain429.wire.cleanup import clean, dropped
from chain429.wire.dialect import Dialect, Problem, Side
from chain429.wire.events import End, Error, Event, Finish, Seen, Text
from chain429.wire.members import DROP, plain_size
from chain429.wire.passed import PassedDialect, PassedExchange, PassedRequest, how_many, invalid, members_of
from chain429.wire.passing import PassedStream

PATH = "/completions"
# What a chat has not, or means otherwise: rules that are made for chats say nothing of it.
_OWN = frozenset({"best_of", "echo", "logprobs", "max_tokens", "model", "prompt", "stream", "suffix"})
COMPLETIONS: Dialect = PassedDialect("completions", one_model=False)


@dataclass(frozen=True, slots=True)
class CompletionsRequest(PassedRequest):
    """See ``dialect.ClientRequest``. ``count``: so many texts are asked for."""

    count: int

    dialect = COMPLETIONS

    @classmethod
    def parse(cls, body: bytes) -> CompletionsRequest:
        """Check a body; raises RequestError (400) that names the field at fault."""
        members = members_of(body, ("prompt",))
        values = members.values
        count = how_many("prompt", values["prompt"])
        stream = values.get("stream")
        if stream is not None and not isinstance(stream, bool):
            raise invalid("stream", "true or false")
        count *= _whole("n", values) or 1
        return cls(
            members, values.get("model", ""), bool(stream), plain_size(body), _whole("max_tokens", values), count
        )

    def exchange(self, side: Side, refused: Iterable[str]) -> CompletionsExchange:
        changes: dict[str, Any] = {"model": side.model}
        values = {name: value for name, value in self.members.values.items() if name not in _OWN}
        if values:
            changes |= clean(values, side.model, side.rules)
            changes |= dict.fromkeys(refused, DROP)
        if side.max_output is not None and (self.max_tokens or 0) > side.max_output:
            changes["max_tokens"] = side.max_output
        lost = dropped(values, changes, side.rules, RENAMES)
        return CompletionsExchange(PATH, self.members.render(changes), lost, self.count)

    def droppable(self, param: str) -> str | None:
        return param if param in SAFE_TO_DROP and param in self.members.values and param not in _OWN else None


@dataclass(frozen=True, slots=True)
class CompletionsExchange(PassedExchange):
    """See ``dialect.Exchange``."""

    count: int

    def stream(self) -> CompletionsStream:
        return CompletionsStream(self.count)

    def answer(self, body: bytes) -> tuple[Seen, bytes]:
        seen, answer = Seen(), parsed(body)
        for event in _read(answer):
            seen.add(event)
        choices = answer.get("choices")
        if seen.error is None and choices:
            if not all(isinstance(choice.get("text"), str) for choice in choices):
                raise WireError("one of its choices has no text")
            seen.add(Finish("stop"))
        return seen, body


class CompletionsStream(PassedStream):
    """Passes one streamed answer on. See ``dialect.AnswerStream``.

    Only whole events are passed on, as they came; after an error or the answer's end nothing more is. It is complete
    when each of ``count`` texts has come to an end, or at the end mark.
    """

    __slots__ = ("_count", "_finished")

    def __init__(self, count: int) -> None:
        super().__init__()
        self._count = count
        self._finished: set[Any] = set()

    def feed(self, chunk: bytes) -> bytes:
        return self._all_of(self._parser.feed(chunk))

    def close(self) -> bytes:
        rest = self._all_of(self._parser.close())
        if self.seen.complete and not self.seen.ended:
            self.seen.add(End())
            rest += DONE
        return rest

    def fail(self, problem: Problem) -> bytes:
        """The error. No [DONE] follows: the answer is not complete."""
        return self._all_of(()) + sse.event(error_body(problem))

    def _passed(self, event: sse.ServerEvent) -> bytes:
        """What the client gets of one event."""
        seen, data = self.seen, event.data
        if seen.error is not None or seen.ended:
            return b""
        if data is None and (event.raw.lstrip().startswith(sse.FIELDS) or not event.raw.strip()):
            return event.silence
        if data is not None and not data.strip():
            return b""
        if data is not None and data.lstrip().startswith(b"[DONE]"):
            seen.add(End())
            return event.raw
        chunk = parsed(event.raw if data is None else data)  # some break a stream with a bare error, without "data:"
        for item in _read(chunk):
            if isinstance(item, Finish):
                seen.meaningful = True
            else:
                seen.add(item)
        if seen.error is not None:
            return b""
        if data is None:
            raise WireError("it is no event of a stream")
        choices: list[dict[str, Any]] = chunk.get("choices") or []
        self._finished |= {choice.get("index", 0) for choice in choices if choice.get("finish_reason")}
        if seen.finish is None and len(self._finished) >= self._count:
            seen.add(Finish("stop"))
        return event.raw


def _read(chunk: Mapping[str, Any]) -> list[Event]:
    """The events of a chunk, or of a whole answer."""
    choices, usage = chunk.get("choices"), chunk.get("usage")
    if chunk.get("error") or (choices is None and not isinstance(usage, dict)):
        # Flat errors have no "error" member; whatever this is, it is not an answer.
        return [Error(chunk.get("error") or chunk)]
    if choices is not None and not isinstance(choices, list):
        raise WireError("its choices are none")
    events: list[Event] = []
    for choice in choices or ():
        if not isinstance(choice, dict) or not isinstance(choice.get("index", 0), int):
            raise WireError("one of its choices is none")
        text, finish = choice.get("text"), choice.get("finish_reason")
        if text and isinstance(text, str):
            events.append(Text(text))
        if finish == "error":
            events.append(Error(choice.get("error") or {"message": "the provider ended the answer with an error"}))
        elif finish:
            events.append(Finish(str(finish)))
    return events + usage_events(usage) if isinstance(usage, dict) else events


def _whole(name: str, values: Mapping[str, Any]) -> int | None:
    """Raises RequestError (400) where it is there, but no such number."""
    value = values.get(name)
    if value is not None and (not isinstance(value, int) or isinstance(value, bool) or value < 0):
        raise invalid(name, "a whole number")
    return value
