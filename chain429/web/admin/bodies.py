"""What clients send to change the configuration: only its form is checked here, and that no secret gets into the file.

Whether the values make sense is said by the check of the whole configuration, in the same words as for the file.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

from chain429.config import ConfigFile, KeyFile, ProviderFile
from chain429.web.admin.routes import fault

# References to where a key is; whatever else stands in their place might be the key itself.
_KINDS = ("env:", "file:", "secret:")
_PASSTHROUGH = "passthrough"
SETTINGS = tuple(name for name in ConfigFile.model_fields if name not in ("providers", "chains", "aliases"))


def read_provider(body: Mapping[str, Any]) -> tuple[dict[str, Any], list[Any] | None, list[str]]:
    """What a provider is told to be: its members, its keys if there are any, and the models of a first chain."""
    told = _known(body, {*ProviderFile.model_fields, "default_models"})
    keys = told.pop("keys", None)
    models = told.pop("default_models", None) or []
    if keys is not None and not isinstance(keys, list):
        raise fault("keys", 'a list was expected, such as [{"secret": "…"}]')
    return told, keys, _texts(models, "default_models")


def read_keys(keys: list[Any]) -> tuple[list[dict[str, Any]], list[str]]:
    """Each key as it goes to the file, without those secrets that were typed in, which follow in their order; there
    ``key`` is left out."""
    found = [read_key(key, f"keys.{index}.") for index, key in enumerate(keys)]
    return [told for told, _ in found], [secret for _, secret in found if secret is not None]


def read_key(body: object, where: str = "", *, partly: bool = False) -> tuple[dict[str, Any], str | None]:
    """One key and the secret that was typed in for it, if one was. ``partly``: it may have neither."""
    if isinstance(body, str):
        body = {"key": body}
    if not isinstance(body, Mapping):
        raise fault(where.rstrip("."), 'an object was expected, such as {"secret": "…"} or {"key": "env:NAME"}')
    told = _known(body, {*KeyFile.model_fields, "secret"}, where)
    secret, key = told.pop("secret", None), told.pop("key", None)
    if secret is not None and key is not None:
        raise fault(f"{where}secret", "either the key itself as 'secret', or a reference as 'key'")
    if secret is not None:
        if not isinstance(secret, str) or not secret.strip():
            raise fault(f"{where}secret", "the key itself was expected, as text")
        return told, secret.strip()
    if key is not None:
        return {"key": read_reference(key, f"{where}key"), **told}, None
    if not partly:
        raise fault(f"{where}key", "a key is needed: a reference as 'key', or the key itself as 'secret'")
    return told, None


def read_reference(value: object, where: str) -> str:
    """A reference to a key; never a key, which would be kept in the file for all to read."""
    if not isinstance(value, str) or not (value == _PASSTHROUGH or value.startswith(_KINDS)):
        raise fault(
            where, "a reference was expected: env:NAME, file:PATH or secret:NAME; a key itself goes in 'secret'"
        )
    return value


def read_chain(body: Mapping[str, Any]) -> tuple[list[list[str]], dict[str, Any]]:
    """The tiers of a chain, each a list of targets of equal rank, and its other members. A tier of one may be text."""
    told = _known(body, {"tiers", "affinity"})
    rows = told.pop("tiers", None)
    if not isinstance(rows, list):
        raise fault("tiers", 'a list of tiers was expected, such as [["groq/openai/gpt-oss-120b"], ["home/qwen3"]]')
    return [_texts([row] if isinstance(row, str) else row, f"tiers.{index}") for index, row in enumerate(rows)], told


def read_settings(body: Mapping[str, Any]) -> dict[str, Any]:
    told = _known(body, SETTINGS)
    tokens = told.get("tokens")
    if tokens is not None:
        told["tokens"] = [
            read_reference(token, f"tokens.{index}") for index, token in enumerate(_texts(tokens, "tokens"))
        ]
    return told


def read_text(body: Mapping[str, Any], name: str) -> str:
    """The one member of a body."""
    value = _known(body, {name}).get(name)
    if not isinstance(value, str) or not value:
        raise fault(name, "text was expected")
    return value


def _known(body: Mapping[str, Any], names: Collection[str], where: str = "") -> dict[str, Any]:
    for name in body:
        if name not in names:
            raise fault(f"{where}{name[:60]}", f"is not known here; there are: {', '.join(sorted(names))}")
    return dict(body)


def _texts(value: object, where: str) -> list[str]:
    if not isinstance(value, list) or not all(isinstance(item, str) for item in value):
        raise fault(where, "a list of texts was expected")
    return list(value)
