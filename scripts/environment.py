"""Makes the virtual environment that the scripts run in, unless it is there already, and prints where it is.

``python -I scripts/environment.py run`` makes ``.venv/3.13`` (or whatever version runs this) from ``constraints.txt``;
``dev`` makes ``.venv/3.13-dev`` from ``constraints-dev.txt``. They are two, so that running the tests never changes
what a gateway is running on. Every package is checked against the hashes in that file.

An environment is complete when its stamp is there and says what it would say now; anything else is made anew. The lock
belongs to the process, so an interrupted run leaves none behind. Needs the standard library only.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
KINDS = {"run": ("", "constraints.txt"), "dev": ("-dev", "constraints-dev.txt")}
# What packages that come as source are built with: one does, of the mitmproxy for Python 3.11.
BUILD = ["constraints-build.txt"] if sys.version_info < (3, 12) else []


def main(arguments: list[str]) -> int:
    if len(arguments) != 1 or arguments[0] not in KINDS:
        print(f"usage: environment.py {'|'.join(KINDS)}", file=sys.stderr)
        return 2
    suffix, constraints = KINDS[arguments[0]]
    files = [ROOT / name for name in (*BUILD, constraints)]
    folder = ROOT / ".venv" / f"{sys.version_info.major}.{sys.version_info.minor}{suffix}"
    stamp = folder / "complete.json"
    wanted = _stamp(files)
    folder.parent.mkdir(exist_ok=True)
    with folder.with_name(f"{folder.name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not (stamp.is_file() and stamp.read_text(encoding="utf-8") == wanted):
            print(f"Installing {constraints} into {folder} ...", file=sys.stderr)
            _make(folder, files, compiled=arguments[0] == "run")
            stamp.write_text(wanted, encoding="utf-8")
    print(folder)
    return 0


def _stamp(files: list[Path]) -> str:
    """All that an environment depends on. The checkout's path is part of it, for the programs in there contain it."""
    parts = {
        "checkout": str(ROOT),
        "python": [sys.base_prefix, sys.version],
        "files": {file.name: hashlib.sha256(file.read_bytes()).hexdigest() for file in (*files, Path(__file__))},
    }
    return json.dumps(parts, indent=2)


def _make(folder: Path, files: list[Path], *, compiled: bool) -> None:
    """Not ``compiled``: that takes half the time, and most modules are of tools that never import them here. Python
    compiles what is imported, and keeps it."""
    if folder.exists():
        shutil.rmtree(folder)
    python = str(folder / "bin" / "python")
    _run([sys.executable, "-m", "venv", str(folder)])
    for file in files:
        # Each file lists every package that is needed, so there is nothing to resolve; and a build in isolation would
        # fetch what it builds with unchecked.
        checked = ["--require-hashes", "--no-deps", "--no-build-isolation"]
        told = ["--disable-pip-version-check", "--compile" if compiled else "--no-compile", *checked]
        _run([python, "-m", "pip", "install", *told, "-r", str(file)])
    # The checkout itself is not installed but pointed at: an edit counts at once, and nothing has to be built.
    purelib = _run([python, "-c", "import sysconfig; print(sysconfig.get_path('purelib'))"]).strip()
    Path(purelib, "chain429-checkout.pth").write_text(f"{ROOT}\n", encoding="utf-8")


def _run(command: list[str]) -> str:
    """Run quietly; show everything the command said only if it fails."""
    done = subprocess.run(
        command, check=False, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )
    if done.returncode:
        print(done.stdout, file=sys.stderr)
        print(f"This failed: {' '.join(command)}", file=sys.stderr)
        sys.exit(1)
    return done.stdout


if __name__ == "__main__":
    try:
        sys.exit(main(sys.argv[1:]))
    except KeyboardInterrupt:
        sys.exit(130)
