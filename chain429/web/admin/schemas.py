"""The shapes of the admin API's bodies and answers, as JSON Schema, and the words to put an operation together.

Values only: which routes there are is told by their own modules.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

Schema = dict[str, Any]


def ref(name: str) -> Schema:
    return {"$ref": f"#/components/schemas/{name}"}


def array(of: Schema) -> Schema:
    return {"type": "array", "items": of}


def optional(of: Schema) -> Schema:
    """Such a value, or null."""
    return {"anyOf": [of, {"type": "null"}]}


def shape(needed: Mapping[str, Schema], may: Mapping[str, Schema] | None = None, *, closed: bool = False) -> Schema:
    """An object with these members. ``closed``: there are no others, which is said of what clients send."""
    found: Schema = {"type": "object", "properties": {**needed, **(may or {})}, "required": list(needed)}
    if closed:
        found["additionalProperties"] = False
    return found


TEXT: Schema = {"type": "string"}
NUMBER: Schema = {"type": "number"}
WHOLE: Schema = {"type": "integer"}
FLAG: Schema = {"type": "boolean"}
ANYTHING: Schema = {"type": "object"}
WHEN = optional({"type": "number", "description": "Unix seconds"})

_VERSION: Schema = {"schema": TEXT, "description": "the configuration's version"}
_ERRORS = {
    400: "what was sent can't be understood",
    401: "the admin token is missing or wrong; with a session, its CSRF token",
    404: "there is no such thing; the message names those that there are",
    409: "the configuration was changed meanwhile, or what is asked for is still in use",
    413: "the body is larger than 1 MiB",
    422: "the configuration would be wrong; nothing was changed",
    429: "too many at a time",
    502: "the provider could not be reached, or what it says is no list",
    507: "the disk can't be written",
}


def operation(
    name: str,
    summary: str,
    answer: Schema | None,
    *,
    status: int = 200,
    media: str = "application/json",
    body: Schema | None = None,
    parameters: Sequence[Schema] = (),
    errors: Sequence[int] = (),
    edits: bool = False,
) -> Schema:
    """One operation of OpenAPI. ``errors`` are statuses beside 401, with ``edits`` beside those of every change of the
    configuration, and with a body beside those of every body."""
    statuses = {401, *errors, *((409, 422, 507) if edits else ()), *((413,) if body or edits else ())}
    found: Schema = {
        "operationId": name,
        "summary": summary,
        "responses": {
            str(status): {
                "description": "done",
                **(
                    {"headers": {"ETag": {"schema": TEXT, "description": "the configuration's version"}}}
                    if edits
                    else {}
                ),
                **({"content": {media: {"schema": answer}}} if answer is not None else {}),
            },
            **{
                str(wrong): {
                    "description": _ERRORS[wrong],
                    "content": {"application/json": {"schema": ref("Error")}},
                }
                for wrong in sorted(statuses)
            },
        },
    }
    told = [*parameters, *([IF_MATCH] if edits else [])]
    if told:
        found["parameters"] = told
    if body is not None:
        found["requestBody"] = {"required": True, "content": {"application/json": {"schema": body}}}
    return found


def in_path(name: str, description: str) -> Schema:
    return {"name": name, "in": "path", "required": True, "description": description, "schema": {"type": "string"}}


def in_query(name: str, description: str, schema: Schema = TEXT) -> Schema:
    return {"name": name, "in": "query", "description": description, "schema": schema}


IF_MATCH: Schema = {
    "name": "If-Match",
    "in": "header",
    "description": "the version that was seen, in quotes: the change is refused where it is another by now",
    "schema": {"type": "string"},
}
