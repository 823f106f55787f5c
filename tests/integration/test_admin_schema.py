"""The admin API of a running gateway against its own OpenAPI document: whatever is sent, every answer is one of those
that the document has, and none is the gateway's fault."""

from __future__ import annotations

from typing import Any
from urllib.parse import urlencode

import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, assume, given, settings
from hypothesis import strategies as st
from schemathesis import GenerationMode
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from tests.integration.conftest import Starter

CHECKS = [
    not_a_server_error,
    status_code_conformance,
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
]
# Names that there are: what is made up leads nowhere most of the time.
KNOWN = {"id": "home", "credential": "PROVIDER_KEY", "provider": "home"}
# It has no end.
ENDLESS = "/admin/api/events"
# For each operation. More find more: 200 take eight minutes.
EXAMPLES = 3
# A query that is longer is refused by the HTTP server itself, in its own words.
LONGEST = 6000


@pytest.fixture(scope="module")
def api(shared: Starter) -> tuple[Any, dict[str, str]]:
    """The document as it is served, and what lets in."""
    pages = shared.serve().pages
    token = (shared.folder / "data" / "admin-token").read_text().strip()
    headers = {"Authorization": f"Bearer {token}"}
    schema = schemathesis.openapi.from_url(f"{pages}/admin/api/openapi.json", headers=headers)
    return schema.exclude(path=ENDLESS), headers


@pytest.mark.parametrize("mode", [GenerationMode.POSITIVE, GenerationMode.NEGATIVE], ids=lambda mode: mode.value)
def test_every_answer_is_as_the_document_says(api: tuple[Any, dict[str, str]], mode: GenerationMode) -> None:
    schema, headers = api
    tried = []
    for found in schema.get_all_operations():
        operation = found.ok()
        if mode is GenerationMode.NEGATIVE and not (operation.body or operation.query):
            continue

        @settings(
            max_examples=EXAMPLES,
            deadline=None,
            derandomize=True,
            database=None,
            phases=[Phase.explicit, Phase.generate],
            suppress_health_check=list(HealthCheck),
        )
        @given(case=operation.as_strategy(generation_mode=mode), known=st.booleans())
        def run(case: Any, known: bool) -> None:
            if known:
                case.path_parameters.update({name: KNOWN[name] for name in case.path_parameters if name in KNOWN})
            assume(len(urlencode(case.query or {}, doseq=True)) < LONGEST)
            case.call_and_validate(headers=headers, checks=CHECKS)

        run()
        tried.append(operation.label)
    assert len(tried) > (20 if mode is GenerationMode.POSITIVE else 5)
