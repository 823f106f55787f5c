from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chain429.wire.cleanup import Cleanup
from chain429.wire.dialect import Side
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
from chain429.wire.responses import ResponsesRequest
from chain429.wire.responses_prompt import is_responses, read_prompt, write_body
from chain429.wire.responses_reasoning import sealed

OPENAI = Side("openai", "responses", "gpt-5", vendor=True)
OTHER = Side("groq", "responses", "gpt-oss-120b")
SCHEMA = {"type": "object", "properties": {"path": {"type": "string"}}, "required": ["path"]}
HI = {"type": "message", "role": "user", "content": [{"type": "input_text", "text": "Hi"}]}


def read(*items: dict[str, Any], **fields: Any) -> Prompt:
    body = json.dumps({"input": items or [HI], **fields}).encode()
    return read_prompt(ResponsesRequest.parse(body).members.values)


def said(text: str) -> UserTurn:
    return UserTurn((TextPart(text),))


def write(*turns: Any, side: Side = OPENAI, **fields: Any) -> dict[str, Any]:
    body = write_body(Prompt(fit(turns), **fields), side)
    json.dumps(body)
    return body


def call(identifier: str = "call_1", name: str = "shell", **fields: Any) -> dict[str, Any]:
    return {
        "type": "function_call",
        "id": f"fc_{identifier}",
        "call_id": identifier,
        "name": name,
        "arguments": "{}",
    } | fields


def result(identifier: str = "call_1", output: Any = "ok") -> dict[str, Any]:
    return {"type": "function_call_output", "id": f"fco_{identifier}", "call_id": identifier, "output": output}


# Reading.

NAMESPACE = {
    "type": "namespace",
    "name": "multi_agent_v1",
    "description": "Other agents.",
    "tools": [
        {"type": "function", "name": "spawn_agent", "description": "Spawns.", "strict": False, "parameters": SCHEMA},
        {"type": "function", "name": "close_agent", "parameters": {"type": "object", "properties": {}}},
    ],
}
PATCH = {
    "type": "custom",
    "name": "apply_patch",
    "description": "Edits files.",
    "format": {"type": "grammar", "syntax": "lark", "definition": "start: begin_patch"},
}


def codex(**fields: Any) -> dict[str, Any]:
    """What Codex 0.169 sends in the second round of its first turn, cut down."""
    notes = {"internal_chat_message_metadata_passthrough": {"turn_id": "t"}}
    return {
        "model": "gpt-5.6-codex",
        "stream": True,
        "input": [
            {"type": "message", "role": "developer", "content": [{"type": "input_text", "text": "Rules."}], **notes},
            {"type": "message", "role": "developer", "content": [{"type": "input_text", "text": "More rules."}]},
            {"type": "message", "role": "user", "content": [{"type": "input_text", "text": "<environment/>"}]},
            {"type": "message", "role": "user", "content": [{"type": "input_text", "text": "List the files."}]},
            {
                "type": "reasoning",
                "id": "rs_1",
                "summary": [{"type": "summary_text", "text": "Two commands."}],
                "content": None,
                "encrypted_content": "gAAAAABo",
            },
            {"type": "message", "role": "assistant", "content": [{"type": "output_text", "text": "I look."}]},
            call("call_1", arguments='{"command":["ls"]}'),
            call("call_2", "spawn_agent", namespace="multi_agent_v1"),
            {"type": "custom_tool_call", "call_id": "call_3", "name": "apply_patch", "input": "*** Begin Patch"},
            {"type": "custom_tool_call_output", "call_id": "call_3", "output": "Done."},
            result(
                "call_2",
                [
                    {"type": "input_text", "text": "seen"},
                    {"type": "input_image", "image_url": "data:image/png;base64,iVBO"},
                ],
            ),
            result("call_1", ""),
        ],
        "tools": [
            {"type": "function", "name": "shell", "description": "Runs.", "strict": False, "parameters": SCHEMA},
            NAMESPACE,
            PATCH,
            {"type": "web_search", "external_web_access": False},
        ],
        "tool_choice": "auto",
        "parallel_tool_calls": False,
        "reasoning": {"summary": "auto"},
        "store": False,
        "include": ["reasoning.encrypted_content"],
        "prompt_cache_key": "5b1f",
        "client_metadata": {"x-codex-installation-id": "i"},
        **fields,
    }


