from __future__ import annotations

import dataclasses

import pytest

from tests.web.conftest import TOKEN, Site

SHOWN = {"Authorization": f"Bearer {TOKEN}"}


@pytest.mark.parametrize(
    ("is_open", "headers", "status"),
    [
        (False, {}, 401),
        (False, {"Authorization": "Bearer wrong"}, 401),
        (False, SHOWN, 200),
        (True, {}, 200),
        (True, {"Host": "elsewhere.example"}, 421),
        (True, {"Origin": "http://elsewhere.example"}, 403),
    ],
)
async def test_metrics_take_the_admin_token_unless_they_are_open(
    site: Site, is_open: bool, headers: dict[str, str], status: int
) -> None:
    site.gateway.config = dataclasses.replace(site.gateway.config, metrics_open=is_open)
    answer = await site.get("/metrics", Accept="text/plain", **headers)
    assert answer.status == status
    if status == 200:
        assert answer.headers["Content-Type"] == "text/plain; version=0.0.4; charset=utf-8"
        assert await answer.text() == "for text/plain"


async def test_a_session_may_look_at_them(site: Site) -> None:
    await site.login()
    assert (await site.get("/metrics")).status == 200
