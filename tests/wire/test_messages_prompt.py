from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chain429.wire.cleanup import Cleanup
from chain429.wire.dialect import Side
from chain429.wire.messages import MessagesRequest
from chain429.wire.messages_prompt import read_prompt, write_body
from chain429.wire.prompt import (
    NO_RESULT,
    AssistantTurn,
    CallPart,
    Choice,
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
    UserTurn,
    fit,
    marked,
)

CLAUDE = Side("anthropic", "messages", "claude-sonnet-5", vendor=True)
OTHER = Side("zai", "messages", "glm-5")
SCHEMA = {"type": "object", "properties": {"path": {"type": "string"}}, "required": ["path"]}
HI = {"role": "user", "content": "Hi"}


def read(*messages: dict[str, Any], **fields: Any) -> Prompt:
    body = json.dumps({"max_tokens": 100, "messages": messages, **fields}).encode()
    return read_prompt(MessagesRequest.parse(body).members.values)


def said(text: str) -> UserTurn:
    return UserTurn((TextPart(text),))


def write(*turns: Any, side: Side = CLAUDE, **fields: Any) -> dict[str, Any]:
    body = write_body(Prompt(fit(turns), **fields), side)
    json.dumps(body)
    return body


def texts(message: dict[str, Any]) -> list[str]:
    return [block.get("text", block["type"]) for block in message["content"]]


# Reading.


def claude_code(**fields: Any) -> dict[str, Any]:
    """What Claude Code 2.1 sends in the second round of its first turn, cut down."""
    return {
        "model": "claude-opus-5",
        "max_tokens": 128000,
        "stream": True,
        "system": [
            {"type": "text", "text": "x-anthropic-billing-header: cc_version=2.1.329.abc; cc_entrypoint=sdk-cli;"},
            {"type": "text", "text": "You are Claude Code.", "cache_control": {"type": "ephemeral"}},
            {"type": "text", "text": "Be brief.", "cache_control": {"type": "ephemeral", "ttl": "1h"}},
        ],
        "messages": [
            {"role": "user", "content": [{"type": "text", "text": "List the files."}]},
            {"role": "system", "content": "The working directory is /w."},
            {
                "role": "assistant",
                "content": [
                    {"type": "thinking", "thinking": "Two commands.", "signature": "EqQBCg=="},
                    {"type": "redacted_thinking", "data": "ErUB"},
                    {"type": "text", "text": "Let me look."},
                    {"type": "tool_use", "id": "toolu_1", "name": "Bash", "input": {"command": "ls"}},
                    {"type": "tool_use", "id": "toolu_2", "name": "Read", "input": {}},
                ],
            },
            {
                "role": "user",
                "content": [
                    {"type": "tool_result", "tool_use_id": "toolu_2", "content": "no such file", "is_error": True},
                    {
                        "type": "tool_result",
                        "tool_use_id": "toolu_1",
                        "content": [
                            {"type": "text", "text": "a.png"},
                            {
                                "type": "image",
                                "source": {"type": "base64", "media_type": "image/png", "data": "iVBORw0KGgo="},
                            },
                        ],
                    },
                    {
                        "type": "text",
                        "text": "<system-reminder>Go on.</system-reminder>",
                        "cache_control": {"type": "ephemeral"},
                    },
                ],
            },
        ],
        "tools": [
            {"name": "Bash", "description": "Runs a command.", "input_schema": SCHEMA, "eager_input_streaming": True},
            {"name": "Read", "description": "Reads a file.", "input_schema": SCHEMA},
            {"type": "web_search_20250305", "name": "web_search", "max_uses": 8},
            {"name": "DeferredToolPlaceholder", "input_schema": {"type": "object"}, "defer_loading": True},
        ],
        "metadata": {"user_id": '{"device_id":"d","account_uuid":"","session_id":"5b1f"}'},
        "thinking": {"type": "adaptive", "display": "omitted"},
        "context_management": {"edits": [{"type": "clear_thinking_20251015", "keep": "all"}]},
        "output_config": {"effort": "medium"},
        **fields,
    }