CODEX_TOOLS = (
    Tool("shell", "Runs.", SCHEMA, False),
    Tool("multi_agent_v1__spawn_agent", "Spawns.", SCHEMA, False),
    Tool("multi_agent_v1__close_agent", "Other agents.", {"type": "object", "properties": {}}),
    Tool(
        "apply_patch",
        "Edits files.\n\nThe input must fit this grammar (lark):\nstart: begin_patch",
        free=True,
    ),
)


def test_edge_07_all_that_codex_sends_is_read() -> None:
    prompt = read_prompt(ResponsesRequest.parse(json.dumps(codex()).encode()).members.values)
    assert prompt.turns == (
        SystemTurn("Rules.\n\nMore rules."),
        UserTurn((TextPart("<environment/>"), TextPart("List the files."))),
        AssistantTurn(
            (
                ReasoningPart("Two commands.", "gAAAAABo"),
                TextPart("I look."),
                CallPart("call_1", "shell", '{"command":["ls"]}'),
                CallPart("call_2", "multi_agent_v1__spawn_agent", "{}"),
                CallPart("call_3", "apply_patch", "*** Begin Patch"),
            )
        ),
        ResultTurn(
            (
                Result("call_1", ()),
                Result("call_2", (TextPart("seen"), ImagePart(media_type="image/png", data="iVBO"))),
                Result("call_3", (TextPart("Done."),)),
            )
        ),
    )
    assert prompt.tools == CODEX_TOOLS
    assert prompt.originals == {
        "multi_agent_v1__spawn_agent": Original("spawn_agent", "multi_agent_v1"),
        "multi_agent_v1__close_agent": Original("close_agent", "multi_agent_v1"),
        "apply_patch": Original("apply_patch", free=True),
    }
    assert (prompt.choice, prompt.parallel, prompt.effort) == (Choice("auto"), False, None)
    assert prompt.tuning == {"prompt_cache_key": "5b1f"}
    assert prompt.lost == ("tools[].web_search",)


def test_edge_07_tools_that_stand_in_the_input_are_tools() -> None:
    body = codex()
    brought = {"type": "additional_tools", "role": "developer", "tools": body.pop("tools")}
    body["input"].insert(0, brought)
    prompt = read_prompt(ResponsesRequest.parse(json.dumps(body).encode()).members.values)
    assert prompt.tools == CODEX_TOOLS
    assert prompt.turns[0] == SystemTurn("Rules.\n\nMore rules.")


def test_edge_07_tools_keep_their_names_apart() -> None:
    plain = {"type": "function", "name": "multi_agent_v1__spawn_agent"}
    prompt = read(HI, call("a", "spawn_agent", namespace="multi_agent_v1"), tools=[plain, NAMESPACE])
    names = [tool.name for tool in prompt.tools]
    assert len(set(names)) == 3
    assert names[0] == "multi_agent_v1__spawn_agent"
    assert prompt.originals[names[1]] == Original("spawn_agent", "multi_agent_v1")
    assert prompt.turns[1] == AssistantTurn((CallPart("a", names[1], "{}"),))


def test_edge_07_a_call_by_the_name_that_the_model_knows_is_the_same_tool() -> None:
    prompt = read(HI, call("a", "multi_agent_v1__spawn_agent"), tools=[NAMESPACE])
    assert prompt.turns[1] == AssistantTurn((CallPart("a", "multi_agent_v1__spawn_agent", "{}"),))
    assert prompt.originals["multi_agent_v1__spawn_agent"] == Original("spawn_agent", "multi_agent_v1")


