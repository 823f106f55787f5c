from __future__ import annotations

import json
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chain429.errors import WireError
from chain429.wire import sse
from chain429.wire.dialect import Problem
from chain429.wire.events import Usage
from chain429.wire.messages_stream import MessagesStream
from tests.wire.wellformed import check


def event(kind: str, **fields: Any) -> bytes:
    data = json.dumps({"type": kind, **fields}, separators=(",", ":"))
    return f"event: {kind}\ndata: {data}\n\n".encode()


def start(index: int, kind: str = "text", **block: Any) -> bytes:
    return event("content_block_start", index=index, content_block={"type": kind, **block})


def said(index: int, *words: str) -> bytes:
    deltas = [{"type": "text_delta", "text": word} for word in words]
    return b"".join([event("content_block_delta", index=index, delta=delta) for delta in deltas])


def given_arguments(index: int, *pieces: str) -> bytes:
    deltas = [{"type": "input_json_delta", "partial_json": piece} for piece in pieces]
    return b"".join([event("content_block_delta", index=index, delta=delta) for delta in deltas])


def thought(index: int, word: str, signature: str) -> bytes:
    deltas = [{"type": "thinking_delta", "thinking": word}, {"type": "signature_delta", "signature": signature}]
    inner = b"".join([event("content_block_delta", index=index, delta=delta) for delta in deltas])
    return start(index, "thinking", thinking="", signature="") + inner + stop(index)


def stop(index: int) -> bytes:
    return event("content_block_stop", index=index)


def ended(reason: str, **usage: int) -> bytes:
    return event("message_delta", delta={"stop_reason": reason, "stop_sequence": None}, usage=usage)


BEGIN = event("message_start", message={"id": "msg_1", "content": [], "usage": {"input_tokens": 3, "output_tokens": 1}})
PING = b'event: ping\ndata: {"type": "ping"}\n\n'
STOP = event("message_stop")
END = ended("end_turn", output_tokens=7) + STOP
HELLO = start(0, text="") + said(0, "Hel", "lo", " you", '\n\n"data: ') + stop(0)
CALL = start(1, "tool_use", id="a", name="f", input={}) + given_arguments(1, "", '{"x":', "1}") + stop(1)
ANSWER = (
    b": processing\n\n" + BEGIN + PING + HELLO + CALL + thought(2, "Hm", "sig") + ended("tool_use", output_tokens=7)
    + STOP
)  # fmt: skip


def passed(stream: bytes, origin: str = "", chunk: int | None = None) -> tuple[bytes, MessagesStream]:
    stream_of = MessagesStream(origin)
    size = chunk or len(stream)
    out = b"".join([stream_of.feed(stream[at : at + size]) for at in range(0, len(stream), size)])
    return out + stream_of.close(), stream_of


def events(stream: bytes) -> list[dict[str, Any]]:
    parser = sse.EventParser()
    found = []
    for one in [*parser.feed(stream), *parser.close()]:
        if one.data is not None:
            found.append(json.loads(one.data))
            assert one.name == found[-1]["type"]
    return found


def kinds(stream: bytes) -> list[str]:
    return [
        f"{one['type'].removeprefix('content_block_')} {one['index']}" if "index" in one else one["type"]
        for one in events(stream)
    ]


def test_an_answer_is_passed_on_as_it_came() -> None:
    out, stream = passed(ANSWER)
    assert out == ANSWER
    assert (stream.seen.complete, stream.seen.finish) == (True, "tool_calls")
    assert stream.seen.usage == Usage(3, 7)


@pytest.mark.parametrize("origin", ["", "zai"])
def test_where_the_stream_is_cut_does_not_matter(origin: str) -> None:
    whole, _ = passed(ANSWER, origin)
    for size in range(1, 80):
        out, stream = passed(ANSWER, origin, size)
        assert out == whole
        assert stream.seen.complete
    for at in range(len(ANSWER)):
        stream = MessagesStream(origin)
        assert stream.feed(ANSWER[:at]) + stream.feed(ANSWER[at:]) == whole


@given(st.lists(st.integers(1, len(ANSWER)), max_size=12))
def test_any_chunking_gives_the_same(cuts: list[int]) -> None:
    stream = MessagesStream()
    places = [0, *sorted(cuts), len(ANSWER)]
    assert b"".join([stream.feed(ANSWER[a:b]) for a, b in pairwise(places)]) == ANSWER


def test_words_are_passed_on_as_soon_as_they_are_whole() -> None:
    stream = MessagesStream()
    stream.feed(BEGIN + start(0, text=""))
    first, second = said(0, "a"), said(0, "b")
    assert not stream.seen.meaningful
    assert stream.feed(first) == first
    assert stream.seen.meaningful
    assert stream.feed(second + second[:-1]) == second
    assert stream.feed(second[-1:]) == second
    assert stream.feed(second + stop(0)) == second + stop(0)


