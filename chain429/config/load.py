"""The configuration of a file, of a text, or of the keys that are found in the environment."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from pathlib import Path

from chain429.catalog import Preset, presets
from chain429.config.build import Build, Secrets, first_set
from chain429.config.checking import validate
from chain429.config.faults import Places, why
from chain429.config.reading import Reader
from chain429.config.schema import ConfigFile
from chain429.config.values import DEFAULT_CHAIN, Config
from chain429.errors import ConfigError, Fault

# Of the keys in the environment: what costs nothing goes first.
_ORDER = {"free": 0, "trial": 1, "paid": 2}


def load(path: Path | None, environ: Mapping[str, str], secrets: Secrets | None = None) -> Config | None:
    """The configuration of ``path``; without one, a default chain from the keys in ``environ``; None without any key.

    Raises ConfigError with every fault.
    """
    if path is None:
        return from_environment(environ)
    try:
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, ValueError) as error:
        line = error.object.count(b"\n", 0, error.start) + 1 if isinstance(error, UnicodeDecodeError) else None
        raise ConfigError([Fault(f"can't be read: {why(error)}", line=line, file=str(path))]) from None
    return parse(text, environ, file=str(path), secrets=secrets)


def parse(
    text: str, environ: Mapping[str, str], *, file: str = "chain429.yaml", secrets: Secrets | None = None
) -> Config:
    """The configuration that a YAML text says. ``file`` names it in messages, and ``file:`` references are relative to
    its folder; ``secrets`` resolves ``secret:`` references. Raises ConfigError with every fault."""
    places = Places(file)
    data = Reader(places).read(text)
    parsed = validate(data, places)
    return Build(parsed, environ, places, secrets).config()


def from_environment(environ: Mapping[str, str]) -> Config | None:
    """A default chain of every preset whose key is in the environment, free tiers first; None where there is none.

    Keys that are there but can't be used as they are stand in its warnings. Raises ConfigError with every fault."""
    found = {name: preset for name, preset, _ in _with_key(environ) if preset.defaults and not _unset(preset, environ)}
    if not found:
        return None
    ranked = sorted(found, key=lambda name: _ORDER[found[name].tier])
    file = ConfigFile.model_validate(
        {
            "providers": {name: {} for name in ranked},
            "chains": {DEFAULT_CHAIN: [f"{name}/{model}" for name in ranked for model in found[name].defaults]},
        }
    )
    build = Build(file, environ, Places("keys in the environment"))
    build.warnings += unused_keys(environ)
    try:
        return build.config()
    except ConfigError as error:
        names = dict(_variables(environ))
        raise ConfigError([replace(fault, key=names.get(fault.key, fault.key)) for fault in error.faults]) from None


def unused_keys(environ: Mapping[str, str]) -> tuple[str, ...]:
    """For each key in ``environ`` that makes no part of a default chain by itself: a line that says what is missing."""
    found = []
    for _, preset, variable in _with_key(environ):
        unset = _unset(preset, environ)
        if unset:
            found.append(f"{variable} is not used: set {' and '.join(unset)} too")
        elif not preset.defaults:
            found.append(f"{variable} is not used: {preset.name} has no models by default, name some in chain429.yaml")
    return tuple(found)


def _with_key(environ: Mapping[str, str]) -> Iterable[tuple[str, Preset, str]]:
    """Each preset whose key is there, with its name and the key's variable."""
    for name, preset in presets().items():
        variable = first_set(preset.env, environ)
        if variable and preset.tier in _ORDER:
            yield name, preset, variable


def _unset(preset: Preset, environ: Mapping[str, str]) -> list[str]:
    """What the preset's URL needs and is not there."""
    return [variable for variable in preset.variables.values() if not first_set([variable], environ)]


def _variables(environ: Mapping[str, str]) -> Iterable[tuple[str, str]]:
    """Where in a file each variable of the environment would be referred to."""
    for name, preset, variable in _with_key(environ):
        yield f"providers.{name}.keys.0", variable
        yield from ((f"providers.{name}.variables.{part}", told) for part, told in preset.variables.items())
