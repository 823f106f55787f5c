"""The configuration: one YAML file, checked as a whole, frozen after that.

``load`` turns a file (or, without one, the keys found in the environment) into a ``Config``: routing's values, which
choose, and for each provider an ``Endpoint``, which says how to talk to it. The domain never sees pydantic or YAML.
Every fault is reported at once, with file, line and key; no value of a secret is ever part of a message."""

from __future__ import annotations

from chain429.config.build import credential_ids, is_loopback
from chain429.config.checking import check_data
from chain429.config.load import from_environment, load, parse, unused_keys
from chain429.config.schema import (
    BreakerFile,
    ChainFile,
    ConfigFile,
    KeyFile,
    LogFile,
    MetricsFile,
    ModelFile,
    PriceFile,
    ProviderFile,
    ProxyFile,
    TimeoutsFile,
)
from chain429.config.values import DEFAULT_CHAIN, OBSERVE, Config, Endpoint, Timeouts

__all__ = [
    "DEFAULT_CHAIN",
    "OBSERVE",
    "BreakerFile",
    "ChainFile",
    "Config",
    "ConfigFile",
    "Endpoint",
    "KeyFile",
    "LogFile",
    "MetricsFile",
    "ModelFile",
    "PriceFile",
    "ProviderFile",
    "ProxyFile",
    "Timeouts",
    "TimeoutsFile",
    "check_data",
    "credential_ids",
    "from_environment",
    "is_loopback",
    "load",
    "parse",
    "unused_keys",
]
