"""Reads a provider's list of its models: which there are, and what it says that they can do.

Only the ids are agreed upon. Beside them every provider has names of its own for what a model can do; those that are in
use are looked for in every list, so that a server nobody knows is understood as well. What is missing, or no such value
as it should be, is not known; a plain "no" is taken only from what enumerates everything that a model can do.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from chain429.routing.fit import Capabilities

Shape = Literal["openai", "cohere", "cloudflare"]

# Where each shape has its models, and what an id is called there. Together sends the bare array.
_PLACES: Mapping[Shape, tuple[str, str]] = {
    "openai": ("data", "id"),
    "cohere": ("models", "name"),
    "cloudflare": ("result", "name"),
}
# The longest context in use is of ten million tokens; what is far beyond is no number of tokens.
_MOST_TOKENS = 1_000_000_000
_LONGEST_ID = 300

# Prompt and answer together; what a provider says that it serves itself goes before what the model was made for.
_CONTEXT = (
    ("top_provider", "context_length"),
    ("context_length",),  # OpenRouter, Together, Cohere, SambaNova, Moonshot, Chutes
    ("context_window",),  # Groq, Vercel, Cloudflare's property
    ("max_context_length",),  # Mistral
    ("max_model_len",),  # vLLM
    ("max_input_tokens",),  # Anthropic
    ("metadata", "context_length"),  # DeepInfra
)
_OUTPUT = (
    ("top_provider", "max_completion_tokens"),
    ("max_completion_tokens",),  # Groq, SambaNova
    ("max_output_tokens",),
    ("max_output_length",),  # Chutes
    ("max_tokens",),  # Anthropic, Vercel
    ("metadata", "max_tokens"),  # DeepInfra
)
# Plain answers, by what is asked for.
_TOOLS = (("capabilities", "function_calling"), ("function_calling",))  # Mistral, Cloudflare's property
_IMAGES = (("capabilities", "vision"), ("supports_vision",), ("supports_image_in",), ("vision",))
_REASONING = (("capabilities", "reasoning"), ("supports_reasoning",), ("reasoning",))
# Enumerations.
_INPUTS = (("architecture", "input_modalities"), ("input_modalities",))
_PARAMETERS = (("supported_parameters",), ("supported_features",))


class ListError(ValueError):
    """What was sent is no list of models. The message is for people, and has nothing of what was sent in it."""


@dataclass(frozen=True, slots=True)
class Listing:
    """What one answer lists: capabilities by a model's id. ``whole``: all models are in it, so one that isn't there
    does not exist; ``next``: the URL of the page after this one, as the provider wrote it."""

    models: Mapping[str, Capabilities]
    whole: bool = True
    next: str | None = None


def read_list(shape: Shape, body: bytes) -> Listing:
    """Raises ListError."""
    try:
        found = json.loads(body)
    except (ValueError, RecursionError):
        raise ListError("it is no JSON") from None
    place, name = _PLACES[shape]
    entries = found.get(place) if isinstance(found, dict) else found if shape == "openai" else None
    if not isinstance(entries, list):
        raise ListError(f"it has no array named {place!r}")
    models = {
        identifier: _capabilities(entry)
        for entry in entries
        if isinstance(entry, dict)
        for identifier in _ids(entry.get(name))
    }
    if not models:
        raise ListError("no model is in it")
    page = _text(_at(found, ("links", "next")))
    return Listing(models, page is None and not _goes_on(found, len(entries)), page)


def _ids(value: object) -> Iterator[str]:
    """Gemini writes ``models/x`` in its list and takes ``x`` as well."""
    if isinstance(value, str) and 0 < len(value) <= _LONGEST_ID and value.isprintable():
        yield value
        if value.removeprefix("models/"):
            yield value.removeprefix("models/")


def _goes_on(found: object, entries: int) -> bool:
    """Whether there are more models than are told, by the marks of Anthropic, Cohere and Cloudflare."""
    if _at(found, ("has_more",)) is True or _text(_at(found, ("next_page_token",))):
        return True
    total = _at(found, ("result_info", "total_count"))
    return isinstance(total, int) and total > entries


def _capabilities(entry: dict[str, Any]) -> Capabilities:
    properties = entry.get("properties")
    if isinstance(properties, list):  # Cloudflare's
        told = {
            identifier: part.get("value")
            for part in properties
            if isinstance(part, dict) and (identifier := _text(part.get("property_id")))
        }
        entry = {**entry, **told}
    inputs, parameters = _words(entry, _INPUTS), _words(entry, _PARAMETERS)
    schema = None
    if parameters:
        # "response_format" alone means any JSON at all.
        schema = bool(parameters & {"structured_outputs", "json_schema"})
    return Capabilities(
        tools=_first(_yes(entry, _TOOLS), "tools" in parameters if parameters else None),
        images=_first(_yes(entry, _IMAGES), "image" in inputs if inputs else None),
        schema=schema,
        reasoning=_first(_yes(entry, _REASONING), "reasoning" in parameters if parameters else None),
        context=_tokens(entry, _CONTEXT),
        output=_tokens(entry, _OUTPUT),
    )


def _at(value: object, path: Collection[str]) -> object:
    for name in path:
        if not isinstance(value, dict):
            return None
        value = value.get(name)
    return value


def _text(value: object) -> str | None:
    return value if isinstance(value, str) and value else None


def _first(*values: bool | None) -> bool | None:
    return next((value for value in values if value is not None), None)


def _tokens(entry: dict[str, Any], places: Collection[tuple[str, ...]]) -> int | None:
    for path in places:
        value = _at(entry, path)
        if isinstance(value, str) and value.isascii() and value.isdigit() and len(value) < 12:
            value = int(value)
        if isinstance(value, int) and not isinstance(value, bool) and 0 < value <= _MOST_TOKENS:
            return value
    return None


def _yes(entry: dict[str, Any], places: Collection[tuple[str, ...]]) -> bool | None:
    for path in places:
        value = _at(entry, path)
        if value is True or value == "true":
            return True
        if value is False or value == "false":
            return False
    return None


def _words(entry: dict[str, Any], places: Collection[tuple[str, ...]]) -> set[str]:
    """The words of an enumeration; none where there is none, or an empty one, which says nothing."""
    for path in places:
        value = _at(entry, path)
        if isinstance(value, list):
            return {word for word in value if isinstance(word, str)}
    return set()