def test_all_that_claude_code_sends_is_read() -> None:
    prompt = read_prompt(MessagesRequest.parse(json.dumps(claude_code()).encode()).members.values)
    assert prompt.turns == (
        SystemTurn("You are Claude Code.\n\nBe brief."),
        said("List the files."),
        SystemTurn("The working directory is /w."),
        AssistantTurn(
            (
                ReasoningPart("Two commands.", "EqQBCg=="),
                ReasoningPart("", "ErUB", redacted=True),
                TextPart("Let me look."),
                CallPart("toolu_1", "Bash", '{"command":"ls"}'),
                CallPart("toolu_2", "Read", "{}"),
            )
        ),
        ResultTurn(
            (
                Result("toolu_1", (TextPart("a.png"), ImagePart(media_type="image/png", data="iVBORw0KGgo="))),
                Result("toolu_2", (TextPart("no such file"),), failed=True),
            )
        ),
        said("<system-reminder>Go on.</system-reminder>"),
    )
    assert prompt.tools == (Tool("Bash", "Runs a command.", SCHEMA), Tool("Read", "Reads a file.", SCHEMA))
    assert (prompt.max_tokens, prompt.effort, prompt.budget) == (128000, "medium", None)
    assert prompt.lost == ("context_management", "tools[].web_search_20250305")


def test_edge_21_the_billing_block_is_no_instruction() -> None:
    billing = {"type": "text", "text": "x-anthropic-billing-header: cc_version=2.1.329; cch=1;"}
    assert read(HI, system=[billing]).turns == (said("Hi"),)
    assert read(HI, system=[billing, {"type": "text", "text": "Be brief."}]).turns[0] == SystemTurn("Be brief.")
    assert read(HI, system="Be brief.").turns[0] == SystemTurn("Be brief.")


def test_edge_10_instructions_between_a_call_and_its_result_come_after_the_result() -> None:
    prompt = read(
        HI,
        {"role": "assistant", "content": [{"type": "tool_use", "id": "a", "name": "f", "input": {}}]},
        {"role": "system", "content": [{"type": "text", "text": "Hurry."}]},
        {"role": "user", "content": [{"type": "text", "text": "And?"}, {"type": "tool_result", "tool_use_id": "a"}]},
    )
    assert prompt.turns[2:] == (ResultTurn((Result("a", ()),)), SystemTurn("Hurry."), said("And?"))


def test_a_result_that_is_missing_is_said_to_be_missing() -> None:
    prompt = read(HI, {"role": "assistant", "content": [{"type": "tool_use", "id": "a", "name": "f"}]}, HI)
    assert prompt.turns[2] == ResultTurn((Result("a", (TextPart(NO_RESULT),)),))


def test_edge_11_a_mark_of_ours_tells_who_signed() -> None:
    thinking = {"type": "thinking", "thinking": "Hm", "signature": marked("deepseek", "")}
    hidden = {"type": "redacted_thinking", "data": marked("groq", "abc")}
    prompt = read(HI, {"role": "assistant", "content": [thinking, hidden]})
    assert prompt.turns[1] == AssistantTurn(
        (ReasoningPart("Hm", "", "deepseek"), ReasoningPart("", "abc", "groq", redacted=True))
    )


@pytest.mark.parametrize(
    ("block", "part"),
    [
        (
            {"type": "image", "source": {"type": "url", "url": "https://x/a.png"}},
            ImagePart(url="https://x/a.png"),
        ),
        (
            {
                "type": "document",
                "title": "a.pdf",
                "source": {"type": "base64", "media_type": "application/pdf", "data": "JVBE"},
            },
            FilePart("a.pdf", media_type="application/pdf", data="JVBE"),
        ),
        (
            {"type": "document", "source": {"type": "url", "url": "https://x/a.pdf"}},
            FilePart(url="https://x/a.pdf"),
        ),
        (
            {
                "type": "document",
                "title": "a",
                "source": {"type": "text", "media_type": "text/plain", "data": "Words"},
            },
            TextPart("a\n\nWords"),
        ),
        (
            {"type": "document", "source": {"type": "content", "content": [{"type": "text", "text": "Words"}]}},
            TextPart("Words"),
        ),
        (
            {
                "type": "search_result",
                "source": "https://x",
                "title": "X",
                "content": [{"type": "text", "text": "Words"}],
            },
            TextPart("X\nhttps://x\n\nWords"),
        ),
        ({"type": "tool_reference", "tool_name": "Grep"}, TextPart("The tool Grep can be called now.")),
    ],
)
def test_what_a_user_may_send_is_read(block: dict[str, Any], part: Any) -> None:
    assert read({"role": "user", "content": [block]}).turns == (UserTurn((part,)),)


