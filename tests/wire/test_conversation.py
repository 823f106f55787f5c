from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chain429.wire.conversation import SESSION_HEADERS, opening_key, session_key, session_of

texts = st.text(st.characters(exclude_categories=()), max_size=20)


@pytest.mark.parametrize("name", SESSION_HEADERS)
def test_each_header_that_clients_send_names_a_session(name: str) -> None:
    assert session_of({"accept": "*/*", name: "s-1"}) == "s-1"


def test_our_own_header_goes_first_and_an_empty_one_names_nothing() -> None:
    assert session_of({"x-claude-code-session-id": "theirs", "x-chain429-session": "ours"}) == "ours"
    assert session_of({"x-claude-code-session-id": "theirs", "x-chain429-session": ""}) == "theirs"
    assert session_of({"x-chain429-session": ""}) == ""
    assert session_of({}) == ""


@given(st.tuples(texts, st.lists(texts)), st.tuples(texts, st.lists(texts)))
def test_openings_have_the_same_key_only_if_they_are_the_same(
    one: tuple[str, list[str]], other: tuple[str, list[str]]
) -> None:
    assert (opening_key(*one) == opening_key(*other)) == (one == other)


def test_texts_that_only_join_to_the_same_are_not_the_same() -> None:
    assert opening_key("", ["ab", "c"]) != opening_key("", ["a", "bc"])
    assert opening_key("a", []) != opening_key("", ["a"])


def test_a_session_is_not_taken_for_an_opening() -> None:
    assert session_key("s") != opening_key("s", [])
    assert session_key("s") != session_key("t")


def test_only_the_beginning_of_a_text_counts() -> None:
    assert opening_key("", ["x" * 2048]) == opening_key("", ["x" * 100_000])
    assert opening_key("", ["x" * 2047]) != opening_key("", ["x" * 2048])
