"""The clients as npm packages: installed once, into a folder of their own, and checked against the lock file.

For newer versions change package.json here, then let npm write the lock file, without the places that packages come
from: ``npm install --package-lock-only --omit-lockfile-registry-resolved``.
"""

from __future__ import annotations

import json
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

_HERE = Path(__file__).resolve().parent
_FILES = ("package.json", "package-lock.json")
_SECONDS = 90
_QUIET = ["--no-audit", "--no-fund", "--no-progress", "--loglevel=error", "--fetch-retries=1"]


class NotRun(Exception):
    """Why a client can't be tried here."""


@dataclass(frozen=True, slots=True)
class Packages:
    """The folder that npm installed into."""

    folder: Path

    @property
    def bin(self) -> Path:
        return self.folder / "node_modules" / ".bin"

    def version(self, package: str) -> str:
        """Raises NotRun."""
        try:
            text = (self.folder / "node_modules" / package / "package.json").read_text(encoding="utf-8")
        except FileNotFoundError:
            raise NotRun(f"npm did not install {package}") from None
        return str(json.loads(text)["version"])


def names() -> list[str]:
    return list(json.loads((_HERE / "package.json").read_text(encoding="utf-8"))["dependencies"])


def install(folder: Path, *, newest: bool = False) -> Packages:
    """The packages of the lock file, or the newest ones, below ``folder``. Raises NotRun.

    What the lock file asks for is installed only once; the newest are asked for each time.
    """
    for program in ("node", "npm"):
        if shutil.which(program) is None:
            raise NotRun(f"{program} is not on the path")
    folder = folder / ("newest" if newest else "pinned")
    folder.mkdir(parents=True, exist_ok=True)
    stamp = folder / "complete"
    wanted = (_HERE / "package-lock.json").read_text(encoding="utf-8")
    if newest:
        (folder / "package.json").write_text(json.dumps({"private": True}), encoding="utf-8")
        _npm(["install", *_QUIET, *(f"{name}@latest" for name in names())], folder)
    elif not (stamp.is_file() and stamp.read_text(encoding="utf-8") == wanted):
        stamp.unlink(missing_ok=True)
        for name in _FILES:
            shutil.copyfile(_HERE / name, folder / name)
        _npm(["ci", *_QUIET], folder)
        stamp.write_text(wanted, encoding="utf-8")
    return Packages(folder)


def _npm(arguments: list[str], folder: Path) -> None:
    try:
        done = subprocess.run(
            ["npm", *arguments],
            cwd=folder,
            check=False,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=_SECONDS,
        )
    except subprocess.TimeoutExpired:
        raise NotRun(f"npm {arguments[0]} took longer than {_SECONDS} s") from None
    if done.returncode:
        errors = [line for line in done.stdout.splitlines() if line.strip() and "A complete log" not in line]
        raise NotRun(f"npm {arguments[0]} failed: {' '.join(errors[:3])[:300]}")
