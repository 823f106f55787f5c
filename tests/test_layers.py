"""Who may import whom: one table, and the imports of every file read against it.

A row may name only rows above it, so the table is also the proof that there are no cycles. The standard library is open
to all but the pure layers, which may have nothing of it that reads the world.
"""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent

BELOW_APP = (
    "errors clock redact routing wire catalog config config_file vault upstream observer inquiry store pricing memory "
    "models warmth log metrics engine web simulator"
)

# layer: what of chain429 it may import | what other packages
TABLE = {
    "errors": "|",
    "clock": "|",
    "folders": "|",
    "redact": "|",
    "routing": "errors |",
    "wire": "errors |",
    "catalog": "errors routing | pydantic yaml",
    "config": "errors routing wire catalog | pydantic yaml",
    "config_file": "errors config | ruamel",
    "vault": "errors | cryptography",
    "upstream": "errors clock wire config | aiohttp yarl",
    "observer": "routing wire upstream |",
    "inquiry": "errors routing catalog config upstream |",
    "store": "errors clock routing | peewee",
    "pricing": "catalog config routing store | yaml",
    "memory": "errors clock routing config store |",
    "models": "errors clock routing catalog config upstream store |",
    "warmth": "errors clock config |",
    "log": "errors redact store |",
    "metrics": "clock config routing store | prometheus_client",
    "engine": "errors clock routing wire config upstream observer store |",
    "web": "errors clock redact routing wire catalog config config_file vault upstream inquiry store engine | "
    "aiohttp jinja2 pydantic",
    "simulator": "errors clock | aiohttp",
    "app": f"{BELOW_APP} folders |",
    "launch": "errors folders config vault web | certifi cryptography ruamel",
    "proxy": f"{BELOW_APP} app launch | mitmproxy",
    "cli": f"{BELOW_APP} folders app launch proxy | click rich uvloop",
    "__main__": "cli |",
    "addons": "proxy | mitmproxy",
}

PURE = {"routing", "wire"}
READS_THE_WORLD = {
    *("asyncio", "concurrent", "ctypes", "fileinput", "glob", "http", "importlib", "io", "logging", "multiprocessing"),
    *("os", "pathlib", "random", "secrets", "select", "selectors", "shutil", "signal", "socket", "sqlite3", "ssl"),
    *("subprocess", "tempfile", "threading", "time", "uuid"),
}
# What is taken from the seeded generator is decided by whoever made it.
HARMLESS = {"random.Random"}

# Names under which anything can be filed are names under which nothing is found.
DRAWERS = {"util", "utils", "helper", "helpers", "common", "misc", "manager", "managers", "service", "services"}


@dataclass(frozen=True, slots=True)
class Import:
    """``name`` is what is imported, dotted: ``aiohttp.ClientSession`` for ``from aiohttp import ClientSession``."""

    line: int
    name: str


def imports_of(nodes: Sequence[ast.AST]) -> Iterator[Import]:
    """All imports, those within functions and under ``TYPE_CHECKING`` too."""
    for node in nodes:
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield Import(node.lineno, alias.name)
        elif isinstance(node, ast.ImportFrom):
            for alias in node.names:
                yield Import(node.lineno, f"{'.' * node.level}{node.module or ''}.{alias.name}")


def attributes_of(nodes: Sequence[ast.AST], module: str) -> Iterator[Import]:
    """What is used of ``module`` by its dotted name: ``aiohttp.ClientSession(...)``."""
    for node in nodes:
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id == module:
            yield Import(node.lineno, f"{module}.{node.attr}")


def layer_of(path: Path) -> str:
    """``chain429/wire/sse.py`` -> ``wire``; the package's own ``__init__`` is the layer ``chain429``."""
    parts = path.with_suffix("").parts
    if parts[0] == "chain429":
        return parts[1] if parts[1] != "__init__" else "chain429"
    return parts[0]


