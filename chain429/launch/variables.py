"""The environment that sends a tool through the proxy, and lets it trust the proxy's authority. Pure.

What each client reads: Python, Go, Rust, Ruby and OpenSSL's users ``SSL_CERT_FILE``, which takes the place of the
system's certificates; Node ``NODE_EXTRA_CA_CERTS``, which adds to its own, and from version 24 on
``NODE_USE_ENV_PROXY``; requests and curl each one of their own; Codex ``CODEX_CA_CERTIFICATE`` before any other.
"""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from enum import StrEnum
from pathlib import Path

# The proxy takes nobody there, and whatever runs on this machine needs no gateway in between.
_DIRECT = ("localhost", "127.0.0.1", "::1")


class Shell(StrEnum):
    BASH = "bash"
    FISH = "fish"
    POWERSHELL = "powershell"


def variables(proxy: str, certificate: Path, bundle: Path, environ: Mapping[str, str]) -> dict[str, str]:
    """``certificate`` is the authority's own, ``bundle`` has the system's ones as well. ``environ`` is what the tool
    would have otherwise: what it keeps away from proxies stays away."""
    direct = _direct(environ.get("no_proxy") or environ.get("NO_PROXY") or "")
    # Where there are further ones already, the bundle has them.
    node = bundle if environ.get("NODE_EXTRA_CA_CERTS") else certificate
    return {
        # Some read only the one spelling, and of those that read both some prefer the other.
        "HTTPS_PROXY": proxy,
        "https_proxy": proxy,
        "NO_PROXY": direct,
        "no_proxy": direct,
        "SSL_CERT_FILE": str(bundle),
        "NODE_EXTRA_CA_CERTS": str(node),
        "REQUESTS_CA_BUNDLE": str(bundle),
        "CURL_CA_BUNDLE": str(bundle),
        "CODEX_CA_CERTIFICATE": str(bundle),
        "NODE_USE_ENV_PROXY": "1",
    }


def _direct(told: str) -> str:
    # With a star everything would go past the proxy.
    kept = [host for host in (part.strip() for part in told.split(",")) if host and host != "*"]
    return ",".join(dict.fromkeys([*kept, *_DIRECT]))


def lines(found: Mapping[str, str], shell: Shell) -> str:
    """What a shell reads to set these variables, with the line break at the end."""
    return "".join(f"{_line(name, value, shell)}\n" for name, value in _for(found, shell).items())


def unset_lines(found: Mapping[str, str], shell: Shell) -> str:
    """What undoes ``lines``."""
    words = {
        Shell.BASH: "unset {}",
        Shell.FISH: "set -e {}",
        Shell.POWERSHELL: "Remove-Item Env:{} -ErrorAction Ignore",
    }
    return "".join(f"{words[shell].format(name)}\n" for name in _for(found, shell))


def _for(found: Mapping[str, str], shell: Shell) -> Mapping[str, str]:
    """On Windows names are the same in capitals and without: there they are set once."""
    return {name: value for name, value in found.items() if shell is not Shell.POWERSHELL or name.isupper()}


def _line(name: str, value: str, shell: Shell) -> str:
    if shell is Shell.BASH:
        return f"export {name}={shlex.quote(value)}"
    if shell is Shell.FISH:
        quoted = value.replace("\\", "\\\\").replace("'", "\\'")
        return f"set -gx {name} '{quoted}'"
    return "$Env:{} = '{}'".format(name, value.replace("'", "''"))


def shell_of(environ: Mapping[str, str], platform: str) -> Shell:
    """The shell that somebody most likely uses; ``platform`` as ``sys.platform``."""
    name = Path(environ.get("SHELL", "")).name
    if name == "fish":
        return Shell.FISH
    if name in ("pwsh", "powershell") or (platform == "win32" and not name):
        return Shell.POWERSHELL
    return Shell.BASH
