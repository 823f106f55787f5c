"""OpenAI's Responses (``POST /responses``): the client's request, and one attempt at it in the same dialect.

The shapes are those of OpenAI's API reference, with what Codex is known to send. Nothing is kept here between two
requests, so what refers to an earlier answer is refused. Where client and provider both speak this dialect, bytes pass
through; they are read only as far as the gateway has to know.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from types import MappingProxyType
from typing import Any, NamedTuple

from chain429.errors import RequestError, WireError
from chain429.wire.conversation import Conversation, opening_key, session_key
from chain429.wire.dialect import Dialect, Side, Writer
from chain429.wire.events import Seen
from chain429.wire.members import DROP, Members
from chain429.wire.prompt import Prompt
from chain429.wire.responses_answer import ResponsesReader, parsed
from chain429.wire.responses_cleanup import HIDDEN, NESTED, fitted, passes
from chain429.wire.responses_error import RESPONSES
from chain429.wire.responses_prompt import INSTRUCTING, is_responses, read_prompt, said, tools_in
from chain429.wire.responses_stream import ResponsesStream, with_marks
from chain429.wire.responses_writer import ResponsesWriter
from chain429.wire.wants import Ability, abilities, length, shows

__all__ = ["PATH", "RESPONSES", "ResponsesExchange", "ResponsesRequest", "ResponsesStream", "is_responses"]

PATH = "/responses"

# Parameters that only tune an answer: when a provider refuses one by name, the answer without it is still an answer.
SAFE_TO_DROP = frozenset(
    {
        "client_metadata", "context_management", "include", "max_tool_calls", "metadata", "parallel_tool_calls",
        "prompt_cache_key", "prompt_cache_options", "prompt_cache_retention", "reasoning", "safety_identifier",
        "service_tier", "store", "stream_options", "temperature", "top_logprobs", "top_p", "truncation", "user",
    }
)  # fmt: skip
# Where clients say who asks, or which prompts are alike; the first of them counts.
_OWNERS = ("prompt_cache_key", "user", "safety_identifier")
# A conversation is told by no more of the items before its first answer.
_OPENING = 8


class ResponsesRequest(NamedTuple):
    """A client's request, checked. ``size`` is the body's length as ``wants.length`` counts it, ``max_tokens`` what it
    allows to be made."""

    members: Members
    model: str
    stream: bool
    size: int
    max_tokens: int | None

    @classmethod
    def parse(cls, body: bytes) -> ResponsesRequest:
        """Check a body; raises RequestError (400) that names the field at fault."""
        try:
            members = Members.parse(body)
        except WireError as error:
            raise RequestError(f"The request could not be read: {error}.", code="invalid_json") from error
        values = members.values
        for name, (code, words) in _KEPT_ELSEWHERE.items():
            if values.get(name):
                raise RequestError(words, code=code, param=name)
        for name, kinds, wanted in _MEMBERS:
            value = values.get(name)
            if value is not None and (not isinstance(value, kinds) or (isinstance(value, bool) and kinds is not bool)):
                raise _invalid(name, wanted)
        most = values.get("max_output_tokens")
        if most is not None and most < 1:
            raise _invalid("max_output_tokens", "1 or more")
        _check_input(values)
        _check_tools("tools", values.get("tools") or ())
        return cls(
            members,
            values.get("model") or "",
            bool(values.get("stream")),
            length(body, members, "input"),
            most,
        )

    @property
    def dialect(self) -> Dialect:
        return RESPONSES

    @property
    def wants(self) -> tuple[Ability, ...]:
        values = self.members.values
        form = (values.get("text") or {}).get("format")
        return abilities(
            tools=any(tools_in(values)),
            images=shows(self.members, "input", "input_image"),
            schema=isinstance(form, dict) and form.get("type") == "json_schema",
        )

    def conversation(self, session: str) -> Conversation:
        """See ``dialect.ClientRequest``.

        What names an owner is no key by itself: OpenAI's ``prompt_cache_key`` may be one for a whole application.
        """
        values = self.members.values
        given = values["input"]
        begun = isinstance(given, list) and any(_answered(item) for item in given)
        if session:
            return Conversation(session_key(session), begun)
        owners = [values.get(name) for name in _OWNERS]
        owner = next((one for one in owners if one and isinstance(one, str)), "")
        return Conversation(opening_key(owner, _opening(values)), begun)

    def exchange(self, side: Side, refused: Iterable[str]) -> ResponsesExchange | None:
        """What goes to a provider that speaks Responses too, and how its answer is read; afresh for each attempt.

        None where the provider knows too little of the dialect: then it is asked by way of ``prompt``.
        """
        return ResponsesExchange(self, side, frozenset(refused)) if passes(self.members.values, side) else None

    def prompt(self) -> Prompt:
        return read_prompt(self.members.values)

    def writer(self, prompt: Prompt, side: Side, identifier: str, at: int) -> Writer:
        return ResponsesWriter(
            identifier,
            self.model,
            at,
            prompt.originals,
            side.provider,
            settings=self.members.values,
            estimate=max(self.size // 4, 1),
        )

    def droppable(self, param: str) -> str | None:
        """The field that a refusal of ``param`` lets us leave out, or None where it is needed.

        It may be a member of a field (``reasoning.summary``), or one that stands for it in other dialects. One is no
        field of its own: ``encrypted_content``, that of thoughts which a provider does not take for its own.
        """
        values = self.members.values
        if param.rpartition(".")[2] == HIDDEN:
            return HIDDEN if self.members.count(f'"{HIDDEN}"') else None
        name = re.split(r"[.\[]", param, maxsplit=1)[0]
        inner = param.removeprefix(f"{name}.")
        if name in NESTED and inner != "format" and inner in (values.get(name) or {}):
            return f"{name}.{inner}"
        if name in _TRANSLATED:
            outer, inner = _TRANSLATED[name]
            return name if inner in (values.get(outer) or {}) else None
        sent = name in values or (name == "stream_options" and self.stream)
        return name if sent and name in SAFE_TO_DROP else None


class ResponsesExchange:
    """One attempt: a Responses request answered in Responses. See ``dialect.Exchange``."""

    __slots__ = ("_origin", "body", "lost")

    headers: Mapping[str, str] = MappingProxyType({})

    def __init__(self, request: ResponsesRequest, side: Side, refused: Collection[str]) -> None:
        values = request.members.values
        changes = fitted(values, side, refused)
        self.body = request.members.render(changes)
        self.lost = tuple([name for name, value in changes.items() if value is DROP and name in values])
        # Whoever made the dialect hides for itself; what others hide is marked, so that it goes back to nobody else.
        self._origin = "" if side.vendor else side.provider

    @property
    def path(self) -> str:
        return PATH

    def stream(self) -> ResponsesStream:
        return ResponsesStream(self._origin)

    def answer(self, body: bytes) -> tuple[Seen, bytes]:
        seen = Seen()
        for event in ResponsesReader().whole(body):
            seen.add(event)
        if not self._origin or seen.error is not None:
            return seen, body
        response = parsed(body)
        signed = with_marks(response, self._origin)
        return seen, body if signed is response else Members.parse(body).render({"output": signed["output"]})


# Other dialects' names for members of ours, which a provider of theirs may refuse.
_TRANSLATED: Mapping[str, tuple[str, str]] = MappingProxyType(
    {
        "reasoning_effort": ("reasoning", "effort"),
        "thinking": ("reasoning", "effort"),
        "verbosity": ("text", "verbosity"),
    }
)
_STATELESS = "This gateway keeps no state between requests"
_KEPT_ELSEWHERE: Mapping[str, tuple[str, str]] = MappingProxyType(
    {
        "previous_response_id": (
            "previous_response_not_found",
            f"{_STATELESS}, so the previous response is not found: leave out 'previous_response_id' and send the whole "
            "conversation in 'input'.",
        ),
        "conversation": (
            "conversation_not_found",
            f"{_STATELESS}: leave out 'conversation' and send the whole conversation in 'input'.",
        ),
        "prompt": (
            "prompt_not_found",
            f"{_STATELESS}, so it has no prompt templates: send the text itself in 'instructions' and 'input'.",
        ),
        "background": (
            "unsupported_value",
            f"{_STATELESS}, so an answer can't be fetched later: leave out 'background'.",
        ),
    }
)
_MEMBERS: Sequence[tuple[str, type | tuple[type, ...], str]] = (
    ("model", str, "a string"),
    ("stream", bool, "true or false"),
    ("instructions", str, "a string"),
    ("max_output_tokens", int, "a whole number"),
    ("tools", list, "a list of tools"),
    ("tool_choice", (str, dict), "'auto', 'none', 'required' or an object"),
    ("parallel_tool_calls", bool, "true or false"),
    ("reasoning", dict, "an object"),
    ("text", dict, "an object"),
    ("temperature", (int, float), "a number"),
    ("top_p", (int, float), "a number"),
)
_ROLES = ("user", "assistant", *INSTRUCTING)
# What an item must have, by its type: members and their types.
_ITEMS: Mapping[str, Sequence[tuple[str, type | tuple[type, ...]]]] = MappingProxyType(
    {
        "message": (("content", (str, list)),),
        "function_call": (("call_id", str), ("name", str)),
        "function_call_output": (("call_id", str), ("output", (str, list))),
        "custom_tool_call": (("call_id", str), ("name", str), ("input", str)),
        "custom_tool_call_output": (("call_id", str), ("output", (str, list))),
        "additional_tools": (("tools", list),),
    }
)
_WORDS: Mapping[Any, str] = MappingProxyType({str: "a string", list: "a list", (str, list): "a string or a list"})
# Members of items that hold parts.
_PARTS = ("content", "output", "summary")


def _invalid(param: str, wanted: str) -> RequestError:
    return RequestError(f"Invalid '{param}': {wanted} was expected.", code="invalid_type", param=param)


def _check_input(values: Mapping[str, Any]) -> None:
    given = values.get("input")
    if given is None:
        raise RequestError("Missing required parameter: 'input'.", code="missing_required_parameter", param="input")
    if not isinstance(given, str | list) or not given:
        raise _invalid("input", "a text or a non-empty list of items")
    for index, item in enumerate(given if isinstance(given, list) else ()):
        if not isinstance(item, dict):
            raise _invalid(f"input[{index}]", "an object")
        kind = item.get("type") or ("message" if "role" in item else "item_reference")
        if kind == "item_reference":
            place = f"input[{index}]"
            raise RequestError(
                f"{_STATELESS}, so '{place}' refers to nothing: send the items themselves instead of references. Many "
                "clients do so when 'store' is false.",
                code="item_not_found",
                param=place,
            )
        if not isinstance(kind, str):
            raise _invalid(f"input[{index}].type", "a string")
        if kind == "message" and item.get("role") not in _ROLES:
            raise _invalid(f"input[{index}].role", "'user', 'assistant', 'system' or 'developer'")
        for name, wanted in _ITEMS.get(kind, ()):
            if not isinstance(item.get(name), wanted):
                raise _invalid(f"input[{index}].{name}", _WORDS[wanted])
        for name in _PARTS:
            parts = item.get(name)
            if not isinstance(parts, list):
                continue
            for number, part in enumerate(parts):
                if not isinstance(part, dict) or not isinstance(part.get("type"), str):
                    raise _invalid(f"input[{index}].{name}[{number}]", "an object with a 'type'")
        if isinstance(item.get("tools"), list):
            _check_tools(f"input[{index}].tools", item["tools"])


def _check_tools(place: str, tools: Sequence[Any]) -> None:
    for index, tool in enumerate(tools):
        if not isinstance(tool, dict):
            raise _invalid(f"{place}[{index}]", "an object")
        kind, inner = tool.get("type", "function"), tool.get("function")
        if not isinstance(kind, str):
            raise _invalid(f"{place}[{index}].type", "a string")
        named = inner if kind == "function" and isinstance(inner, dict) else tool
        if kind in ("function", "custom", "namespace") and not isinstance(named.get("name"), str):
            raise _invalid(f"{place}[{index}].name", "a string")
        if kind == "namespace" and isinstance(tool.get("tools"), list):
            _check_tools(f"{place}[{index}].tools", tool["tools"])


def _answered(item: Mapping[str, Any]) -> bool:
    """Whether an item is part of an answer."""
    return item.get("role") == "assistant" or item.get("type") == "reasoning" or str(item.get("type")).endswith("_call")


def _opening(values: Mapping[str, Any]) -> list[str]:
    """What is said before the first answer: it stays the same however long a conversation grows."""
    texts = [values.get("instructions") or ""]
    given = values["input"]
    asked = False
    for item in [{"role": "user", "content": given}] if isinstance(given, str) else given[:_OPENING]:
        if _answered(item):
            if asked:
                break
            continue
        text = said(item.get("content"))
        texts.append(text)
        if item.get("role") == "user":
            asked = True
            # Long ones often begin alike, with what a tool always sends along.
            texts.append(str(len(text)))
    return texts
