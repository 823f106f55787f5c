from __future__ import annotations

import json
import math
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest

from chain429.errors import StoreError
from chain429.routing.saved import Json
from chain429.store.state import encode, read
from chain429.store.writer import Store
from tests.store.conftest import redact


def encoded(value: Json) -> str:
    return "".join(encode(value, redact))


@pytest.mark.parametrize(
    "value",
    [
        None,
        5,
        2.5,
        "words",
        [],
        {},
        [1.0, 2, "three", None, [4.5], {"five": [6]}],
        {"one": {"two": {"three": {"four": {"five": [1, 2.5, "six"]}}, "seven": []}}, "eight": None},
        {'a "quoted" name': 1, "a name \ud83d that is half": 2},
    ],
)
def test_a_value_is_the_same_after_it_was_json(value: Json) -> None:
    assert json.loads(encoded(value)) == value


def test_times_are_exact() -> None:
    times = [1_800_000_000.1234567, 1e-9, 0.1 + 0.2]
    assert json.loads(encoded({"times": times})) == {"times": times}


def test_texts_are_cleaned_wherever_they_are_and_ids_are_not() -> None:
    words = "refused: gsk_secret"
    value: Json = {"gsk_secret": words, "deep": {"er": {"and": {"deeper": [words, {"last": words}]}}}}
    clean = "refused: [key]"
    assert json.loads(encoded(value)) == {
        "gsk_secret": clean,
        "deep": {"er": {"and": {"deeper": [clean, {"last": clean}]}}},
    }
    assert json.loads(encoded(words)) == clean


@pytest.mark.parametrize("number", [math.inf, -math.inf, math.nan])
def test_what_json_has_no_number_for_is_an_error(number: float) -> None:
    values: tuple[Json, ...] = (number, {"a": {"b": {"c": {"d": [number]}}}})
    for value in values:
        with pytest.raises(ValueError, match="not JSON compliant"):
            encoded(value)


def test_a_piece_is_no_more_than_one_model_of_one_account() -> None:
    accounts = {f"account {number}": {"a": [1.5] * 9, "b": [2.5] * 9} for number in range(99)}
    value: Json = {"ledger": {"limits": accounts}}
    assert max(map(len, encode(value, redact))) == len(json.dumps([1.5] * 9))


def test_reading_what_was_never_written(path: Path, new_store: Callable[..., Store]) -> None:
    with pytest.raises(StoreError, match=r"log\.db can't be read: unable to open database file"):
        read(path, "learned", 0.01)
    new_store().open()
    assert read(path, "learned", 0.01) is None


@pytest.mark.parametrize("damage", ["", "{", '{"a": 1', "[" * 100_000, "words", b"\xff\xfe", b"[1]"])
def test_reading_what_is_damaged(path: Path, new_store: Callable[..., Store], damage: str | bytes) -> None:
    new_store().open()
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.execute("INSERT INTO state VALUES ('learned', ?, 0)", [damage])
    if damage == b"[1]":
        assert read(path, "learned", 0.01) == [1]
        return
    with pytest.raises(StoreError, match=r"log\.db is damaged"):
        read(path, "learned", 0.01)
