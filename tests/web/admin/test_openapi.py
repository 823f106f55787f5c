"""The OpenAPI document tells every route and none besides, and hangs together."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.web.admin.conftest import Script

REFERENCE = (Path(__file__).resolve().parents[3] / "docs" / "admin-api.md").read_text(encoding="utf-8")


@pytest.fixture
async def document(ask: Script) -> Any:
    status, found = await ask("GET", "openapi.json")
    assert status == 200
    return found


def operations(document: Any) -> dict[tuple[str, str], Any]:
    return {(method.upper(), path): told for path, item in document["paths"].items() for method, told in item.items()}


async def test_every_route_is_told_and_every_route_that_is_told_is_there(ask: Script, document: Any) -> None:
    app = ask.site.client.app
    assert app
    routed = {
        (route.method, route.resource.canonical)
        for route in app.router.routes()
        if route.resource and route.resource.canonical.startswith("/admin/api")
    }
    assert routed == operations(document).keys()


async def test_every_route_is_in_the_documentation(document: Any) -> None:
    for method, path in operations(document):
        short = path.removeprefix("/admin/api/")
        assert re.search(rf"`{method} (/admin/api/)?{re.escape(short)}[`?]", REFERENCE), (method, short)


async def test_names_lead_somewhere_and_are_told_once(document: Any) -> None:
    names = set(re.findall(r'"#/components/schemas/(\w+)"', json.dumps(document)))
    assert names == document["components"]["schemas"].keys()
    ids = [told["operationId"] for told in operations(document).values()]
    assert len(ids) == len(set(ids))


async def test_each_operation_tells_what_its_path_takes_and_who_is_let_in(document: Any) -> None:
    for (method, path), told in operations(document).items():
        parameters = [row["name"] for row in told.get("parameters", []) if row["in"] == "path"]
        assert parameters == re.findall(r"\{(\w+)\}", path)
        assert "401" in told["responses"]
        assert ("requestBody" in told) <= ("413" in told["responses"]), (method, path)


async def test_no_shape_is_left_open_by_mistake(document: Any) -> None:
    """A member that is needed is told."""

    def objects(value: Any) -> Iterator[dict[str, Any]]:
        if isinstance(value, dict):
            if "required" in value and isinstance(value["required"], list):
                yield value
            for inner in value.values():
                yield from objects(inner)
        elif isinstance(value, list):
            for inner in value:
                yield from objects(inner)

    found = list(objects(document))
    assert len(found) > 20
    for one in found:
        assert set(one["required"]) <= one["properties"].keys()
