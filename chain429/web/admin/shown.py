"""The configuration as it is shown: all that is written in the file, and of secrets only where they come from and how
they end."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, MutableMapping
from typing import Any

from pydantic import BaseModel

from chain429.catalog import Limits, Preset, presets
from chain429.config import ChainFile, Config, ConfigFile, Endpoint, KeyFile, ProviderFile, credential_ids
from chain429.config_file import Document
from chain429.web.admin.bodies import SETTINGS
from chain429.web.admin.trees import keys_of

_REFERENCE = re.compile(r"(env|file|secret):.+", re.DOTALL)
# Names of headers whose values are for nobody to see.
_TELLING = re.compile("auth|cookie|credential|key|pass|secret|session|token", re.IGNORECASE)
_REMOVED = "secret:removed"


def shown(document: Document, file: ConfigFile, config: Config) -> dict[str, Any]:
    """The body of ``GET config``: ``file`` is the checked ``document``, ``config`` what is at work."""
    return {
        "version": document.version,
        "source": config.source,
        "simulated": config.simulated,
        "warnings": list(config.warnings),
        "providers": [show_provider(name, section, config) for name, section in file.providers.items()],
        "chains": [show_chain(name, chain) for name, chain in file.chains.items()],
        "aliases": [{"name": name, "to": to} for name, to in file.aliases.items()],
        "settings": show_settings(file),
    }


def show_provider(name: str, section: ProviderFile, config: Config) -> dict[str, Any]:
    preset = presets().get(section.preset or name)
    endpoint = config.endpoints.get(name)
    return {
        "id": name,
        "name": preset.name if preset else name,
        "preset": (section.preset or name) if preset else None,
        "base_url": section.base_url or (preset.base_url if preset else None),
        "dialect": section.dialect or (preset.dialect if preset else "chat"),
        "tier": preset.tier if preset else "local",
        "terms": preset.terms if preset else "",
        "site": preset.site if preset else "",
        "enabled": section.enabled,
        "strategy": str(section.strategy),
        "lists_models": (preset.models.path if preset else "/models") is not None,
        "keys": _keys(name, section, endpoint),
        "limits": _set(section.limits),
        "models": {glob: _set(told) for glob, told in section.models.items()},
        "timeouts": _set(section.timeouts),
        "headers": {header: _place(value) for header, value in section.headers.items()},
        "variables": {variable: _place(value) for variable, value in section.variables.items()},
    }


def _keys(name: str, section: ProviderFile, endpoint: Endpoint | None) -> list[dict[str, Any]]:
    ids = credential_ids(name, [key.key for key in section.keys])
    rows = [_key(id, key, endpoint) for id, key in zip(ids, section.keys, strict=True)]
    if section.keys or not endpoint:
        return rows
    # Taken from the environment, as nothing is written.
    return [
        {**_key(id, KeyFile(key=f"env:{id.partition('/')[2]}"), endpoint), "written": False}
        for id, secret in endpoint.secrets.items()
        if secret is not None
    ]


def _key(id: str, key: KeyFile, endpoint: Endpoint | None) -> dict[str, Any]:
    secret = endpoint.secrets.get(id) if endpoint else None
    return {
        "id": id,
        **_place(key.key, mask(secret.reveal()) if secret else None),
        "account": key.account,
        "priority": key.priority,
        "weight": key.weight,
        "limits": {limit: value for limit, value in _set(key).items() if limit in Limits.model_fields},
        "written": True,
    }


def _place(value: str, masked: str | None = None) -> dict[str, str | None]:
    """Where a value comes from; one that stands in the file itself is only masked."""
    if _REFERENCE.fullmatch(value) or value == "passthrough":
        return {"reference": value, "masked": masked}
    return {"reference": None, "masked": masked or mask(value)}


def mask(secret: str) -> str:
    """How a secret ends, which tells it from others; nothing of a short one."""
    return f"…{secret[-4:]}" if len(secret) >= 16 else "…"


def show_chain(name: str, chain: ChainFile) -> dict[str, Any]:
    return {"name": name, "tiers": [list(tier) for tier in chain.targets], "affinity": chain.affinity}


def show_settings(file: ConfigFile) -> dict[str, Any]:
    """Every setting at its value, defaults included."""
    found = file.model_dump(mode="json", include=set(SETTINGS))
    found["tokens"] = [_place(token) for token in file.tokens]
    return found


def show_preset(id: str, preset: Preset) -> dict[str, Any]:
    """A provider that is known, for those who want to add one."""
    return {
        "id": id,
        "name": preset.name,
        "tier": preset.tier,
        "base_url": preset.base_url,
        "dialect": preset.dialect,
        "env": list(preset.env),
        "variables": preset.variables,
        "wants_key": preset.auth != "none" and preset.tier != "local",
        "lists_models": preset.models.path is not None,
        "default_models": list(preset.defaults),
        "free": {"note": preset.free.note, "checked": str(preset.free.checked)} if preset.free else None,
        "terms": preset.terms,
        "site": preset.site,
    }


def take_secrets_out(tree: MutableMapping[str, Any], redact: Callable[[str], str]) -> None:
    """Put a reference that leads nowhere in the place of each secret that stands in the file itself, so that whoever
    takes the file over is told to put theirs there."""
    tokens = tree.get("tokens")
    if isinstance(tokens, str) and not _REFERENCE.fullmatch(tokens):
        tree["tokens"] = _REMOVED
    elif isinstance(tokens, list):
        tokens[:] = [token if _REFERENCE.fullmatch(str(token)) else _REMOVED for token in tokens]
    for provider in (tree.get("providers") or {}).values():
        if not isinstance(provider, MutableMapping):
            continue
        if "keys" in provider:
            keys = keys_of(provider, ())
            for index, key in enumerate(keys):
                if isinstance(key, MutableMapping):
                    _take_out(key, "key")
                else:
                    _take_out(keys, index)
        headers = provider.get("headers")
        for header, value in list(headers.items()) if isinstance(headers, MutableMapping) else ():
            if _TELLING.search(str(header)) or redact(str(value)) != str(value):
                _take_out(headers, header)


def _take_out(holder: Any, place: Any) -> None:
    value = str(holder[place])
    if not _REFERENCE.fullmatch(value) and value != "passthrough":
        holder[place] = _REMOVED


def _set(section: BaseModel) -> Mapping[str, Any]:
    """What of a section is written."""
    return section.model_dump(mode="json", exclude_unset=True, exclude_none=True)
