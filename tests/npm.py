"""What tests take from npm's registry: installed once, by a lock file that stands beside the test."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent


class NotInstalled(Exception):
    """The message says why, and is the reason for which a test is skipped."""


def installed(wanted: Path) -> Path:
    """The folder, ``.clients/NAME`` of the checkout, into which what the lock file in ``wanted`` names was installed.
    Raises NotInstalled."""
    for program in ("node", "npm"):
        if shutil.which(program) is None:
            raise NotInstalled(f"{program} is not on the path")
    folder = ROOT / ".clients" / wanted.name
    lock = (wanted / "package-lock.json").read_bytes()
    done = folder / "node_modules" / "installed"
    if not done.is_file() or done.read_bytes() != lock:
        folder.mkdir(parents=True, exist_ok=True)
        for name in ("package.json", "package-lock.json"):
            shutil.copy(wanted / name, folder)
        quiet = ["--no-audit", "--no-fund", "--no-progress", "--loglevel=error", "--fetch-retries=1"]
        found = subprocess.run(["npm", "ci", *quiet], cwd=folder, check=False, capture_output=True, timeout=90)
        if found.returncode != 0:
            said = found.stderr.decode(errors="replace").strip()
            raise NotInstalled(f"npm could not install {wanted.name}: {said[-200:]}")
        done.write_bytes(lock)
    return folder
