"""The proxy that runs on this machine: what it tells of itself, in one file of the data folder.

The addon records it once it listens and forgets it at its end. A process that was killed leaves the file behind, hence
``health``.
"""

from __future__ import annotations

import http.client
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from chain429.vault import write_privately

_FILE = "proxy.json"
_SECONDS = 5.0


@dataclass(frozen=True, slots=True)
class Running:
    """``proxy`` is what goes into HTTPS_PROXY, ``api`` and ``pages`` are the URLs of the gateway behind it, and
    ``certificate`` is that of the authority that clients must trust. ``wants_login``: it asks clients for a name and a
    password."""

    proxy: str
    api: str
    pages: str
    certificate: Path
    wants_login: bool = False


def record(data: Path, running: Running) -> None:
    """Raises OSError."""
    told = {
        "proxy": running.proxy,
        "api": running.api,
        "pages": running.pages,
        "certificate": str(running.certificate),
        "wants_login": running.wants_login,
    }
    write_privately(data / _FILE, json.dumps(told, indent=1) + "\n")


def recorded(data: Path) -> Running | None:
    """What was recorded last by a gateway with its data there; None where it has ended as it should."""
    try:
        told = json.loads((data / _FILE).read_text(encoding="utf-8"))
        return Running(
            str(told["proxy"]),
            str(told["api"]),
            str(told["pages"]),
            Path(told["certificate"]),
            bool(told["wants_login"]),
        )
    except (OSError, ValueError, LookupError, TypeError):
        return None


def forget(data: Path, running: Running) -> None:
    """Unless another one has been recorded meanwhile."""
    if recorded(data) == running:
        (data / _FILE).unlink(missing_ok=True)


def health(running: Running) -> dict[str, Any] | None:
    """What ``GET /health`` of its gateway says; None where no gateway answers there any more."""
    parts = urlsplit(running.api)
    connection = http.client.HTTPConnection(parts.hostname or "", parts.port, timeout=_SECONDS)
    try:
        connection.request("GET", "/health")
        answer = connection.getresponse()
        told = json.loads(answer.read())
    except (OSError, ValueError, http.client.HTTPException):
        return None
    finally:
        connection.close()
    return told if answer.status == 200 and isinstance(told, dict) and "simulated" in told else None


def running_proxy(data: Path) -> Running | None:
    """The proxy that runs with its data there; None where none does."""
    found = recorded(data)
    return found if found and health(found) is not None else None
