from __future__ import annotations

from datetime import datetime

import pytest

from chain429.cli.words import local, span


@pytest.mark.parametrize(
    ("seconds", "words"),
    [
        (-5, "0 s"),
        (0.4, "0 s"),
        (99.4, "99 s"),
        (100, "2 min"),
        (5940, "99 min"),
        (5941, "1 h 40 min"),
        (172_740, "47 h 59 min"),
        (172_800, "2 days"),
    ],
)
def test_how_long_it_is_in_words(seconds: float, words: str) -> None:
    assert span(seconds) == words


def test_a_time_is_told_by_the_clock_on_the_wall() -> None:
    text = local(1_800_000_000.9)
    assert datetime.strptime(text, "%Y-%m-%d %H:%M:%S").timestamp() == 1_800_000_000  # noqa: DTZ007  of this zone
