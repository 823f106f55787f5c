"""A provider's answer in Chat Completions, read into neutral events; ``ChatWriter`` is the other way round.

The shapes are those of OpenAI's API reference, with what providers are known to add, to leave out or to say twice.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from chain429.errors import WireError
from chain429.wire.chat_plain import Frame, frame
from chain429.wire.events import End, Error, Event, Finish, Reasoning, Signature, Text, ToolArguments, ToolCall, Usage
from chain429.wire.loading import dumps, loads

# Other words for the reasons why an answer ends. What stands nowhere here is an ordinary end.
_FINISHES = {
    "length": "length",
    "max_tokens": "length",
    "max_output_tokens": "length",
    "model_length": "length",
    "model_context_window_exceeded": "length",
    "tool_calls": "tool_calls",
    "tool_call": "tool_calls",
    "tool_use": "tool_calls",
    "function_call": "tool_calls",
    "content_filter": "content_filter",
    "refusal": "content_filter",
    "safety": "content_filter",
    "sensitive": "content_filter",
    "prohibited_content": "content_filter",
}
# Ends that are none: the provider gave up.
_BROKEN = frozenset({"error", "network_error", "insufficient_system_resource"})
_GAVE_UP = "the provider ended the answer with an error"


class _Call:
    """A tool call that is being read. ``number`` is None until its name is known, and with it that it is one.

    ``pieces`` are those of its arguments, ``size`` characters in all. ``blank``: an empty object stands for them, which
    may be all that it has to say, or come before they are known.
    """

    __slots__ = ("blank", "id", "name", "number", "pieces", "size")

    def __init__(self) -> None:
        self.id = ""
        self.name = ""
        self.number: int | None = None
        self.pieces: list[str] = []
        self.size = 0
        self.blank = False

    @property
    def text(self) -> str:
        return "".join(self.pieces)

    @property
    def whole(self) -> bool:
        """Whether its arguments are whole: what comes then belongs to another call, or was said already."""
        return bool(self.pieces) and self.pieces[-1].rstrip().endswith("}") and _parsed(self.text) is not None


class ChatReader:
    """Reads the chunks of one streamed answer, or one whole answer. See ``dialect.Reader``.

    Providers leave out or repeat the id, the index and the name of a call, and all of its arguments: a piece belongs to
    the call of its id, else to that of its index, else to the last one, unless its name or its arguments tell that
    another call begins.
    """

    __slots__ = ("_by_id", "_by_index", "_choice", "_frame", "_ids", "_last", "_opened", "pieces")

    def __init__(self) -> None:
        self._by_id: dict[str, _Call] = {}
        self._by_index: dict[int, _Call] = {}
        self._last: _Call | None = None
        self._ids: set[str] = set()
        self._opened = 0
        self._choice: Any = None
        self._frame: Frame | None = None  # that of the last plain chunk
        # What each piece of a call in the last chunk came to; some to nothing.
        self.pieces: list[list[Event]] = []

    def read(self, data: bytes, name: str = "") -> list[Event]:
        if not data.startswith(b"{") and data.lstrip().startswith(b"[DONE]"):
            return [End()]
        text = self._plain(data)
        if text is not None and self._frame is not None:
            kind = self._frame.kind
            if kind == "text":
                return [Text(text)]
            if kind == "reasoning":
                return [Reasoning(text)]
            call = self._goes_on(self._frame, text)
            if call is not None and call.number is not None:
                return [ToolArguments(call.number, text)]
        return self.take(parsed(data))

    def whole(self, body: bytes) -> list[Event]:
        return self.take(parsed(body), whole=True)

    @property
    def calls(self) -> int:
        """How many calls were made so far."""
        return self._opened

    def speaks(self, data: bytes) -> bool:
        """Whether a chunk is nothing but the next words or thoughts."""
        return self._plain(data) is not None and self._frame is not None and self._frame.kind != "arguments"

    def more(self, data: bytes) -> bool:
        """Whether a chunk is nothing but a further piece of a call's arguments, told as clients expect it. It is read
        then."""
        text = self._plain(data)
        frame = self._frame
        if text is None or frame is None or frame.kind != "arguments" or frame.role:
            return False
        call = self._by_index.get(frame.call)
        if call is None or call.number != frame.call or not call.pieces or not text.strip():
            return False
        return self._goes_on(frame, text) is not None

    def _plain(self, data: bytes) -> str | None:
        """What a plain chunk says; ``_frame`` tells how."""
        text = self._frame.text(data) if self._frame else None
        if text is None:
            found = frame(data)
            text = found.text(data) if found else None
            if text is None:
                return None
            self._frame = found
        return text if self._frame and self._frame.choice == self._choice else None

    def _goes_on(self, frame: Frame, text: str) -> _Call | None:
        """The call that ``text`` is more of the arguments of, now that it has them; None where that takes more care,
        as another object may begin."""
        call = self._by_index.get(frame.call)
        if call is None or call.number is None or text.lstrip().startswith("{"):
            return None
        call.pieces.append(text)
        call.size += len(text)
        return call

    @property
    def whole_call(self) -> bool:
        """Whether the arguments of the last call are all there, if it has any."""
        return self._last is None or not self._last.pieces or self._last.whole

    def choice(self, chunk: Mapping[str, Any]) -> dict[str, Any] | None:
        """The choice of a chunk that counts where several were asked for: always the same."""
        choices = chunk.get("choices")
        for choice in choices if isinstance(choices, list) else ():
            if isinstance(choice, dict):
                if self._choice is None:
                    self._choice = choice.get("index", 0)
                if choice.get("index", self._choice) == self._choice:
                    return choice
        return None

    def take(self, chunk: dict[str, Any], *, whole: bool = False) -> list[Event]:
        """The events of a chunk, or of a ``whole`` answer, that is parsed already."""
        self.pieces.clear()
        return self._chunk(chunk, whole=whole)

    def _chunk(self, chunk: dict[str, Any], *, whole: bool) -> list[Event]:
        vendor = chunk.get("x_groq")
        error = chunk.get("error") or (vendor.get("error") if isinstance(vendor, dict) else None)
        if error:
            return [Error(error)]
        choices = chunk.get("choices")
        usage = chunk.get("usage")
        if choices is None and not isinstance(usage, dict):
            # Flat errors have no "error" member; whatever this is, it is not an answer. Nothing at all is no error.
            return [Error(chunk)] if chunk else []
        choice = self.choice(chunk)
        if choice is None and choices and not (isinstance(choices, list) and isinstance(choices[0], dict)):
            raise WireError("its choices are none")
        events: list[Event] = []
        if choice is not None:
            self._read(choice, events, whole=whole)
            usage = usage or choice.get("usage")
        if not isinstance(usage, dict) and isinstance(vendor, dict):
            usage = vendor.get("usage")
        if isinstance(usage, dict):
            events += usage_events(usage)
        return events

    def _read(self, choice: dict[str, Any], events: list[Event], *, whole: bool) -> None:
        if choice.get("error"):
            events.append(Error(choice["error"]))
            return
        piece = choice.get("delta") or choice.get("message")
        if whole and not any(isinstance(choice.get(name), dict) for name in ("message", "delta")):
            # The end of something that is not there is no answer.
            events.append(Error({"message": "the provider's answer has no message"}))
            return
        if isinstance(piece, dict):
            content = piece.get("content")
            reasoning = piece.get("reasoning_content") or piece.get("reasoning")
            if reasoning and isinstance(reasoning, str):
                events.append(Reasoning(reasoning))
            if content:
                events += _content(content)
            self._more(piece, events, whole=whole)
        finish = choice.get("finish_reason")
        if finish and isinstance(finish, str):
            reason = finish.lower()
            broken = reason in _BROKEN
            events.append(Error({"message": _GAVE_UP}) if broken else Finish(_FINISHES.get(reason, "stop")))

    def _more(self, piece: dict[str, Any], events: list[Event], *, whole: bool) -> None:
        refusal = piece.get("refusal")
        if refusal and isinstance(refusal, str):
            events.append(Text(refusal))
        calls = piece.get("tool_calls")
        for call in calls if isinstance(calls, list) else ():
            if isinstance(call, dict):
                piece_of = self._call(call, apart=whole)
                self.pieces.append(piece_of)
                events += piece_of
        if isinstance(piece.get("function_call"), dict):  # How calls were told before there could be several.
            events += self._call({"function": piece["function_call"]}, apart=whole)

    def _call(self, piece: Mapping[str, Any], *, apart: bool) -> list[Event]:
        """The events of a piece of a call; ``apart``: it is a call of its own, whatever it says."""
        function = piece.get("function")
        function = function if isinstance(function, dict) else {}
        identifier, name, text = _word(piece.get("id")), _word(function.get("name")), _json(function.get("arguments"))
        index = piece.get("index")
        index = index if isinstance(index, int) else None
        call = None if apart else self._known(identifier, index, name)
        if call is not None and text.lstrip().startswith("{"):
            if call.whole:
                if _parsed(call.text) == _parsed(text):
                    return []
                name, call = name or call.name, None
            elif call.blank and name and not identifier:
                call = None
        if call is None:
            call = self._last = _Call()
        if identifier:
            self._by_id[identifier] = call
        if index is not None:
            self._by_index[index] = call
        events: list[Event] = _signature(piece["extra_content"]) if "extra_content" in piece else []
        if call.number is None:
            call.id = call.id or identifier
            if name:
                events.append(self._open(call, name))
                if call.pieces:
                    events.append(ToolArguments(self._opened - 1, call.text))
        text = self._new(call, text)
        if text and call.number is not None:
            events.append(ToolArguments(call.number, text))
        return events

    def _open(self, call: _Call, name: str) -> ToolCall:
        call.name, call.number = name, self._opened
        self._opened += 1
        # An id that was there before can't tell the two apart; whoever writes the answer finds another.
        identifier = "" if call.id in self._ids else call.id
        self._ids.add(call.id)
        return ToolCall(call.number, identifier, name)

    def _new(self, call: _Call, text: str) -> str:
        """What of a piece of a call's arguments was not said before; it is kept."""
        if not call.pieces and text.strip() == "{}":
            call.blank = True
            return ""
        if len(text) >= call.size > 0 and text.startswith("{") and text.startswith(call.text):
            text = text[call.size :]
        if text:
            call.pieces.append(text)
            call.size += len(text)
        return text

    def _known(self, identifier: str, index: int | None, name: str) -> _Call | None:
        """The call that a piece goes on with; None where it begins another."""
        call = self._by_id.get(identifier) if identifier else None
        if call is None and index is not None:
            call = self._by_index.get(index)
            if call is None and (identifier or name):
                return None
        elif call is None and identifier and name:
            return None
        call = call or self._last
        if call is None:
            return None
        if name and call.name and (name != call.name or (identifier and call.id and identifier != call.id)):
            return None
        return call


