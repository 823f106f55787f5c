from __future__ import annotations

import copy
from typing import Any

import pytest

from chain429.wire.cleanup import Cleanup, clean, dropped
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


CALL: dict[str, Any] = {"id": "c", "type": "function", "function": {"name": "f", "arguments": "{}"}}
SIGNED = {"google": {"thought_signature": "sig"}}
UNSIGNED = {"google": {"thought_signature": "skip_thought_signature_validator"}}


def turn(**members: Any) -> dict[str, Any]:
    return {"role": "assistant", "content": "Hi", **members}


def parts(*texts: str) -> list[dict[str, Any]]:
    return [{"type": "text", "text": text} for text in texts]


IMAGE = {"type": "image_url", "image_url": {"url": "data:image/png;base64,AA"}}
DUE = Cleanup(reasoning_back="reasoning_content", reasoning_due=True)
BACK = Cleanup(reasoning_back="reasoning")
CALLS = frozenset({"id", "type", "function"})


@pytest.mark.parametrize(
    ("rule", "message", "cleaned"),
    [
        pytest.param(
            Cleanup(accept_in_messages=frozenset({"role", "content"})),
            turn(annotations=[], refusal=None),
            turn(),
            id="only what is accepted",
        ),
        pytest.param(
            Cleanup(accept_in_calls=CALLS), turn(tool_calls=[{**CALL, "index": 0}]), turn(tool_calls=[CALL]), id="calls"
        ),
        pytest.param(
            Cleanup(signed_calls=True),
            turn(tool_calls=[CALL, CALL]),
            turn(tool_calls=[{**CALL, "extra_content": UNSIGNED}, CALL]),
            id="the first call is signed",
        ),
        pytest.param(
            Cleanup(signed_calls=True),
            turn(tool_calls=[{**CALL, "extra_content": SIGNED}]),
            turn(tool_calls=[{**CALL, "extra_content": SIGNED}]),
            id="a signature is kept",
        ),
        pytest.param(Cleanup(no_content="null"), turn(content=""), turn(content=None), id="no words are null"),
        pytest.param(Cleanup(no_content="empty"), turn(content=None), turn(content=""), id="no words are empty"),
        pytest.param(Cleanup(no_content="absent"), turn(content=None), {"role": "assistant"}, id="no words are absent"),
        pytest.param(Cleanup(no_content="null"), turn(), turn(), id="words are words"),
        pytest.param(Cleanup(plain_text=True), turn(content=parts("a", "b")), turn(content="a\n\nb"), id="plain text"),
        pytest.param(
            Cleanup(plain_text=True),
            {"role": "user", "content": [*parts("a"), IMAGE]},
            {"role": "user", "content": [*parts("a"), IMAGE]},
            id="an image is no text",
        ),
        pytest.param(BACK, turn(reasoning_content="Hm"), turn(reasoning="Hm"), id="thoughts by another name"),
        pytest.param(
            BACK, turn(reasoning="Hm", reasoning_content="Hm"), turn(reasoning="Hm"), id="thoughts by both names"
        ),
        pytest.param(BACK, turn(tool_calls=[CALL]), turn(tool_calls=[CALL]), id="thoughts that are not due"),
        pytest.param(
            DUE, turn(tool_calls=[CALL]), turn(tool_calls=[CALL], reasoning_content=""), id="thoughts that are due"
        ),
        pytest.param(DUE, turn(), turn(), id="thoughts are due with calls only"),
        pytest.param(
            Cleanup(no_content="null", plain_text=True, accept_in_calls=CALLS, reasoning_back="reasoning"),
            {"role": "user", "content": ""},
            {"role": "user", "content": ""},
            id="what is for answers only",
        ),
    ],
)
def test_each_message_is_made_to_fit(rule: Cleanup, message: dict[str, Any], cleaned: dict[str, Any]) -> None:
    before = copy.deepcopy(message)
    changes = clean({"messages": [message]}, "m", [rule])
    assert changes == ({} if cleaned == message else {"messages": [cleaned]})
    assert message == before


def test_turns_that_say_nothing_are_left_out_unless_nothing_would_be_left() -> None:
    rule = Cleanup(drop_empty=True)
    user, calls = {"role": "user", "content": ""}, turn(content=None, tool_calls=[CALL])
    given = [user, turn(content=""), calls, turn(content=None)]
    assert clean({"messages": given}, "m", [rule]) == {"messages": [user, calls]}
    assert clean({"messages": [turn(content="")]}, "m", [rule]) == {}


def test_tools_and_schemas_are_made_to_fit() -> None:
    rule = Cleanup(drop_in_tools=frozenset({"strict"}), drop_in_schemas=frozenset({"format"}))
    schema = {"type": "object", "properties": {"format": {"format": "uri"}}}
    fitting = {"type": "object", "properties": {"format": {}}}
    plain = {"type": "function", "function": {"name": "g", "parameters": {"type": "object"}}}
    tools = [{"type": "function", "function": {"name": "f", "strict": True, "parameters": schema}}, plain, "no tool"]
    wanted = {"type": "json_schema", "json_schema": {"name": "s", "schema": schema}}
    changes = clean({"tools": tools, "response_format": wanted}, "m", [rule])
    assert changes == {
        "tools": [{"type": "function", "function": {"name": "f", "parameters": fitting}}, plain, "no tool"],
        "response_format": {"type": "json_schema", "json_schema": {"name": "s", "schema": fitting}},
    }
    assert changes["tools"][1] is plain
    assert clean({"tools": [plain], "response_format": {"type": "text"}}, "m", [rule]) == {}


@pytest.mark.parametrize(
    ("rules", "changes", "names"),
    [
        ((), {"seed": DROP, "user": "x"}, ("seed",)),
        ((), {"nothing": DROP}, ()),
        ((), {"max_tokens": DROP, "max_completion_tokens": 5}, ()),
        ((Cleanup(rename={"seed": "random_seed"}),), {"seed": DROP, "random_seed": 1}, ()),
        ((Cleanup(rename={"seed": "random_seed"}),), {"seed": DROP}, ("seed",)),
    ],
)
def test_what_is_left_out_is_named_and_what_goes_by_another_name_is_not(
    rules: tuple[Cleanup, ...], changes: dict[str, Any], names: tuple[str, ...]
) -> None:
    values = {"seed": 1, "max_tokens": 5, "user": "x"}
    assert dropped(values, changes, rules, {"max_tokens": "max_completion_tokens"}) == names


def test_rules_are_applied_one_after_the_other_to_models_that_they_are_for() -> None:
    rules = [
        Cleanup(models="a-*", rename={"seed": "random_seed"}),
        Cleanup(drop=frozenset({"random_seed"})),
        Cleanup(models="b-*", drop=frozenset({"user"})),
    ]
    assert clean({"seed": 1, "user": "x"}, "a-1", rules) == {"seed": DROP, "random_seed": DROP}


def test_ids_that_fit_are_kept() -> None:
    body = {"messages": [{"role": "tool", "tool_call_id": "abcDEF123"}]}
    assert clean(body, "m", [Cleanup(tool_ids="alnum9")]) == {}


def test_messages_that_need_nothing_are_not_written_anew() -> None:
    assert clean(BODY, "m", [Cleanup(roles={"developer": "system"}, drop_nulls=True)]) == {}


def test_nonsense_in_messages_is_left_to_the_provider() -> None:
    body = {"messages": [{"role": ["x"], "tool_calls": "no", "tool_call_id": 5}, "text"]}
    assert clean(body, "m", [Cleanup(roles={"developer": "system"}, tool_ids="alnum9")]) == {}
