"""Reads YAML into plain values that remember their lines: keys are texts, and no value is a date, as no setting is."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import yaml
from yaml.reader import ReaderError

from chain429.config.faults import Places, Where, clip, quoted

_TAG = "tag:yaml.org,2002:"
_TEXTS = {f"{_TAG}str", f"{_TAG}timestamp", f"{_TAG}value"}
_READ_AS = {
    f"{_TAG}bool": "true or false",
    f"{_TAG}int": "a number",
    f"{_TAG}float": "a number",
    f"{_TAG}null": "nothing",
}
_MOST_NODES = 100_000


class Reader:
    """Reads one text, noting the line of every key. Faults go to ``places``."""

    def __init__(self, places: Places) -> None:
        self._places = places
        self._nodes = 0
        self._loader: yaml.SafeLoader | None = None

    def read(self, text: str) -> Any:
        """The text as dicts, lists and scalars. Raises ConfigError where it can't be read to its end."""
        try:
            self._loader = yaml.SafeLoader(text)
            node = self._loader.get_single_node()
            if node is not None:
                return self._value(node, ())
            self._places.fault("is empty: 'providers' and 'chains' are needed")
        except yaml.MarkedYAMLError as error:
            mark = error.problem_mark or error.context_mark
            self._places.fault(f"is not valid YAML: {_yaml_problem(error)}", line=mark.line + 1 if mark else None)
        except ReaderError as error:
            line = text.count("\n", 0, error.position) + 1
            self._places.fault(f"is not valid YAML: the character U+{error.character:04X} is in it", line=line)
        except RecursionError:
            self._places.fault("contains itself, or is nested too deeply")
        finally:
            if self._loader:
                self._loader.dispose()
        self._places.raise_faults()
        raise AssertionError("there is a fault")

    def _value(self, node: yaml.Node, where: Where) -> Any:
        line = node.start_mark.line + 1
        self._places.lines.setdefault(where, line)
        self._nodes += 1
        if self._nodes > _MOST_NODES:
            self._places.fault("is too large, or repeats its anchors too often", line=line)
            self._places.raise_faults()
        if isinstance(node, yaml.MappingNode) and node.tag == f"{_TAG}map":
            return self._mapping(node, where)
        if isinstance(node, yaml.SequenceNode) and node.tag == f"{_TAG}seq":
            return [self._value(item, (*where, index)) for index, item in enumerate(node.value)]
        if isinstance(node, yaml.ScalarNode):
            return self._scalar(node, where)
        self._places.fault(f"the tag {quoted(node.tag)} means nothing here", *where, line=line, spoils=True)
        return None

    def _mapping(self, node: yaml.MappingNode, where: Where) -> dict[str, Any]:
        found: dict[str, Any] = {}
        for key, value in node.value:
            if key.tag == f"{_TAG}merge":
                for merged in self._merged(value, where):
                    found = merged | found
        own: dict[str, int] = {}
        for key, value in node.value:
            if key.tag == f"{_TAG}merge":
                continue
            line = key.start_mark.line + 1
            name = self._name(key, where)
            if name is None:
                continue
            inner = (*where, name)
            if name in own:
                self._places.fault(f"is there twice; the first is on line {own[name]}", *inner, line=line, spoils=True)
            own[name] = line
            self._places.lines[inner] = line
            found[name] = self._value(value, inner)
        return found

    def _merged(self, node: yaml.Node, where: Where) -> Iterable[dict[str, Any]]:
        for part in node.value if isinstance(node, yaml.SequenceNode) else [node]:
            if isinstance(part, yaml.MappingNode):
                yield self._mapping(part, where)
            else:
                line = node.start_mark.line + 1
                self._places.fault("'<<' takes a mapping, or a list of them", *where, line=line, spoils=True)

    def _name(self, key: yaml.Node, where: Where) -> str | None:
        line = key.start_mark.line + 1
        if not isinstance(key, yaml.ScalarNode):
            self._places.fault("a key must be text", *where, line=line, spoils=True)
            return None
        name = str(key.value)
        if key.tag not in _TEXTS:
            words = _READ_AS.get(key.tag, "no text")
            self._places.fault(f"this key is read as {words}: put it in quotes", *where, name, line=line, spoils=True)
        return name if self._encodable(name, where, line) else None

    def _scalar(self, node: yaml.ScalarNode, where: Where) -> Any:
        line = node.start_mark.line + 1
        if node.tag in _TEXTS:
            return str(node.value) if self._encodable(node.value, where, line) else None
        if node.tag not in _READ_AS:
            self._places.fault(f"the tag {quoted(node.tag)} means nothing here", *where, line=line, spoils=True)
            return None
        assert self._loader
        try:
            return self._loader.construct_object(node)
        except (ValueError, LookupError):
            self._places.fault(f"is not {_READ_AS[node.tag]}", *where, line=line, spoils=True)
            return None

    def _encodable(self, text: str, where: Where, line: int) -> bool:
        try:
            text.encode()
        except UnicodeEncodeError:
            self._places.fault("has half of a character pair", *where, line=line, spoils=True)
            return False
        return True


def _yaml_problem(error: yaml.MarkedYAMLError) -> str:
    problem = clip(error.problem or "it ends too early")
    if error.context == "while scanning an alias":
        return f"{problem} (a text that begins with '*' needs quotes)"
    if "'\\t'" in problem:
        return f"{problem} (indent with spaces)"
    return problem
