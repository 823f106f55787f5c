from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chain429.errors import RequestError, WireError
from chain429.wire.cleanup import Cleanup
from chain429.wire.conversation import Conversation, session_key
from chain429.wire.dialect import Problem, Side
from chain429.wire.events import Reasoning, Text
from chain429.wire.messages import MESSAGES, MessagesRequest, MessagesStream
from chain429.wire.messages_prompt import read_prompt, write_body
from chain429.wire.prompt import marked
from chain429.wire.tokens import estimate_tokens

CLAUDE = Side("anthropic", "messages", "claude-sonnet-5", vendor=True)
OTHER = Side("zai", "messages", "glm-5")
HELLO = b'{"model":"default","max_tokens":10,"messages":[{"role":"user","content":"Hi"}]}'
HI: dict[str, Any] = {"role": "user", "content": "Hi"}
CALL: dict[str, Any] = {"type": "tool_use", "id": "a", "name": "f", "input": {}}
RESULT: dict[str, Any] = {"type": "tool_result", "tool_use_id": "a", "content": "1"}


def request(*messages: dict[str, Any], version: str = "", betas: str = "", **fields: Any) -> MessagesRequest:
    body = {"model": "default", "max_tokens": 1000, "messages": messages or [HI], **fields}
    return MessagesRequest.parse(json.dumps(body).encode(), version, betas)


def sent(asked: MessagesRequest, side: Side = CLAUDE, *refused: str) -> dict[str, Any]:
    body: dict[str, Any] = json.loads(asked.exchange(side, refused).body)
    return body


def content(body: dict[str, Any], index: int) -> list[str]:
    return [block.get("text", block["type"]) for block in body["messages"][index]["content"]]


# The client's request.


def test_a_request_says_what_the_gateway_must_know() -> None:
    body = b'{"model":"m","stream":true,"max_tokens":7,"messages":[{"role":"user","content":[]}]}'
    asked = MessagesRequest.parse(body, "2026-10-21", "a,b")
    assert (asked.model, asked.stream, asked.max_tokens, asked.size) == ("m", True, 7, len(body))
    assert (asked.version, asked.betas, asked.dialect) == ("2026-10-21", "a,b", MESSAGES)


def test_a_count_of_tokens_needs_no_limit_and_a_cache_may_be_filled() -> None:
    body = b'{"model":"m","messages":[{"role":"user","content":"Hi"}]}'
    assert MessagesRequest.parse(body, counting=True).max_tokens is None
    assert MessagesRequest.parse(body[:-1] + b',"max_tokens":0}').max_tokens == 0


@pytest.mark.parametrize(
    ("body", "param", "words"),
    [
        (b"", None, "could not be read"),
        (b"[]", None, "must be a JSON object"),
        (b'{"max_tokens":1}', "messages", "Field required"),
        (b'{"messages":[]}', "max_tokens", "Field required"),
        (b'{"max_tokens":1.5}', "max_tokens", "whole number"),
        (b'{"max_tokens":true}', "max_tokens", "whole number"),
        (b'{"max_tokens":-1}', "max_tokens", "0 or more"),
        (b'{"max_tokens":1,"model":5}', "model", "a string"),
        (b'{"max_tokens":1,"stream":"yes"}', "stream", "true or false"),
        (b'{"max_tokens":1,"temperature":"hot"}', "temperature", "a number"),
        (b'{"max_tokens":1,"tools":{}}', "tools", "a list"),
        (b'{"max_tokens":1,"system":5}', "system", "a string or a list"),
        (b'{"max_tokens":1,"messages":"Hi"}', "messages", "non-empty list"),
        (b'{"max_tokens":1,"messages":[]}', "messages", "non-empty list"),
    ],
)
def test_a_wrong_request_is_refused_by_the_name_of_its_field(body: bytes, param: str | None, words: str) -> None:
    with pytest.raises(RequestError, match=words) as caught:
        MessagesRequest.parse(body)
    assert (caught.value.status, caught.value.param) == (400, param)


