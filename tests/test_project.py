"""The project around the code: the pinned packages, the scripts, the image, and the manners of the tests."""

from __future__ import annotations

import ast
import json
import os
import re
import subprocess
import sys
import threading
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).resolve().parent.parent
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
CONSTRAINTS = {
    "constraints.txt": PROJECT["project"]["dependencies"],
    "constraints-dev.txt": PROJECT["project"]["dependencies"] + PROJECT["project"]["optional-dependencies"]["dev"],
    "constraints-build.txt": PROJECT["dependency-groups"]["build"],
}
PYTHONS = ("3.11", "3.12", "3.13", "3.14")
PLATFORMS = ("linux", "darwin")


@dataclass(frozen=True, slots=True)
class Pin:
    requirement: Requirement
    hashes: tuple[str, ...]

    @property
    def version(self) -> str:
        return str(self.requirement.specifier).removeprefix("==")


def pins(name: str) -> list[Pin]:
    """All of a constraints file; fails on a line that is neither a comment nor a package with its hashes."""
    text = (ROOT / name).read_text(encoding="utf-8")
    found = []
    for line in re.sub(r"\s*\\\n\s*", " ", text).splitlines():
        if not line.strip() or line.lstrip().startswith("#"):
            continue
        head, *hashes = line.split(" --hash=")
        assert re.fullmatch(r"[a-z0-9-]+==[0-9][0-9a-z.]*( ; .+)?", head.strip()), line[:200]
        assert all(re.fullmatch(r"sha256:[0-9a-f]{64}", one.strip()) for one in hashes), line[:200]
        found.append(Pin(Requirement(head), tuple(hashes)))
    return found


def pinned(name: str, python: str, platform: str) -> dict[str, Pin]:
    """The packages that are installed there."""
    environment = {
        "python_version": python,
        "python_full_version": f"{python}.2",
        "sys_platform": platform,
        "platform_system": {"linux": "Linux", "darwin": "Darwin"}[platform],
        "os_name": "posix",
        "implementation_name": "cpython",
        "platform_python_implementation": "CPython",
    }
    chosen: dict[str, Pin] = {}
    for pin in pins(name):
        if pin.requirement.marker is None or pin.requirement.marker.evaluate(environment):
            package = canonicalize_name(pin.requirement.name)
            assert package not in chosen, f"{package} is pinned twice for Python {python} on {platform}"
            chosen[package] = pin
    return chosen


def test_what_the_wheel_is_built_with_is_pinned() -> None:
    assert set(PROJECT["build-system"]["requires"]) <= set(PROJECT["dependency-groups"]["build"])


@pytest.mark.parametrize("name", CONSTRAINTS)
def test_every_package_is_pinned_with_hashes_and_no_place_is_named(name: str) -> None:
    assert all(pin.hashes for pin in pins(name))
    text = (ROOT / name).read_text(encoding="utf-8")
    assert not re.search(r"://|\s@\s|--(?!hash=)[a-z]|file:", text)


@pytest.mark.parametrize("platform", PLATFORMS)
@pytest.mark.parametrize("python", PYTHONS)
@pytest.mark.parametrize("name", CONSTRAINTS)
def test_the_pins_meet_what_the_project_asks_for(name: str, python: str, platform: str) -> None:
    chosen = pinned(name, python, platform)
    for text in CONSTRAINTS[name]:
        wanted = Requirement(text)
        if wanted.marker is None or wanted.marker.evaluate({"python_version": python}):
            version = chosen[canonicalize_name(wanted.name)].version
            assert wanted.specifier.contains(version), f"{version} is not {text}; run scripts/lock"


@pytest.mark.parametrize("platform", PLATFORMS)
@pytest.mark.parametrize("python", PYTHONS)
def test_tests_run_on_the_versions_that_users_get(python: str, platform: str) -> None:
    run, dev = pinned("constraints.txt", python, platform), pinned("constraints-dev.txt", python, platform)
    assert {package: dev[package] for package in run} == run


SCRIPTS = sorted(path for path in (*(ROOT / "scripts").iterdir(), ROOT / ".ci" / "run") if path.is_file())
SHELL = [path for path in SCRIPTS if path.suffix == ".sh" or re.match(rb"#!.*sh\n", path.read_bytes())]


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda path: path.name)
def test_what_starts_with_an_interpreter_line_can_be_run(script: Path) -> None:
    assert script.read_bytes().startswith(b"#!") == os.access(script, os.X_OK)