def test_edge_14_names_of_tools_are_made_to_fit() -> None:
    name = "mcp.files/" + "x" * 80
    (tool,) = read(tools=[{"type": "function", "name": name}]).tools
    assert len(tool.name) == 64
    assert read(tools=[{"type": "function", "name": name}]).originals == {tool.name: Original(name)}


def test_a_text_is_what_the_user_says_and_instructions_come_first() -> None:
    prompt = read_prompt({"input": "Hi", "instructions": "Be brief."})
    assert prompt.turns == (SystemTurn("Be brief."), said("Hi"))
    short = read({"role": "system", "content": "Rules."}, {"role": "user", "content": "Hi"}, instructions="Be brief.")
    assert short.turns == (SystemTurn("Be brief.\n\nRules."), said("Hi"))


def test_edge_10_results_follow_their_calls_whatever_stands_between() -> None:
    between = {"type": "message", "role": "assistant", "content": [{"type": "output_text", "text": "Wait."}]}
    prompt = read(
        HI, call("a"), between, call("b"), {"role": "user", "content": "Go on"}, result("b", "2"), result("c")
    )
    assert prompt.turns == (
        said("Hi"),
        AssistantTurn((CallPart("a", "shell", "{}"), TextPart("Wait."), CallPart("b", "shell", "{}"))),
        ResultTurn((Result("a", (TextPart(NO_RESULT),)), Result("b", (TextPart("2"),)))),
        said("Go on"),
    )


def test_images_and_files_are_read() -> None:
    content = [
        {"type": "input_image", "image_url": "https://x.test/a.png", "detail": "low"},
        {"type": "input_image", "file_id": "file-1"},
        {"type": "input_file", "filename": "a.pdf", "file_data": "data:application/pdf;base64,JVBE"},
        {"type": "input_file", "filename": "a.pdf", "file_data": "JVBE"},
        {"type": "input_file", "file_url": "https://x.test/a.pdf"},
        {"type": "input_file", "file_id": "file-2"},
        {"type": "input_audio", "input_audio": {}},
    ]
    prompt = read({"role": "user", "content": content})
    assert prompt.turns == (
        UserTurn(
            (
                ImagePart(url="https://x.test/a.png", detail="low"),
                TextPart("(An image stood here, in a place that can't be reached.)"),
                FilePart("a.pdf", media_type="application/pdf", data="JVBE"),
                FilePart("a.pdf", media_type="application/pdf", data="JVBE"),
                FilePart(url="https://x.test/a.pdf"),
                FilePart(id="file-2"),
            )
        ),
    )
    assert prompt.lost == ("input[].input_image.file_id", "input[].input_audio")


@pytest.mark.parametrize(
    ("item", "part"),
    [
        ({"encrypted_content": sealed("groq", "Hm", "")}, ReasoningPart("Hm", "", "groq")),
        ({"encrypted_content": sealed("claude", "Hm", "s")}, ReasoningPart("Hm", "s", "claude")),
        ({"encrypted_content": sealed("claude", "", "s", redacted=True)}, ReasoningPart("", "s", "claude", True)),
        (
            {"encrypted_content": marked("azure", "gAA"), "summary": [{"type": "summary_text", "text": "Hm"}]},
            ReasoningPart("Hm", "gAA", "azure"),
        ),
        ({"encrypted_content": "gAA"}, ReasoningPart("", "gAA")),
        ({"content": [{"type": "reasoning_text", "text": "Hm"}]}, ReasoningPart("Hm")),
        ({"encrypted_content": None}, None),
    ],
)
def test_edge_11_thoughts_tell_who_had_them(item: dict[str, Any], part: ReasoningPart | None) -> None:
    prompt = read(HI, {"type": "reasoning", "id": "rs_1", "summary": [], **item})
    assert prompt.turns[1:] == ((AssistantTurn((part,)),) if part else ())