@pytest.mark.parametrize(
    ("message", "param"),
    [
        ("Hi", "messages.1"),
        ({"role": "tool", "content": "x"}, "messages.1.role"),
        ({"role": "user"}, "messages.1.content"),
        ({"role": "user", "content": ["Hi"]}, "messages.1.content.0"),
        ({"role": "user", "content": [{"text": "Hi"}]}, "messages.1.content.0"),
        ({"role": "user", "content": [{"type": "text"}]}, "messages.1.content.0.text"),
        ({"role": "user", "content": [{"type": "image", "source": "x"}]}, "messages.1.content.0.source"),
        ({"role": "assistant", "content": [{**CALL, "id": 5}]}, "messages.1.content.0.id"),
        ({"role": "assistant", "content": [{**CALL, "input": "x"}]}, "messages.1.content.0.input"),
        ({"role": "user", "content": [{"type": "tool_result"}]}, "messages.1.content.0.tool_use_id"),
        ({"role": "user", "content": [{**RESULT, "content": 5}]}, "messages.1.content.0.content"),
        (
            {"role": "user", "content": [{**RESULT, "content": [{"type": "text", "text": None}]}]},
            "messages.1.content.0.content.0.text",
        ),
        ({"role": "system", "content": [{"type": "image", "source": {}}]}, "messages.1.content.0.type"),
    ],
)
def test_a_wrong_message_is_refused_by_its_place(message: Any, param: str) -> None:
    with pytest.raises(RequestError) as caught:
        request(HI, message)
    assert caught.value.param == param
    assert caught.value.message.startswith(f"{param}: ")


@pytest.mark.parametrize(
    ("tool", "param"), [("f", "tools.0"), ({}, "tools.0.name"), ({"type": "custom", "name": 5}, "tools.0.name")]
)
def test_a_wrong_tool_is_refused(tool: Any, param: str) -> None:
    with pytest.raises(RequestError) as caught:
        request(tools=[tool])
    assert caught.value.param == param


anything: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=3),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["type", "text", "data"]), inner),
    max_leaves=5,
)
kinds = st.sampled_from(
    ["text", "image", "document", "tool_use", "tool_result", "thinking", "redacted_thinking", "search_result",
     "tool_reference", "compaction", "server_tool_use", "new"]
)  # fmt: skip
wild_blocks: st.SearchStrategy[Any] = st.recursive(
    st.fixed_dictionaries(
        {"type": kinds},
        optional={
            "text": st.text(max_size=3),
            "source": anything | st.just({"type": "text", "data": "x"}),
            "id": st.just("a"),
            "name": st.just("f"),
            "input": anything,
            "tool_use_id": st.just("a"),
            "thinking": st.text(max_size=3),
            "signature": anything,
            "data": st.text(max_size=3),
            "content": anything,
            "cache_control": anything,
            "citations": anything,
            "title": anything,
        },
    ),
    lambda inner: st.fixed_dictionaries(
        {"type": st.just("tool_result"), "tool_use_id": st.just("a"), "content": st.lists(inner, max_size=2)}
    ),
    max_leaves=3,
)
wild_messages = st.lists(
    st.fixed_dictionaries(
        {
            "role": st.sampled_from(["user", "assistant", "system"]),
            "content": st.text(max_size=3) | st.lists(wild_blocks, max_size=3),
        }
    ),
    min_size=1,
    max_size=3,
)
wild_tools = st.lists(
    st.fixed_dictionaries(
        {}, optional={"name": st.sampled_from(["f", "ToolSearch"]), "type": anything, "input_schema": anything,
                      "description": anything, "defer_loading": anything, "strict": anything},
    ),
    max_size=2,
)  # fmt: skip


