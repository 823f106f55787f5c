"""A Chat Completions answer, passed on to a client of the same dialect: as it came, but for what breaks clients."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any

from chain429.wire import sse
from chain429.wire.chat_reader import ChatReader, in_words, parsed
from chain429.wire.chat_writer import DONE, error_body
from chain429.wire.dialect import Problem
from chain429.wire.events import End, Event, ToolArguments, ToolCall
from chain429.wire.loading import dumps
from chain429.wire.passing import PassedStream
from chain429.wire.prompt import call_id

# What all chunks of an answer have in common.
_COMMON = ("id", "object", "created", "model")
# Some tell the role with every chunk: Gemini and Ollama do. OpenAI's SDK adds what it hears to what it has heard, and
# its "assistantassistant" is refused when it comes back. Of several answers, each has its first chunk.
_ROLE = re.compile(rb'"role"\s*:\s*"assistant"\s*,\s*|,\s*"role"\s*:\s*"assistant"')
_OTHER_CHOICE = re.compile(rb'"index"\s*:\s*[1-9]')


class ChatStream(PassedStream):
    """Passes one streamed answer on to a client of the same dialect. See ``dialect.AnswerStream``.

    Only whole events are passed on, as they came. Put right is what clients can't read: calls that are not told apart
    by a number and an id, that are told twice or have no arguments; an end that hides them, that has no reason or one
    of another dialect's, or is told twice; a role that is told twice; words and thoughts in a list. After an error or
    the answer's end nothing more is passed on: what becomes of it is not decided here. Raises WireError where the bytes
    are no event stream.
    """

    __slots__ = (
        "_bare",
        "_blank",
        "_calls",
        "_common",
        "_held",
        "_include_usage",
        "_reader",
        "_role",
    )

    def __init__(self, *, include_usage: bool) -> None:
        super().__init__()
        self._reader = ChatReader()
        self._include_usage = include_usage
        self._common: dict[str, Any] = {}
        self._calls = 0
        self._role = False  # it was told
        self._bare: set[int] = set()  # calls without arguments yet
        self._blank: set[int] = set()  # those of them that an empty object was told of, and not passed on
        # A chunk with an empty object that may stand for a call's arguments, or come before them: as it came, and
        # without it; and those calls.
        self._held: tuple[bytes, bytes, frozenset[int]] | None = None

    def feed(self, chunk: bytes) -> bytes:
        whole = not self._parser.pending
        if whole and self._goes_on(chunk):
            return chunk
        words = self._words(chunk) if whole else 0
        if words == len(chunk):
            return self._without_role(chunk)
        if words:
            self._unsent.append(self._without_role(chunk[:words]))
        return self._all_of(self._parser.feed(chunk[words:]))

    def _words(self, chunk: bytes) -> int:
        """How much of ``chunk``, which begins with an event, is whole events that say nothing but the next words.

        This is the hot path: nearly all of an answer is that, and need not be taken apart.
        """
        seen, at = self.seen, 0
        if not seen.meaningful or seen.ended or seen.error is not None or self._held:
            return 0
        while chunk.startswith(b"data: {", at):
            end = chunk.find(b"\n\n", at)
            if end < 0 or not self._reader.speaks(chunk[at + 6 : end]):
                break
            at = end + 2
        return at

    def _without_role(self, words: bytes) -> bytes:
        """Words, without a role that was told before them."""
        if self._role and b'"role"' in words and not _OTHER_CHOICE.search(words):
            return _ROLE.sub(b"", words)
        return words

    def close(self) -> bytes:
        """The upstream's stream has ended; what is left for the client. ``seen.complete`` tells whether it may."""
        last = self._parser.close()
        for event in last:
            if event.data is not None and event.data.startswith(b"{"):
                parsed(event.data)  # it may be half of one, which is not seen from its end
        rest = self._all_of(last)
        if self.seen.complete and not self.seen.ended:
            self.seen.add(End())
            rest += DONE
        return rest

    def fail(self, problem: Problem) -> bytes:
        """The error. No [DONE] follows: the answer is not complete."""
        return self._all_of(()) + sse.event(error_body(problem))

    def _passed(self, event: sse.ServerEvent) -> bytes:
        """What the client gets of one event."""
        seen, raw = self.seen, event.raw
        if seen.error is not None or seen.ended:
            return b""
        if self._goes_on(raw):
            return raw
        if self._words(raw) == len(raw):
            return self._without_role(raw)
        data = event.data
        if data is None:
            if raw.lstrip().startswith(sse.FIELDS) or not raw.strip():
                return event.silence
        elif not data.strip():
            return b""
        elif data.lstrip().startswith(b"[DONE]"):
            return self._ended(raw)
        # Gemini has been seen to break a stream with a bare JSON error, without "data:".
        chunk = parsed(raw if data is None else data)
        before, events = seen.finish, self._reader.take(chunk)
        for item in events:
            seen.add(item)
        if seen.error is not None:
            return b""
        seen.finish = before or seen.finish
        if data is None or not data.lstrip().startswith(b"{"):
            raw = _event(chunk)
        if not chunk.get("choices"):
            # It only carries usage, if anything. Clients that did not ask for it look for a choice in every chunk.
            return raw if self._include_usage and isinstance(chunk.get("usage"), dict) else b""
        if not self._common:
            self._common = {name: chunk[name] for name in _COMMON if name in chunk}
        return self._released(events) + self._mended(chunk, raw, ended=before is not None)

    def _goes_on(self, raw: bytes) -> bool:
        """Whether an event is nothing but one more piece of a call's arguments: it need not be taken apart."""
        if not (raw.startswith(b"data: {") and b'"arguments"' in raw and raw.endswith(b"}\n\n")) or self._held:
            return False
        return not self.seen.ended and self.seen.error is None and self._reader.more(raw[6:-2])

    def _mended(self, chunk: dict[str, Any], raw: bytes, *, ended: bool) -> bytes:
        """A chunk that goes on with the answer; ``ended``: its end was told already."""
        choice = self._reader.choice(chunk)
        if choice is None:
            return raw  # of another of several answers
        finish = choice.get("finish_reason")
        reason = None if ended else self._reason(finish)
        changes: dict[str, Any] = {} if reason == finish else {"finish_reason": reason}
        delta = choice.get("delta")
        if not isinstance(delta, dict):
            message = choice.get("message")
            changes["delta"] = delta = message if isinstance(message, dict) else {}
        if "role" in delta:
            if self._role:
                changes["delta"] = delta = {name: value for name, value in delta.items() if name != "role"}
            self._role = True
        if isinstance(delta.get("content"), list):
            changes["delta"] = delta = in_words(delta)
        told = delta.get("tool_calls")
        waiting: frozenset[int] = frozenset()
        if isinstance(told, list) and told:
            pieces, waiting = self._pieces(told, last=reason)
            if len(pieces) != len(told) or any(new is not one for new, one in zip(pieces, told, strict=True)):
                changes["delta"] = {**delta, "tool_calls": pieces}
        out = self._filled() if reason == "tool_calls" else b""
        if not changes:
            return out + raw
        choices = [{**one, **changes} if one is choice else one for one in chunk["choices"]]
        new = _event({**chunk, "choices": choices})
        if waiting:
            self._held = (raw, new, waiting)
            return out
        return out + new

    def _pieces(self, told: list[Any], *, last: str | None) -> tuple[list[Any], frozenset[int]]:
        """The pieces of calls as they should have been told; and, if that is all that is wrong with them, the calls
        for which an empty object stands that may be all they have to say. ``last``: the reason of an end that is told
        with them."""
        pieces: list[Any] = []
        waiting: set[int] = set()
        fits = True
        for one, events in zip([one for one in told if isinstance(one, dict)], self._reader.pieces, strict=False):
            call = next((event for event in events if isinstance(event, ToolCall)), None)
            text = "".join([event.text for event in events if isinstance(event, ToolArguments)])
            number = next((event.index for event in events if isinstance(event, ToolCall | ToolArguments)), None)
            index, identifier, name, arguments = _said(one)
            if number is None and arguments.strip() == "{}" and isinstance(index, int) and index in self._bare:
                number = index
            if number is None:
                fits = fits and not arguments
                continue
            if call is not None:
                # Clients read the arguments of a call when the next one begins.
                ready = sorted(self._blank & self._bare)
                pieces += [_rendered({}, before, ("", ""), "{}") for before in ready]
                self._bare -= self._blank
                self._calls += 1
                self._bare.add(number)
            if text:
                self._bare.discard(number)
            due = ("", "") if call is None else (call.id or self._made_id(number), call.name)
            if not text and (arguments.strip() == "{}" or call is not None) and last == "tool_calls":
                text = "{}"
                self._bare.discard(number)
            elif not text and arguments.strip() == "{}":
                self._blank.add(number)
            alike = (index, identifier, name) == (number, *due)
            if alike and not text and arguments.strip() == "{}":
                waiting.add(number)
            elif alike and text == arguments:
                pieces.append(one)
                continue
            else:
                fits = False
            pieces.append(_rendered(one, number, due, text))
        return pieces, frozenset(waiting if fits else ())

    def _made_id(self, number: int) -> str:
        return call_id(f"call_{self._common.get('id', '')}_{number}")

    def _released(self, events: Iterable[Event] = ()) -> bytes:
        """The chunk that was held, before one of ``events``."""
        if self._held is None:
            return b""
        (raw, new, waiting), self._held = self._held, None
        if any(isinstance(event, ToolArguments) and event.index in waiting for event in events):
            return new
        self._bare -= waiting
        return raw

    def _reason(self, finish: Any) -> str | None:
        """What a client is told as the reason of an end; None where it is none."""
        seen = self.seen
        if not finish or not isinstance(finish, str) or seen.finish is None:
            return None
        if finish == "function_call" and not self._calls:
            return finish
        if seen.finish == "stop" and (self._calls or self._reader.pieces):
            seen.finish = "tool_calls"
        elif seen.finish == "tool_calls" and not self._reader.calls:
            seen.finish = "stop"
        return seen.finish

    def _filled(self) -> bytes:
        """Arguments for the calls that have none: clients read them as JSON, which nothing at all is not."""
        pieces = [_rendered({}, number, ("", ""), "{}") for number in sorted(self._bare)]
        self._bare.clear()
        return self._own({"tool_calls": pieces}, None) if pieces else b""

    def _ended(self, raw: bytes) -> bytes:
        """The end mark; an end that nobody announced is told before it."""
        seen = self.seen
        seen.add(End())
        out = self._released()
        if seen.finish is not None or not seen.meaningful:
            return out + raw
        seen.finish = "stop"
        if self._calls:
            # It may have cut the last call.
            seen.finish = "tool_calls" if self._reader.whole_call else "length"
            out += self._filled() if seen.finish == "tool_calls" else b""
        return out + self._own({}, seen.finish) + raw

    def _own(self, delta: dict[str, Any], finish: str | None) -> bytes:
        return _event({**self._common, "choices": [{"index": 0, "delta": delta, "finish_reason": finish}]})