@pytest.mark.parametrize(
    ("given", "choice", "names", "lost"),
    [
        ("required", Choice("required"), 2, ()),
        ({"type": "function", "name": "a"}, Choice("tool", "a"), 2, ()),
        ({"type": "function", "name": "close_agent", "namespace": "multi_agent_v1"}, None, 2, ("tool_choice",)),
        ({"type": "custom", "name": "apply_patch"}, Choice("tool", "apply_patch"), 2, ()),
        (
            {"type": "allowed_tools", "mode": "required", "tools": [{"type": "function", "name": "a"}]},
            Choice("required"),
            1,
            (),
        ),
        ({"type": "web_search_preview"}, None, 2, ("tool_choice",)),
        (None, None, 2, ()),
    ],
)
def test_a_tool_s_choice_is_read(given: Any, choice: Choice | None, names: int, lost: tuple[str, ...]) -> None:
    prompt = read(tools=[{"type": "function", "name": "a", "parameters": None}, PATCH], tool_choice=given)
    assert (prompt.choice, len(prompt.tools), prompt.lost) == (choice, names, lost)


def test_how_to_answer_is_read() -> None:
    wanted = {"type": "json_schema", "name": "n", "schema": SCHEMA, "strict": True}
    prompt = read(
        text={"format": wanted, "verbosity": "low"},
        reasoning={"effort": "max", "summary": "auto", "context": "auto"},
        max_output_tokens=50,
        temperature=0.5,
        top_p=1,
        truncation="auto",
        store=True,
        metadata={},
        user="u",
        service_tier=None,
    )
    assert prompt.format == Format(SCHEMA, "n", True)
    assert prompt.tuning == {"verbosity": "low"}
    assert (prompt.effort, prompt.max_tokens, prompt.temperature, prompt.top_p) == ("xhigh", 50, 0.5, 1)
    assert prompt.lost == ("truncation", "store", "metadata", "user")
    assert read(text={"format": {"type": "json_object"}}).format == Format()
    assert read(text={"format": {"type": "text"}}, truncation="disabled", store=False) == read()


def test_what_has_no_place_is_named() -> None:
    search = {"type": "web_search_call", "id": "ws_1", "status": "completed"}
    prompt = read(HI, search, tools=[{"type": "mcp", "server_label": "x"}])
    assert prompt.lost == ("tools[].mcp", "input[].web_search_call")
    assert (prompt.tools, prompt.turns) == ((), (said("Hi"),))


def test_a_function_may_be_written_as_in_chat_completions() -> None:
    tool = {"type": "function", "function": {"name": "f", "description": "F.", "parameters": SCHEMA}}
    choice = {"type": "function", "function": {"name": "f"}}
    prompt = read(tools=[tool], tool_choice=choice)
    assert (prompt.tools, prompt.choice) == ((Tool("f", "F.", SCHEMA),), Choice("tool", "f"))


def test_edge_26_a_body_is_known_by_its_members() -> None:
    assert is_responses({"input": "Hi"})
    assert is_responses({"input": [], "stream": True})
    assert not is_responses({"messages": [], "input": "Hi"})
    assert not is_responses({"input": None})
    assert not is_responses({})


# Writing.