@given(
    st.fixed_dictionaries(
        {"max_tokens": st.integers(0, 9000), "messages": wild_messages},
        optional={
            "system": anything | st.lists(wild_blocks, max_size=2), "tools": wild_tools, "tool_choice": anything,
            "thinking": anything | st.fixed_dictionaries({"type": st.just("enabled"), "budget_tokens": anything}),
            "output_config": anything | st.fixed_dictionaries({"effort": anything, "format": anything}),
            "metadata": anything, "context_management": anything | st.just({"edits": [5]}), "stop_sequences": anything,
            "cache_control": anything,
        },
    )
)  # fmt: skip
def test_nothing_but_a_refusal_comes_of_a_wrong_request(values: dict[str, Any]) -> None:
    try:
        asked = MessagesRequest.parse(json.dumps(values).encode())
    except RequestError:
        return
    for side in (CLAUDE, OTHER):
        asked.exchange(side, ("signature",) if "thinking" in values else ())
        write_body(read_prompt(asked.members.values), side)
    asked.conversation("")
    asked.droppable("output_config")
    assert estimate_tokens(asked.members.values) > 0


# Which conversation it is.


def test_edge_29_claude_code_s_session_is_known_by_the_user_s_id() -> None:
    session = "5b1f0b5e-0000-4000-8000-000000000001"
    for user in (json.dumps({"device_id": "d", "session_id": session}), f"user_ab_account__session_{session}"):
        asked = request(metadata={"user_id": user})
        assert asked.conversation("") == Conversation(session_key(session), begun=False)
        assert asked.conversation("other").key == session_key("other")


@pytest.mark.parametrize("user", ["{", "{}", '{"session_id":5}', "me", 5, None])
def test_other_users_are_told_apart_by_what_they_ask(user: Any) -> None:
    first = request(metadata={"user_id": user}).conversation("")
    assert first == request(metadata={"user_id": user}).conversation("")
    assert first.key != request({"role": "user", "content": "Ho"}, metadata={"user_id": user}).conversation("").key


def test_a_conversation_keeps_its_key_while_it_grows() -> None:
    turns = [HI, {"role": "system", "content": "Be brief."}, {"role": "assistant", "content": "Hello"}, HI]
    first = request(*turns[:2], system="Help.").conversation("")
    assert not first.begun
    for length in (3, 4):
        assert request(*turns[:length], system="Help.").conversation("") == Conversation(first.key, begun=True)
    billed = [{"type": "text", "text": "x-anthropic-billing-header: a"}, {"type": "text", "text": "Help."}]
    assert request(*turns[:2], system=billed).conversation("") == first
    assert request(*turns[:2], system="Other.").conversation("").key != first.key


# What Anthropic gets.


def test_only_the_model_changes_in_a_request_to_anthropic() -> None:
    body = b'{"model":"default","max_tokens":10,"x_new":1.50,"messages":[{"role":"user","content":"Hi"}]}'
    assert MessagesRequest.parse(body).exchange(CLAUDE, ()).body == (
        b'{"model":"claude-sonnet-5","max_tokens":10,"x_new":1.50,"messages":[{"role":"user","content":"Hi"}]}'
    )


def test_edge_02_anthropic_gets_instructions_where_the_client_put_them() -> None:
    turns = [HI, {"role": "system", "content": "Be brief."}]
    assert sent(request(*turns))["messages"] == turns


def test_edge_03_betas_and_what_they_add_go_to_anthropic_together_and_to_nobody_else() -> None:
    fields: dict[str, Any] = {"context_management": {"edits": []}, "output_config": {"effort": "low"}, "speed": "fast"}
    asked = request(version="2026-10-21", betas="fast-mode,context-management", **fields)
    assert asked.exchange(CLAUDE, ()).headers == {
        "anthropic-version": "2026-10-21", "anthropic-beta": "fast-mode,context-management",
    }  # fmt: skip
    assert fields.items() <= sent(asked).items()
    assert asked.exchange(OTHER, ()).headers == {"anthropic-version": "2023-06-01"}
    assert not set(fields) & set(sent(asked, OTHER))
    assert asked.exchange(CLAUDE, ["anthropic-beta"]).headers == {"anthropic-version": "2026-10-21"}
    assert request().exchange(CLAUDE, ()).headers == {"anthropic-version": "2023-06-01"}


