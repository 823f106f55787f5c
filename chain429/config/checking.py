"""Checks what was read against the schema, and says every fault in plain words, with its place."""

from __future__ import annotations

import difflib
import re
from collections.abc import Mapping
from typing import Any

from pydantic import BaseModel, ValidationError

from chain429.config.faults import Places, Where, near, quoted
from chain429.config.schema import (
    BreakerFile,
    ChainFile,
    ConfigFile,
    KeyFile,
    LimitsFile,
    ModelFile,
    ProviderFile,
    ProviderTimeoutsFile,
    ProxyFile,
    TimeoutsFile,
)

# In place of a wrong item of a list. What is said of it then is not told, for its place is spoilt.
_STAND_IN = "?"


def validate(data: Any, places: Places) -> ConfigFile:
    """The checked file. Where it has faults, the rest of it, so that more can be found; they are in ``places``."""
    try:
        return ConfigFile.model_validate(data)
    except ValidationError as error:
        found = error.errors(include_url=False)
    spoilt: list[Where] = []
    for item in found:
        place = item["loc"] = _as_written(item["loc"], data)
        if item["type"] == "extra_forbidden":
            known = _section(place[:-1]).model_fields
            meant = difflib.get_close_matches(str(place[-1]), known, 1)
            spoilt += [(*place[:-1], name) for name in (place[-1], *meant)]
            places.fault(f"is not a known key{near(str(place[-1]), known)}", *place)
        else:
            # What lacks something can only be left out as a whole.
            spoilt.append(place[:-1] if item["type"] == "missing" else place)
            places.fault(_words(item), *place)
    places.spoil(*spoilt)
    for place in spoilt:
        _leave_out(data, place)
    try:
        return ConfigFile.model_validate(data)
    except ValidationError:
        places.raise_faults()
        raise


def check_data(data: Any, file: str) -> ConfigFile:
    """The checked file without what it refers to. Raises ConfigError with every fault."""
    places = Places(file)
    found = validate(data, places)
    places.raise_faults()
    return found


def _as_written(place: Where, data: Any) -> Where:
    """The place in the file: a chain that is a list has no 'targets' there."""
    match place:
        case ("chains", name, "targets", *rest) if not isinstance(data["chains"][name], dict):
            return ("chains", name, *rest)
    return place


def _leave_out(data: Any, place: Where) -> None:
    """Take out what stands there, or what it would be a part of. Nothing else changes its place: in a list a text takes
    its own, as every list here may have texts; and a provider or a chain is only emptied, for others refer to it."""
    held: Any = None
    for depth, part in enumerate(place):
        if isinstance(data, dict) and isinstance(part, str):
            if part not in data:
                return
        elif not (isinstance(data, list) and isinstance(part, int)):
            place = place[:depth]
            break
        held, data = data, data[part]
    if len(place) == 2 and place[0] in ("providers", "chains"):
        held[place[1]] = None
    elif isinstance(held, dict):
        del held[place[-1]]
    elif held is not None:
        held[place[-1]] = _STAND_IN


def _section(place: Where) -> type[BaseModel]:
    """The model of the section at ``place``."""
    match place:
        case ("providers", _, "keys", *_):
            return KeyFile
        case ("providers", _, "limits"):
            return LimitsFile
        case ("providers", _, "models", _):
            return ModelFile
        case ("providers", _, "timeouts"):
            return ProviderTimeoutsFile
        case ("providers", _):
            return ProviderFile
        case ("chains", _):
            return ChainFile
        case ("timeouts",):
            return TimeoutsFile
        case ("breaker",):
            return BreakerFile
        case ("proxy",):
            return ProxyFile
    return ConfigFile


def _words(item: Mapping[str, Any]) -> str:
    """What pydantic found, in the words of someone who writes YAML."""
    context = item.get("ctx", {})
    match item["type"]:
        case "missing":
            return "is needed"
        case "model_type" | "dict_type":
            return "names with values were expected here, such as 'name: value'"
        case "tuple_type":
            return "a list was expected here, such as [one, two]"
        case "string_too_short":
            return "is empty"
        case "string_type":
            words = "must be text; put it in quotes"
        case "int_type":
            words = "must be a whole number"
        case "float_type" | "finite_number":
            words = "must be a number"
        case "bool_type":
            words = "must be true or false"
        case "greater_than":
            words = f"must be more than {context['gt']:g}"
        case "greater_than_equal":
            words = f"must be at least {context['ge']:g}"
        case "less_than_equal":
            words = f"must be at most {context['le']:.15g}"
        case "enum" | "literal_error":
            words = f"must be {context['expected']}"
        case _:
            words = item["msg"].removeprefix("Value error, ")
    return words + _shown(item)


def _shown(item: Mapping[str, Any]) -> str:
    """The wrong value, where it can't be a secret, nor have one in it."""
    value, place = item["input"], item["loc"]
    if not isinstance(value, str | int | float) or place[:1] == ("tokens",):
        return ""
    match place:
        case ("providers", _, "headers" | "variables", *_) | ("providers", _, "keys") | ("providers", _, "keys", _):
            return ""
        case ("providers", _, "keys", _, "key"):
            return ""
        case ("providers", _, "base_url") if isinstance(value, str) and re.search("[@?]", value):
            return ""
    text = {True: "true", False: "false"}[value] if isinstance(value, bool) else _number_or_text(value)
    return f" (it is {text})"


def _number_or_text(value: float | str) -> str:
    if isinstance(value, str):
        return quoted(value)
    # Beyond this, Python refuses to write an int in decimals.
    return "a huge number" if isinstance(value, int) and abs(value) > 10**100 else str(value)
