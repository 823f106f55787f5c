"""The admin API as a script uses it."""

from __future__ import annotations

import io
from typing import Any

import pytest

from tests.web.conftest import TOKEN, Site
from tests.web.gateway import FakeGateway

BEARER = {"Authorization": f"Bearer {TOKEN}"}


class Script:
    """Sends requests with the admin token. ``said`` is all that was ever answered."""

    def __init__(self, site: Site) -> None:
        self.site = site
        self.gateway: FakeGateway = site.gateway
        self.said = ""

    @property
    def file(self) -> str:
        return self.gateway.path.read_text(encoding="utf-8")

    async def __call__(self, method: str, path: str, body: object = None, **headers: str) -> tuple[int, Any]:
        """The status, and the body if it is JSON, else its text."""
        content = body if isinstance(body, bytes | io.BytesIO) else None
        answer = await self.site.client.request(
            method,
            f"/admin/api/{path}",
            json=body if content is None and body is not None else None,
            data=content,
            headers={**BEARER, **headers},
        )
        text = await answer.text()
        self.said += f"{answer.headers}\n{text}\n"
        return answer.status, await answer.json() if answer.content_type == "application/json" else text


@pytest.fixture
def ask(site: Site) -> Script:
    return Script(site)