def test_edge_22_the_new_version_gets_no_sampling() -> None:
    sampling: dict[str, Any] = {"temperature": 1, "top_p": 0.9, "top_k": 5}
    assert not set(sampling) & set(sent(request(version="2026-10-21", **sampling)))
    assert sampling.items() <= sent(request(version="2023-06-01", **sampling)).items()
    # Others are asked in the old version, which has it.
    assert sampling.items() <= sent(request(version="2026-10-21", **sampling), OTHER).items()


def test_edge_13_an_answer_is_no_longer_than_the_model_makes_it() -> None:
    side = Side("anthropic", "messages", "claude", max_output=8000, vendor=True)
    assert sent(request(max_tokens=128000), side)["max_tokens"] == 8000
    assert sent(request(max_tokens=80), side)["max_tokens"] == 80
    body = sent(request(max_tokens=128000, thinking={"type": "enabled", "budget_tokens": 32000}), side)
    assert body["thinking"] == {"type": "enabled", "budget_tokens": 6000}
    small = Side("anthropic", "messages", "claude", max_output=1000, vendor=True)
    assert "thinking" not in sent(request(thinking={"type": "enabled", "budget_tokens": 32000}), small)


def thoughts(*signatures: str) -> dict[str, Any]:
    blocks: list[dict[str, Any]] = [
        {"type": "thinking", "thinking": one or "none", "signature": one} for one in signatures
    ]
    return {"role": "assistant", "content": [*blocks, {"type": "text", "text": "Hello"}]}


SIGNED = ("EqQB", "", marked("zai", "s"), marked("zai", ""), marked("anthropic", "s"), marked("groq", "s"))


@pytest.mark.parametrize(("side", "kept"), [(CLAUDE, ["EqQB", "s"]), (OTHER, ["", "s", ""])])
def test_edge_11_thoughts_go_back_only_to_who_had_them(side: Side, kept: list[str]) -> None:
    body = sent(request(HI, thoughts(*SIGNED), HI), side)
    blocks = body["messages"][1]["content"]
    assert [block["signature"] for block in blocks if block["type"] == "thinking"] == kept
    assert blocks[-1] == {"type": "text", "text": "Hello"}
    assert content(sent(request(HI, thoughts(*SIGNED), HI), side, "signature"), 1) == ["Hello"]


def test_edge_11_hidden_thoughts_are_taken_out_with_the_turn_that_held_nothing_else() -> None:
    hidden = {"role": "assistant", "content": [{"type": "redacted_thinking", "data": marked("groq", "x")}]}
    assert sent(request(HI, hidden, HI))["messages"] == [HI, HI]
    own = {"role": "assistant", "content": [{"type": "redacted_thinking", "data": "x"}]}
    assert sent(request(HI, own, HI))["messages"][1] == own


def test_edge_11_without_the_thoughts_of_a_call_its_result_is_not_thought_about() -> None:
    call = {"role": "assistant", "content": [*thoughts(marked("groq", ""))["content"], CALL]}
    turns = [HI, call, {"role": "user", "content": [RESULT]}]
    clearing = {"edits": [{"type": "clear_thinking_20251015"}, {"type": "clear_tool_uses_20250919"}]}
    fixed: dict[str, Any] = {"thinking": {"type": "enabled", "budget_tokens": 1024}, "max_tokens": 9000}
    body = sent(request(*turns, context_management=clearing, **fixed))
    assert "thinking" not in body
    assert body["context_management"] == {"edits": [{"type": "clear_tool_uses_20250919"}]}
    assert "thinking" in sent(request(*turns, thinking={"type": "adaptive"}))
    assert "thinking" in sent(request(HI, thoughts("EqQB", marked("groq", "")), HI, **fixed))


def test_edge_20_too_many_marks_for_a_cache_are_cut_to_the_last() -> None:
    mark = {"cache_control": {"type": "ephemeral"}}
    said: list[dict[str, Any]] = [{"type": "text", "text": str(number), **mark} for number in range(3)]
    result = {**RESULT, "content": [{"type": "text", "text": "1", **mark}], **mark}
    asked = request(
        {"role": "user", "content": said}, {"role": "assistant", "content": [CALL]},
        {"role": "user", "content": [result]}, system=[{"type": "text", "text": "S", **mark}],
        tools=[{"name": "f", **mark}],
    )  # fmt: skip
    body = sent(asked)
    assert json.dumps(body).count("cache_control") == 4
    assert body["messages"][2] == {"role": "user", "content": [result]}
    assert body["messages"][0]["content"] == [{"type": "text", "text": "0"}, *said[1:]]
    assert asked.exchange(CLAUDE, ()).body != b""
    few = request({"role": "user", "content": said})
    assert sent(few)["messages"] == [{"role": "user", "content": said}]


