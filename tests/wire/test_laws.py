"""What holds for every client dialect in front of every provider dialect."""

from __future__ import annotations

import json
import re
from functools import cache
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from chain429.errors import WireError
from chain429.wire import sse
from chain429.wire.dialect import DialectName
from tests.wire.answers import ANSWERS, DIALECTS, PAIRS, between, delivered
from tests.wire.wellformed import check, folded, whole

NAMES = ("calls", "words")
every_pair = pytest.mark.parametrize(("front", "behind"), PAIRS)
every_answer = pytest.mark.parametrize("name", NAMES)


def pieces(stream: bytes, cuts: list[int]) -> list[bytes]:
    places = [0, *sorted(min(cut, len(stream)) for cut in cuts), len(stream)]
    return [stream[start:end] for start, end in pairwise(places)]


cuts = st.lists(st.integers(0, 4500), max_size=40)


@every_pair
@every_answer
@given(cuts=cuts)
def test_where_a_stream_is_cut_does_not_matter(
    front: DialectName, behind: DialectName, name: str, cuts: list[int]
) -> None:
    answer = ANSWERS[behind][name]
    out, seen = delivered(between(front, behind), *pieces(answer.stream, cuts))
    assert (out, seen) == delivered(between(front, behind), *answer.events)


@every_pair
@every_answer
def test_a_stream_of_single_bytes_is_a_stream(front: DialectName, behind: DialectName, name: str) -> None:
    answer = ANSWERS[behind][name]
    out, seen = delivered(between(front, behind), *[bytes([byte]) for byte in answer.stream])
    assert (out, seen) == delivered(between(front, behind), answer.stream)


@every_pair
@every_answer
@given(cuts=cuts)
@settings(max_examples=10)
def test_a_client_is_only_ever_sent_whole_events(
    front: DialectName, behind: DialectName, name: str, cuts: list[int]
) -> None:
    stream = between(front, behind).stream()
    for piece in pieces(ANSWERS[behind][name].stream, cuts):
        assert stream.feed(piece)[-2:] in (b"", b"\n\n")


@every_pair
@every_answer
def test_the_fold_of_a_stream_is_the_whole_answer(front: DialectName, behind: DialectName, name: str) -> None:
    answer = ANSWERS[behind][name]
    out, streamed = delivered(between(front, behind), *answer.events)
    seen, body = between(front, behind, stream=False).answer(answer.body)
    assert folded(front, out) == whole(front, body)
    assert (streamed.finish, streamed.usage) == (seen.finish, seen.usage)
    assert streamed.complete
    assert seen.complete


@pytest.mark.parametrize("dialect", DIALECTS)
@every_answer
def test_the_same_dialect_passes_as_it_is(dialect: DialectName, name: str) -> None:
    answer = ANSWERS[dialect][name]
    assert delivered(between(dialect, dialect), *answer.events)[0] == answer.stream
    assert between(dialect, dialect, stream=False).answer(answer.body)[1] == answer.body


@every_pair
@every_answer
def test_a_stream_that_breaks_off_never_ends_as_if_it_were_complete(
    front: DialectName, behind: DialectName, name: str
) -> None:
    answer = ANSWERS[behind][name]
    entire = folded(front, delivered(between(front, behind), answer.stream)[0])
    # Most of these places lie within the same few events, so that the client is sent the same.
    ending = cache(lambda out: check(front, out))
    # After these an event may be taken for a whole one.
    for at in (at for at in range(len(answer.stream)) if answer.stream[at - 1 : at] in b'\n:"}]'):
        out, seen = delivered(between(front, behind), answer.stream[:at])
        if seen.complete:
            # Only what comes after the last word may be missing.
            assert {**folded(front, out), "usage": None} == {**entire, "usage": None}
        else:
            assert ending(out) == ("failed" if seen.meaningful else "open")


# Garbage.

values = st.recursive(
    st.none() | st.booleans() | st.integers(-2, 9) | st.floats(allow_nan=False) | st.text(max_size=4),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3),
    max_leaves=6,
)


