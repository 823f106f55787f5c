from __future__ import annotations

import pytest

from chain429.web.auth import Doors
from chain429.web.covered import ORIGIN_HEADER, TICKET_HEADER, Handover, Origin, Taken

THERE, ELSEWHERE = ("127.0.0.1", 60_000), ("127.0.0.1", 60_001)
OPENAI = Origin("https", "api.openai.com", 443)


@pytest.mark.parametrize(
    ("origin", "text"),
    [
        (OPENAI, "https://api.openai.com"),
        (Origin("http", "localhost", 8080), "http://localhost:8080"),
        (Origin("https", "::1", 443), "https://[::1]"),
        (Origin("http", "::1", 8080), "http://[::1]:8080"),
    ],
)
def test_an_origin_is_read_as_it_was_written(origin: Origin, text: str) -> None:
    assert str(origin) == text
    assert Origin.read(text) == origin


@pytest.mark.parametrize("text", ["", "api.openai.com", "https://", "https://a:b", "ftp://a", "https://[::1"])
def test_what_is_no_origin(text: str) -> None:
    assert Origin.read(text) is None


def test_only_the_proxy_tells_where_a_request_was_going() -> None:
    headers = {ORIGIN_HEADER: str(OPENAI)}
    doors = Doors([], {THERE}, {})
    assert doors.origin(headers, THERE) == OPENAI
    assert doors.origin({}, THERE) is None
    for peer in (ELSEWHERE, None):
        assert doors.origin(headers, peer) is None


def test_of_bytes_that_it_has_not_read_it_tells_by_their_connection() -> None:
    observed = Origin("https", "observed.example", 443)
    doors = Doors([], {THERE}, {THERE: observed})
    assert doors.origin({ORIGIN_HEADER: str(OPENAI)}, THERE) == observed


def test_what_was_taken_out_is_handed_over_once_and_shows_nothing() -> None:
    handed = Handover[Taken]()
    taken = Taken("/v1?key=sk-secret", (("authorization", "Bearer sk-secret"),))
    ticket = handed.leave(taken)
    assert "sk-secret" not in ticket + repr(taken)
    doors = Doors([], handed=handed)
    assert doors.taken({TICKET_HEADER: ticket}) is taken
    assert doors.taken({TICKET_HEADER: ticket}) is None
    assert doors.taken({}) is None
