"""JSON schemas, made to fit providers that know only part of the words (json-schema.org, draft 2020-12)."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

# Members that hold schemas by names of the schema's own choice, a schema each, or a list of them.
_BY_NAME = frozenset({"properties", "$defs", "definitions", "patternProperties", "dependentSchemas"})
_ONE = frozenset(
    {
        "items", "additionalProperties", "additionalItems", "unevaluatedItems", "unevaluatedProperties", "contains",
        "propertyNames", "not", "if", "then", "else",
    }
)  # fmt: skip
_LISTS = frozenset({"anyOf", "oneOf", "allOf", "prefixItems", "items"})


def without(schema: Any, words: Collection[str]) -> Any:
    """The schema without the ``words`` that a provider refuses: the very same object where it has none of them.

    What is only called so, a property's name or a value, stays. A ``const`` becomes the only one of its ``enum``.
    """
    if not isinstance(schema, Mapping):
        return schema
    new: dict[str, Any] | None = None
    for word, value in schema.items():
        kept = value
        if word in words:
            new = dict(schema) if new is None else new
            del new[word]
            if word == "const" and isinstance(value, str):
                new["enum"] = [value]
            continue
        if word in _BY_NAME and isinstance(value, Mapping):
            inner = {name: without(one, words) for name, one in value.items()}
            kept = inner if any(inner[name] is not value[name] for name in inner) else value
        elif word in _ONE and isinstance(value, Mapping):
            kept = without(value, words)
        elif word in _LISTS and isinstance(value, list):
            items = [without(one, words) for one in value]
            kept = items if any(one is not other for one, other in zip(items, value, strict=True)) else value
        if kept is not value:
            new = dict(schema) if new is None else new
            new[word] = kept
    return schema if new is None else new
