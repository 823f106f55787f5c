from __future__ import annotations

import copy
from typing import Any

import pytest

from chain429.wire.cleanup import Cleanup, clean
from chain429.wire.members import DROP

BODY: dict[str, Any] = {"model": "m", "messages": [{"role": "user", "content": "Hi"}]}


@pytest.mark.parametrize(
    ("rule", "more", "changes"),
    [
        pytest.param(Cleanup(drop=frozenset({"seed", "n"})), {"seed": 1}, {"seed": DROP}, id="drop"),
        pytest.param(
            Cleanup(rename={"seed": "random_seed"}), {"seed": 1}, {"random_seed": 1, "seed": DROP}, id="rename"
        ),
        pytest.param(
            Cleanup(rename={"max_completion_tokens": "max_tokens"}),
            {"max_completion_tokens": 5, "max_tokens": 7},
            {"max_completion_tokens": DROP},
            id="rename keeps what is there",
        ),
        pytest.param(
            Cleanup(values={"tool_choice": {"required": "any"}}),
            {"tool_choice": "required"},
            {"tool_choice": "any"},
            id="value",
        ),
        pytest.param(
            Cleanup(values={"tool_choice": {"required": "any"}}),
            {"tool_choice": {"type": "function"}},
            {},
            id="other value",
        ),
        pytest.param(
            Cleanup(accept=frozenset({"model", "messages", "random_seed"}), rename={"seed": "random_seed"}),
            {"seed": 1, "user": "u"},
            {"random_seed": 1, "seed": DROP, "user": DROP},
            id="accept",
        ),
        pytest.param(Cleanup(models="gemini-*", drop=frozenset({"seed"})), {"seed": 1}, {}, id="another model"),
    ],
)
def test_top_level_rules(rule: Cleanup, more: dict[str, Any], changes: dict[str, Any]) -> None:
    assert clean({**BODY, **more}, "m", [rule]) == changes


def test_messages_are_cleaned_and_the_clients_own_are_left_alone() -> None:
    messages = [
        {"role": "developer", "content": "Be kind", "name": "x"},
        {
            "role": "assistant",
            "content": "",
            "function_call": None,
            "tool_calls": [{"id": "call_abc", "type": "function"}],
        },
        {"role": "tool", "tool_call_id": "call_abc", "content": "ok"},
    ]
    body = {"messages": messages}
    before = copy.deepcopy(body)
    rule = Cleanup(
        roles={"developer": "system"}, drop_in_messages=frozenset({"name"}), drop_nulls=True, tool_ids="alnum9"
    )
    cleaned = clean(body, "m", [rule])["messages"]
    identifier = cleaned[1]["tool_calls"][0]["id"]
    assert cleaned == [
        {"role": "system", "content": "Be kind"},
        {"role": "assistant", "content": "", "tool_calls": [{"id": identifier, "type": "function"}]},
        {"role": "tool", "tool_call_id": identifier, "content": "ok"},
    ]
    assert len(identifier) == 9
    assert identifier.isalnum()
    assert body == before


def test_ids_that_fit_are_kept() -> None:
    body = {"messages": [{"role": "tool", "tool_call_id": "abcDEF123"}]}
    assert clean(body, "m", [Cleanup(tool_ids="alnum9")]) == {}


def test_messages_that_need_nothing_are_not_written_anew() -> None:
    assert clean(BODY, "m", [Cleanup(roles={"developer": "system"}, drop_nulls=True)]) == {}


def test_nonsense_in_messages_is_left_to_the_provider() -> None:
    body = {"messages": [{"role": ["x"], "tool_calls": "no", "tool_call_id": 5}, "text"]}
    assert clean(body, "m", [Cleanup(roles={"developer": "system"}, tool_ids="alnum9")]) == {}