def test_a_provider_that_orders_its_members_otherwise_is_read_too() -> None:
    def other(text: str) -> bytes:
        data = {"delta": {"text": text, "type": "text_delta"}, "index": 0, "type": "content_block_delta"}
        return b"event: content_block_delta\ndata: " + json.dumps(data).encode() + b"\n\n"

    answer = BEGIN + start(0, text="") + other("a") + other("b") + stop(0) + END
    assert passed(answer)[0] == answer
    assert passed(answer.replace(b"\n", b"\r\n"))[0] == answer.replace(b"\n", b"\r\n")


def test_a_block_of_a_tool_that_the_provider_runs_is_passed_on_and_counts() -> None:
    server = start(0, "server_tool_use", id="s", name="web_search", input={}) + given_arguments(0, "{}") + stop(0)
    found = start(1, "web_search_tool_result", tool_use_id="s", content=[]) + stop(1)
    stream = MessagesStream()
    assert stream.feed(BEGIN + server + found) == BEGIN + server + found
    assert stream.seen.meaningful
    cited = event("content_block_delta", index=2, delta={"type": "citations_delta", "citation": {}})
    rest = start(2, text="") + said(2, "a") + cited + said(2, "b") + stop(2) + END
    assert stream.feed(rest) == rest


def test_edge_11_what_others_sign_is_marked() -> None:
    hidden = start(1, "redacted_thinking", data="hidden") + stop(1)
    answer = BEGIN + thought(0, "Hm", "sig") + hidden + END
    assert passed(answer)[0] == answer
    marked = answer.replace(b'"sig"', b'"c429.zai.sig"').replace(b'"hidden"', b'"c429.zai.hidden"')
    assert passed(answer, "zai")[0] == marked


def test_an_error_is_not_passed_on() -> None:
    error = event("error", error={"type": "overloaded_error", "message": "Overloaded"})
    out, stream = passed(BEGIN + HELLO + error + END)
    assert out == BEGIN + HELLO
    assert not stream.seen.complete
    assert stream.seen.error is not None
    assert stream.seen.error.error == {"type": "overloaded_error", "message": "Overloaded"}
    bare, stream = passed(BEGIN + b'{"error":{"message":"x"}}\n\n')
    assert (bare, stream.seen.complete) == (BEGIN, False)


def test_an_answer_that_is_cut_gets_no_ending() -> None:
    out, stream = passed(BEGIN + start(0, text="") + said(0, "a"))
    assert kinds(out) == ["message_start", "start 0", "delta 0"]
    assert not stream.seen.complete


def test_a_stop_that_is_missing_is_added() -> None:
    out, stream = passed(BEGIN + HELLO + ended("end_turn", output_tokens=7))
    assert out == BEGIN + HELLO + END
    assert stream.seen.ended


def test_what_is_no_event_stream_is_an_error() -> None:
    with pytest.raises(WireError):
        passed(b"data: <html>\n\n")


# What providers get wrong.


def test_edge_08_what_is_said_twice_is_passed_on_once() -> None:
    doubled = BEGIN + BEGIN + start(0, text="") + said(0, "a") + stop(0) + stop(0) + END + STOP + BEGIN
    assert passed(doubled)[0] == BEGIN + start(0, text="") + said(0, "a") + stop(0) + END


def test_edge_23_blocks_are_counted_anew_where_indexes_have_gaps() -> None:
    answer = BEGIN + start(1, text="") + said(1, "a", "b") + stop(1)
    answer += start(4, "tool_use", id="a", name="f", input={}) + given_arguments(4, "{}") + stop(4)
    out, stream = passed(answer + ended("tool_use", output_tokens=7) + STOP)
    assert kinds(out) == [
        *("message_start", "start 0", "delta 0", "delta 0", "stop 0", "start 1", "delta 1", "stop 1"),
        *("message_delta", "message_stop"),
    ]
    assert stream.seen.complete


def test_edge_23_a_second_block_of_the_same_index_is_the_next_one() -> None:
    block = start(0, "tool_use", id="a", name="f", input={}) + given_arguments(0, "{}") + stop(0)
    out, _ = passed(BEGIN + block + block.replace(b'"a"', b'"b"') + ended("tool_use", output_tokens=7) + STOP)
    assert kinds(out)[1:-2] == ["start 0", "delta 0", "stop 0", "start 1", "delta 1", "stop 1"]


def test_edge_04_a_block_that_is_left_open_is_closed_before_the_next() -> None:
    answer = BEGIN + start(0, text="") + said(0, "a") + start(1, "tool_use", id="a", name="f", input={})
    out, _ = passed(answer + given_arguments(1, '{"x":1}') + ended("tool_use", output_tokens=7) + STOP)
    assert kinds(out) == [
        *("message_start", "start 0", "delta 0", "stop 0", "start 1", "delta 1", "stop 1"),
        *("message_delta", "message_stop"),
    ]
    assert events(out)[-2]["usage"]["input_tokens"] == 3


def test_edge_04_thoughts_within_a_block_of_text_get_a_block_of_their_own() -> None:
    thinking = event("content_block_delta", index=0, delta={"type": "thinking_delta", "thinking": "Hm"})
    out, _ = passed(BEGIN + start(0, text="") + said(0, "a") + thinking + said(0, "b") + stop(0) + END)
    assert kinds(out)[1:-2] == [
        *("start 0", "delta 0", "stop 0", "start 1", "delta 1", "stop 1", "start 2", "delta 2", "stop 2"),
    ]