@pytest.mark.parametrize(
    ("block", "lost"),
    [
        ({"type": "image", "source": {"type": "file", "file_id": "f"}}, "messages[].image.file"),
        ({"type": "document", "source": {"type": "file", "file_id": "f"}}, "messages[].document.file"),
        ({"type": "container_upload", "file_id": "f"}, "messages[].container_upload"),
    ],
)
def test_what_has_no_place_is_named(block: dict[str, Any], lost: str) -> None:
    prompt = read({"role": "user", "content": [block, {"type": "text", "text": "Hi"}]}, container="c", speed="fast")
    assert prompt.lost == ("container", "speed", lost)


def test_what_the_provider_ran_itself_is_left_out_and_named() -> None:
    prompt = read(
        HI,
        {
            "role": "assistant",
            "content": [
                {"type": "server_tool_use", "id": "srvtoolu_1", "name": "web_search", "input": {"query": "x"}},
                {"type": "web_search_tool_result", "tool_use_id": "srvtoolu_1", "content": []},
                {"type": "text", "text": "Found.", "citations": [{"type": "web_search_result_location"}]},
            ],
        },
    )
    assert prompt.turns[1] == AssistantTurn((TextPart("Found."),))
    assert prompt.lost == ("messages[].server_tool_use", "messages[].web_search_tool_result")


def test_tools_that_only_anthropic_knows_by_heart_are_spelled_out() -> None:
    prompt = read(HI, tools=[{"type": "bash_20250124", "name": "bash"}])
    assert prompt.tools[0].name == "bash"
    assert set(prompt.tools[0].schema["properties"]) == {"command", "restart"}
    assert prompt.lost == ()


def test_a_tool_that_is_loaded_later_counts_once_it_was_found() -> None:
    tools = [
        {"name": "ToolSearch", "input_schema": SCHEMA},
        {"name": "Grep", "input_schema": SCHEMA, "defer_loading": True},
        {"name": "Glob", "input_schema": SCHEMA, "defer_loading": True},
    ]
    found: list[dict[str, Any]] = [
        HI,
        {"role": "assistant", "content": [{"type": "tool_use", "id": "a", "name": "ToolSearch", "input": {}}]},
        {
            "role": "user",
            "content": [
                {
                    "type": "tool_result",
                    "tool_use_id": "a",
                    "content": [{"type": "tool_reference", "tool_name": "Grep"}],
                }
            ],
        },
    ]
    assert [tool.name for tool in read(HI, tools=tools).tools] == ["ToolSearch"]
    assert [tool.name for tool in read(*found, tools=tools).tools] == ["ToolSearch", "Grep"]
    # Nothing could find them here.
    assert [tool.name for tool in read(HI, tools=tools[1:]).tools] == ["Grep", "Glob"]


def test_a_tool_whose_name_others_refuse_is_called_by_another() -> None:
    name = "mcp__server.one__" + "x" * 60
    call = {"role": "assistant", "content": [{"type": "tool_use", "id": "a", "name": name, "input": {}}]}
    prompt = read(HI, call, tools=[{"name": name}], tool_choice={"type": "tool", "name": name})
    other = prompt.tools[0].name
    assert len(other) == 64
    assert prompt.originals == {other: Original(name)}
    assert prompt.choice == Choice("tool", other)
    assert prompt.turns[1] == AssistantTurn((CallPart("a", other, "{}"),))


