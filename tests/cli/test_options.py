from __future__ import annotations

from datetime import datetime

import pytest

from chain429.cli.options import moment

NOW = 1_800_000_000.0
DAY = 86_400


@pytest.mark.parametrize(
    ("text", "time"),
    [
        ("90s", NOW - 90),
        ("90m", NOW - 5400),
        ("24h", NOW - DAY),
        ("7d", NOW - 7 * DAY),
        ("2 w", NOW - 14 * DAY),
        ("999999w", 0.0),
        ("1799999999.5", NOW - 0.5),
        ("2026-11-01T18:30:00Z", 1_793_557_800.0),
        ("2026-11-01", datetime(2026, 11, 1).timestamp()),  # noqa: DTZ001  midnight of this zone
        ("2026-11-01 18:30", datetime(2026, 11, 1, 18, 30).timestamp()),  # noqa: DTZ001
        ("", None),
        ("yesterday", None),
        ("7y", None),
        ("-7d", None),
        ("-5", None),
        ("nan", None),
        ("1e99", None),
        ("2026-13-01", None),
    ],
)
def test_a_time_in_many_words(text: str, time: float | None) -> None:
    assert moment(text, NOW) == time
