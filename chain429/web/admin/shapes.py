"""The shapes that the OpenAPI document names: what is answered, and what may be sent.

Of what is sent only the members are named, not all that makes their values right: that is said by the check of the
configuration, with status 422.
"""

from __future__ import annotations

from chain429.config import KeyFile, ProviderFile
from chain429.web.admin.bodies import SETTINGS
from chain429.web.admin.schemas import (
    ANYTHING,
    FLAG,
    NUMBER,
    TEXT,
    WHEN,
    WHOLE,
    Schema,
    array,
    optional,
    ref,
    shape,
)

_ANY: Schema = {}
_TEXTS: Schema = {"type": "object", "additionalProperties": TEXT}
_PLACE = {"reference": optional(TEXT), "masked": optional(TEXT)}
_FAULT = shape({"key": TEXT, "message": TEXT, "line": optional(WHOLE)})
_KEY_MEMBERS = {name: _ANY for name in KeyFile.model_fields if name != "key"}
_KEY = {"key": {**TEXT, "description": "a reference: env:NAME, file:PATH, secret:NAME, or passthrough"}}
_SECRET = {"secret": {**TEXT, "writeOnly": True, "description": "the key itself; it is kept encrypted"}}

SHAPES: dict[str, Schema] = {
    "Error": shape(
        {
            "error": shape(
                {"message": TEXT},
                {
                    "faults": array(_FAULT),
                    "used_by": shape({"chains": array(TEXT), "aliases": array(TEXT)}),
                },
            )
        }
    ),
    "Status": shape(
        {
            "healthy": FLAG,
            "problems": array(TEXT),
            "chains": array(ref("ChainState")),
            "providers": array(shape({"id": TEXT, "name": TEXT, "tier": TEXT, "breaker": TEXT, "terms": TEXT})),
            "started": NUMBER,
            "version": TEXT,
            "simulated": FLAG,
        }
    ),
    "Limits": shape({"now": NUMBER, "chains": array(ref("ChainState"))}),
    "ChainState": shape({"name": TEXT, "tiers": array(array(ref("TargetState")))}),
    "TargetState": shape(
        {
            "provider": TEXT,
            "model": TEXT,
            "credential": TEXT,
            "state": TEXT,
            "reason": TEXT,
            "until": WHEN,
            "limits": array(
                shape(
                    {
                        "metric": TEXT,
                        "window": optional(TEXT),
                        "limit": optional(NUMBER),
                        "used": WHOLE,
                        "left": optional(WHOLE),
                        "frees_at": WHEN,
                        "resets_at": WHEN,
                        "layer": TEXT,
                    }
                )
            ),
        }
    ),
    "Config": shape(
        {
            "version": TEXT,
            "source": TEXT,
            "simulated": FLAG,
            "warnings": array(TEXT),
            "providers": array(ref("Provider")),
            "chains": array(shape({"name": TEXT, "tiers": array(array(TEXT)), "affinity": optional(FLAG)})),
            "aliases": array(shape({"name": TEXT, "to": TEXT})),
            "settings": ref("Settings"),
        }
    ),
    "Provider": shape(
        {
            "id": TEXT,
            "name": TEXT,
            "preset": optional(TEXT),
            "base_url": optional(TEXT),
            "dialect": TEXT,
            "tier": TEXT,
            "terms": TEXT,
            "site": TEXT,
            "enabled": FLAG,
            "strategy": TEXT,
            "lists_models": FLAG,
            "keys": array(ref("Key")),
            "limits": ANYTHING,
            "models": ANYTHING,
            "timeouts": ANYTHING,
            "headers": {"type": "object", "additionalProperties": shape(_PLACE)},
            "variables": {"type": "object", "additionalProperties": shape(_PLACE)},
        }
    ),
    "Key": shape(
        {
            "id": TEXT,
            **_PLACE,
            "account": optional(TEXT),
            "priority": WHOLE,
            "weight": NUMBER,
            "limits": ANYTHING,
            "written": FLAG,
        }
    ),
    "Settings": shape({name: array(shape(_PLACE)) if name == "tokens" else _ANY for name in SETTINGS}),
    "Preset": shape(
        {
            "id": TEXT,
            "name": TEXT,
            "tier": TEXT,
            "base_url": TEXT,
            "dialect": TEXT,
            "env": array(TEXT),
            "variables": _TEXTS,
            "wants_key": FLAG,
            "lists_models": FLAG,
            "default_models": array(TEXT),
            "free": optional(shape({"note": TEXT, "checked": TEXT})),
            "terms": TEXT,
            "site": TEXT,
        }
    ),
    "KeyTest": shape({"credential": TEXT, "works": FLAG, "tried": FLAG, "words": TEXT, "seconds": NUMBER}),
    "Models": shape({"provider": TEXT, "listed": FLAG, "models": array(ref("Model"))}),
    "Model": shape(
        {
            "id": TEXT,
            **dict.fromkeys(("tools", "images", "json_schema", "reasoning"), optional(FLAG)),
            **dict.fromkeys(("context", "output"), optional(WHOLE)),
        }
    ),
    "ProviderBody": shape(
        {},
        {
            **{name: _ANY for name in ProviderFile.model_fields if name != "keys"},
            "keys": optional(array({"anyOf": [TEXT, ref("KeyBody")]})),
            "default_models": optional(array(TEXT)),
        },
        closed=True,
    ),
    "KeyBody": {"oneOf": [shape(_KEY, _KEY_MEMBERS, closed=True), shape(_SECRET, _KEY_MEMBERS, closed=True)]},
    "KeyChange": shape({}, {**_KEY, **_SECRET, **_KEY_MEMBERS}, closed=True),
    "ChainBody": shape({"tiers": array({"anyOf": [TEXT, array(TEXT)]})}, {"affinity": optional(FLAG)}, closed=True),
    "SettingsBody": shape({}, dict.fromkeys(SETTINGS, _ANY), closed=True),
}