def test_a_request_is_written() -> None:
    turns = (
        SystemTurn("Rules."),
        UserTurn((TextPart("Look:"), ImagePart(media_type="image/png", data="iVBO"), FilePart(id="file-1"))),
        AssistantTurn((TextPart("I look."), CallPart("a", "f", ""), CallPart("b", "patch", "*** Begin"))),
        ResultTurn((Result("a", (TextPart("no"),), failed=True), Result("b", (ImagePart(url="https://x.test/"),)))),
        SystemTurn("Later."),
    )
    tools = (Tool("f", "F.", SCHEMA), Tool("patch", free=True))
    body = write(
        *turns, tools=tools, choice=Choice("tool", "patch"), parallel=False, max_tokens=4, temperature=0.1,
        effort="xhigh", format=Format(SCHEMA, "n", True), stop=("x",),
        tuning={"verbosity": "low", "prompt_cache_key": "k", "seed": 1},
    )  # fmt: skip
    assert body == {
        "model": "gpt-5",
        "store": False,
        "instructions": "Rules.",
        "input": [
            {
                "type": "message",
                "role": "user",
                "content": [
                    {"type": "input_text", "text": "Look:"},
                    {"type": "input_image", "image_url": "data:image/png;base64,iVBO"},
                    {"type": "input_file", "file_id": "file-1"},
                ],
            },
            {"type": "message", "role": "assistant", "content": [{"type": "output_text", "text": "I look."}]},
            {"type": "function_call", "call_id": "a", "name": "f", "arguments": "{}"},
            {"type": "custom_tool_call", "call_id": "b", "name": "patch", "input": "*** Begin"},
            {"type": "function_call_output", "call_id": "a", "output": "Error: no"},
            {
                "type": "custom_tool_call_output",
                "call_id": "b",
                "output": [{"type": "input_image", "image_url": "https://x.test/"}],
            },
            {"type": "message", "role": "developer", "content": [{"type": "input_text", "text": "Later."}]},
        ],
        "tools": [
            {"type": "function", "name": "f", "description": "F.", "parameters": SCHEMA, "strict": False},
            {"type": "custom", "name": "patch"},
        ],
        "tool_choice": {"type": "custom", "name": "patch"},
        "parallel_tool_calls": False,
        "max_output_tokens": 16,
        "temperature": 0.1,
        "reasoning": {"effort": "high"},
        "include": ["reasoning.encrypted_content"],
        "text": {
            "format": {"type": "json_schema", "name": "n", "schema": SCHEMA, "strict": True},
            "verbosity": "low",
        },
        "prompt_cache_key": "k",
    }


def test_others_know_plain_functions_only() -> None:
    turns = (said("Hi"), AssistantTurn((CallPart("b", "patch", 'a "b"'),)), SystemTurn("Later."))
    body = write(*turns, side=OTHER, tools=(Tool("patch", free=True),), choice=Choice("tool", "patch"), budget=5000)
    assert body["input"][1] == {
        "type": "function_call", "call_id": "b", "name": "patch", "arguments": '{"input":"a \\"b\\""}'
    }  # fmt: skip
    assert body["input"][2]["type"] == "function_call_output"
    assert body["input"][3]["role"] == "system"
    assert body["tools"][0]["parameters"]["required"] == ["input"]
    assert (body["tool_choice"], body["reasoning"]) == ({"type": "function", "name": "patch"}, {"effort": "medium"})
    assert "include" not in body


def test_edge_11_thoughts_go_back_only_to_who_had_them() -> None:
    parts = (
        ReasoningPart("theirs", "s", "claude"),
        ReasoningPart("unknown", "gAA"),
        ReasoningPart("signed", "gAA", "openai"),
        ReasoningPart("plain", "", "openai"),
        ReasoningPart("plain", "", "groq"),
    )
    turn = AssistantTurn((*parts, TextPart("Yes.")))
    assert [item for item in write(said("Hi"), turn)["input"] if item["type"] == "reasoning"] == [
        {"type": "reasoning", "summary": [{"type": "summary_text", "text": "signed"}], "encrypted_content": "gAA"}
    ]
    assert [item for item in write(said("Hi"), turn, side=OTHER)["input"] if item["type"] == "reasoning"] == [
        {"type": "reasoning", "summary": [], "content": [{"type": "reasoning_text", "text": "plain"}]}
    ]


def test_edge_13_an_answer_is_no_longer_than_the_model_makes_it() -> None:
    side = Side("p", "responses", "m", max_output=100)
    assert write(said("Hi"), side=side, max_tokens=5000)["max_output_tokens"] == 100
    assert "max_output_tokens" not in write(said("Hi"), side=side)


def test_edge_14_ids_are_made_to_fit_and_still_meet() -> None:
    long = "toolu/" + "x" * 80
    items = write(said("Hi"), AssistantTurn((CallPart(long, "f", "{}"),)), ResultTurn((Result(long, ()),)))["input"]
    assert items[1]["call_id"] == items[2]["call_id"]
    assert len(items[1]["call_id"]) == 64
    assert items[2]["output"] == ""


