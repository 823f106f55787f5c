from __future__ import annotations

import pytest

from chain429.web.pages.sessions import Guesses
from tests.fakes import FakeClock
from tests.web.conftest import TOKEN, Site


async def guess(site: Site, times: int) -> None:
    for _ in range(times):
        assert (await site.post("/login", {"token": "wrong"})).status == 401


async def test_after_five_wrong_tokens_one_waits_even_with_the_right_one(site: Site) -> None:
    await guess(site, 5)
    answer = await site.post("/login", {"token": TOKEN})
    assert (answer.status, answer.headers["Retry-After"]) == (429, "60")
    assert "Try again in 60 seconds." in await answer.text()
    site.clock.time += 59.5
    assert (await site.post("/login", {"token": TOKEN})).headers["Retry-After"] == "1"
    site.clock.time += 0.5
    await site.login()


async def test_who_waits_is_not_counted_again(site: Site) -> None:
    await guess(site, 5)
    site.clock.time += 30
    for _ in range(9):
        assert (await site.post("/login", {"token": "wrong"})).status == 429
    site.clock.time += 30
    await site.login()


async def test_the_right_token_wipes_the_slate(site: Site) -> None:
    for _ in range(3):
        await guess(site, 4)
        await site.login()


async def test_right_tokens_are_not_limited(site: Site) -> None:
    for _ in range(20):
        await site.login()


@pytest.mark.parametrize(
    ("kind", "form"),
    [
        ("application/x-www-form-urlencoded", b"token=\xff"),
        ("application/x-www-form-urlencoded; charset=of-my-own", b"token=x"),
        ("multipart/form-data; boundary=x", b"token=x"),
    ],
)
async def test_what_is_no_form_is_no_token(site: Site, kind: str, form: bytes) -> None:
    headers = {"Content-Type": kind, "Origin": site.origin}
    assert (await site.client.post("/login", data=form, headers=headers)).status == 401
    await site.login()
    assert (await site.client.post("/logout", data=form, headers=headers)).status == 403


def test_guesses_are_counted_for_each_peer() -> None:
    clock = FakeClock()
    guesses = Guesses(clock)
    for _ in range(5):
        assert guesses.wait("10.0.0.1") == 0
        guesses.count("10.0.0.1")
        clock.time += 10
    assert guesses.wait("10.0.0.1") == 10
    assert guesses.wait("10.0.0.2") == 0
    clock.time += 10
    assert guesses.wait("10.0.0.1") == 0
    # Four of them are less than a minute old.
    guesses.count("10.0.0.1")
    assert guesses.wait("10.0.0.1") == 10


def test_the_peers_that_are_remembered_are_bounded() -> None:
    guesses = Guesses(FakeClock())
    for peer in range(1025):
        for _ in range(5):
            guesses.count(str(peer))
    assert [guesses.wait(peer) for peer in ("0", "1", "1024")] == [0, 60, 60]
