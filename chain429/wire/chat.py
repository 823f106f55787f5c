"""OpenAI's Chat Completions (``POST /chat/completions``): the client's request, and a provider's answer.

The shapes are those of OpenAI's API reference, with what providers are known to add or to get wrong. Where client and
provider both speak this dialect, bytes pass through; they are read only as far as the gateway has to know.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from types import MappingProxyType
from typing import Any, NamedTuple

from chain429.errors import RequestError, WireError
from chain429.wire import sse
from chain429.wire.chat_checks import check
from chain429.wire.chat_prompt import read_prompt
from chain429.wire.chat_reader import ChatReader, parsed
from chain429.wire.chat_stream import ChatStream, mended
from chain429.wire.chat_writer import ChatWriter, error_body
from chain429.wire.cleanup import clean, dropped
from chain429.wire.conversation import Conversation, opening_key, session_key
from chain429.wire.dialect import Dialect, DialectName, Problem, Side
from chain429.wire.events import Seen
from chain429.wire.members import DROP, Members
from chain429.wire.prompt import Prompt
from chain429.wire.wants import Ability, abilities, length, shows

PATH = "/chat/completions"

# Parameters that only tune an answer: when a provider refuses one by name, the answer without it is still an answer.
SAFE_TO_DROP = frozenset(
    {
        "frequency_penalty", "logit_bias", "logprobs", "metadata", "modalities", "parallel_tool_calls", "prediction",
        "presence_penalty", "prompt_cache_key", "prompt_cache_retention", "reasoning_effort", "safety_identifier",
        "seed", "service_tier", "store", "stream_options", "temperature", "top_k", "top_logprobs", "top_p", "user",
        "verbosity",
    }
)  # fmt: skip
# Fields that older and newer servers know under different names.
RENAMES = {"max_tokens": "max_completion_tokens", "max_completion_tokens": "max_tokens"}
# Where clients say who asks, or which prompts are alike; the first of them counts.
_OWNERS = ("prompt_cache_key", "user", "safety_identifier")
# A conversation is told by no more of the messages before its first answer.
_OPENING = 8


class ChatRequest(NamedTuple):
    """A client's request, checked. ``size`` is the body's length as ``wants.length`` counts it, ``max_tokens`` what it
    allows to be made."""

    members: Members
    model: str
    stream: bool
    include_usage: bool
    size: int
    max_tokens: int | None

    @classmethod
    def parse(cls, body: bytes) -> ChatRequest:
        """Check a body; raises RequestError (400) that names the field at fault."""
        try:
            members = Members.parse(body)
        except WireError as error:
            raise RequestError(f"The request could not be read: {error}.", code="invalid_json") from error
        values = members.values
        check(values)
        stream, options = values.get("stream"), values.get("stream_options")
        return cls(
            members=members,
            model=values.get("model", ""),
            stream=bool(stream),
            include_usage=bool(options and options.get("include_usage")),
            size=length(body, members, "messages"),
            max_tokens=_whole(values.get("max_completion_tokens")) or _whole(values.get("max_tokens")),
        )

    @property
    def dialect(self) -> Dialect:
        return CHAT

    @property
    def wants(self) -> tuple[Ability, ...]:
        values = self.members.values
        form = values.get("response_format")
        return abilities(
            tools=bool(values.get("tools") or values.get("functions")),
            images=shows(self.members, "messages", "image_url"),
            schema=isinstance(form, dict) and form.get("type") == "json_schema",
        )

    def conversation(self, session: str) -> Conversation:
        """See ``dialect.ClientRequest``.

        What names an owner is no key by itself: OpenAI's ``prompt_cache_key`` may be one for a whole application.
        """
        values = self.members.values
        messages = values["messages"]
        begun = any(message["role"] == "assistant" for message in messages)
        if session:
            return Conversation(session_key(session), begun)
        owners = [values[name] for name in _OWNERS if name in values]
        owner = next((one for one in owners if one and isinstance(one, str)), "") if owners else ""
        return Conversation(opening_key(owner, _opening(messages)), begun)

    def exchange(self, side: Side, refused: Iterable[str]) -> ChatExchange:
        """What goes to a provider that speaks Chat Completions too, and how its answer is read; afresh for each
        attempt."""
        changes = self._changes(side, refused)
        lost = dropped(self.members.values, changes, side.rules, RENAMES)
        return ChatExchange(self, self.members.render(changes), lost)

    def prompt(self) -> Prompt:
        return read_prompt(self.members.values)

    def writer(self, prompt: Prompt, side: Side, identifier: str, at: int) -> ChatWriter:
        return ChatWriter(identifier, self.model, at, prompt.originals, side.provider, include_usage=self.include_usage)

    def _changes(self, side: Side, refused: Iterable[str]) -> dict[str, Any]:
        changes: dict[str, Any] = {"model": side.model}
        values: Mapping[str, Any] = self.members.values
        if self.stream and not self.include_usage:
            asked = values.get("stream_options") or {}
            changes["stream_options"] = {**asked, "include_usage": True}
        if side.max_output is not None and self.max_tokens is not None:
            for name in RENAMES:
                if (_whole(values.get(name)) or 0) > side.max_output:
                    changes[name] = side.max_output
        if len(changes) > 1:
            values = {**values, **changes}
        changes |= clean(values, side.model, side.rules)
        for name in refused:
            value = changes.get(name, values.get(name, DROP))
            if name in RENAMES and value is not DROP and RENAMES[name] not in values:
                changes[RENAMES[name]] = value
            changes[name] = DROP
        return changes

    def droppable(self, param: str) -> str | None:
        """The top-level field that a refusal of ``param`` lets us leave out or rename, or None where it is needed."""
        name = re.split(r"[.\[]", param, maxsplit=1)[0]
        if name in RENAMES:
            return name if name in self.members.values and RENAMES[name] not in self.members.values else None
        sent = name in self.members.values or (name == "stream_options" and self.stream)
        return name if sent and name in SAFE_TO_DROP else None


def _whole(value: Any) -> int | None:
    return value if isinstance(value, int) and not isinstance(value, bool) and value > 0 else None


def _opening(messages: Sequence[Mapping[str, Any]]) -> list[str]:
    """What is said before the first answer: it stays the same however long a conversation grows.

    An answer before the user's first word is a greeting. Instructions count only as far as they are read, for their end
    may tell the time of day.
    """
    texts: list[str] = []
    asked = False
    for message in messages[:_OPENING]:
        role = message["role"]
        if role == "assistant":
            if asked:
                break
            continue
        text = _said(message.get("content"))
        texts.append(text)
        if role == "user":
            asked = True
            # Long ones often begin alike, with what a tool always sends along.
            texts.append(str(len(text)))
    return texts


def _said(content: Any) -> str:
    """The words of a message, whether it is written as a text or as parts."""
    if isinstance(content, str):
        return content
    parts = [part for part in content if isinstance(part, dict)] if isinstance(content, list) else []
    return "".join([part["text"] if isinstance(part.get("text"), str) else f"[{part.get('type')}]" for part in parts])


class ChatExchange:
    """One attempt: a Chat Completions request answered in Chat Completions. See ``dialect.Exchange``."""

    __slots__ = ("_request", "body", "lost")

    headers: Mapping[str, str] = MappingProxyType({})

    def __init__(self, request: ChatRequest, body: bytes, lost: tuple[str, ...] = ()) -> None:
        self._request = request
        self.body = body
        self.lost = lost

    @property
    def path(self) -> str:
        return PATH

    def stream(self) -> ChatStream:
        return ChatStream(include_usage=self._request.include_usage)

    def answer(self, body: bytes) -> tuple[Seen, bytes]:
        seen, reader, answer = Seen(), ChatReader(), parsed(body)
        for event in reader.take(answer, whole=True):
            seen.add(event)
        if seen.error is not None or not seen.meaningful:
            return seen, body
        changes = mended(answer, reader, seen.finish)
        return seen, Members.parse(body).render(changes) if changes else body


class ChatDialect:
    """See ``dialect.Dialect``."""

    name: DialectName = "chat"
    provider: DialectName = "chat"
    translates = True
    one_model = False
    keep_alive = sse.comment("keep-alive")

    def error(self, problem: Problem) -> bytes:
        return error_body(problem)


CHAT: Dialect = ChatDialect()
