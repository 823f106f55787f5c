"""A client's request in OpenAI's Responses dialect, read into the neutral one; ``write_body`` is the other way round.

The shapes are those of OpenAI's API reference, with what Codex is known to send. Names of tools live in two levels
here (a namespace and a name), and some tools take free text: ``Prompt.originals`` remembers both, so that a call comes
back as the client knows it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any

from chain429.wire.chat_prompt import split_data_url
from chain429.wire.loading import dumps
from chain429.wire.prompt import (
    AssistantTurn,
    CallPart,
    Choice,
    Effort,
    FilePart,
    Format,
    ImagePart,
    Original,
    Prompt,
    ReasoningPart,
    Result,
    ResultTurn,
    SystemTurn,
    TextPart,
    Tool,
    Turn,
    UserPart,
    UserTurn,
    fit,
    tool_name,
)
from chain429.wire.responses_body import write_body
from chain429.wire.responses_reasoning import opened

__all__ = ["INSTRUCTING", "TOOL_LISTS", "is_responses", "read_prompt", "said", "tools_in", "write_body"]

# Top-level members that other dialects have words for, that are said to the gateway alone, or that mean nothing where
# nothing is kept.
_READ = frozenset(
    {
        "client_metadata", "include", "input", "instructions", "max_output_tokens", "model", "parallel_tool_calls",
        "prompt_cache_key", "reasoning", "stream", "stream_options", "temperature", "text", "tool_choice", "tools",
        "top_p",
    }
)  # fmt: skip
# Values that ask for nothing.
_IDLE = (None, False, "", "disabled")
INSTRUCTING = ("system", "developer")
# Items that bring more tools, in the middle of a conversation.
TOOL_LISTS = ("additional_tools", "tool_search_output")
_CALLS = ("function_call", "custom_tool_call")
_OUTPUTS = ("function_call_output", "custom_tool_call_output")
_EFFORTS: Mapping[Any, Effort] = MappingProxyType(
    {
        "none": "none", "minimal": "minimal", "low": "low", "medium": "medium", "high": "high", "xhigh": "xhigh",
        "max": "xhigh",
    }
)  # fmt: skip
_TEXTS = ("input_text", "output_text", "text", "summary_text", "reasoning_text")


def is_responses(values: Mapping[str, Any]) -> bool:
    """Whether a body is one of this dialect, wherever it was sent: Cursor sends it to ``/chat/completions``."""
    return "messages" not in values and isinstance(values.get("input"), str | list)


def read_prompt(values: Mapping[str, Any]) -> Prompt:
    """The neutral request of a client's body, as ``ResponsesRequest`` has checked it."""
    lost: dict[str, None] = {name: None for name, value in values.items() if name not in _READ and value not in _IDLE}
    names = _Names()
    tools = {tool.name: tool for listed in tools_in(values) for tool in _tools(listed, names, lost)}
    turns: list[Turn] = []
    instructions, given = values.get("instructions"), values["input"]
    if instructions:
        turns.append(SystemTurn(instructions))
    for item in [{"role": "user", "content": given}] if isinstance(given, str) else given:
        turn = _turn(item, names, lost)
        if turn is not None:
            turns.append(turn)
    choice, allowed = _choice(values.get("tool_choice"), names, lost)
    offered = tuple([tool for name, tool in tools.items() if allowed is None or name in allowed])
    if choice is not None and choice.kind == "tool" and choice.name not in tools:
        lost["tool_choice"] = None
        choice = None
    text = _object(values.get("text"))
    tuning = {"prompt_cache_key": values.get("prompt_cache_key"), "verbosity": text.get("verbosity")}
    effort = _object(values.get("reasoning")).get("effort")
    parallel = values.get("parallel_tool_calls")
    return Prompt(
        turns=fit(turns),
        tools=offered,
        choice=choice if offered else None,
        parallel=parallel if isinstance(parallel, bool) else None,
        max_tokens=_number(values.get("max_output_tokens")),
        temperature=_number(values.get("temperature")),
        top_p=_number(values.get("top_p")),
        effort=_EFFORTS.get(effort) if isinstance(effort, str) else None,
        format=_format(text.get("format")),
        tuning={name: value for name, value in tuning.items() if value},
        originals=names.originals,
        lost=tuple(lost),
    )