@pytest.mark.parametrize(
    ("given", "choice", "parallel"),
    [
        ({"type": "auto"}, Choice("auto"), None),
        ({"type": "any", "disable_parallel_tool_use": True}, Choice("required"), False),
        ({"type": "none"}, Choice("none"), None),
        ({"type": "tool", "name": "f"}, Choice("tool", "f"), None),
        ({"type": "tool", "name": "unknown"}, None, None),
    ],
)
def test_the_choice_of_a_tool_is_read(given: dict[str, Any], choice: Choice | None, parallel: bool | None) -> None:
    prompt = read(HI, tools=[{"name": "f"}], tool_choice=given)
    assert (prompt.choice, prompt.parallel) == (choice, parallel)
    assert prompt.lost == (() if choice else ("tool_choice",))
    assert read(HI, tool_choice=given).choice is None


@pytest.mark.parametrize(
    ("fields", "effort", "budget"),
    [
        ({}, None, None),
        ({"thinking": {"type": "enabled", "budget_tokens": 5000}}, None, 5000),
        ({"thinking": {"type": "disabled"}, "output_config": {"effort": "high"}}, "none", None),
        ({"thinking": {"type": "adaptive"}, "output_config": {"effort": "max"}}, "xhigh", None),
        ({"output_config": {"effort": "low"}}, "low", None),
    ],
)
def test_how_much_it_may_think_is_read(fields: dict[str, Any], effort: str | None, budget: int | None) -> None:
    prompt = read(HI, **fields)
    assert (prompt.effort, prompt.budget) == (effort, budget)


def test_the_rest_of_the_parameters_is_read() -> None:
    given = {"type": "json_schema", "schema": SCHEMA}
    prompt = read(HI, temperature=0.5, top_p=0.9, top_k=5, stop_sequences=["END"], output_config={"format": given})
    assert (prompt.temperature, prompt.top_p, prompt.top_k, prompt.stop) == (0.5, 0.9, 5, ("END",))
    assert prompt.format == Format(SCHEMA) == read(HI, output_format=given).format


# Writing.


def test_instructions_at_the_beginning_are_the_system_prompt() -> None:
    body = write(SystemTurn("Be brief."), said("Hi"))
    assert body == {
        "model": "claude-sonnet-5",
        "max_tokens": 8192,
        "system": [{"type": "text", "text": "Be brief."}],
        "messages": [{"role": "user", "content": [{"type": "text", "text": "Hi"}]}],
    }


def test_edge_02_later_instructions_are_folded_into_the_user_s_turn() -> None:
    body = write(said("Hi"), AssistantTurn((TextPart("Hello"),)), SystemTurn("Be brief."), said("And?"))
    assert [message["role"] for message in body["messages"]] == ["user", "assistant", "user"]
    assert texts(body["messages"][2]) == ["<system>\nBe brief.\n</system>", "And?"]


def test_results_come_first_and_all_together() -> None:
    calls = AssistantTurn((CallPart("a", "f", ""), CallPart("b", "f", '{"x":1}')))
    results = ResultTurn((Result("b", ()), Result("a", (TextPart("1"), ImagePart("https://x/i.png")), failed=True)))
    body = write(said("Hi"), calls, said("Quick!"), results, tools=(Tool("f"),))
    assert body["messages"][1]["content"] == [
        {"type": "tool_use", "id": "a", "name": "f", "input": {}},
        {"type": "tool_use", "id": "b", "name": "f", "input": {"x": 1}},
    ]
    given = body["messages"][2]["content"]
    assert given[0] == {
        "type": "tool_result",
        "tool_use_id": "a",
        "content": [
            {"type": "text", "text": "1"},
            {"type": "image", "source": {"type": "url", "url": "https://x/i.png"}},
        ],
        "is_error": True,
    }
    assert given[1] == {"type": "tool_result", "tool_use_id": "b"}
    assert given[2]["text"] == "Quick!"


@pytest.mark.parametrize(
    ("arguments", "given"),
    [
        ("", {}),
        ("null", {}),
        ('{"a": 1}', {"a": 1}),
        ('{"a": ', {"arguments": '{"a": '}),
        ("[1]", {"arguments": [1]}),
    ],
)
def test_arguments_become_an_object_whatever_they_are(arguments: str, given: dict[str, Any]) -> None:
    body = write(said("Hi"), AssistantTurn((CallPart("a", "f", arguments),)))
    assert body["messages"][1]["content"][0]["input"] == given


