"""Which key of a request is the caller's own, and how it comes from the proxy to the API."""

from __future__ import annotations

import pytest

from chain429.web.auth import Doors
from chain429.web.covered import TICKET_HEADER
from chain429.web.own import OwnKeys

TOKEN = "the-gateways-token"
HERE, THERE = ("127.0.0.1", 5000), ("192.0.2.7", 5000)


@pytest.mark.parametrize(
    ("headers", "bearer", "api_key"),
    [
        ({"authorization": "Bearer mine"}, "mine", ""),
        ({"authorization": "bearer  mine "}, "mine", ""),
        ({"x-api-key": "mine"}, "", "mine"),
        ({"authorization": "Bearer mine", "x-api-key": "too"}, "mine", "too"),
        ({"authorization": "Bearer mine", "x-api-key": TOKEN}, "mine", ""),
        ({"authorization": f"Bearer {TOKEN}", "x-api-key": "mine"}, "", "mine"),
    ],
)
def test_the_callers_key(headers: dict[str, str], bearer: str, api_key: str) -> None:
    own = Doors([TOKEN]).own_key(headers, HERE)
    assert own
    assert (own.bearer, own.api_key, own.host) == (bearer, api_key, None)


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"authorization": f"Bearer {TOKEN}"},
        {"x-api-key": TOKEN},
        {"authorization": f"Bearer {TOKEN}", "x-api-key": TOKEN, "x-chain429-token": TOKEN},
        {"x-chain429-token": "mine"},
        {"authorization": "Basic bWluZTptaW5l"},
        {"authorization": "Bearer "},
        # Made by a gateway, whichever it was.
        {"authorization": "Bearer c429_of-another-day"},
        {"x-api-key": "c429admin_secret"},
        # No header can carry them.
        {"x-api-key": "kéy"},
        {"x-api-key": "two words"},
        {"x-api-key": "a\x7fb"},
    ],
)
def test_what_is_no_key_of_the_callers(headers: dict[str, str]) -> None:
    assert Doors([TOKEN]).own_key(headers, HERE) is None


def test_only_what_identifies_a_program_goes_along() -> None:
    sent = {
        "X-Api-Key": "mine",
        "x-api-key": "mine",
        "User-Agent": "claude-cli/2",
        "X-App": "cli",
        "X-Stainless-Lang": "js",
        "anthropic-beta": "oauth-2025-04-20",
        "anthropic-version": "2023-06-01",
        "anthropic-dangerous-direct-browser-access": "true",
        "cookie": "a=b",
        "host": "127.0.0.1",
        "x-forwarded-for": "10.0.0.1",
    }
    own = Doors([TOKEN]).own_key(sent, HERE)
    assert own
    assert own.identifying == {
        "user-agent": "claude-cli/2",
        "x-app": "cli",
        "x-stainless-lang": "js",
        "anthropic-beta": "oauth-2025-04-20",
        "anthropic-version": "2023-06-01",
        "anthropic-dangerous-direct-browser-access": "true",
    }


def test_callers_are_told_apart_by_what_says_nothing_of_their_keys() -> None:
    keys = OwnKeys()

    def caller(keys: OwnKeys, **headers: str) -> str:
        own = keys.read({name.replace("_", "-"): value for name, value in headers.items()}, lambda _: False)
        assert own
        return own.caller

    one = caller(keys, x_api_key="one")
    assert one == caller(keys, x_api_key="one")
    # The same key in two places, another key, and another process.
    assert len({one, caller(keys, authorization="Bearer one"), caller(keys, x_api_key="two")}) == 3
    assert one != caller(OwnKeys(), x_api_key="one")


def test_a_key_that_the_proxy_lends_is_taken_once_and_by_its_connection_only() -> None:
    doors = Doors([TOKEN], {HERE})
    ticket = doors.lend({"authorization": "Bearer mine"}, "api.anthropic.com")
    assert ticket
    assert "mine" not in ticket
    headers = {TICKET_HEADER: ticket, "x-api-key": "of whoever wrote it there"}
    assert doors.own_key({TICKET_HEADER: ticket}, THERE) is None
    own = doors.own_key(headers, HERE)
    assert own
    assert (own.bearer, own.api_key, own.host) == ("mine", "", "api.anthropic.com")
    assert doors.own_key(headers, HERE) is None
    assert doors.lend({"authorization": f"Bearer {TOKEN}"}, "api.anthropic.com") is None


def test_keys_that_nobody_takes_do_not_gather() -> None:
    keys = OwnKeys()
    own = keys.read({"x-api-key": "mine"}, lambda _: False)
    assert own
    tickets = [keys.leave(own) for _ in range(1001)]
    assert keys.take(tickets[0]) is None
    assert keys.take(tickets[1]) is own


@pytest.mark.parametrize(
    ("trusts", "peer", "headers", "client"),
    [
        (True, HERE, {}, "sdk"),
        (True, ("::1", 5000), {"authorization": "Bearer mine"}, "sdk"),
        (True, HERE, {"origin": "vscode-file://vscode-app"}, "sdk"),
        (True, HERE, {"origin": "https://evil.example"}, None),
        (True, HERE, {"sec-fetch-site": "same-origin"}, None),
        (True, HERE, {"origin": "https://mine.example", "x-chain429-token": TOKEN}, "sdk"),
        (True, THERE, {}, None),
        (True, None, {}, None),
        (False, HERE, {"authorization": "Bearer mine"}, None),
        (False, THERE, {"authorization": "Bearer mine", "x-chain429-token": TOKEN}, "sdk"),
    ],
)
def test_who_needs_no_token(
    trusts: bool, peer: tuple[str, int] | None, headers: dict[str, str], client: str | None
) -> None:
    assert Doors([TOKEN], trust_loopback=trusts).client(headers, peer) == client
