from __future__ import annotations

import pytest

from tests.cli.running import run


@pytest.mark.parametrize(
    ("option", "value", "words"),
    [
        ("--port", "70000", "70000 is not in the range 0<=x<=65535"),
        ("--port", "-1", "-1 is not in the range 0<=x<=65535"),
        ("--time-scale", "0", "0.0 is not in the range x>0"),
        ("--time-scale", "-5", "-5.0 is not in the range x>0"),
        ("--time-scale", "nan", "'nan' is not a finite number"),
        ("--time-scale", "inf", "'inf' is not a finite number"),
        ("--token-delay", "-1", "-1.0 is not in the range x>=0"),
        ("--token-delay", "nan", "'nan' is not a finite number"),
    ],
)
def test_what_makes_no_sense_is_refused_before_it_listens(option: str, value: str, words: str) -> None:
    code, text = run("simulate", option, value)
    assert code == 2
    assert f"Invalid value for '{option}': {words}" in text