def parsed(data: bytes) -> dict[str, Any]:
    """The JSON object that a chunk or a body is; raises WireError where it is not one."""
    try:
        chunk = loads(str(data, "utf-8"))
    except (ValueError, RecursionError) as error:
        raise WireError("not JSON") from error
    if isinstance(chunk, list) and len(chunk) == 1:  # Gemini wraps errors in an array.
        chunk = chunk[0]
    if not isinstance(chunk, dict):
        raise WireError("not a JSON object")
    return chunk


def _word(value: Any) -> str:
    return value if isinstance(value, str) else "" if value is None else str(value)


def _json(arguments: Any) -> str:
    return arguments if isinstance(arguments, str) else dumps(arguments) if isinstance(arguments, dict) else ""


def _parsed(text: str) -> Any:
    try:
        return loads(text.strip())
    except (ValueError, RecursionError):
        return None


def _content(content: Any) -> list[Event]:
    """Text, or (Mistral) a list of parts of which some are thinking."""
    if isinstance(content, str):
        return [Text(content)]
    events: list[Event] = []
    for part in content if isinstance(content, list) else ():
        if not isinstance(part, dict):
            continue
        if part.get("type") == "thinking":
            inner = part.get("thinking")
            pieces = inner if isinstance(inner, list) else [{"text": inner}]
            text = "".join(str(piece.get("text") or "") for piece in pieces if isinstance(piece, dict))
            events += [Reasoning(text)] if text else []
        elif part.get("text"):
            events.append(Text(str(part["text"])))
    return events