def tools_in(values: Mapping[str, Any]) -> list[Sequence[Any]]:
    """The lists of tools that a body holds: its own, and those of items that bring more."""
    given = values.get("input")
    items = given if isinstance(given, list) else ()
    lists = [values.get("tools"), *[item.get("tools") for item in items if item.get("type") in TOOL_LISTS]]
    return [tools for tools in lists if isinstance(tools, list)]


def said(content: Any) -> str:
    """The words of a message, whether it is written as a text or as parts."""
    if isinstance(content, str):
        return content
    parts = content if isinstance(content, list) else ()
    texts = [part.get("refusal") or part.get("text") for part in parts]
    return "\n".join([text for text in texts if isinstance(text, str) and text])


class _Names:
    """The names of tools as every provider takes them, each for one tool of the client."""

    __slots__ = ("_fitting", "_taken", "originals")

    def __init__(self) -> None:
        self._fitting: dict[tuple[str, str], str] = {}
        self._taken: set[str] = set()
        self.originals: dict[str, Original] = {}

    def of(self, name: str, namespace: str = "", *, free: bool = False) -> str:
        """The name of a tool that is declared."""
        key = (name, namespace)
        fitting = self._fitting.get(key)
        if fitting is None:
            fitting = tool_name(name, namespace)
            if fitting in self._taken:
                fitting = tool_name(f"{fitting}.{namespace}.{name}")
            self._fitting[key] = fitting
            self._taken.add(fitting)
        if fitting != name or namespace or free:
            self.originals[fitting] = Original(name, namespace, free)
        return fitting

    def called(self, item: Mapping[str, Any], *, free: bool = False) -> str:
        """The name of a tool that was called or is to be called: one that is declared, or an unknown one."""
        name, namespace = str(item.get("name") or ""), str(item.get("namespace") or "")
        known = self._fitting.get((name, namespace))
        if known is None and not namespace and name in self._taken:
            # Some clients repeat the name that the model knows.
            known = name
        return self.of(name, namespace, free=free) if known is None else known


def _tools(tools: Sequence[Any], names: _Names, lost: dict[str, None], space: str = "", about: str = "") -> list[Tool]:
    """The tools that any model can be offered; ``space`` is the namespace that they are in, ``about`` its description.

    Those that are to be found by a search first are offered at once: the search is the vendor's.
    """
    found: list[Tool] = []
    for tool in tools:
        kind = tool.get("type", "function")
        if kind == "namespace":
            inner, words = tool.get("tools"), tool.get("description")
            found += _tools(inner if isinstance(inner, list) else (), names, lost, str(tool.get("name")), words or "")
        elif kind == "custom":
            found.append(_free(tool, names, space, about))
        elif kind == "function":
            # Some write a function as Chat Completions does.
            inner = tool.get("function")
            found.append(_function(inner if isinstance(inner, dict) else tool, names, space, about))
        else:
            lost[f"tools[].{kind}"] = None
    return found


def _function(tool: Mapping[str, Any], names: _Names, space: str, about: str) -> Tool:
    schema, strict = tool.get("parameters"), tool.get("strict")
    name = names.of(str(tool.get("name") or ""), space)
    description = str(tool.get("description") or about)
    strict = strict if isinstance(strict, bool) else None
    if schema and isinstance(schema, dict):
        return Tool(name, description, schema, strict)
    return Tool(name, description, strict=strict)


def _free(tool: Mapping[str, Any], names: _Names, space: str, about: str) -> Tool:
    """A tool that takes free text. Its grammar can only be told: elsewhere nothing holds a model to it."""
    description = str(tool.get("description") or about)
    grammar = _object(tool.get("format"))
    if grammar.get("definition"):
        told = f"The input must fit this grammar ({grammar.get('syntax') or 'lark'}):\n{grammar['definition']}"
        description = f"{description}\n\n{told}" if description else told
    return Tool(names.of(str(tool.get("name") or ""), space, free=True), description, free=True)