@pytest.mark.parametrize("script", SHELL, ids=lambda path: path.name)
def test_shell_scripts_are_valid_for_old_shells(script: Path) -> None:
    shell = "sh" if script.read_bytes().startswith(b"#!/bin/sh") else "bash"
    subprocess.run([shell, "-n", script], check=True)
    later_words = r"\b(mapfile|readarray|coproc|declare -[gAn]|local -n|wait -n)\b"
    later_signs = r"\$\{\w+(,,?|\^\^?|@\w)\}|&>>|\|&"
    assert not re.search(f"{later_words}|{later_signs}", script.read_text(encoding="utf-8"))


def instructions() -> list[tuple[str, str]]:
    """The Dockerfile as pairs of keyword and rest, comments gone and continued lines joined."""
    text = re.sub(r"^#.*\n", "", (ROOT / "Dockerfile").read_text(encoding="utf-8"), flags=re.MULTILINE)
    lines = [line for line in text.replace("\\\n", " ").splitlines() if line.strip()]
    return [(keyword, rest) for keyword, _, rest in (line.partition(" ") for line in lines)]


def stages() -> list[list[tuple[str, str]]]:
    found: list[list[tuple[str, str]]] = []
    for keyword, rest in instructions():
        if keyword == "FROM":
            found.append([])
        if found:
            found[-1].append((keyword, rest))
    return found


def value(stage: list[tuple[str, str]], keyword: str) -> str:
    """The one instruction of that kind; the last, where several are allowed."""
    return [rest for name, rest in stage if name == keyword][-1]


def test_image_copies_only_what_is_there_and_not_ignored() -> None:
    ignore = (ROOT / ".dockerignore").read_text(encoding="utf-8").split("\n")
    let_in = {line.removeprefix("!") for line in ignore if line.startswith("!")}
    assert "*" in ignore
    for keyword, rest in instructions():
        if keyword == "COPY" and not rest.startswith("--from="):
            for source in rest.split()[:-1]:
                assert (ROOT / source).exists(), source
                assert Path(source).parts[0] in let_in, f"{source} is kept out by .dockerignore"


def test_image_is_built_by_steps_that_exist() -> None:
    build, _ = stages()
    script = (ROOT / "scripts" / "image-build").read_text(encoding="utf-8")
    steps = [json.loads(rest) for keyword, rest in build if keyword == "RUN"]
    assert [step[0] for step in steps] == ["scripts/image-build", "scripts/image-build"]
    for _, step, prefix in steps:
        assert f"\n    {step})" in script
        assert ("COPY", f"--from=build {prefix} {prefix}") in stages()[-1]


def test_image_runs_without_privileges_and_reports_its_health() -> None:
    *_, final = stages()
    assert value(final, "USER") not in {"root", "0"}
    assert json.loads(value(final, "VOLUME")) == ["/config", "/data"]
    assert value(final, "EXPOSE").split() == ["4290", "4291", "8080"]
    copied = [rest.split() for keyword, rest in final if keyword == "COPY" and not rest.startswith("--from=")]
    programs = {Path(source).name for *names, target in copied for source in names if target == "/usr/local/bin/"}
    health = json.loads(value(final, "HEALTHCHECK").partition("CMD ")[2])
    assert {health[0], json.loads(value(final, "ENTRYPOINT"))[0]} <= programs


def test_compose_publishes_on_loopback_only_and_keeps_data() -> None:
    compose = yaml.safe_load((ROOT / "compose.yaml").read_text(encoding="utf-8"))
    service = compose["services"]["chain429"]
    assert [port.split(":")[0] for port in service["ports"]] == ["127.0.0.1"] * 3
    assert [port.split(":")[2] for port in service["ports"]] == value(stages()[-1], "EXPOSE").split()
    assert {volume.split(":")[1] for volume in service["volumes"]} == {"/config", "/data"}
    assert "data" in compose["volumes"]