# What others get.


def test_others_get_the_bytes_too_where_there_is_nothing_of_anthropic_s_own() -> None:
    body = b'{"model":"default","max_tokens":10,"x_new":1.50,"messages":[{"role":"user","content":"Hi"}]}'
    assert MessagesRequest.parse(body).exchange(OTHER, ()).body == (
        b'{"model":"glm-5","max_tokens":10,"x_new":1.50,"messages":[{"role":"user","content":"Hi"}]}'
    )


def test_edge_03_others_are_not_sent_what_only_anthropic_has() -> None:
    asked = request(
        metadata={"user_id": "secret"},
        service_tier="auto",
        container="c",
        thinking={"type": "adaptive", "display": "omitted"},
        output_config={"effort": "low"},
        max_tokens=9000,
        tools=[
            {"name": "f", "input_schema": {"type": "object"}, "eager_input_streaming": True, "type": "custom",
             "cache_control": {"type": "ephemeral", "ttl": "1h"}},
            {"type": "web_search_20250305", "name": "web_search"},
        ],
    )  # fmt: skip
    assert sent(asked, OTHER) == {
        "model": "glm-5",
        "messages": [HI],
        "max_tokens": 9000,
        "thinking": {"type": "enabled", "budget_tokens": 4096},
        "tools": [{"name": "f", "input_schema": {"type": "object"}, "cache_control": {"type": "ephemeral"}}],
    }


def test_a_choice_of_a_tool_goes_with_the_last_tool() -> None:
    asked = request(tools=[{"type": "web_search_20250305", "name": "w"}], tool_choice={"type": "auto"})
    assert not {"tools", "tool_choice"} & set(sent(asked, OTHER))


@pytest.mark.parametrize(
    ("form", "given", "sent_as"),
    [
        ("budget", {"type": "enabled", "budget_tokens": 2000, "display": "omitted"}, {"budget_tokens": 2000}),
        ("budget", {"type": "disabled"}, {"type": "disabled"}),
        ("budget", {"type": "adaptive"}, {"budget_tokens": 6750}),
        ("adaptive", {"type": "enabled", "budget_tokens": 2000}, {"type": "adaptive"}),
        ("none", {"type": "adaptive"}, None),
    ],
)
def test_others_are_told_to_think_as_they_know_it(form: Any, given: Any, sent_as: Any) -> None:
    side = Side("zai", "messages", "glm-5", (Cleanup(thinking=form),))
    body = sent(request(thinking=given, max_tokens=9000), side)
    assert body.get("thinking") == (sent_as and {"type": "enabled", **sent_as})


def test_edge_21_others_do_not_see_the_billing_block() -> None:
    billing = {"type": "text", "text": "x-anthropic-billing-header: cc_version=2.1.329; cch=1;"}
    system = [billing, {"type": "text", "text": "Be brief.", "cache_control": {"type": "ephemeral", "ttl": "1h"}}]
    assert sent(request(system=system))["system"] == system
    assert sent(request(system=system), OTHER)["system"] == [
        {"type": "text", "text": "Be brief.", "cache_control": {"type": "ephemeral"}}
    ]
    assert "system" not in sent(request(system=[billing]), OTHER)


