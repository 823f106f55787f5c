"""Where this user's files are: the configuration, the data folder and what is in it. Light, for commands that need
nothing else."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path


def find_config(told: Path | None, environ: Mapping[str, str]) -> Path | None:
    """``told``, ``$CHAIN429_CONFIG``, ``./chain429.yaml``, the user's configuration folder; None where none is."""
    told = told or (Path(environ["CHAIN429_CONFIG"]) if environ.get("CHAIN429_CONFIG") else None)
    if told:
        return told.expanduser()
    return next((path for path in (Path("chain429.yaml"), new_config(environ)) if path.is_file()), None)


def new_config(environ: Mapping[str, str]) -> Path:
    """Where a file is made that is not there yet: in the user's configuration folder."""
    return _user_folder(environ, "XDG_CONFIG_HOME", ".config") / "chain429.yaml"


def data_folder(told: Path | None, environ: Mapping[str, str]) -> Path:
    """``told``, ``$CHAIN429_DATA_DIR``, or the user's data folder."""
    told = told or (Path(environ["CHAIN429_DATA_DIR"]) if environ.get("CHAIN429_DATA_DIR") else None)
    return told.expanduser() if told else _user_folder(environ, "XDG_DATA_HOME", ".local/share")


def running_pages(data: Path) -> str | None:
    """The URL of the pages of the gateway that keeps its data there, while it runs; None where none does."""
    try:
        return pages_file(data).read_text(encoding="ascii").strip() or None
    except (OSError, UnicodeDecodeError):
        return None


def pages_file(data: Path) -> Path:
    """Where a gateway that runs says that URL."""
    return data / "pages-url"


def log_file(data: Path) -> Path:
    """The request log."""
    return data / "chain429.db"


def _user_folder(environ: Mapping[str, str], variable: str, usual: str) -> Path:
    if environ.get(variable):
        return Path(environ[variable]) / "chain429"
    if sys.platform == "win32" and environ.get("APPDATA"):
        return Path(environ["APPDATA"]) / "chain429"
    return Path.home() / usual / "chain429"
