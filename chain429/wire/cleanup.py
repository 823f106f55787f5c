"""What is changed in a Chat Completions body before a provider sees it, as its catalog rules say."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from typing import Any, Literal

from chain429.wire.members import DROP

_ALNUM9 = re.compile(r"[a-zA-Z0-9]{9}")


@dataclass(frozen=True, slots=True)
class Cleanup:
    """One rule set; see ``catalog.Cleanup`` for the meaning of each part. Applies to models that match the glob.

    ``thinking``: how a model that is asked in Messages is told to think: by a budget of tokens, at its own choice, or
    not at all.
    """

    models: str = "*"
    accept: frozenset[str] = frozenset()
    drop: frozenset[str] = frozenset()
    rename: Mapping[str, str] = field(default_factory=dict)
    roles: Mapping[str, str] = field(default_factory=dict)
    drop_in_messages: frozenset[str] = frozenset()
    drop_nulls: bool = False
    values: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    tool_ids: str = "any"
    thinking: Literal["budget", "adaptive", "none"] | None = None


def clean(values: Mapping[str, Any], model: str, rules: Sequence[Cleanup]) -> dict[str, Any]:
    """The changes (member name -> new value or DROP) that make ``values`` fit; ``values`` itself is left as it is."""
    changes: dict[str, Any] = {}
    for rule in rules:
        if fnmatchcase(model, rule.models):
            _apply(rule, values, changes)
    return changes


def _apply(rule: Cleanup, values: Mapping[str, Any], changes: dict[str, Any]) -> None:
    def current(name: str) -> Any:
        return changes.get(name, values.get(name, DROP))

    for name in rule.drop:
        if name in values:
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
        if cleaned != messages:
            changes["messages"] = cleaned


def _message(message: Any, rule: Cleanup) -> Any:
    """The message as the rule wants it: the very same object where nothing changes."""
    if not isinstance(message, dict):
        return message
    changed = message
    role = message.get("role")
    if isinstance(role, str) and role in rule.roles:
        changed = {**changed, "role": rule.roles[role]}
    if not rule.drop_in_messages.isdisjoint(changed) or (rule.drop_nulls and None in changed.values()):
        changed = {
            name: value
            for name, value in changed.items()
            if name not in rule.drop_in_messages and not (rule.drop_nulls and value is None)
        }
    if rule.tool_ids == "alnum9":
        changed = _with_tool_ids(changed, _alnum9)
    return changed


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