def test_edge_02_instructions_between_turns_are_folded_for_others() -> None:
    turns = [
        {"role": "system", "content": "First."},
        HI,
        {"role": "system", "content": [{"type": "text", "text": "Be brief."}]},
        {"role": "assistant", "content": [CALL]},
        {"role": "system", "content": "Hurry."},
        {"role": "user", "content": [{"type": "text", "text": "And?"}, RESULT]},
    ]
    body = sent(request(*turns, system="Help."), OTHER)
    assert [block["text"] for block in body["system"]] == ["Help.", "First."]
    assert [message["role"] for message in body["messages"]] == ["user", "assistant", "user"]
    assert content(body, 0) == ["Hi", "<system>\nBe brief.\n</system>"]
    assert content(body, 2) == ["tool_result", "<system>\nHurry.\n</system>", "And?"]


def test_others_get_in_words_what_only_anthropic_has_as_blocks() -> None:
    answered = [
        {"type": "server_tool_use", "id": "s", "name": "web_search", "input": {}},
        {"type": "text", "text": "Found.", "citations": [{"type": "char_location"}]},
        CALL,
    ]
    result = {**RESULT, "content": [{"type": "tool_reference", "tool_name": "Grep"}]}
    turns = [HI, {"role": "assistant", "content": answered}, {"role": "user", "content": [result]}]
    body = sent(request(*turns), OTHER)
    assert body["messages"][1]["content"] == [{"type": "text", "text": "Found."}, CALL]
    words = {"type": "text", "text": "The tool Grep can be called now."}
    assert body["messages"][2]["content"] == [{**RESULT, "content": [words]}]
    assert sent(request(*turns))["messages"] == turns


def test_a_schema_is_asked_for_in_words_of_others() -> None:
    given = {"format": {"type": "json_schema", "schema": {"type": "object"}}}
    body = sent(request(output_config=given, system="Help."), OTHER)
    assert body["system"][0]["text"] == "Help."
    assert '{"type":"object"}' in body["system"][1]["text"]
    assert "output_config" not in body
    assert sent(request(output_config=given))["output_config"] == given


def test_the_catalog_s_rules_are_applied_last() -> None:
    rules = (Cleanup(drop=frozenset({"top_k"}), rename={"max_tokens": "max_new_tokens"}),)
    side = Side("zai", "messages", "glm-5", rules, max_output=500)
    body = sent(request(top_k=5), side)
    assert body["max_new_tokens"] == 500
    assert not {"top_k", "max_tokens"} & set(body)


@pytest.mark.parametrize(
    ("param", "name"),
    [
        ("temperature", "temperature"),
        ("context_management.edits", "context_management"),
        ("thinking.display", "thinking"),
        ("output_config.effort", "output_config"),
        ("anthropic-beta", "anthropic-beta"),
        ("messages.1.content.0.signature", "signature"),
        ("top_p", None),  # was not sent
        ("messages.0.content", None),
        ("max_tokens", None),
        ("model", None),
    ],
)
def test_only_what_merely_tunes_an_answer_may_be_dropped(param: str, name: str | None) -> None:
    asked = request(
        HI, thoughts("EqQB"), betas="b", temperature=1, context_management={}, thinking={"type": "adaptive"},
        output_config={"effort": "low"},
    )  # fmt: skip
    assert asked.droppable(param) == name


def test_what_was_not_sent_or_matters_is_not_dropped() -> None:
    assert request().droppable("anthropic-beta") is None
    assert request().droppable("signature") is None
    assert request(output_config={"format": {}}).droppable("output_config") is None


def test_a_parameter_that_was_refused_is_left_out_with_what_depends_on_it() -> None:
    asked = request(
        thinking={"type": "adaptive"},
        temperature=1,
        context_management={"edits": [{"type": "clear_thinking_20251015"}]},
    )
    body = sent(asked, CLAUDE, "thinking", "temperature")
    assert not {"thinking", "temperature", "context_management"} & set(body)


# Whole answers.

ANSWER = (
    b'{"id":"msg_1","type":"message","role":"assistant","model":"m","content":[{"type":"thinking","thinking":"Hm",'
    b'"signature":"s"},{"type":"redacted_thinking","data":"d"},{"type":"text","text":"Hello"}],'
    b'"stop_reason":"end_turn","usage":{"input_tokens":3,"output_tokens":2}}'
)