def test_container_starts_mitmdump_with_the_installed_addon(tmp_path: Path) -> None:
    """Both programs that image-start calls are stood in for; what it asks them for is the point."""
    for name, says in {"python": "echo /there/chain429.py", "mitmdump": 'printf "%s\\n" "$@"'}.items():
        (tmp_path / name).write_text(f"#!/bin/sh\n{says}\n", encoding="utf-8")
        (tmp_path / name).chmod(0o755)
    environment = {"PATH": f"{tmp_path}:{os.defpath}", "CHAIN429_PROXYAUTH": "me:a secret"}
    command = [str(ROOT / "scripts" / "image-start"), "--set", "a=b c"]
    done = subprocess.run(command, env=environment, check=True, capture_output=True, text=True)
    asked = done.stdout.splitlines()
    assert asked[asked.index("-s") + 1] == "/there/chain429.py"
    assert asked[asked.index("--listen-host") + 1] == "0.0.0.0"
    assert "chain429_listen=0.0.0.0:4290" in asked
    assert asked[-4:] == ["--set", "proxyauth=me:a secret", "--set", "a=b c"]


class _Health(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        self.send_response(200 if self.path == "/health" else 503)
        self.end_headers()

    def log_message(self, format: str, *args: object) -> None:
        pass


@pytest.fixture
def gateway() -> Iterator[str]:
    with HTTPServer(("127.0.0.1", 0), _Health) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


def healthcheck(url: str) -> subprocess.CompletedProcess[str]:
    # A proxy that is named in the container must not be asked.
    environment = {"http_proxy": "http://127.0.0.1:1", "PATH": os.defpath}
    command = [sys.executable, str(ROOT / "scripts" / "healthcheck.py"), url]
    return subprocess.run(command, env=environment, check=False, capture_output=True, text=True)


def test_healthcheck_passes_on_200_only(gateway: str) -> None:
    assert healthcheck(f"{gateway}/health").returncode == 0
    ill = healthcheck(f"{gateway}/ill")
    assert (ill.returncode, ill.stderr) == (1, "unhealthy: status 503\n")


def test_healthcheck_fails_where_nothing_listens() -> None:
    refused = healthcheck("http://127.0.0.1:1/health")
    assert refused.returncode == 1
    assert refused.stderr.startswith("unhealthy: ")


def waits(sleep: ast.Call) -> bool:
    return [ast.unparse(argument) for argument in sleep.args] != ["0"]


def ill_mannered(source: str) -> Iterator[str]:
    """What a test must not do: sleep, or replace a part of what it tests from outside."""
    if not re.search(r"sleep|mock|setattr|setitem|patch", source):
        return
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Call):
            name = ast.unparse(node.func) if isinstance(node.func, ast.Attribute) else ""
            if name == "time.sleep" or (name in {"asyncio.sleep", "anyio.sleep"} and waits(node)):
                yield f"{node.lineno}: {name}; move a clock by hand, or wait for what you wait for"
            if name in {"monkeypatch.setattr", "monkeypatch.setitem", "mocker.patch"}:
                yield f"{node.lineno}: {name}; give the fake to a constructor"
        if isinstance(node, ast.ImportFrom | ast.Import):
            names = [f"{getattr(node, 'module', '')}.{alias.name}" for alias in node.names]
            if any("unittest.mock" in name or name.endswith(".mock") for name in names):
                yield f"{node.lineno}: unittest.mock; give the fake to a constructor"


# Tests in integration/ deal with other processes, whose time is not ours.
UNIT_TESTS = [path for path in sorted((ROOT / "tests").rglob("*.py")) if "integration" not in path.parts]


def test_tests_neither_sleep_nor_patch() -> None:
    sources = {path.relative_to(ROOT): path.read_text(encoding="utf-8") for path in UNIT_TESTS}
    found = [f"{path}:{each}" for path, source in sources.items() for each in ill_mannered(source)]
    assert not found, "\n".join(["", *found])


@pytest.mark.parametrize(
    "source",
    [
        "time.sleep(1)",
        "await asyncio.sleep(0.1)",
        "from unittest import mock",
        "from unittest.mock import patch",
        "import unittest.mock",
        "monkeypatch.setattr(engine, 'walk', fake)",
    ],
)
def test_bad_manners_are_found(source: str) -> None:
    assert len(list(ill_mannered(source))) == 1
    assert not list(ill_mannered("await asyncio.sleep(0)"))


def test_contributing_fits_a_screen_and_names_scripts_that_exist() -> None:
    text = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
    assert len(text.splitlines()) <= 45
    for script in set(re.findall(r"(?:scripts|\.ci)/[\w-]+", text)):
        assert (ROOT / script).is_file(), script


def test_changelog_opens_with_what_is_unreleased() -> None:
    headings = re.findall(r"^## (.+)$", (ROOT / "CHANGELOG.md").read_text(encoding="utf-8"), flags=re.MULTILINE)
    assert headings[0] == "Unreleased"
