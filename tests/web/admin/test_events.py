from __future__ import annotations

import asyncio
import dataclasses
import json
from typing import Any

import pytest
from aiohttp import ClientResponse

from tests.web.conftest import ALL_GOOD, LIMITS, NOON, TOKEN, Site
from tests.web.test_pages import REQUEST

BEARER = {"Authorization": f"Bearer {TOKEN}"}
URL = "/admin/api/events"


async def watch(site: Site) -> ClientResponse:
    answer = await site.get(URL, **BEARER)
    assert (answer.status, answer.content_type) == (200, "text/event-stream")
    assert await answer.content.readuntil(b"\n\n") == b"retry: 2000\n\n"
    return answer


async def snapshot(answer: ClientResponse) -> dict[str, Any]:
    block = await answer.content.readuntil(b"\n\n")
    assert block.startswith(b"event: snapshot\ndata: ")
    found: dict[str, Any] = json.loads(block.removeprefix(b"event: snapshot\ndata: "))
    return found


async def turn(site: Site, seconds: float = 1.0) -> None:
    """Let time go by once everybody who watches is waiting for that."""
    while not site.clock.waiting:  # noqa: ASYNC110  it tells nobody
        await asyncio.sleep(0)
    await site.clock.advance(seconds)


async def test_the_first_snapshot_comes_at_once(site: Site) -> None:
    found = await snapshot(await watch(site))
    assert (found["now"], found["newest_request"], found["status"]["healthy"]) == (NOON, 0, True)
    assert found["status"] == await (await site.get("/admin/api/status", **BEARER)).json()


async def test_there_is_another_when_the_state_or_the_log_changed(site: Site) -> None:
    answer = await watch(site)
    await snapshot(answer)
    site.status = dataclasses.replace(ALL_GOOD, healthy=False, problems=("Groq refuses its key.",))
    await turn(site)
    assert (await snapshot(answer))["status"]["problems"] == ["Groq refuses its key."]
    site.store.record(REQUEST)
    assert site.store.flush()
    await turn(site)
    found = await snapshot(answer)
    assert (found["now"], found["newest_request"]) == (NOON + 2, 1)


async def test_while_nothing_changes_a_comment_keeps_the_connection(site: Site) -> None:
    answer = await watch(site)
    await snapshot(answer)
    for _ in range(15):
        await turn(site)
    assert await answer.content.readuntil(b"\n\n") == b": still here\n\n"


async def test_what_moves_on_with_the_time_is_no_news(site: Site) -> None:
    answer = await watch(site)
    await snapshot(answer)
    (chain,) = ALL_GOOD.chains
    for second in range(15):
        limits = tuple(dataclasses.replace(limit, frees_at=NOON + second) for limit in LIMITS)
        first = dataclasses.replace(chain.tiers[0][0], limits=limits)
        moved = dataclasses.replace(chain, tiers=((first,), *chain.tiers[1:]))
        site.status = dataclasses.replace(ALL_GOOD, chains=(moved,))
        await turn(site)
    assert await answer.content.readuntil(b"\n\n") == b": still here\n\n"


async def test_not_all_the_world_may_watch(site: Site) -> None:
    watching = [await watch(site) for _ in range(16)]
    refused = await site.get(URL, **BEARER)
    assert refused.status == 429
    assert "16 are watching already" in (await refused.json())["error"]["message"]
    watching[0].close()
    while (await site.get(URL, **BEARER)).status == 429:  # noqa: ASYNC110  when it is noticed is the server's own
        await asyncio.sleep(0)


async def test_a_stream_ends_with_its_session(site: Site) -> None:
    await site.login()
    answer = await site.get(URL)
    await answer.content.readuntil(b"\n\n")
    await snapshot(answer)
    await turn(site, 12 * 3600.0)
    assert await answer.content.read() == b""


async def test_a_gateway_that_stops_ends_its_streams(site: Site) -> None:
    answer = await watch(site)
    await snapshot(answer)
    assert site.client.app
    await site.client.app.shutdown()
    assert await answer.content.read() == b""


@pytest.mark.parametrize("headers", [{}, {"Authorization": "Bearer wrong"}, {"Cookie": "chain429_session=guess"}])
async def test_nothing_is_told_without_a_login(site: Site, headers: dict[str, str]) -> None:
    assert (await site.get(URL, **headers)).status == 401