def test_free_text_of_a_tool_is_one_argument() -> None:
    call = AssistantTurn((CallPart("a", "patch", "*** Begin"),))
    body = write(said("Hi"), call, tools=(Tool("patch", free=True),))
    assert body["messages"][1]["content"][0]["input"] == {"input": "*** Begin"}
    assert body["tools"][0]["input_schema"]["required"] == ["input"]


def test_edge_14_ids_are_made_to_fit_and_still_meet() -> None:
    wild = "call:1/" + "x" * 90
    body = write(said("Hi"), AssistantTurn((CallPart(wild, "f", ""),)), ResultTurn((Result(wild, ()),)))
    call, result = body["messages"][1]["content"][0]["id"], body["messages"][2]["content"][0]["tool_use_id"]
    assert call == result
    assert len(call) == 64
    assert call.replace("_", "").replace("-", "").isalnum()


def test_tools_that_were_called_are_declared_even_if_they_are_no_longer_offered() -> None:
    body = write(said("Hi"), AssistantTurn((CallPart("a", "f", ""),)))
    assert [tool["name"] for tool in body["tools"]] == ["f"]
    assert body["tool_choice"] == {"type": "none"}


@pytest.mark.parametrize(
    ("choice", "parallel", "written"),
    [
        (None, None, None),
        (None, False, {"type": "auto", "disable_parallel_tool_use": True}),
        (Choice("auto"), True, {"type": "auto"}),
        (Choice("none"), False, {"type": "none"}),
        (Choice("required"), False, {"type": "any", "disable_parallel_tool_use": True}),
        (Choice("tool", "f"), None, {"type": "tool", "name": "f"}),
    ],
)
def test_the_choice_of_a_tool_is_written(choice: Choice | None, parallel: bool | None, written: Any) -> None:
    assert write(said("Hi"), tools=(Tool("f"),), choice=choice, parallel=parallel).get("tool_choice") == written
    assert "tool_choice" not in write(said("Hi"), choice=choice, parallel=parallel)


def test_a_schema_that_is_refused_at_its_top_is_made_to_fit() -> None:
    schema = {"$schema": "x", "anyOf": [{"required": ["a"]}], "properties": {"a": {"anyOf": []}}}
    body = write(said("Hi"), tools=(Tool("f", schema=schema, strict=True),))
    assert body["tools"][0] == {
        "name": "f",
        "input_schema": {"type": "object", "properties": {"a": {"anyOf": []}}},
        "cache_control": {"type": "ephemeral"},
    }


@pytest.mark.parametrize(
    ("asked", "ceiling", "written"),
    [(None, None, 8192), (None, 4096, 4096), (None, 64000, 32000), (128000, 64000, 64000), (10, None, 10)],
)
def test_edge_13_an_answer_is_no_longer_than_the_model_makes_it(
    asked: int | None, ceiling: int | None, written: int
) -> None:
    side = Side("anthropic", "messages", "claude", max_output=ceiling, vendor=True)
    assert write(said("Hi"), side=side, max_tokens=asked)["max_tokens"] == written


def test_edge_22_sampling_is_held_to_what_the_dialect_knows() -> None:
    body = write(said("Hi"), temperature=1.7, top_p=0.5, top_k=3, tuning={"seed": 1, "presence_penalty": 1})
    assert {name: body[name] for name in ("temperature", "top_k")} == {"temperature": 1.0, "top_k": 3}
    assert not {"top_p", "seed", "presence_penalty"} & set(body)
    assert write(said("Hi"), top_p=0.5)["top_p"] == 0.5
    thinking = write(said("Hi"), temperature=0.5, top_k=3, effort="low")
    assert not {"temperature", "top_k"} & set(thinking)


