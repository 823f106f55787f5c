"""What a Chat Completions request must look like before any provider is asked, after OpenAI's API reference.

It is as strict as every provider is: what only some refuse is theirs to refuse.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import NoneType
from typing import Any

from chain429.errors import RequestError

_WORDS = ((str, NoneType), "a string")
_SWITCH = ((bool, NoneType), "true or false")
_WHOLE = ((int, NoneType), "a whole number")
_NUMBER = ((int, float, NoneType), "a number")
_LIST = ((list, NoneType), "a list")
_OBJECT = ((dict, NoneType), "an object")
# The types that JSON's values have when they are parsed: exactly these, since true is no number.
_MEMBERS: Mapping[str, tuple[tuple[type, ...], str]] = {
    "model": ((str,), "a string"),
    "stream": _SWITCH,
    "stream_options": _OBJECT,
    "max_tokens": _WHOLE,
    "max_completion_tokens": _WHOLE,
    "n": _WHOLE,
    "temperature": _NUMBER,
    "top_p": _NUMBER,
    "stop": ((str, list, NoneType), "a string or a list of strings"),
    "tools": ((list, NoneType), "a list of tools"),
    "functions": _LIST,
    "tool_choice": ((str, dict, NoneType), 'a string such as "auto", or an object'),
    "response_format": _OBJECT,
    "reasoning_effort": _WORDS,
}


def check(values: Mapping[str, Any]) -> None:
    """Raises RequestError (400) that names the field at fault."""
    if "messages" not in values:
        raise RequestError(
            "Missing required parameter: 'messages'.", code="missing_required_parameter", param="messages"
        )
    messages = values["messages"]
    if not isinstance(messages, list) or not messages:
        raise _invalid("messages", "a non-empty list of messages")
    for name, value in values.items():
        wanted = _MEMBERS.get(name)
        if wanted is not None and type(value) not in wanted[0]:
            raise _invalid(name, wanted[1])
    for index, message in enumerate(messages):
        if not isinstance(message, dict):
            raise _invalid(f"messages[{index}]", "an object")
        if not isinstance(message.get("role"), str):
            raise _invalid(f"messages[{index}].role", "a string such as 'user'")
        content = message.get("content")
        if isinstance(content, list):
            _check_objects(f"messages[{index}].content", content, "type")
        elif content is not None and not isinstance(content, str):
            raise _invalid(f"messages[{index}].content", "a string or a list of content parts")
        calls = message.get("tool_calls")
        if isinstance(calls, list):
            _check_objects(f"messages[{index}].tool_calls", calls)
        elif calls is not None:
            raise _invalid(f"messages[{index}].tool_calls", "a list of calls")
    _check_tools(values.get("tools") or ())


def _check_objects(place: str, values: list[Any], needed: str = "") -> None:
    for index, value in enumerate(values):
        if not isinstance(value, dict):
            raise _invalid(f"{place}[{index}]", "an object")
        if needed and not isinstance(value.get(needed), str):
            raise _invalid(f"{place}[{index}].{needed}", "a string")


def _check_tools(tools: list[Any] | tuple[()]) -> None:
    for index, tool in enumerate(tools):
        if not isinstance(tool, dict):
            raise _invalid(f"tools[{index}]", "an object")
        if tool.get("type", "function") != "function":
            continue
        function = tool.get("function")
        if not isinstance(function, dict):
            raise _invalid(f"tools[{index}].function", "an object")
        if not isinstance(function.get("name"), str):
            raise _invalid(f"tools[{index}].function.name", "a string")


def _invalid(param: str, wanted: str) -> RequestError:
    return RequestError(f"Invalid '{param}': {wanted} was expected.", code="invalid_type", param=param)
