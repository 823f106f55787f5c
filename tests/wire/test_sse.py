from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chain429.errors import WireError
from chain429.wire import sse
from chain429.wire.sse import EventParser

STREAM = (
    b"\xef\xbb\xbf: OPENROUTER PROCESSING\n\n"
    b'data: {"a":1}\n\n'
    b'data:{"b":2}\r\n\r\n'
    b"event: ping\ndata: x\ndata:  y\nid: 7\n\n"
    b"\n"
    b"data: \xe2\x80\xa8 \xc2\x85\r\r"
    b"data: [DONE]\n\n"
)
EVENTS = [
    (None, ""),
    (b'{"a":1}', ""),
    (b'{"b":2}', ""),
    (b"x\n y", "ping"),
    (b"\xe2\x80\xa8 \xc2\x85", ""),
    (b"[DONE]", ""),
]


def parse(chunks: list[bytes]) -> list[tuple[bytes | None, str]]:
    parser = EventParser()
    events = [event for chunk in chunks for event in parser.feed(chunk)] + parser.close()
    return [(event.data, event.name) for event in events]


def test_a_stream_of_every_form_is_read() -> None:
    assert parse([STREAM]) == EVENTS


def test_a_stream_cut_at_every_byte_gives_the_same_events() -> None:
    for cut in range(len(STREAM)):
        assert parse([STREAM[:cut], STREAM[cut:]]) == EVENTS, cut
    assert parse([STREAM[at : at + 1] for at in range(len(STREAM))]) == EVENTS


@given(st.lists(st.integers(0, len(STREAM)), max_size=8))
def test_a_stream_cut_anywhere_gives_the_same_events(cuts: list[int]) -> None:
    at = [0, *sorted(cuts), len(STREAM)]
    assert parse([STREAM[start:end] for start, end in pairwise(at)]) == EVENTS


def test_nothing_of_the_stream_is_lost_in_raw() -> None:
    parser = EventParser()
    raw = b"".join(event.raw for event in parser.feed(STREAM))
    assert raw == STREAM.removeprefix(b"\xef\xbb\xbf")


def test_an_event_whose_end_is_missing_is_left_to_close() -> None:
    parser = EventParser()
    assert parser.feed(b"data: half") == []
    assert parser.pending
    assert [event.data for event in parser.close()] == [b"half"]
    assert not parser.pending


def test_an_endless_event_is_refused() -> None:
    parser = EventParser()
    parser.feed(b"x" * sse.MAX_EVENT)
    with pytest.raises(WireError, match="larger than"):
        parser.feed(b"x")


def test_events_are_written_as_they_are_read() -> None:
    assert sse.event(b"a\nb", "error") == b"event: error\ndata: a\ndata: b\n\n"
    assert sse.event(b"a", "\ud800") == b"event: ?\ndata: a\n\n"
    assert sse.comment("keep-alive") == b": keep-alive\n\n"
    assert parse([sse.event(b"a\nb", "error")]) == [(b"a\nb", "error")]


@pytest.mark.parametrize(
    ("stream", "data"),
    [
        (b"event: a\ndata: 1\n\n", [("a", b"1")]),
        (b"event: a\ndata: 1\ndata: 2\n\n", [("a", b"1\n2")]),
        (b"event: a\nid: 7\n\nevent: b\ndata:2\n\n", [("a", None), ("b", b"2")]),
        (b"data: 1\n\n\ndata: 2\n\n\n\ndata: 3\n\n\n", [("", b"1"), ("", b"2"), ("", b"3")]),
    ],
)
def test_whole_events_are_read_like_those_that_come_in_pieces(
    stream: bytes, data: list[tuple[str, bytes | None]]
) -> None:
    whole, pieces = EventParser(), EventParser()
    for parser in (whole, pieces):
        parser.feed(b": hello\n\n")
    once = [*whole.feed(stream), *whole.close()]
    bits = [event for at in range(len(stream)) for event in pieces.feed(stream[at : at + 1])]
    bits += pieces.close()
    for found in (once, bits):
        assert [(event.name, event.data) for event in found if event.data is not None or event.name] == data


@pytest.mark.parametrize("rest", [b"event: a", b"event: a\nid: 7", b": comment", b"retry: 5\n", b"\n", b""])
def test_the_beginning_of_an_event_without_data_is_none(rest: bytes) -> None:
    parser = EventParser()
    parser.feed(b"data: 1\n\n" + rest)
    assert parser.close() == []


@pytest.mark.parametrize("end", [b"", b"\n", b"\r\n", b"\r"])
def test_what_close_gives_ends_as_events_do(end: bytes) -> None:
    parser = EventParser()
    parser.feed(b"event: a\ndata: 1" + end)
    assert [event.raw for event in parser.close()] == [b"event: a\ndata: 1\n\n"]
