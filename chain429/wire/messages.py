"""Anthropic's Messages (``POST /messages``): the client's request, and one attempt at it in the same dialect.

The shapes are those of Anthropic's API reference, in its versions 2023-06-01 and 2026-10-21, with what Claude Code is
known to send. Where client and provider both speak this dialect, bytes pass through; they are read only as far as the
gateway has to know.
"""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from chain429.errors import RequestError, WireError
from chain429.wire.conversation import Conversation, opening_key, session_key
from chain429.wire.dialect import Dialect, Side
from chain429.wire.events import Finish, Seen, Usage
from chain429.wire.members import DROP, Members
from chain429.wire.messages_answer import MessagesReader, parsed
from chain429.wire.messages_cleanup import SIGNATURE, fitted
from chain429.wire.messages_error import MESSAGES
from chain429.wire.messages_prompt import read_prompt, system_texts
from chain429.wire.messages_stream import MessagesStream
from chain429.wire.messages_writer import MessagesWriter
from chain429.wire.prompt import Prompt, marked
from chain429.wire.tokens import estimate_tokens
from chain429.wire.wants import Ability, abilities, length, shows

__all__ = ["MESSAGES", "PATH", "VERSION", "MessagesExchange", "MessagesRequest", "MessagesStream"]

PATH = "/messages"
# The version that all providers of the dialect know.
VERSION = "2023-06-01"
BETAS = "anthropic-beta"

# Parameters that only tune an answer: when a provider refuses one by name, the answer without it is still an answer.
SAFE_TO_DROP = frozenset(
    {
        "cache_control", "context_management", "diagnostics", "inference_geo", "metadata", "service_tier", "speed",
        "temperature", "thinking", "top_k", "top_p",
    }
)  # fmt: skip
# Claude Code says who the user is as JSON with the session's id in it, older ones as words with dashes.
_SESSION = re.compile(r"_session_([0-9a-fA-F-]{36})$")
# A conversation is told by no more of the messages before its first answer.
_OPENING = 8


class MessagesRequest(NamedTuple):
    """A client's request, checked. ``size`` is the body's length as ``wants.length`` counts it.

    ``version`` and ``betas`` are the client's ``anthropic-version`` and ``anthropic-beta``. ``max_tokens`` of 0 asks
    only to fill a cache, which the gateway has not: there is nothing to call a provider for, see ``answer_nothing``.
    """

    members: Members
    model: str
    stream: bool
    size: int
    max_tokens: int | None
    version: str = ""
    betas: str = ""

    @classmethod
    def parse(cls, body: bytes, version: str = "", betas: str = "", *, counting: bool = False) -> MessagesRequest:
        """Check a body; raises RequestError (400) that names the field at fault.

        ``counting``: it only asks for a count of its tokens, so how many may be made is not said.
        """
        try:
            members = Members.parse(body)
        except WireError as error:
            raise RequestError(f"The request could not be read: {error}.", code="invalid_json") from error
        values = members.values
        for name, kinds, wanted in _MEMBERS:
            value = values.get(name)
            if value is not None and (not isinstance(value, kinds) or (isinstance(value, bool) and kinds is not bool)):
                raise _invalid(name, wanted)
        most = values.get("max_tokens")
        if most is None and not counting:
            raise _invalid("max_tokens", "Field required")
        if most is not None and most < 0:
            raise _invalid("max_tokens", "0 or more was expected")
        _check_messages(values)
        _check_blocks(("system",), values.get("system"), texts_only=True)
        for index, tool in enumerate(values.get("tools") or ()):
            if not isinstance(tool, dict):
                raise _invalid(f"tools.{index}", "an object was expected")
            # A set of tools of a server has a type and no name.
            if not isinstance(tool.get("name"), str) and not isinstance(tool.get("type"), str):
                raise _invalid(f"tools.{index}.name", "Field required")
            if tool.get("type") in (None, "custom") and not isinstance(tool.get("name"), str):
                raise _invalid(f"tools.{index}.name", "Field required")
        return cls(
            members,
            values.get("model") or "",
            bool(values.get("stream")),
            length(body, members, "messages"),
            most,
            version,
            betas,
        )

    @property
    def dialect(self) -> Dialect:
        return MESSAGES

    @property
    def wants(self) -> tuple[Ability, ...]:
        values = self.members.values
        form = (values.get("output_config") or {}).get("format")
        return abilities(
            tools=bool(values.get("tools")),
            images=shows(self.members, "messages", "image"),
            schema=isinstance(form, dict) and form.get("type") == "json_schema",
        )

    def conversation(self, session: str) -> Conversation:
        """See ``dialect.ClientRequest``. The session may be named by ``metadata.user_id``, as Claude Code does."""
        values = self.members.values
        messages = values["messages"]
        begun = any(message["role"] == "assistant" for message in messages)
        metadata = values.get("metadata")
        owner = metadata.get("user_id") if isinstance(metadata, dict) else None
        owner = owner if isinstance(owner, str) else ""
        session = session or _session(owner)
        if session:
            return Conversation(session_key(session), begun)
        return Conversation(opening_key(owner, _opening(values)), begun)

    def exchange(self, side: Side, refused: Iterable[str]) -> MessagesExchange:
        """What goes to a provider that speaks Messages too, and how its answer is read; afresh for each attempt."""
        return MessagesExchange(self, side, frozenset(refused))

    def prompt(self) -> Prompt:
        return read_prompt(self.members.values)

    def writer(self, prompt: Prompt, side: Side, identifier: str, at: int) -> MessagesWriter:
        # It stands only until tokens are counted; but what is no text has far fewer of them than bytes.
        estimate = estimate_tokens(self.members.values) if self.members.count('"base64"') else self.size // 4
        return MessagesWriter(identifier, self.model, at, prompt.originals, side.provider, estimate)

    def answer_nothing(self, identifier: str, at: int) -> bytes:
        """The answer where nothing may be made: the body, or all of the stream. ``at``: now in Unix seconds."""
        writer = MessagesWriter(identifier, self.model, at)
        events = (Usage(estimate_tokens(self.members.values), 0), Finish("length"))
        out = b"".join([writer.add(event) for event in events])
        return out + writer.close() if self.stream else writer.whole()

    def droppable(self, param: str) -> str | None:
        """The field that a refusal of ``param`` lets us leave out, or None where it is needed.

        Two are not fields of the body: the header ``anthropic-beta``, and ``signature``, that of thinking which a
        provider does not take for its own.
        """
        values = self.members.values
        if param == BETAS:
            return BETAS if self.betas else None
        if param.rpartition(".")[2] == SIGNATURE:
            return SIGNATURE if self.members.count('"signature"') else None
        name = re.split(r"[.\[]", param, maxsplit=1)[0]
        if name == "output_config" and "format" not in (values.get(name) or {}):
            return name if name in values else None
        return name if name in values and name in SAFE_TO_DROP else None


