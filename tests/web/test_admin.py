"""The admin API: its shapes are promised, so they are written out here."""

from __future__ import annotations

import re

import pytest

from chain429.web.admin import CSRF_HEADER
from tests.web.conftest import NOON, TOKEN, Site

BEARER = {"Authorization": f"Bearer {TOKEN}"}
TARGET = "groq/gpt-oss-120b"
CHAINS = [
    {
        "name": "default",
        "tiers": [
            [
                {
                    "provider": "groq",
                    "model": "gpt-oss-120b",
                    "credential": "groq-1",
                    "state": "cooling",
                    "reason": "requests per minute",
                    "until": NOON + 30,
                    "limits": [
                        {
                            "metric": "requests",
                            "window": "minute",
                            "limit": 30,
                            "used": 30,
                            "left": 0,
                            "frees_at": NOON + 30,
                            "resets_at": NOON + 41,
                            "layer": "reported",
                        },
                        {
                            "metric": "tokens",
                            "window": "day",
                            "limit": None,
                            "used": 5400,
                            "left": None,
                            "frees_at": NOON + 80_000,
                            "resets_at": NOON + 86_000,
                            "layer": "counted",
                        },
                    ],
                }
            ],
            [
                {
                    "provider": "cerebras",
                    "model": "gpt-oss-120b",
                    "credential": "cerebras-1",
                    "state": "available",
                    "reason": "",
                    "until": None,
                    "limits": [],
                }
            ],
        ],
    }
]


async def test_the_limits(site: Site) -> None:
    answer = await site.get("/admin/api/limits", **BEARER)
    assert answer.status == 200
    assert await answer.json() == {"now": NOON, "chains": CHAINS}


async def test_the_status(site: Site) -> None:
    answer = await site.get("/admin/api/status", **BEARER)
    assert answer.status == 200
    assert await answer.json() == {
        "healthy": True,
        "problems": [],
        "chains": CHAINS,
        "providers": [
            {"id": "groq", "name": "Groq", "tier": "free", "breaker": "closed", "terms": "Not for <minors>."}
        ],
        "started": NOON - 60,
        "version": "0.1.0",
        "simulated": False,
    }


@pytest.mark.parametrize(("asked", "credential"), [({}, None), ({"credential": "groq-1"}, "groq-1")])
async def test_what_speaks_against_a_target_is_forgotten(
    site: Site, asked: dict[str, str], credential: str | None
) -> None:
    answer = await site.client.post("/admin/api/limits/clear", json={"target": TARGET, **asked}, headers=BEARER)
    assert (answer.status, await answer.json()) == (200, {"cleared": ["groq-1"]})
    assert site.cleared == [(TARGET, credential)]


async def test_a_target_that_there_is_not(site: Site) -> None:
    answer = await site.client.post("/admin/api/limits/clear", json={"target": "groq/x"}, headers=BEARER)
    assert answer.status == 404
    message = "There is no target 'groq/x'. There are: groq/gpt-oss-120b."
    assert await answer.json() == {"error": {"message": message}}


@pytest.mark.parametrize(
    ("body", "words"),
    [
        (b"", "Send JSON such as"),
        (b"target=groq", "Send JSON such as"),
        (b"[" * 10_000, "Send JSON such as"),
        (b"[]", "Send JSON such as"),
        (b'{"target": "a/b", "key": "x"}', "Send JSON such as"),
        (b"{}", "'target' must be a provider and its model"),
        (b'{"target": 5}', "'target' must be a provider and its model"),
        (b'{"target": "a/b", "credential": 5}', "'credential' must be a credential's id"),
    ],
)
async def test_what_can_not_be_understood_is_explained(site: Site, body: bytes, words: str) -> None:
    answer = await site.client.post("/admin/api/limits/clear", data=body, headers=BEARER)
    assert answer.status == 400
    assert words in (await answer.json())["error"]["message"]
    assert site.cleared == []


async def test_without_the_token_nothing_is_told_and_nothing_done(site: Site) -> None:
    for headers in ({}, {"Authorization": "Bearer wrong"}, {"Cookie": "chain429_session=guess"}):
        answer = await site.get("/admin/api/limits", **headers)
        assert (answer.status, "groq" in await answer.text()) == (401, False)
        answer = await site.client.post("/admin/api/limits/clear", json={"target": TARGET}, headers=headers)
        assert answer.status == 401
    assert site.cleared == []


async def test_with_a_session_a_change_takes_its_token_too(site: Site) -> None:
    await site.login()
    assert (await site.get("/admin/api/limits")).status == 200
    (csrf,) = re.findall(r'name="csrf" value="([^"]+)"', await site.page())
    for headers, status in (({}, 401), ({CSRF_HEADER: "guess"}, 401), ({CSRF_HEADER: csrf}, 200)):
        answer = await site.client.post("/admin/api/limits/clear", json={"target": TARGET}, headers=headers)
        assert answer.status == status
    # A token that is shown counts alone: a wrong one is not made good by a session.
    wrong = {CSRF_HEADER: csrf, "Authorization": "Bearer wrong"}
    answer = await site.client.post("/admin/api/limits/clear", json={"target": TARGET}, headers=wrong)
    assert answer.status == 401
    assert len(site.cleared) == 1


async def test_another_site_can_change_nothing(site: Site) -> None:
    for headers in ({"Origin": "https://evil.example"}, {"Origin": "null"}, {"Host": "evil.example"}):
        answer = await site.client.post(
            "/admin/api/limits/clear", json={"target": TARGET}, headers={**BEARER, **headers}
        )
        assert answer.status in (403, 421)
    assert site.cleared == []