def _turn(item: Mapping[str, Any], names: _Names, lost: dict[str, None]) -> Turn | None:
    kind = item.get("type") or "message"
    if kind in _CALLS:
        free = kind == "custom_tool_call"
        arguments = item.get("input" if free else "arguments")
        arguments = arguments if isinstance(arguments, str) else dumps(arguments or {})
        return AssistantTurn((CallPart(item["call_id"], names.called(item, free=free), arguments),))
    if kind in _OUTPUTS:
        return ResultTurn((Result(item["call_id"], _parts(item["output"], lost)),))
    if kind == "message":
        return _message(item, lost)
    if kind == "reasoning":
        part = _thoughts(item)
        return AssistantTurn((part,)) if part is not None else None
    if kind not in TOOL_LISTS:
        lost[f"input[].{kind}"] = None
    return None


def _message(item: Mapping[str, Any], lost: dict[str, None]) -> Turn | None:
    role, content = item["role"], item["content"]
    if role == "user":
        return UserTurn(_parts(content, lost))
    text = said(content)
    if not text:
        return None
    return AssistantTurn((TextPart(text),)) if role == "assistant" else SystemTurn(text)


def _thoughts(item: Mapping[str, Any]) -> ReasoningPart | None:
    hidden = item.get("encrypted_content")
    origin, text, signature, redacted = opened(hidden if isinstance(hidden, str) else "")
    if text is None:
        text = said(item.get("summary")) or said(item.get("content"))
    return ReasoningPart(text, signature, origin, redacted) if text or signature else None


def _parts(content: Any, lost: dict[str, None]) -> tuple[UserPart, ...]:
    if isinstance(content, str):
        return (TextPart(content),) if content else ()
    parts: list[UserPart] = []
    for part in content:
        kind = part.get("type")
        if kind in _TEXTS:
            if part.get("text"):
                parts.append(TextPart(str(part["text"])))
        elif kind == "input_image":
            parts.append(_image(part, lost))
        elif kind == "input_file":
            parts.append(_file(part))
        else:
            lost[f"input[].{kind}"] = None
    return tuple(parts)


def _image(part: Mapping[str, Any], lost: dict[str, None]) -> ImagePart | TextPart:
    url = part.get("image_url")
    url = url.get("url") if isinstance(url, dict) else url
    if not isinstance(url, str) or not url:
        lost["input[].input_image.file_id"] = None
        return TextPart("(An image stood here, in a place that can't be reached.)")
    media_type, data = split_data_url(url)
    detail = part.get("detail")
    return ImagePart("" if data else url, media_type, data, detail if isinstance(detail, str) else "")


def _file(part: Mapping[str, Any]) -> FilePart:
    given = str(part.get("file_data") or "")
    media_type, data = split_data_url(given)
    if given and not data:
        media_type, data = "application/pdf", given
    name, url, identifier = [str(part.get(member) or "") for member in ("filename", "file_url", "file_id")]
    return FilePart(name, url, media_type, data, identifier)


def _choice(given: Any, names: _Names, lost: dict[str, None]) -> tuple[Choice | None, set[str] | None]:
    """Which tool is to be called, and the names of those that may be, None where all may."""
    if given in ("auto", "none", "required"):
        return Choice(given), None
    if not isinstance(given, dict):
        return None, None
    kind = given.get("type")
    if kind in ("function", "custom"):
        inner = given.get("function")
        return Choice("tool", names.called(inner if isinstance(inner, dict) else given)), None
    if kind == "allowed_tools" and isinstance(given.get("tools"), list):
        allowed = {names.called(tool) for tool in given["tools"] if isinstance(tool, dict) and tool.get("name")}
        return Choice("required" if given.get("mode") == "required" else "auto"), allowed
    lost["tool_choice"] = None
    return None, None


def _format(given: Any) -> Format | None:
    wanted = _object(given)
    if wanted.get("type") == "json_object":
        return Format()
    if wanted.get("type") != "json_schema":
        return None
    schema, strict = wanted.get("schema"), wanted.get("strict")
    return Format(
        schema if isinstance(schema, dict) else None,
        str(wanted.get("name") or "answer"),
        strict if isinstance(strict, bool) else None,
    )


def _object(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, dict) else {}


def _number(value: Any) -> Any:
    return value if isinstance(value, int | float) and not isinstance(value, bool) else None