def violations(path: Path, source: str) -> Iterator[str]:
    """Each import of the file at ``path`` (relative to the checkout) that the table does not allow, as a sentence."""
    layer = layer_of(path)
    if layer == "chain429":
        ours, foreign = set[str](), set[str]()
    elif layer in TABLE:
        ours, foreign = (set(column.split()) for column in TABLE[layer].split("|"))
    else:
        yield f"{path}: there is no row for the layer {layer!r} in the table of tests/test_layers.py"
        return
    nodes = list(ast.walk(ast.parse(source)))
    imports = list(imports_of(nodes))
    for found in imports:
        where = f"{path}:{found.line}: {layer} imports {found.name.removesuffix('.*')}"
        package, _, rest = found.name.partition(".")
        if not package:
            yield f"{where}; imports are absolute"
        elif package == "chain429":
            target = rest.partition(".")[0]
            # What is no layer is a name in the package itself: __version__.
            if target in TABLE and target not in ours | {layer}:
                yield f"{where}; of chain429 it may import {' '.join(sorted(ours)) or 'nothing'}"
        elif package in sys.stdlib_module_names:
            if layer in PURE and package in READS_THE_WORLD and found.name not in HARMLESS:
                yield f"{where}; a pure layer reads no clock, no file, no environment, and waits for nothing"
        elif package not in foreign:
            yield f"{where}; of other packages it may import {' '.join(sorted(foreign)) or 'none'}"
    if layer != "upstream":
        for found in (*imports, *attributes_of(nodes, "aiohttp")):
            if found.name.startswith(("aiohttp.Client", "aiohttp.TCPConnector", "aiohttp.client", "aiohttp.request")):
                yield f"{path}:{found.line}: {layer} uses {found.name}; only upstream is an HTTP client"


def sources() -> list[Path]:
    return [
        path.relative_to(ROOT) for folder in ("chain429", "addons") for path in sorted((ROOT / folder).rglob("*.py"))
    ]


def test_imports_stay_within_their_layer() -> None:
    found = [each for path in sources() for each in violations(path, (ROOT / path).read_text(encoding="utf-8"))]
    assert not found, "\n".join(["", *found])


def test_a_row_names_only_rows_above_it() -> None:
    above: set[str] = set()
    for layer, row in TABLE.items():
        named = set(row.split("|")[0].split())
        assert named <= above, f"{layer} names {sorted(named - above)}, which stand below it"
        above.add(layer)


def test_every_row_is_of_a_layer_that_exists() -> None:
    assert set(TABLE) - {layer_of(path) for path in sources()} == set()


def test_no_module_is_a_drawer() -> None:
    files = [path for folder in ("chain429", "addons", "scripts", "tests") for path in (ROOT / folder).rglob("*.py")]
    assert not [str(path.relative_to(ROOT)) for path in files if DRAWERS & {path.stem, path.parent.name}]


@pytest.mark.parametrize(
    ("path", "source"),
    [
        ("chain429/errors.py", "from chain429.clock import Clock"),
        ("chain429/errors.py", "from chain429 import clock"),
        ("chain429/routing/chain.py", "import chain429.wire.sse"),
        ("chain429/routing/chain.py", "from time import time"),
        ("chain429/routing/chain.py", "import os.path"),
        ("chain429/routing/chain.py", "import random"),
        ("chain429/wire/sse.py", "def read():\n    import pathlib"),
        ("chain429/wire/sse.py", "from ..errors import WireError"),
        ("chain429/store/models.py", "import aiohttp"),
        ("chain429/web/api.py", "import mitmproxy.http"),
        ("chain429/web/api.py", "from aiohttp import ClientSession"),
        ("chain429/web/api.py", "import aiohttp\naiohttp.ClientSession()"),
        ("chain429/simulator/server.py", "from chain429.engine import Engine"),
        ("chain429/__init__.py", "from chain429.errors import ConfigError"),
        ("chain429/drawer.py", ""),
    ],
)
def test_a_forbidden_import_is_found(path: str, source: str) -> None:
    assert len(list(violations(Path(path), source))) == 1


@pytest.mark.parametrize(
    ("path", "source"),
    [
        (
            "chain429/routing/chain.py",
            "import math\nfrom random import Random\nimport chain429.routing.window",
        ),
        (
            "chain429/store/models.py",
            "import sqlite3\nfrom peewee import Model\nimport chain429.errors",
        ),
        ("chain429/upstream.py", "import aiohttp\naiohttp.ClientSession()"),
        ("chain429/web/api.py", "from aiohttp import web\nfrom chain429 import __version__"),
        ("addons/chain429.py", "from chain429.proxy.addon import Addon"),
    ],
)
def test_an_allowed_import_is_not_found(path: str, source: str) -> None:
    assert list(violations(Path(path), source)) == []
