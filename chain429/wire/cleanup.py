"""What is changed in a Chat Completions body before a provider sees it, as its catalog rules say."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from typing import Any, Literal

from chain429.wire import schema
from chain429.wire.members import DROP

_ALNUM9 = re.compile(r"[a-zA-Z0-9]{9}")
# What Google takes for the proof of thinking that is not its own, or that is no longer there.
_UNSIGNED = {"google": {"thought_signature": "skip_thought_signature_validator"}}
# The names under which thoughts are known.
_THOUGHTS = ("reasoning_content", "reasoning")


@dataclass(frozen=True, slots=True)
class Cleanup:
    """One rule set; see ``catalog.Cleanup`` for the meaning of each part. Applies to models that match the glob."""

    models: str = "*"
    accept: frozenset[str] = frozenset()
    drop: frozenset[str] = frozenset()
    rename: Mapping[str, str] = field(default_factory=dict)
    roles: Mapping[str, str] = field(default_factory=dict)
    drop_in_messages: frozenset[str] = frozenset()
    drop_nulls: bool = False
    values: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    accept_in_messages: frozenset[str] = frozenset()
    accept_in_calls: frozenset[str] = frozenset()
    drop_in_tools: frozenset[str] = frozenset()
    drop_in_schemas: frozenset[str] = frozenset()
    no_content: Literal["null", "empty", "absent"] | None = None
    plain_text: bool = False
    drop_empty: bool = False
    reasoning_back: Literal["reasoning", "reasoning_content"] | None = None
    reasoning_due: bool = False
    signed_calls: bool = False
    text_calls: bool = False
    tool_ids: str = "any"
    thinking: Literal["budget", "adaptive", "none"] | None = None

    @property
    def in_tools(self) -> bool:
        return bool(self.drop_in_tools or self.drop_in_schemas)


def clean(values: Mapping[str, Any], model: str, rules: Sequence[Cleanup]) -> dict[str, Any]:
    """The changes (member name -> new value or DROP) that make ``values`` fit; ``values`` itself is left as it is."""
    changes: dict[str, Any] = {}
    for rule in rules:
        if fnmatchcase(model, rule.models):
            _apply(rule, values, changes)
    return changes


def dropped(
    values: Mapping[str, Any], changes: Mapping[str, Any], rules: Sequence[Cleanup], renames: Mapping[str, str]
) -> tuple[str, ...]:
    """The members of ``values`` that ``changes`` leave out, but for those that go by another name."""
    names = [name for name, value in changes.items() if value is DROP and name in values]
    if not names:
        return ()
    others = {**renames, **{old: new for rule in rules for old, new in rule.rename.items()}}
    return tuple([name for name in names if changes.get(others.get(name, ""), DROP) is DROP])


def _apply(rule: Cleanup, values: Mapping[str, Any], changes: dict[str, Any]) -> None:
    def current(name: str) -> Any:
        return changes.get(name, values.get(name, DROP))

    for name in rule.drop:
        if current(name) is not DROP:
            changes[name] = DROP
    for old, new in rule.rename.items():
        value = current(old)
        if value is not DROP:
            if current(new) is DROP:
                changes[new] = value
            changes[old] = DROP
    for name, replacements in rule.values.items():
        value = current(name)
        if isinstance(value, str) and value in replacements:
            changes[name] = replacements[value]
    if rule.accept:
        for name in (*values, *changes):
            if name not in rule.accept:
                changes[name] = DROP
    messages = current("messages")
    if isinstance(messages, list):
        cleaned = [_message(message, rule) for message in messages]
        if rule.drop_empty:
            cleaned = [message for message in cleaned if not _says_nothing(message)] or cleaned
        if cleaned != messages:
            changes["messages"] = cleaned
    if rule.in_tools:
        _clean_tools(rule, current("tools"), current("response_format"), changes)


def _message(message: Any, rule: Cleanup) -> Any:
    """The message as the rule wants it: the very same object where nothing changes."""
    if not isinstance(message, dict):
        return message
    changed = message
    role = message.get("role")
    if isinstance(role, str) and role in rule.roles:
        changed = {**changed, "role": rule.roles[role]}
    if role == "assistant":
        changed = _answer(changed, rule)
    if rule.plain_text:
        changed = _with_plain_text(changed)
    refused, accepted = rule.drop_in_messages, rule.accept_in_messages
    if (
        (refused and not refused.isdisjoint(changed))
        or (accepted and not changed.keys() <= accepted)
        or (rule.drop_nulls and None in changed.values())
    ):
        changed = {
            name: value
            for name, value in changed.items()
            if name not in refused and (not accepted or name in accepted) and not (rule.drop_nulls and value is None)
        }
    if rule.tool_ids == "alnum9":
        changed = _with_tool_ids(changed, _alnum9)
    return changed


def _answer(message: dict[str, Any], rule: Cleanup) -> dict[str, Any]:
    """An assistant's turn: its thoughts under their name, its calls, and what stands for words where it has none."""
    if rule.reasoning_back:
        message = _with_thoughts(message, rule.reasoning_back, rule.reasoning_due)
    calls = message.get("tool_calls")
    if isinstance(calls, list) and calls and (rule.accept_in_calls or rule.signed_calls):
        new = [_with(call, rule.accept_in_calls) for call in calls]
        first = new[0]
        # Of calls that are made together the first one carries the proof.
        if rule.signed_calls and isinstance(first, dict) and not first.get("extra_content"):
            new[0] = {**first, "extra_content": _UNSIGNED}
        if new != calls:
            message = {**message, "tool_calls": new}
    if rule.no_content and not message.get("content"):
        wanted: Any = {"null": None, "empty": "", "absent": DROP}[rule.no_content]
        if message.get("content", DROP) != wanted:
            message = {**message, "content": wanted}
            if wanted is DROP:
                del message["content"]
    return message