def test_words_without_a_block_get_one() -> None:
    out, _ = passed(BEGIN + said(0, "a", "b") + END)
    assert kinds(out) == [
        *("message_start", "start 0", "delta 0", "delta 0", "stop 0", "message_delta", "message_stop"),
    ]
    assert kinds(passed(HELLO + END)[0])[0] == "message_start"


def test_arguments_for_a_call_that_is_closed_already_are_an_error() -> None:
    calls = start(0, "tool_use", id="a", name="f", input={}) + given_arguments(0, '{"x":')
    calls += start(1, "tool_use", id="b", name="f", input={}) + given_arguments(1, "{}") + given_arguments(0, "1}")
    with pytest.raises(WireError, match="after its block was closed"):
        passed(BEGIN + calls)


def test_events_without_names_get_theirs() -> None:
    nameless = b"".join([line + b"\n\n" for line in (BEGIN + HELLO + END).split(b"\n") if line.startswith(b"data")])
    assert passed(nameless)[0] == BEGIN + HELLO + END
    assert passed(nameless + b"data: [DONE]\n\n")[0] == BEGIN + HELLO + END
    early = nameless.replace(b'data: {"type":"message_stop"}', b"data: [DONE]")
    assert passed(early)[0] == BEGIN + HELLO + END


def test_edge_17_an_end_that_hides_a_call_is_put_right() -> None:
    answer = BEGIN + HELLO + CALL
    out, stream = passed(answer + END)
    assert out == answer + ended("tool_use", output_tokens=7) + STOP
    assert stream.seen.finish == "tool_calls"
    cut = answer + ended("max_tokens", output_tokens=7) + STOP
    assert passed(cut)[0] == cut


def test_edge_08_a_call_that_is_said_twice_has_an_id_of_its_own() -> None:
    again = CALL.replace(b'"index":1', b'"index":2')
    out, _ = passed(BEGIN + HELLO + CALL + again + ended("tool_use", output_tokens=7) + STOP)
    assert check("messages", out) == "complete"


def test_edge_09_an_end_that_is_not_announced_is() -> None:
    out, stream = passed(BEGIN + HELLO + CALL + STOP)
    assert kinds(out)[-2:] == ["message_delta", "message_stop"]
    assert events(out)[-2]["delta"]["stop_reason"] == "tool_use"
    assert stream.seen.complete


def test_edge_17_a_call_before_a_block_that_is_left_open_still_ends_for_it() -> None:
    call = start(0, "tool_use", id="a", name="f", input={}) + stop(0)
    out, _ = passed(BEGIN + call + start(1, text="") + said(1, "Hi") + ended("tool_use", output_tokens=7) + STOP)
    assert check("messages", out) == "complete"
    assert events(out)[-2]["delta"]["stop_reason"] == "tool_use"


def test_edge_17_an_end_for_calls_that_nobody_made_is_an_ordinary_one() -> None:
    out, stream = passed(BEGIN + HELLO + ended("tool_use", output_tokens=7) + STOP)
    assert (events(out)[-2]["delta"]["stop_reason"], stream.seen.finish) == ("end_turn", "stop")


def test_what_came_before_garbage_is_still_the_client_s() -> None:
    stream = MessagesStream()
    with pytest.raises(WireError):
        stream.feed(BEGIN + HELLO + b"data: <html>\n\n")
    assert stream.fail(Problem(502, "Why")).startswith(BEGIN + HELLO + b"event: error\n")


@pytest.mark.parametrize("at", [4, 6, 20, 27, 32, 40, 60, 100, len(said(0, "lo")) - 2])
def test_half_an_event_at_the_end_is_not_passed_on(at: int) -> None:
    stream = MessagesStream()
    before = BEGIN + start(0, text="") + said(0, "Hel")
    assert stream.feed(before + said(0, "lo")[:at]) == before
    try:
        out = stream.close()
    except WireError:
        out = b""
    assert out in (b"", said(0, "lo"))
    assert not stream.seen.complete


blocks = st.lists(
    st.tuples(st.integers(0, 3), st.sampled_from(["start", "tool", "said", "arguments", "stop", "thought", "begin"])),
    max_size=10,
)


@given(blocks)
def test_whatever_comes_what_goes_out_is_well_formed(given_blocks: list[tuple[int, str]]) -> None:
    makers: dict[str, Any] = {
        "start": lambda index: start(index, text=""),
        "tool": lambda index: start(index, "tool_use", id="a", name="f", input={}),
        "said": lambda index: said(index, "a"),
        "arguments": lambda index: given_arguments(index, "{}"),
        "stop": stop,
        "thought": lambda index: thought(index, "Hm", "s"),
        "begin": lambda index: BEGIN,
    }
    answer = BEGIN + b"".join([makers[kind](index) for index, kind in given_blocks]) + END
    try:
        out, _ = passed(answer)
    except WireError:
        return
    assert check("messages", out, strict=False) == "complete"