def in_words(piece: Mapping[str, Any]) -> dict[str, Any]:
    """A message, or a piece of one, whose content is a list, with its words where clients look for them."""
    events = _content(piece.get("content"))
    thoughts = "".join([event.text for event in events if isinstance(event, Reasoning)])
    words = "".join([event.text for event in events if isinstance(event, Text)])
    return {**piece, "content": words or None, **({"reasoning_content": thoughts} if thoughts else {})}


def _signature(extra: Any) -> list[Event]:
    """The proof of its thinking that Google gives with a call, and wants back with it."""
    google = extra.get("google") if isinstance(extra, dict) else None
    signature = google.get("thought_signature") if isinstance(google, dict) else None
    return [Signature(signature, redacted=True)] if signature and isinstance(signature, str) else []


def usage_events(usage: Mapping[str, Any]) -> list[Event]:
    """What was counted; nothing where it is all zeros, which is said before anything is known."""
    given, made = usage.get("prompt_tokens_details"), usage.get("completion_tokens_details")
    given, made = given if isinstance(given, dict) else {}, made if isinstance(made, dict) else {}
    read, written = _count(usage.get("prompt_tokens")), _count(usage.get("completion_tokens"))
    if not (read or written):
        return []
    cached = _count(given.get("cached_tokens")) or _count(usage.get("prompt_cache_hit_tokens"))
    cached = cached or _count(usage.get("cached_tokens"))
    stored = _count(given.get("cache_write_tokens"))
    return [Usage(read, written, cached, _count(made.get("reasoning_tokens")), stored)]


def _count(value: Any) -> int:
    return value if isinstance(value, int) and value > 0 else 0
