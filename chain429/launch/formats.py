"""Files of settings, changed in a few places with everything else left as it is. Pure: texts in, texts out.

A place is a path of steps into the tree that the text stands for. A change that can't be made without touching
something else is not made: ``changed`` reads the result again and compares.
"""

from __future__ import annotations

import copy
import io
import json
import re
import tomllib
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Final, Protocol

from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError


@dataclass(frozen=True, slots=True)
class Item:
    """The item of a list whose member ``key`` is ``value``."""

    key: str
    value: str


Place = tuple[str | Item, ...]


class Absent:
    """What stands where nothing stands."""

    def __repr__(self) -> str:
        return "ABSENT"


ABSENT: Final = Absent()


class CantChange(ValueError):
    """The text can't be read, or not be changed in that place alone; ``str(error)`` says why, for people."""


class Format(Protocol):
    def read(self, text: str) -> Any:
        """The tree that the text stands for; an empty mapping or list for an empty one. Raises CantChange."""

    def put(self, text: str, place: Place, value: Any) -> str:
        """The text with ``value`` in that place, or without it where ``value`` is ABSENT. Raises CantChange."""


def value_at(tree: Any, place: Place) -> Any:
    """ABSENT where there is nothing."""
    for step in place:
        tree = _inner(tree, step)
        if tree is ABSENT:
            break
    return tree


def changed(format: Format, text: str, place: Place, value: Any) -> str:
    """The text with ``value`` in that place, and nothing else changed. Containers that are missing are made; those that
    become empty by a removal go. Raises CantChange."""
    before = format.read(text)
    if value_at(before, place) == value:
        return text
    after = format.put(text, place, value)
    wanted = copy.deepcopy(before)
    put_in(wanted, place, value)
    if format.read(after) != wanted:
        raise CantChange("it is written in a way that can't be changed safely")
    return after


def put_in(tree: Any, place: Place, value: Any) -> None:
    """Change a tree of mappings and lists; see ``changed``. Raises CantChange where something else is in the way."""
    step, *rest = place
    if not isinstance(tree, list if isinstance(step, Item) else dict):
        raise CantChange(f"something else stands where {_named(place)} would be")
    if rest:
        inner = _inner(tree, step)
        if inner is ABSENT:
            if value is ABSENT:
                return
            inner = [] if isinstance(rest[0], Item) else {}
            _set(tree, step, inner)
            inner = _inner(tree, step)
        put_in(inner, tuple(rest), value)
        if value is ABSENT and not inner:
            _remove(tree, step)
    elif value is ABSENT:
        _remove(tree, step)
    else:
        _set(tree, step, value)


def _inner(tree: Any, step: str | Item) -> Any:
    if isinstance(step, Item):
        items = tree if isinstance(tree, list) else []
        return next((item for item in items if isinstance(item, dict) and item.get(step.key) == step.value), ABSENT)
    return tree.get(step, ABSENT) if isinstance(tree, dict) else ABSENT


def _set(tree: Any, step: str | Item, value: Any) -> None:
    if isinstance(step, str):
        tree[step] = value
        return
    found = _inner(tree, step)
    if found is ABSENT:
        tree.append(value)
    else:
        tree[next(index for index, item in enumerate(tree) if item is found)] = value


def _remove(tree: Any, step: str | Item) -> None:
    if isinstance(step, str):
        tree.pop(step, None)
        return
    found = _inner(tree, step)
    if found is not ABSENT:
        del tree[next(index for index, item in enumerate(tree) if item is found)]


def _named(place: Place) -> str:
    return ".".join(step if isinstance(step, str) else step.value for step in place)


class Json:
    """JSON, in the indentation that it has. Comments are no JSON: a file with some is left alone."""

    def read(self, text: str) -> Any:
        try:
            return json.loads(text) if text.strip() else {}
        except (ValueError, RecursionError):
            raise CantChange("it is not plain JSON (a comment, or a comma too many)") from None

    def put(self, text: str, place: Place, value: Any) -> str:
        tree = self.read(text)
        put_in(tree, place, value)
        indented = re.search(r"^[\[{]\n([ \t]+)", text)
        return json.dumps(tree, indent=indented[1] if indented else 2, ensure_ascii=False) + "\n"


class Yaml:
    """YAML with its comments, its order and its quotes. ``root`` is what an empty text stands for."""

    def __init__(self, root: type[dict[str, Any]] | type[list[Any]] = dict) -> None:
        self._root = root

    def read(self, text: str) -> Any:
        found = self._load(YAML(typ="safe", pure=True), text)
        return self._root() if found is None else found

    def put(self, text: str, place: Place, value: Any) -> str:
        yaml = YAML(typ="rt")
        yaml.preserve_quotes = True
        yaml.width = 4096
        # As most people indent lists: the way that the first one has it.
        if re.search(r"^[\w-]+:[^\n]*\n(?:\s*#[^\n]*\n)*- ", text, re.MULTILINE):
            yaml.indent(mapping=2, sequence=2, offset=0)
        elif self._root is dict:
            yaml.indent(mapping=2, sequence=4, offset=2)
        tree = self._load(yaml, text)
        if tree is None:
            tree = self._root()
        put_in(tree, place, value)
        if not tree:
            return "".join(line for line in text.splitlines(keepends=True) if line.lstrip().startswith("#"))
        out = io.StringIO()
        yaml.dump(tree, out)
        return out.getvalue()

    def _load(self, yaml: YAML, text: str) -> Any:
        try:
            return yaml.load(text)
        except YAMLError:
            raise CantChange("it is not valid YAML") from None
        except (RecursionError, ValueError, TypeError, LookupError, AttributeError):
            raise CantChange("it is YAML that can't be changed safely") from None