class MessagesExchange:
    """One attempt: a Messages request answered in Messages. See ``dialect.Exchange``."""

    __slots__ = ("_origin", "body", "headers", "lost")

    def __init__(self, request: MessagesRequest, side: Side, refused: Collection[str]) -> None:
        changes = fitted(request.members, side, request.version, refused)
        self.body = request.members.render(changes)
        self.lost = tuple([name for name, value in changes.items() if value is DROP and name in request.members.values])
        # Whoever made the dialect signs for itself; what others sign is marked, so that it goes back to nobody else.
        self._origin = "" if side.vendor else side.provider
        self.headers: Mapping[str, str] = {"anthropic-version": VERSION}
        if side.vendor:
            # A beta and the members that it adds to the body belong together.
            self.headers = {"anthropic-version": request.version or VERSION}
            if request.betas and BETAS not in refused:
                self.headers = {**self.headers, BETAS: request.betas}

    @property
    def path(self) -> str:
        return PATH

    def stream(self) -> MessagesStream:
        return MessagesStream(self._origin)

    def answer(self, body: bytes) -> tuple[Seen, bytes]:
        seen = Seen()
        for event in MessagesReader().whole(body):
            seen.add(event)
        return seen, self._marked(body) if self._origin and seen.error is None else body

    def _marked(self, body: bytes) -> bytes:
        content = parsed(body)["content"]
        signed = [_signed(block, self._origin) if isinstance(block, dict) else block for block in content]
        return body if signed == content else Members.parse(body).render({"content": signed})


def _signed(block: dict[str, Any], origin: str) -> dict[str, Any]:
    member = {"thinking": "signature", "redacted_thinking": "data"}.get(str(block.get("type")))
    return block if member is None else {**block, member: marked(origin, str(block.get(member) or ""))}


