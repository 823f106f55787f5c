"""How a caller's key is shown to its provider, and hidden from all others."""

from __future__ import annotations

import pytest

from chain429.wire.own import OwnKey


@pytest.mark.parametrize(
    ("bearer", "api_key", "auth", "native", "shown"),
    [
        ("token-1", "", "x-api-key", True, {"authorization": "Bearer token-1", "x-app": "cli"}),
        ("", "key-1", "x-api-key", True, {"x-api-key": "key-1", "x-app": "cli"}),
        (
            "token-1",
            "key-1",
            "x-api-key",
            True,
            {"authorization": "Bearer token-1", "x-api-key": "key-1", "x-app": "cli"},
        ),
        ("token-1", "", "x-api-key", False, {"x-api-key": "token-1"}),
        ("", "key-1", "bearer", False, {"authorization": "Bearer key-1"}),
        ("token-1", "key-1", "bearer", False, {"authorization": "Bearer token-1"}),
        ("token-1", "key-1", "x-api-key", False, {"x-api-key": "key-1"}),
    ],
)
def test_what_the_provider_is_shown(bearer: str, api_key: str, auth: str, native: bool, shown: dict[str, str]) -> None:
    assert OwnKey(bearer, api_key, {"x-app": "cli"}, "c").headers(auth, native=native) == shown


def test_it_is_hidden_in_what_a_provider_says() -> None:
    own = OwnKey("plain-token", "an0ther", {}, "c")
    assert own.hide("no plain-token, no an0ther") == "no [redacted], no [redacted]"
    error = {"message": "no plain-token", "code": 401, "parts": [["an0ther", None]]}
    assert own.hide_in(error) == {"message": "no [redacted]", "code": 401, "parts": [["[redacted]", None]]}
    deep: object = "plain-token"
    for _ in range(100_000):
        deep = [deep]
    assert "plain-token" not in repr(own.hide_in(deep))
    assert OwnKey("abc", "", {}, "c").hide("abc") == "abc"
    assert "plain-token" not in repr(own)
    assert "an0ther" not in repr(own)