def test_a_provider_s_rules_are_followed() -> None:
    side = Side("p", "responses", "m", (Cleanup(drop=frozenset({"store"}), rename={"max_output_tokens": "limit"}),))
    body = write(said("Hi"), side=side, max_tokens=20)
    assert (body["limit"], "store" in body, "max_output_tokens" in body) == (20, False, False)


# The law: what both can say is kept.

short = st.text(st.characters(codec="utf-8", min_codepoint=33), min_size=1, max_size=5)
images = st.builds(
    ImagePart, media_type=st.just("image/png"), data=st.just("iVBO"), detail=st.sampled_from(["", "low"])
)
files = st.builds(FilePart, name=short, media_type=st.just("text/plain"), data=st.just("SGk=")) | st.builds(
    FilePart, id=short
)
parts = st.lists(st.builds(TextPart, short) | images | files, min_size=1, max_size=3).map(tuple)
names = st.sampled_from(["f", "g", "patch"])
calls = st.builds(CallPart, st.sampled_from(["a", "b", "c"]), names, st.sampled_from(["{}", '{"x":1}']))
thoughts = st.builds(ReasoningPart, short, st.just("gAA"), st.just("openai"))
answers = st.lists(st.builds(TextPart, short) | calls | thoughts, min_size=1, max_size=4).map(tuple)
# Several texts and nothing else become one.
outputs = st.tuples(st.builds(TextPart, short)) | st.tuples(images, st.builds(TextPart, short), files)
results = st.builds(Result, st.sampled_from(["a", "b", "c"]), outputs)
turns = st.lists(
    st.builds(SystemTurn, short)
    | st.builds(UserTurn, parts)
    | st.builds(AssistantTurn, answers)
    | st.builds(ResultTurn, st.lists(results, min_size=1, max_size=3).map(tuple)),
    max_size=8,
).map(fit)
prompts = st.builds(
    Prompt,
    turns=turns,
    tools=st.just((Tool("f", "F.", SCHEMA, True), Tool("g", strict=False), Tool("patch", "P.", free=True))),
    choice=st.sampled_from([None, Choice("auto"), Choice("none"), Choice("required"), Choice("tool", "patch")]),
    parallel=st.sampled_from([None, True, False]),
    max_tokens=st.none() | st.integers(16, 99),
    temperature=st.none() | st.floats(0, 2),
    top_p=st.none() | st.floats(0, 1),
    effort=st.sampled_from([None, "low", "medium", "high"]),
    format=st.sampled_from([None, Format(), Format(SCHEMA, "n", True)]),
    tuning=st.sampled_from([{}, {"verbosity": "low"}, {"prompt_cache_key": "k"}]),
    originals=st.just({"patch": Original("patch", free=True)}),
)


@given(prompts, st.booleans())
def test_what_is_written_reads_as_it_was(prompt: Prompt, vendor: bool) -> None:
    side = Side("openai", "responses", "gpt-5", vendor=vendor)
    if not vendor:
        plain = tuple(Tool(tool.name, tool.description, tool.schema, tool.strict) for tool in prompt.tools[:2])
        choice = prompt.choice if prompt.choice != Choice("tool", "patch") else Choice("tool", "f")
        prompt = Prompt(
            **{name: getattr(prompt, name) for name in prompt.__slots__}
            | {"tools": plain, "choice": choice, "originals": {}}
        )
    body = json.loads(json.dumps(write_body(prompt, side), default=dict))
    body["input"] = [{**item, **marks(item)} for item in body["input"]]
    if not body["input"]:
        return
    assert read_prompt(ResponsesRequest.parse(json.dumps(body).encode()).members.values) == prompt


def marks(item: dict[str, Any]) -> dict[str, str]:
    """As the client of this answer would have it: the provider's own signature, marked."""
    return {"encrypted_content": marked("openai", item["encrypted_content"])} if "encrypted_content" in item else {}