def _with_thoughts(message: dict[str, Any], name: str, due: bool) -> dict[str, Any]:
    known = [other for other in _THOUGHTS if isinstance(message.get(other), str)]
    if known == [name] or not (known or (due and message.get("tool_calls"))):
        return message
    thoughts = message[name if name in known else known[0]] if known else ""
    return {**{other: value for other, value in message.items() if other not in _THOUGHTS}, name: thoughts}


def _with(call: Any, accepted: frozenset[str]) -> Any:
    if not accepted or not isinstance(call, dict) or call.keys() <= accepted:
        return call
    return {name: value for name, value in call.items() if name in accepted}


def _with_plain_text(message: dict[str, Any]) -> dict[str, Any]:
    """Parts that are only text, as one text."""
    content = message.get("content")
    if not isinstance(content, list) or not content:
        return message
    given = [part.get("text") for part in content if isinstance(part, dict) and part.get("type") == "text"]
    texts = [text for text in given if isinstance(text, str)]
    return {**message, "content": "\n\n".join(texts)} if len(texts) == len(content) else message


def _says_nothing(message: Any) -> bool:
    return (
        isinstance(message, dict)
        and message.get("role") == "assistant"
        and not message.get("content")
        and not message.get("tool_calls")
    )


def _clean_tools(rule: Cleanup, tools: Any, wanted: Any, changes: dict[str, Any]) -> None:
    if isinstance(tools, list):
        new = [_tool(tool, rule) for tool in tools]
        if any(one is not other for one, other in zip(new, tools, strict=True)):
            changes["tools"] = new
    inner = wanted.get("json_schema") if isinstance(wanted, dict) else None
    if isinstance(inner, dict):
        fitting = schema.without(inner.get("schema"), rule.drop_in_schemas)
        if fitting is not inner.get("schema"):
            changes["response_format"] = {**wanted, "json_schema": {**inner, "schema": fitting}}


def _tool(tool: Any, rule: Cleanup) -> Any:
    function = tool.get("function") if isinstance(tool, dict) else None
    if not isinstance(function, dict):
        return tool
    new = function
    if not rule.drop_in_tools.isdisjoint(function):
        new = {name: value for name, value in function.items() if name not in rule.drop_in_tools}
    fitting = schema.without(new.get("parameters"), rule.drop_in_schemas)
    if fitting is not new.get("parameters"):
        new = {**new, "parameters": fitting}
    return tool if new is function else {**tool, "function": new}


def _with_tool_ids(message: dict[str, Any], form: Callable[[str], str]) -> dict[str, Any]:
    calls = message.get("tool_calls")
    if isinstance(calls, list):
        new = [
            {**call, "id": form(call["id"])} if isinstance(call, dict) and isinstance(call.get("id"), str) else call
            for call in calls
        ]
        if new != calls:
            message = {**message, "tool_calls": new}
    result_of = message.get("tool_call_id")
    if isinstance(result_of, str) and form(result_of) != result_of:
        message = {**message, "tool_call_id": form(result_of)}
    return message


def _alnum9(identifier: str) -> str:
    """Nine letters and digits, the same for the same id, so that a call and its result still meet."""
    if _ALNUM9.fullmatch(identifier):
        return identifier
    return hashlib.sha256(identifier.encode("utf-8", "surrogatepass")).hexdigest()[:9]
