"""The wheel: what is in it, and that it works where there is no checkout."""

from __future__ import annotations

import os
import subprocess
import sys
import sysconfig
import threading
from pathlib import Path

import pytest

from chain429 import __version__

ROOT = Path(__file__).resolve().parent.parent.parent


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("wheel")
    # The build's own packages are those of the environment, so that nothing is fetched.
    command = [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", str(folder), str(ROOT)]
    done = subprocess.run(command, check=False, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    (built,) = folder.glob("*.whl")
    return built


@pytest.fixture(scope="module")
def installed(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of programs of a clean environment in which the wheel is installed."""
    folder = tmp_path_factory.mktemp("clean") / "environment"
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", folder], check=True)
    python = folder / "bin" / "python"
    pip = [sys.executable, "-m", "pip", "--python", str(python), "install", "--quiet", "--no-deps", "--no-index"]
    subprocess.run([*pip, str(wheel)], check=True)
    where = "import sysconfig; print(sysconfig.get_path('purelib'))"
    purelib = subprocess.check_output([python, "-c", where], text=True)
    # The packages that chain429 needs are borrowed: installing them again takes half a minute and shows nothing new. A
    # folder that is named in a .pth file has its own .pth files unread, so the checkout is not found through it.
    Path(purelib.strip(), "borrowed.pth").write_text(sysconfig.get_path("purelib") + "\n", encoding="utf-8")
    return folder / "bin"


def test_version_from_another_folder(installed: Path, tmp_path: Path) -> None:
    command = [str(installed / "chain429"), "version"]
    done = subprocess.run(command, cwd=tmp_path, check=False, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert __version__ in done.stdout


LIST = """
from importlib.resources import files
import chain429
def names(folder, prefix=""):
    for entry in folder.iterdir():
        if entry.is_dir():
            yield from names(entry, f"{prefix}{entry.name}/")
        else:
            yield prefix + entry.name
print(*names(files("chain429")), sep="\\n")
"""


def test_data_is_inside(installed: Path, tmp_path: Path) -> None:
    listed = subprocess.check_output([installed / "python", "-c", LIST], cwd=tmp_path, text=True).splitlines()
    expected = {"py.typed", "_addon/chain429.py", "catalog/providers.yaml"}
    templates = [path for path in (ROOT / "templates").rglob("*") if path.is_file()]
    expected |= {f"_templates/{path.relative_to(ROOT / 'templates')}" for path in templates}
    assert templates
    assert expected <= set(listed)
    assert not [name for name in listed if name.startswith(("tests/", "scripts/"))]


def test_installed_addon_runs_in_mitmdump(installed: Path, tmp_path: Path) -> None:
    """With no configuration and no key it comes up on the simulator, says where it listens, and ends when told to."""
    where = "from importlib.resources import files; print(files('chain429') / '_addon' / 'chain429.py')"
    addon = subprocess.check_output([installed / "python", "-c", where], cwd=tmp_path, text=True).strip()
    assert Path(addon).is_relative_to(installed.parent)
    ports = ["-p", "0", "--set", "chain429_listen=127.0.0.1:0", "--set", "chain429_pages=127.0.0.1:0"]
    folders = ["--set", f"confdir={tmp_path}", "--set", f"chain429_data_dir={tmp_path}"]
    run = "from mitmproxy.tools.main import mitmdump; mitmdump()"
    process = subprocess.Popen(
        [str(installed / "python"), "-c", run, "-q", "-s", addon, *ports, *folders],
        cwd=tmp_path,
        env={"HOME": str(tmp_path), "PATH": os.defpath, "PYTHONUNBUFFERED": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    # Should it neither come up nor end, reading ends all the same.
    watchdog = threading.Timer(60, process.kill)
    watchdog.start()
    with process:
        assert process.stdout
        said = []
        for line in process.stdout:
            said.append(line)
            if line.strip().startswith("API "):
                process.terminate()
    watchdog.cancel()
    assert process.returncode == 0, "".join(said)
    assert f"chain429 {__version__}\n" in said
    assert "Traceback" not in "".join(said)
