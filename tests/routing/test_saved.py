from __future__ import annotations

import json
import math

import pytest

from chain429.routing.saved import members, number, pairs, text


@pytest.mark.parametrize("sound", [0, 0.0, 1, 2.5, 1_800_000_000.25, 1e12])
def test_a_number(sound: float) -> None:
    assert number(sound) == sound


@pytest.mark.parametrize(
    "wrong", [-1, -0.5, math.nan, math.inf, -math.inf, 1e13, 10**400, True, False, None, "1", [1], {}]
)
def test_what_is_no_number_that_makes_sense(wrong: object) -> None:
    assert number(wrong) is None


def test_a_number_may_be_held_to_less() -> None:
    assert number(3, most=3) == 3
    assert number(4, most=3) is None


def test_members_are_those_of_an_object() -> None:
    assert list(members({"a": 1, "b": None})) == [("a", 1), ("b", None)]
    for wrong in (None, [["a", 1]], "a", 5):
        assert list(members(wrong)) == []


def test_pairs_are_two_by_two_and_a_damaged_one_is_passed_over() -> None:
    assert list(pairs([1, 2, 3, 4.5])) == [(1, 2), (3, 4.5)]
    assert list(pairs([1, -2, 3, 4, "5", 6, 7])) == [(3, 4)]
    for wrong in (None, {"a": 1}, "12", 5):
        assert list(pairs(wrong)) == []


def test_a_text() -> None:
    assert text("words") == "words"
    assert text(json.loads("5")) == ""