_MEMBERS: Sequence[tuple[str, type | tuple[type, ...], str]] = (
    ("model", str, "a string was expected"),
    ("max_tokens", int, "a whole number was expected"),
    ("stream", bool, "true or false was expected"),
    ("system", (str, list), "a string or a list of text blocks was expected"),
    ("tools", list, "a list of tools was expected"),
    ("tool_choice", dict, 'an object such as {"type": "auto"} was expected'),
    ("thinking", dict, 'an object such as {"type": "disabled"} was expected'),
    ("metadata", dict, "an object was expected"),
    ("output_config", dict, "an object was expected"),
    ("stop_sequences", list, "a list of strings was expected"),
    ("temperature", (int, float), "a number was expected"),
    ("top_p", (int, float), "a number was expected"),
    ("top_k", int, "a whole number was expected"),
)
_ROLES = ("user", "assistant", "system")
# What a block must have, by its type: members and their types.
_BLOCKS: Mapping[str, Sequence[tuple[str, type]]] = {
    "text": (("text", str),),
    "image": (("source", dict),),
    "document": (("source", dict),),
    "thinking": (("thinking", str),),
    "redacted_thinking": (("data", str),),
    "tool_use": (("id", str), ("name", str)),
    "tool_result": (("tool_use_id", str),),
}


def _invalid(param: str, wanted: str) -> RequestError:
    return RequestError(f"{param}: {wanted}.", code="invalid_request", param=param)


def _check_messages(values: Mapping[str, Any]) -> None:
    messages = values.get("messages")
    if messages is None:
        raise _invalid("messages", "Field required")
    if not isinstance(messages, list) or not messages:
        raise _invalid("messages", "a non-empty list of messages was expected")
    for index, message in enumerate(messages):
        if not isinstance(message, dict):
            raise _invalid(f"messages.{index}", "an object was expected")
        if message.get("role") not in _ROLES:
            raise _invalid(f"messages.{index}.role", "'user', 'assistant' or 'system' was expected")
        content = message.get("content")
        if not isinstance(content, str | list):
            raise _invalid(f"messages.{index}.content", "a string or a list of content blocks was expected")
        if isinstance(content, list):
            _check_blocks(("messages", index, "content"), content, texts_only=message["role"] == "system")


def _check_blocks(place: tuple[str | int, ...], blocks: Any, *, texts_only: bool = False) -> None:
    """``place`` is where they stand: it is put into words only where something is wrong there."""
    for index, block in enumerate(blocks if isinstance(blocks, list) else ()):
        kind = block.get("type") if isinstance(block, dict) else None
        if not isinstance(kind, str):
            raise _invalid(_joined(*place, index), "an object with a 'type' was expected")
        for name, wanted in _BLOCKS.get(kind, ()):
            if not isinstance(block.get(name), wanted):
                words = "a string" if wanted is str else "an object"
                raise _invalid(_joined(*place, index, name), f"{words} was expected")
        if texts_only and kind not in ("text", "tool_addition", "tool_removal"):
            raise _invalid(_joined(*place, index, "type"), "'text' was expected")
        if kind in ("tool_result", "search_result", "document"):
            # A document may hold blocks where it has a source.
            name, holder = ("content", block) if kind != "document" else ("source.content", block["source"])
            inner = holder.get("content")
            if inner is not None and not isinstance(inner, str | list):
                raise _invalid(_joined(*place, index, name), "a string or a list of content blocks was expected")
            _check_blocks((*place, index, name), inner)
        elif kind == "tool_use" and not isinstance(block.get("input", {}), dict):
            raise _invalid(_joined(*place, index, "input"), "an object was expected")


def _joined(*place: str | int) -> str:
    return ".".join([str(step) for step in place])


def _session(owner: str) -> str:
    """The session that is named in a user's id; empty where none is."""
    if owner.startswith("{"):
        try:
            session = json.loads(owner).get("session_id")
        except (ValueError, RecursionError):
            return ""
        return session if isinstance(session, str) else ""
    found = _SESSION.search(owner)
    return found[1] if found else ""


def _opening(values: Mapping[str, Any]) -> list[str]:
    """What is said before the first answer: it stays the same however long a conversation grows."""
    texts = system_texts(values.get("system"))
    asked = False
    for message in values["messages"][:_OPENING]:
        if message["role"] == "assistant":
            if asked:
                break
            continue
        text = _said(message["content"])
        texts.append(text)
        if message["role"] == "user":
            asked = True
            # Long ones often begin alike, with what a tool always sends along.
            texts.append(str(len(text)))
    return texts


def _said(content: Any) -> str:
    if isinstance(content, str):
        return content
    return "".join([block["text"] if block["type"] == "text" else f"[{block['type']}]" for block in content])
