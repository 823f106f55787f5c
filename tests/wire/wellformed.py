"""What a client may rely on in a stream of its dialect, checked; and the answer that it makes of the stream.

The checks know nothing of how streams are written here: they are what the SDKs and agents of each dialect trip over.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Any, Literal

from chain429.wire.dialect import DialectName

# How a stream ended: as a complete answer, with an error, or not at all.
Ending = Literal["complete", "failed", "open"]

_DELTAS = {
    "text": {"text_delta", "citations_delta"},
    "thinking": {"thinking_delta", "signature_delta"},
    "tool_use": {"input_json_delta"},
}
_CUT = ("length", "content_filter", "max_tokens", "refusal", "model_context_window_exceeded")


def check(dialect: DialectName, stream: bytes, *, strict: bool = True) -> Ending:
    """How ``stream`` ends; an AssertionError where it is not well formed up to there.

    Not ``strict``: a provider may count its events as it likes, and tell why an answer ends before its calls.
    """
    return _CHECKS[dialect](_events(stream), strict)


def folded(dialect: DialectName, stream: bytes) -> dict[str, Any]:
    """What a client has of a complete stream, in the form of ``whole``."""
    assert check(dialect, stream) == "complete"
    return _FOLDS[dialect](_events(stream))


def whole(dialect: DialectName, body: bytes) -> dict[str, Any]:
    """What a client has of an answer that is not streamed: what was said, why it ended, and what was counted."""
    answer: dict[str, Any] = json.loads(body)
    if dialect == "messages":
        return {name: answer.get(name) for name in ("content", "stop_reason", "stop_sequence", "usage")}
    if dialect == "responses":
        return {name: answer[name] for name in ("status", "incomplete_details", "output", "usage")}
    (choice,) = answer["choices"]
    message = choice["message"]
    calls = [
        {"id": call["id"], "name": call["function"]["name"], "arguments": call["function"]["arguments"]}
        for call in message.get("tool_calls") or ()
    ]
    return {
        "content": message["content"] or "",
        "reasoning": message.get("reasoning_content") or "",
        "calls": calls,
        "finish": choice["finish_reason"],
        "usage": answer.get("usage"),
    }


def _events(stream: bytes) -> list[tuple[str, str]]:
    """Name and data of each event; comments are left out. What is no whole event breaks the next one."""
    text = stream.decode().replace("\r\n", "\n")
    assert not text or text.endswith("\n\n"), "the stream ends within an event"
    found = []
    for event in text.removesuffix("\n\n").split("\n\n") if text else ():
        fields: dict[str, list[str]] = {"event": [], "data": []}
        for line in event.strip("\n").split("\n"):
            name, colon, value = line.partition(":")
            assert colon, f"{line!r} is no field of an event"
            assert not name or name in ("event", "data", "id", "retry"), f"{line!r} is no field of an event"
            if name in fields:
                fields[name].append(value.removeprefix(" "))
        assert len(fields["event"]) <= 1
        if fields["data"]:
            found.append(("".join(fields["event"]), "\n".join(fields["data"])))
    return found


def _check_chat(events: list[tuple[str, str]], strict: bool) -> Ending:
    ending: Ending = "open"
    finish: str | None = None
    ids: list[str] = []
    for name, data in events:
        assert name == ""
        assert ending == "open", "something follows the end"
        if data == "[DONE]":
            assert finish is not None, "an end without a reason"
            ending = "complete"
            continue
        chunk = json.loads(data)
        if "error" in chunk:
            assert chunk["error"]["message"]
            ending = "failed"
            continue
        for choice in chunk["choices"][:1]:
            delta = choice["delta"]
            assert finish is None or choice.get("finish_reason") is None, "a second end"
            for piece in delta.get("tool_calls") or ():
                index, function = piece["index"], piece["function"]
                if index == len(ids):
                    assert piece["id"] not in ("", None, *ids)
                    assert function["name"]
                    ids.append(piece["id"])
                else:
                    assert 0 <= index < len(ids), "a call that was not opened"
                    assert not any((piece.get("id"), function.get("name"))), "a call that is opened twice"
            finish = finish or choice.get("finish_reason")
        if not chunk["choices"]:
            assert chunk["usage"], "a chunk of nothing"
    if ending == "complete":
        assert not strict or finish in _CUT or (finish == "tool_calls") == bool(ids)
    return ending


def _check_messages(events: list[tuple[str, str]], strict: bool) -> Ending:
    ending: Ending = "open"
    blocks: list[dict[str, Any]] = []
    current: int | None = None
    begun, reason = False, None
    for name, data in events:
        message = json.loads(data)
        kind = message["type"]
        assert name == kind
        assert ending == "open", "something follows the end"
        if kind == "error":
            assert all(message["error"][name] for name in ("type", "message"))
            ending = "failed"
        elif kind == "message_start":
            assert not begun
            assert message["message"]["usage"]["input_tokens"] >= 0
            begun = True
        elif kind == "content_block_start":
            assert begun
            assert current is None, "a block within a block"
            current = message["index"]
            assert current == len(blocks), "a gap between blocks"
            blocks.append(message["content_block"])
        elif kind == "content_block_delta":
            assert current is not None
            assert message["index"] == current, "a piece of no open block"
            delta = message["delta"]
            block = blocks[current]["type"]
            assert delta["type"] in _DELTAS.get(block, {delta["type"]}), f"{delta['type']} in {block}"
        elif kind == "content_block_stop":
            assert message["index"] == current, "a piece of no open block"
            current = None
        elif kind == "message_delta":
            assert begun
            assert current is None, "an end within a block"
            reason = message["delta"]["stop_reason"]
            assert reason
            assert message["usage"]["output_tokens"] >= 0
        elif kind == "message_stop":
            assert reason is not None, "an end without a reason"
            ending = "complete"
        else:
            assert kind == "ping", f"unknown event {kind}"
    if ending == "complete":
        calls = [index for index, block in enumerate(blocks) if block["type"] == "tool_use"]
        names = [blocks[index]["id"] for index in calls]
        assert len({name for name in names if name}) == len(names)
        assert not strict or reason in _CUT or (reason == "tool_use") == bool(calls)
    return ending


def _check_responses(events: list[tuple[str, str]], strict: bool) -> Ending:
    ending: Ending = "open"
    items: dict[int, dict[str, Any]] = {}
    texts: dict[int, str] = {}
    closed: dict[int, dict[str, Any]] = {}
    for number, (name, data) in enumerate(events):
        message = json.loads(data)
        assert name == message["type"]
        kind, index = name.removeprefix("response."), message.get("output_index")
        assert not strict or message["sequence_number"] == number, "a gap between numbers"
        assert ending == "open", "something follows the end"
        assert (kind == "created") == (number == 0) or not strict
        if kind in ("completed", "incomplete", "failed"):
            response = message["response"]
            assert response["status"] == kind
            assert (bool(response["id"]), response["object"]) == (True, "response")
            assert (kind == "failed") == bool(response.get("error"))
            assert (kind == "incomplete") == bool(response.get("incomplete_details"))
            ending = "failed" if kind == "failed" else "complete"
            if ending == "complete":
                output = response["output"]
                assert len(output) == len(items), "items that nobody was told of"
                assert all(output[one] == item for one, item in closed.items())
                # Half a call stays open, so that nobody runs it.
                left = [output[one] for one in items.keys() - closed.keys()]
                assert all(one["type"].endswith("_call") and one["status"] == "incomplete" for one in left)
                assert kind == "incomplete" or not left
        elif kind == "output_item.added":
            assert index == len(items) or not strict, "a gap between items"
            assert index not in items, "an item that is opened twice"
            items[index], texts[index] = message["item"], ""
            assert message["item"]["id"]
        elif index is not None:
            assert index not in closed, "a piece of an item that is not open"
            if not strict and kind == "output_item.done":
                items.setdefault(index, message["item"])  # some don't tell of its beginning
            assert index in items, "a piece of an item that is not open"
            if kind == "output_item.done":
                item = message["item"]
                assert (item["id"], item["type"]) == (items[index]["id"], items[index]["type"])
                assert item["type"] != "function_call" or item["call_id"]
                closed[index] = item
                continue
            assert message["item_id"] == items[index]["id"]
            if kind.endswith(".delta"):
                texts[index] += message["delta"]
            elif kind in ("output_text.done", "function_call_arguments.done"):
                assert texts[index] == message.get("text", message.get("arguments"))
    return ending


def _fold_chat(events: list[tuple[str, str]]) -> dict[str, Any]:
    answer: dict[str, Any] = {"content": "", "reasoning": "", "calls": [], "finish": None, "usage": None}
    for _, data in events:
        if data == "[DONE]":
            continue
        chunk = json.loads(data)
        answer["usage"] = chunk.get("usage") or answer["usage"]
        for choice in chunk["choices"][:1]:
            delta = choice["delta"]
            answer["content"] += delta.get("content") or ""
            answer["reasoning"] += delta.get("reasoning_content") or ""
            answer["finish"] = choice.get("finish_reason") or answer["finish"]
            for piece in delta.get("tool_calls") or ():
                function = piece["function"]
                if piece["index"] == len(answer["calls"]):
                    answer["calls"].append({"id": piece["id"], "name": function["name"], "arguments": ""})
                answer["calls"][piece["index"]]["arguments"] += function.get("arguments") or ""
    return answer


def _fold_messages(events: list[tuple[str, str]]) -> dict[str, Any]:
    answer: dict[str, Any] = {"content": [], "usage": {}}
    for name, data in events:
        message = json.loads(data)
        if name == "message_start":
            answer["usage"] = dict(message["message"]["usage"])
        elif name == "content_block_start":
            answer["content"].append(dict(message["content_block"]))
        elif name == "content_block_delta":
            block = answer["content"][-1]
            for member, value in message["delta"].items():
                if member != "type":
                    block[member] = block.get(member, "") + value
        elif name == "content_block_stop":
            block = answer["content"][-1]
            if block.get("partial_json"):
                block["input"] = _arguments(block["partial_json"])
            block.pop("partial_json", None)
        elif name == "message_delta":
            answer |= message["delta"]
            answer["usage"] |= message["usage"]
    return answer


def _arguments(text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError:
        return {"arguments": text}


def _fold_responses(events: list[tuple[str, str]]) -> dict[str, Any]:
    response = json.loads(events[-1][1])["response"]
    return {name: response[name] for name in ("status", "incomplete_details", "output", "usage")}


_CHECKS: Mapping[DialectName, Callable[[list[tuple[str, str]], bool], Ending]] = {
    "chat": _check_chat,
    "messages": _check_messages,
    "responses": _check_responses,
}
_FOLDS: Mapping[DialectName, Callable[[list[tuple[str, str]]], dict[str, Any]]] = {
    "chat": _fold_chat,
    "messages": _fold_messages,
    "responses": _fold_responses,
}