@pytest.mark.parametrize(
    ("fields", "thinking", "most"),
    [
        ({}, None, 8192),
        ({"effort": "none", "budget": 5000}, None, 8192),
        ({"effort": "low"}, 4096, 12288),
        ({"effort": "high"}, 24576, 32768),
        ({"budget": 3000}, 3000, 11192),
        ({"effort": "high", "max_tokens": 4000}, 3000, 4000),
        ({"effort": "high", "max_tokens": 1200}, None, 1200),
        # A tool that must be called leaves no room for thinking.
        ({"effort": "high", "tools": (Tool("f"),), "choice": Choice("required")}, None, 8192),
    ],
)
def test_thinking_is_given_a_budget_within_the_answer(fields: Any, thinking: int | None, most: int) -> None:
    body = write(said("Hi"), **fields)
    wanted = {"type": "enabled", "budget_tokens": thinking} if thinking else None
    assert (body.get("thinking"), body["max_tokens"]) == (wanted, most)


def test_a_model_that_chooses_for_itself_is_told_an_effort() -> None:
    rules = (Cleanup(models="claude-*", thinking="adaptive"), Cleanup(models="*-old", thinking="none"))
    side = Side("anthropic", "messages", "claude-sonnet-5", rules, vendor=True)
    body = write(said("Hi"), side=side, effort="xhigh")
    assert (body["thinking"], body["output_config"]) == ({"type": "adaptive"}, {"effort": "high"})
    assert write(said("Hi"), side=side, budget=2000)["output_config"] == {"effort": "low"}
    assert "thinking" not in write(said("Hi"), side=Side("anthropic", "messages", "claude-old", rules), effort="high")


def test_edge_11_thoughts_go_back_only_to_who_had_them() -> None:
    parts = (
        ReasoningPart("mine", "sig", "anthropic"),
        ReasoningPart("", "hidden", "anthropic", redacted=True),
        ReasoningPart("not signed", "", "anthropic"),
        ReasoningPart("another's", "sig", "openai"),
        ReasoningPart("unknown", "sig"),
        TextPart("Hello"),
    )
    body = write(said("Hi"), AssistantTurn(parts), said("And?"))
    assert body["messages"][1]["content"] == [
        {"type": "thinking", "thinking": "mine", "signature": "sig"},
        {"type": "redacted_thinking", "data": "hidden"},
        {"type": "text", "text": "Hello"},
    ]


def test_without_its_thoughts_a_call_s_result_is_not_thought_about() -> None:
    call, result = CallPart("a", "f", ""), ResultTurn((Result("a", ()),))
    tools = (Tool("f"),)
    assert "thinking" not in write(said("Hi"), AssistantTurn((call,)), result, tools=tools, effort="low")
    thought = AssistantTurn((ReasoningPart("Hm", "sig", "anthropic"), call))
    assert "thinking" in write(said("Hi"), thought, result, tools=tools, effort="low")


def test_edge_24_blank_text_is_no_block() -> None:
    body = write(said("Hi"), AssistantTurn((TextPart("\n\n"), CallPart("a", "f", ""))), said("  "))
    assert [block["type"] for block in body["messages"][1]["content"]] == ["tool_use"]
    assert [block["type"] for block in body["messages"][2]["content"]] == ["tool_result"]


def test_the_user_begins_and_an_answer_that_is_to_go_on_ends_without_white_space() -> None:
    body = write(AssistantTurn((TextPart("Hello"),)), said("Hi"), AssistantTurn((TextPart("I think \n"),)))
    assert [message["role"] for message in body["messages"]] == ["user", "assistant", "user", "assistant"]
    assert texts(body["messages"][3]) == ["I think"]
    assert write(SystemTurn("Say hello."))["messages"] == [
        {"role": "user", "content": [{"type": "text", "text": "Say hello."}]}
    ]


def test_a_strict_schema_is_given_to_anthropic_and_any_other_is_asked_for_in_words() -> None:
    strict = Format(SCHEMA, strict=True)
    assert write(said("Hi"), format=strict)["output_config"] == {"format": {"type": "json_schema", "schema": SCHEMA}}
    for side, asked in ((OTHER, strict), (CLAUDE, Format(SCHEMA)), (CLAUDE, Format())):
        body = write(said("Hi"), side=side, format=asked)
        assert "output_config" not in body
        assert "one JSON object" in body["system"][-1]["text"]


