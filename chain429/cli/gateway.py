"""Asking the gateway that runs on this machine: its admin API, found by what it keeps in its data folder."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

from chain429.cli.listed import Failed
from chain429.cli.process import run
from chain429.clock import SystemClock
from chain429.errors import ConnectFailed, UpstreamError
from chain429.folders import running_pages
from chain429.upstream import HttpUpstream

_PATIENCE = 30.0  # seconds


class NoGateway(Failed):
    """None runs that keeps its data there."""


def ask(data: Path, path: str, query: Mapping[str, object] | None = None) -> Any:
    """The answer to ``GET /admin/api/{path}``; what is None or empty in ``query`` is not asked for.

    Raises NoGateway, and Failed where something else than an answer comes.
    """
    url = running_pages(data)
    if url is None:
        raise NoGateway(f"no gateway runs with its data in {data}; 'chain429 serve' starts one")
    try:
        token = (data / "admin-token").read_text(encoding="ascii").strip()
    except (OSError, UnicodeDecodeError):
        raise Failed(f"the admin token can't be read from {data / 'admin-token'}") from None
    asked = urlencode({name: value for name, value in (query or {}).items() if value not in (None, "")})
    status, body = run(lambda: _get(url, f"{url}/admin/api/{path}{'?' if asked else ''}{asked}", token))
    if status == 401:
        raise Failed(f"the gateway at {url} does not take the admin token in {data / 'admin-token'}")
    try:
        found = json.loads(body)
    except (ValueError, RecursionError):
        found = None
    error = found.get("error") if isinstance(found, dict) else None
    if status in (400, 404) and isinstance(error, dict) and "message" in error:
        raise Failed(str(error["message"]))
    if status != 200 or not isinstance(found, dict):
        raise Failed(f"what answers at {url} is no gateway of this version: HTTP {status}")
    return found


async def _get(gateway: str, url: str, token: str) -> tuple[int, bytes]:
    upstream = HttpUpstream(SystemClock())
    await upstream.open()
    try:
        return await upstream.get(url, {"authorization": f"Bearer {token}"}, _PATIENCE)
    except ConnectFailed:
        raise NoGateway(f"no gateway answers at {gateway} any more; 'chain429 serve' starts one") from None
    except UpstreamError as error:
        raise Failed(f"{gateway} does not answer as a gateway does: {error}") from None
    finally:
        await upstream.close()