def mended(answer: Mapping[str, Any], reader: ChatReader, finish: str | None) -> dict[str, Any]:
    """What has to change in a whole answer: nothing, or its choices. ``reader`` has read it; ``finish`` is the reason
    of its end."""
    choice = answer["choices"][0]
    message = choice.get("message") if len(answer["choices"]) == 1 and isinstance(choice, dict) else None
    if not isinstance(message, dict):
        return {}
    changes: dict[str, Any] = {}
    if isinstance(message.get("content"), list):
        changes["message"] = message = in_words(message)
    told = message.get("tool_calls")
    if finish == "stop" and reader.calls and told:
        finish = "tool_calls"
    elif finish == "tool_calls" and not reader.calls:
        finish = "stop"
    if isinstance(told, list) and reader.pieces:
        new = []
        for one, events in zip([one for one in told if isinstance(one, dict)], reader.pieces, strict=False):
            call = next((event for event in events if isinstance(event, ToolCall)), None)
            if call is None:
                continue
            text = "".join([event.text for event in events if isinstance(event, ToolArguments)])
            text = text or ("{}" if finish == "tool_calls" else "")
            identifier = call.id or call_id(f"call_{answer.get('id', '')}_{call.index}")
            _, given, _, arguments = _said(one)
            fits = given == identifier and (arguments == text or not (text or arguments.strip(" {}")))
            new.append(one if fits else {**one, "id": identifier, "function": {**one["function"], "arguments": text}})
        if len(new) != len(told) or any(one is not other for one, other in zip(new, told, strict=True)):
            changes["message"] = {**message, "tool_calls": new}
    given = choice.get("finish_reason")
    if finish is not None and given not in (finish, "function_call"):
        changes["finish_reason"] = finish
    return {"choices": [{**choice, **changes}]} if changes else {}


def _said(piece: Mapping[str, Any]) -> tuple[Any, str, str, str]:
    """The index, the id, the name and the arguments that a piece of a call has."""
    function = piece.get("function")
    function = function if isinstance(function, dict) else {}
    return piece.get("index"), _word(piece.get("id")), _word(function.get("name")), _word(function.get("arguments"))


def _word(value: Any) -> str:
    # What is no text is none that could stay.
    return value if isinstance(value, str) else "" if value is None else "\0"


def _rendered(piece: Mapping[str, Any], number: int, opens: tuple[str, str], text: str) -> dict[str, Any]:
    """``piece`` of a call, put right; what it holds besides is kept. ``opens``: the id and the name of the call that it
    opens, if it does."""
    identifier, name = opens
    rest = {member: value for member, value in piece.items() if member not in ("index", "id", "type", "function")}
    if not name:
        return {"index": number, "function": {"arguments": text}, **rest}
    function = {"name": name, "arguments": text}
    return {"index": number, "id": identifier, "type": "function", "function": function, **rest}


def _event(chunk: Mapping[str, Any]) -> bytes:
    return b"data: " + dumps(chunk).encode("utf-8", "replace") + b"\n\n"