def test_files_are_documents_and_another_s_file_is_named() -> None:
    parts = (
        FilePart("a.pdf", media_type="application/pdf", data="JVBE"),
        FilePart("a.txt", media_type="text/plain", data="SGk="),
        FilePart("b.pdf", id="file-1"),
    )
    assert write(UserTurn(parts))["messages"][0]["content"] == [
        {
            "type": "document",
            "source": {"type": "base64", "media_type": "application/pdf", "data": "JVBE"},
            "title": "a.pdf",
        },
        {
            "type": "document",
            "source": {"type": "text", "media_type": "text/plain", "data": "Hi"},
            "title": "a.txt",
        },
        {"type": "text", "text": "(The file b.pdf stood here, where it can't be reached.)"},
    ]


def test_edge_20_what_comes_again_is_marked_for_anthropic_s_cache_and_nothing_else_is() -> None:
    turns = (SystemTurn("Be brief."), said("Hi"))
    tools = (Tool("f"), Tool("g"))
    marks = json.dumps(write(*turns, tools=tools)).count('"cache_control": {"type": "ephemeral"}')
    body = write(*turns, tools=tools)
    assert marks == 3
    assert "cache_control" not in body["tools"][0]
    for block in (body["tools"][1], body["system"][0], body["messages"][0]["content"][0]):
        assert block["cache_control"] == {"type": "ephemeral"}
    assert "cache_control" not in json.dumps(write(*turns))
    assert "cache_control" not in json.dumps(write(*turns, tools=tools, side=OTHER))


# The law: what both can say survives the way there and back.

text_parts = st.text(min_size=1).filter(str.strip).map(TextPart)
names = st.from_regex(r"[a-zA-Z0-9_-]{1,64}", fullmatch=True)
images = st.builds(ImagePart, url=st.just("https://x/a.png")) | st.builds(
    ImagePart, media_type=st.sampled_from(["image/png", "image/webp"]), data=st.just("AAAA")
)
files = st.builds(FilePart, name=names, media_type=st.just("application/pdf"), data=st.just("JVBE"))
user_turns = st.builds(UserTurn, st.lists(text_parts | images | files, min_size=1, max_size=3).map(tuple))
arguments = st.dictionaries(names, st.integers() | st.text(), max_size=2).map(
    lambda given: json.dumps(given, separators=(",", ":"), ensure_ascii=False)
)


@st.composite
def conversations(draw: st.DrawFn) -> tuple[Any, ...]:
    turns: list[Any] = draw(st.lists(st.builds(SystemTurn, st.text(min_size=1).filter(str.strip)), max_size=1))
    turns.append(draw(user_turns))
    for number in range(draw(st.integers(0, 3))):
        calls = [
            CallPart(f"call_{number}_{index}", draw(names), draw(arguments)) for index in range(draw(st.integers(0, 2)))
        ]
        parts = draw(st.lists(text_parts, min_size=0 if calls else 1, max_size=2))
        turns.append(AssistantTurn((*parts, *calls)))
        if calls:
            given = [
                Result(call.id, tuple(draw(st.lists(text_parts | images, max_size=2))), draw(st.booleans()))
                for call in calls
            ]
            turns.append(ResultTurn(tuple(given)))
        turns.append(draw(user_turns))
    return fit(turns)


@given(
    turns=conversations(),
    tools=st.lists(st.builds(Tool, name=names, description=st.text(), schema=st.just(SCHEMA)), max_size=3).map(tuple),
    stop=st.lists(st.text(min_size=1).filter(str.strip), max_size=2).map(tuple),
    temperature=st.none() | st.floats(0, 1),
    most=st.integers(1, 8000),
)
def test_what_both_can_say_survives(
    turns: Any, tools: tuple[Tool, ...], stop: tuple[str, ...], temperature: float | None, most: int
) -> None:
    prompt = Prompt(turns, tools, max_tokens=most, stop=stop, temperature=temperature)
    body = json.dumps(write_body(prompt, CLAUDE)).encode()
    back = read_prompt(MessagesRequest.parse(body).members.values)
    assert back.turns == prompt.turns
    assert (back.max_tokens, back.stop, back.temperature) == (most, stop, temperature)
    if tools:
        assert back.tools == tools
    assert back.lost == ()