class Toml:
    """TOML with its comments and its order. Places are a key at the top, whose value is a text, or a table of two
    steps with a line for each of its keys."""

    def read(self, text: str) -> Any:
        try:
            return tomllib.loads(text)
        except (tomllib.TOMLDecodeError, RecursionError):
            raise CantChange("it is not valid TOML") from None

    def put(self, text: str, place: Place, value: Any) -> str:
        lines = text.splitlines(keepends=True)
        if lines and not lines[-1].endswith("\n"):
            lines[-1] += "\n"
        names = [str(step) for step in place]
        return "".join(self._key(lines, names[0], value) if len(names) == 1 else self._table(lines, names, value))

    def _key(self, lines: list[str], name: str, value: Any) -> list[str]:
        end = next((index for index, line in enumerate(lines) if re.match(r"\s*\[", line)), len(lines))
        pattern = re.compile(rf'\s*(?:{re.escape(name)}|"{re.escape(name)}")\s*=')
        old = [index for index, line in enumerate(lines[:end]) if pattern.match(line)]
        new = [] if value is ABSENT else [f"{name} = {_toml(value)}\n"]
        if old:
            return [*lines[: old[0]], *new, *lines[old[0] + 1 :]]
        # Before the first table, and before what is said of it.
        while end < len(lines) and end and _says_nothing(lines[end - 1]):
            end -= 1
        return [*lines[:end], *new, *lines[end:]]

    def _table(self, lines: list[str], names: Sequence[str], value: Any) -> list[str]:
        head = re.compile(r"\s*\[\s*" + r"\s*\.\s*".join(map(re.escape, names)) + r"\s*\]")
        begin = next((index for index, line in enumerate(lines) if head.match(line)), None)
        new = [] if value is ABSENT else [f"[{'.'.join(names)}]\n", *(f"{k} = {_toml(v)}\n" for k, v in value.items())]
        if begin is None:
            return [*lines, *(["\n"] if lines and new and lines[-1].strip() else []), *new]
        end = next((at for at in range(begin + 1, len(lines)) if re.match(r"\s*\[", lines[at])), len(lines))
        # What is said of the next table belongs to that.
        while end > begin + 1 and _says_nothing(lines[end - 1]):
            end -= 1
        before = lines[:begin]
        if not new:
            while before and not before[-1].strip():
                before.pop()
        return [*before, *new, *lines[end:]]


def _says_nothing(line: str) -> bool:
    return not line.strip() or line.lstrip().startswith("#")


def _toml(value: Any) -> str:
    if isinstance(value, dict):
        return "{ " + ", ".join(f"{_toml(name)} = {_toml(inner)}" for name, inner in value.items()) + " }"
    # A JSON text is a TOML text, but for the one character that TOML wants escaped.
    return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")


class Block:
    """A shell's file: blocks of lines between two marks, whose name is their place; the rest is not looked at."""

    def read(self, text: str) -> Any:
        found: dict[str, str] = {}
        for match in re.finditer(r"^# >>> (.+) >>>\n(.*?)^# <<< \1 <<<$", text, re.MULTILINE | re.DOTALL):
            found[match[1]] = match[2]
        marks = len(re.findall(r"^# (?:>>> .+ >>>|<<< .+ <<<)$", text, re.MULTILINE))
        if marks != 2 * len(found):
            raise CantChange("the marks of its blocks ('# >>> … >>>' and '# <<< … <<<') are not pairs")
        return found

    def put(self, text: str, place: Place, value: Any) -> str:
        (name,) = place
        block = "" if value is ABSENT else f"# >>> {name} >>>\n{value}# <<< {name} <<<\n"
        mark = re.escape(str(name))
        old = re.compile(rf"^# >>> {mark} >>>\n.*?^# <<< {mark} <<<\n?", re.MULTILINE | re.DOTALL)
        if old.search(text):
            return old.sub(lambda _: block, text, count=1)
        gap = "" if not text or text.endswith("\n") else "\n"
        return f"{text}{gap}{block}"


class Kind(StrEnum):
    """The formats by their names, for what is kept."""

    JSON = "json"
    YAML = "yaml"
    YAML_LIST = "yaml-list"
    TOML = "toml"
    SHELL = "shell"


FORMATS: dict[Kind, Format] = {
    Kind.JSON: Json(),
    Kind.YAML: Yaml(),
    Kind.YAML_LIST: Yaml(list),
    Kind.TOML: Toml(),
    Kind.SHELL: Block(),
}