def test_a_whole_answer_is_passed_on() -> None:
    exchange = request().exchange(CLAUDE, ())
    seen, body = exchange.answer(ANSWER)
    assert (exchange.path, body) == ("/messages", ANSWER)
    assert (seen.meaningful, seen.complete, seen.finish) == (True, True, "stop")
    with pytest.raises(WireError):
        exchange.answer(b"<html>")


def test_edge_11_a_whole_answer_of_others_is_marked() -> None:
    _, body = request().exchange(OTHER, ()).answer(ANSWER)
    content = json.loads(body)["content"]
    assert (content[0]["signature"], content[1]["data"]) == ("c429.zai.s", "c429.zai.d")
    plain = b'{"type":"message","content":[{"type":"text","text":"Hello"}],"stop_reason":"end_turn"}'
    assert request().exchange(OTHER, ()).answer(plain)[1] == plain
    error = b'{"type":"error","error":{"type":"overloaded_error","message":"x"}}'
    seen, body = request().exchange(OTHER, ()).answer(error)
    assert (seen.complete, body) == (False, error)


def test_a_stream_of_others_is_marked() -> None:
    signed = (
        b'event: content_block_delta\ndata: {"type":"content_block_delta","index":0,"delta":'
        b'{"type":"signature_delta","signature":"s"}}\n\n'
    )
    begin = (
        b'event: message_start\ndata: {"type":"message_start","message":{}}\n\n'
        b'event: content_block_start\ndata: {"type":"content_block_start","index":0,"content_block":'
        b'{"type":"thinking","thinking":"","signature":""}}\n\n'
    )
    assert request().exchange(CLAUDE, ()).stream().feed(begin + signed) == begin + signed
    assert b'"c429.zai.s"' in request().exchange(OTHER, ()).stream().feed(begin + signed)


# Errors.


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        (400, "invalid_request_error"),
        (401, "authentication_error"),
        (402, "billing_error"),
        (403, "permission_error"),
        (404, "not_found_error"),
        (413, "request_too_large"),
        (418, "invalid_request_error"),
        (429, "rate_limit_error"),
        (500, "api_error"),
        (502, "api_error"),
        (504, "timeout_error"),
        (529, "overloaded_error"),
    ],
)
def test_edge_28_an_error_has_a_type_that_anthropic_has(status: int, kind: str) -> None:
    body = json.loads(MESSAGES.error(Problem(status, "No.", "server_error", details={"request_id": "req_1"})))
    assert body == {
        "type": "error",
        "error": {"type": kind, "message": "No.", "chain429": {"request_id": "req_1"}},
        "request_id": "req_1",
    }


def test_a_prompt_that_is_too_long_is_said_in_the_words_that_clients_know() -> None:
    problem = Problem(400, "No target has room.", code="context_length_exceeded")
    assert json.loads(MESSAGES.error(problem))["error"]["message"] == "prompt is too long: No target has room."


def test_a_broken_stream_ends_with_a_named_event() -> None:
    assert MessagesStream().fail(Problem(502, "Broken.")) == (
        b'event: error\ndata: {"type":"error","error":{"type":"api_error","message":"Broken."},"request_id":null}\n\n'
    )


# Across dialects.


@pytest.mark.parametrize("image", [False, True])
def test_edge_15_what_the_prompt_is_estimated_at_does_not_count_an_image_by_its_bytes(image: bool) -> None:
    source = {"type": "base64", "media_type": "image/png", "data": "A" * 40_000}
    blocks: list[dict[str, Any]] = [{"type": "text", "text": "word" * 1000}]
    blocks += [{"type": "image", "source": source}] if image else []
    asked = request({"role": "user", "content": blocks})
    writer = asked.writer(asked.prompt(), Side("groq", "chat", "gpt-oss"), "r", 0)
    _, _, data = writer.add(Reasoning("Hm")).partition(b"data: ")
    begun = json.loads(data[: data.index(b"\n")])
    assert begun["message"]["model"] == "default"
    assert 1000 <= begun["message"]["usage"]["input_tokens"] < (3000 if image else 1100)
    assert b'"c429.groq."' in writer.add(Text("Hello"))