@every_pair
@given(pieces=st.lists(st.binary(max_size=30) | values.map(lambda value: sse.event(json.dumps(value).encode()))))
def test_garbage_is_no_answer(front: DialectName, behind: DialectName, pieces: list[bytes]) -> None:
    out, seen = delivered(between(front, behind), *pieces)
    assert not seen.meaningful
    assert check(front, out) == "open"


@every_pair
@given(body=st.binary(max_size=30) | values.map(lambda value: json.dumps(value).encode()))
def test_a_body_of_garbage_is_no_answer(front: DialectName, behind: DialectName, body: bytes) -> None:
    try:
        seen, _ = between(front, behind, stream=False).answer(body)
    except WireError:
        return
    assert seen.error is not None or not seen.meaningful


def places(value: Any) -> list[tuple[Any, ...]]:
    """The ways to everything that is within a JSON value."""
    inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [path for key, one in inner for path in [(key,), *((key, *rest) for rest in places(one))]]


@st.composite
def garbled(draw: st.DrawFn, behind: DialectName, changes: list[str]) -> list[bytes]:
    """An answer of which some events are missing, come twice or in another order, and some members are garbage."""
    events = list(ANSWERS[behind][draw(st.sampled_from(NAMES))].events)
    for _ in range(draw(st.integers(1, 4))):
        at = draw(st.integers(0, len(events) - 1))
        change = draw(st.sampled_from(changes))
        if change == "leave out" and len(events) > 1:
            del events[at]
        elif change == "twice":
            events.insert(at, events[at])
        elif change == "later":
            events.insert(draw(st.integers(0, len(events) - 1)), events.pop(at))
        elif b"data: {" in events[at]:
            head, _, data = events[at].partition(b"data: ")
            value = json.loads(data)
            holder, path = value, draw(st.sampled_from(places(value) or [()]))
            for key in path[:-1]:
                holder = holder[key]
            if path and change == "drop":
                del holder[path[-1]]
            elif path:
                holder[path[-1]] = draw(values)
            events[at] = head + b"data: " + json.dumps(value).encode() + b"\n\n"
    return events


NUMBER = re.compile(rb'"sequence_number": ?\d+')
MISSING_OR_TWICE, MEMBERS = ["leave out", "twice"], ["drop", "replace"]
ORDER = [*MISSING_OR_TWICE, "later"]


@pytest.mark.parametrize(("front", "behind"), [pair for pair in PAIRS if pair[0] != pair[1]])
@given(data=st.data())
def test_a_garbled_answer_is_translated_into_a_well_formed_one(
    front: DialectName, behind: DialectName, data: st.DataObject
) -> None:
    out, seen = delivered(between(front, behind), *data.draw(garbled(behind, ORDER + MEMBERS)))
    assert check(front, out) == ("open" if not seen.meaningful else "complete" if seen.complete else "failed")


@pytest.mark.parametrize("dialect", DIALECTS)
@given(data=st.data())
def test_events_that_are_missing_or_come_twice_are_put_right(dialect: DialectName, data: st.DataObject) -> None:
    pieces = data.draw(garbled(dialect, MISSING_OR_TWICE))
    out, seen = delivered(between(dialect, dialect), *pieces)
    expected = "open" if not seen.meaningful else "complete" if seen.complete else "failed"
    assert check(dialect, out, strict=False) == expected
    at_once, _ = delivered(between(dialect, dialect), b"".join(pieces))
    assert NUMBER.sub(b"", at_once) == NUMBER.sub(b"", out)


@pytest.mark.parametrize("dialect", DIALECTS)
@given(data=st.data())
def test_garbage_within_an_answer_is_passed_on_or_refused(dialect: DialectName, data: st.DataObject) -> None:
    out, seen = delivered(between(dialect, dialect), *data.draw(garbled(dialect, ORDER + MEMBERS)))
    assert bool(out) == seen.meaningful
