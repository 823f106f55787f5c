"""The scripts, run as a user runs them: in a checkout of its own, in a folder whose name has spaces.

The checkout's constraints name one small wheel that this test makes and that brings a ``mitmdump`` which prints its
arguments, so that nothing is fetched and yet everything is real: the environment, pip, the hashes.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent.parent
SAYS = "import json, os, sys\ndef mitmdump():\n    print(json.dumps([os.getpid(), *sys.argv[1:]]))\n"


def make_wheel(folder: Path) -> Path:
    wheel = folder / "standin-1.0-py3-none-any.whl"
    info = "standin-1.0.dist-info"
    with zipfile.ZipFile(wheel, "w") as archive:
        archive.writestr("standin.py", SAYS)
        archive.writestr(f"{info}/METADATA", "Metadata-Version: 2.1\nName: standin\nVersion: 1.0\n")
        archive.writestr(f"{info}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        archive.writestr(f"{info}/entry_points.txt", "[console_scripts]\nmitmdump = standin:mitmdump\n")
        archive.writestr(f"{info}/RECORD", f"standin.py,,\n{info}/METADATA,,\n{info}/WHEEL,,\n{info}/RECORD,,\n")
    return wheel


class Checkout:
    def __init__(self, folder: Path) -> None:
        wheels = folder / "wheels"
        wheels.mkdir()
        self.digest = hashlib.sha256(make_wheel(wheels).read_bytes()).hexdigest()
        self.root = folder / "my checkout"
        shutil.copytree(ROOT / "scripts", self.root / "scripts")
        self.pin(self.digest)
        (self.root / "constraints-build.txt").touch()
        self.elsewhere = folder / "some where"
        self.elsewhere.mkdir()
        self.environment = {
            "CHAIN429_PYTHON": sys.executable,
            "HOME": str(folder),
            "PATH": os.defpath,
            "PIP_CONFIG_FILE": os.devnull,
            "PIP_FIND_LINKS": str(wheels),
            "PIP_NO_INDEX": "1",
        }

    def pin(self, digest: str) -> None:
        (self.root / "constraints.txt").write_text(f"standin==1.0 --hash=sha256:{digest}\n", encoding="utf-8")

    def begin(self, *arguments: str, **environment: str) -> subprocess.Popen[str]:
        return subprocess.Popen(
            [str(self.root / "scripts" / "start"), *arguments],
            cwd=self.elsewhere,
            env=self.environment | environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def start(self, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
        process = self.begin(*arguments, **environment)
        out, err = process.communicate(timeout=60)
        return subprocess.CompletedProcess(process.args, process.returncode, out, err)


@pytest.fixture(scope="module")
def checkout(tmp_path_factory: pytest.TempPathFactory) -> Checkout:
    return Checkout(tmp_path_factory.mktemp("scripts"))


def test_start(checkout: Checkout) -> None:
    """One story, because each new environment takes seconds."""
    addon = str(checkout.root / "addons" / "chain429.py")

    # Started twice at the same time: one makes the environment, the other waits for it.
    both = [checkout.begin("-p", "0") for _ in range(2)]
    outputs = [process.communicate(timeout=60) for process in both]
    for process, (out, err) in zip(both, outputs, strict=True):
        assert process.returncode == 0, err
        # mitmdump has become the process that was started, so signals reach it.
        assert json.loads(out) == [process.pid, "-q", "--set", "flow_detail=0", "-s", addon, "-p", "0"]
    assert sorted(bool(err) for _, err in outputs) == [False, True]

    # Started again: says nothing, does nothing but start. Our options are translated, the others passed on.
    again = checkout.start("--config", "a b.yaml", "--data-dir=my data", "-p", "0", "--config", "is mitmdump's now")
    assert (again.returncode, again.stderr) == (0, "")
    options = ["--set", "chain429_config=a b.yaml", "--set", "chain429_data_dir=my data"]
    assert json.loads(again.stdout)[6:] == [*options, "-p", "0", "--config", "is mitmdump's now"]

    # The code of the checkout is found, wherever one is.
    (checkout.root / "chain429").mkdir()
    (checkout.root / "chain429" / "__init__.py").write_text("print(__file__)", encoding="utf-8")
    version = f"{sys.version_info.major}.{sys.version_info.minor}"
    python = checkout.root / ".venv" / version / "bin" / "python"
    found = subprocess.check_output([python, "-c", "import chain429"], cwd=checkout.elsewhere, text=True)
    assert found == f"{checkout.root / 'chain429' / '__init__.py'}\n"

    # A package whose hash is not the one recorded is refused, and what pip said is shown.
    checkout.pin("0" * 64)
    refused = checkout.start()
    assert refused.returncode == 1
    assert "THESE PACKAGES DO NOT MATCH THE HASHES" in refused.stderr
    assert refused.stdout == ""
    assert not (python.parent.parent / "complete.json").exists()


def test_start_explains_itself(checkout: Checkout) -> None:
    explained = checkout.start("--help")
    assert explained.returncode == 0
    assert "--data-dir DIR" in explained.stdout
    lacking = checkout.start("--config")
    assert (lacking.returncode, lacking.stderr) == (1, "start: --config needs a value\n")


def fake_python(folder: Path, name: str, body: str) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    program = folder / name
    program.write_text(f"#!/bin/sh\n{body}\n", encoding="utf-8")
    program.chmod(0o755)
    return program


def test_a_python_that_is_no_use_is_named(checkout: Checkout, tmp_path: Path) -> None:
    broken = fake_python(tmp_path, "python3.13", "exit 127")
    done = checkout.start(CHAIN429_PYTHON=str(broken))
    assert done.returncode == 1
    assert done.stderr == f"start: CHAIN429_PYTHON={broken} is no CPython 3.11 or newer that works\n"
    without_venv = fake_python(tmp_path, "python3.12", "exit 4")
    done = checkout.start(CHAIN429_PYTHON=str(without_venv))
    assert done.returncode == 1
    assert done.stderr.startswith(f"start: {without_venv} lacks the venv module; install it")


def find_python(**environment: str) -> subprocess.CompletedProcess[str]:
    script = f". '{ROOT}/scripts/lib.sh'; find_python; echo \"$PYTHON\""
    return subprocess.run(["bash", "-c", script, "start"], env=environment, check=False, capture_output=True, text=True)


def test_the_newest_python_that_works_is_taken(tmp_path: Path) -> None:
    """Of those on PATH, of pyenv's and of uv's. One that fails, is too old or lacks venv is passed over."""
    programs = tmp_path / "bin"
    programs.mkdir()
    for name in ("bash", "dirname"):
        (programs / name).symlink_to(shutil.which(name) or name)
    environment = {"PATH": str(programs), "HOME": str(tmp_path)}
    nothing = find_python(**environment)
    assert (nothing.returncode, nothing.stdout) == (1, "")
    assert "no Python 3.11 or newer was found" in nothing.stderr

    fake_python(programs, "python3.14", "exit 127")
    fake_python(programs, "python3.13", "exit 4")
    fake_python(programs, "python3", "exit 3")
    assert "lacks the venv module" in find_python(**environment).stderr
    uv = fake_python(tmp_path / ".local/share/uv/python/cpython-3.11.9-linux-x86_64-gnu/bin", "python3", "exit 0")
    assert find_python(**environment).stdout == f"{uv}\n"
    pyenv = fake_python(tmp_path / ".pyenv/versions/3.12.1/bin", "python3", "exit 0")
    assert find_python(**environment).stdout == f"{pyenv}\n"
    assert find_python(**environment, CHAIN429_PYTHON="3.11").stdout == f"{uv}\n"
    on_path = fake_python(programs, "python3.12", "exit 0")
    assert find_python(**environment).stdout == f"{on_path}\n"
    assert find_python(**environment, CHAIN429_PYTHON="python3.12").stdout == "python3.12\n"
