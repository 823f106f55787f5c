"""The configuration of a file, of a text, or of the keys that are found in the environment."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from chain429.catalog import presets
from chain429.config.build import Build, Secrets, first_set
from chain429.config.checking import validate
from chain429.config.faults import Places, why
from chain429.config.reading import Reader
from chain429.config.schema import ConfigFile
from chain429.config.values import DEFAULT_CHAIN, Config
from chain429.errors import ConfigError, Fault


def load(path: Path | None, environ: Mapping[str, str], secrets: Secrets | None = None) -> Config | None:
    """The configuration of ``path``; without one, a default chain from the keys in ``environ``; None without any key.

    Raises ConfigError with every fault.
    """
    if path is None:
        return from_environment(environ)
    try:
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, ValueError) as error:
        raise ConfigError([Fault(f"can't be read: {why(error)}", file=str(path))]) from None
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
    """A default chain of every preset whose key is in the environment, free tiers first; None where there is none."""
    order = {"free": 0, "trial": 1, "paid": 2}
    found = {
        name: preset
        for name, preset in presets().items()
        if preset.tier in order
        and preset.defaults
        and first_set(preset.env, environ)
        and all(first_set([variable], environ) for variable in preset.variables.values())
    }
    if not found:
        return None
    ranked = sorted(found, key=lambda name: order[found[name].tier])
    file = ConfigFile.model_validate(
        {
            "providers": {name: {} for name in ranked},
            "chains": {DEFAULT_CHAIN: [f"{name}/{model}" for name in ranked for model in found[name].defaults]},
        }
    )
    return Build(file, environ, Places("keys in the environment")).config()
