"""The configuration file as it is edited from the pages and the admin API. The YAML stays the truth.

What is not edited keeps its comments, its order and its quotes. An edit is checked as a whole before anything is
written; it is written at once or not at all, and what was there before is kept beside it as ``….bak``. Whoever edits
says which version of the file they saw, so that no change of somebody else is lost.
"""

from __future__ import annotations

import hashlib
import io
import os
import re
import shutil
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from difflib import SequenceMatcher
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.comments import CommentedMap, CommentedSeq
from ruamel.yaml.error import CommentMark, YAMLError
from ruamel.yaml.scalarstring import DoubleQuotedScalarString
from ruamel.yaml.tokens import CommentToken

from chain429.config import Config
from chain429.errors import ConfigError, EditConflict, Fault, StoreError

# Longer lines are broken by YAML's writer, which nobody wants of a list of models.
_WIDTH = 4096

# Texts that are texts to every reader; besides them, there are words that are not.
_PLAIN = re.compile(r"[A-Za-z][A-Za-z0-9_./:@+-]*(?<!:)")
_WORDS = {"y", "n", "yes", "no", "on", "off", "true", "false", "null"}

# Makes a Config of a text, for which messages name that file. Raises ConfigError with every fault.
Check = Callable[[str, Path], Config]
Edit = Callable[[CommentedMap], None]


@dataclass(frozen=True, slots=True)
class Document:
    """The file at one moment. ``version`` changes whenever a byte of it does; ``data`` are plain values."""

    text: str
    version: str
    data: dict[str, Any]


class ConfigFile:
    """The file at ``path``, which need not be there yet: then ``first`` gives the text that it begins with."""

    def __init__(self, path: Path, check: Check, first: Callable[[], str]) -> None:
        self._path = path
        self._check = check
        self._first = first

    @property
    def path(self) -> Path:
        return self._path

    def read(self) -> Document:
        """As it is now. Raises ConfigError where it is no YAML mapping, or can't be read."""
        text = self._text()
        return _document(text, self._tree(text))

    def change(self, edit: Edit, version: str | None = None) -> tuple[Document, Config]:
        """Carry out ``edit`` on the tree of the file, check the result, and write it.

        Raises EditConflict where the file is no longer of ``version``, ConfigError with every fault of the result, and
        StoreError where it can't be written; in all these cases the file is as it was.
        """
        text = self._text()
        if version is not None and version != _version(text):
            raise EditConflict("the configuration was changed meanwhile: look at it again, then repeat the change")
        tree = self._tree(text)
        edit(tree)
        after = _written(tree)
        kept = _with_remarks(text, after)
        return self._put(kept if kept != after and self._means(kept, tree) else after)

    def replace(self, text: str, version: str | None = None) -> tuple[Document, Config]:
        """Put another text in its place, as ``change`` does."""
        if version is not None and version != _version(self._text()):
            raise EditConflict("the configuration was changed meanwhile: look at it again, then repeat the change")
        return self._put(text)

    def _put(self, text: str) -> tuple[Document, Config]:
        # Checked first: that reader bears whatever is sent.
        config = self._check(text, self._path)
        document = _document(text, self._tree(text))
        self._write(text)
        return document, config

    def _text(self) -> str:
        try:
            return self._path.read_text(encoding="utf-8-sig")
        except FileNotFoundError:
            return self._first()
        except (OSError, ValueError) as error:
            why = getattr(error, "strerror", None) or "it is not UTF-8"
            raise ConfigError([Fault(f"can't be read: {why}", file=str(self._path))]) from None

    def _tree(self, text: str) -> CommentedMap:
        try:
            tree = _yaml().load(text)
        except (RecursionError, ValueError, TypeError, LookupError, AttributeError):
            # ruamel.yaml falls over what is nested too deeply, and over dates that there are not.
            raise ConfigError([Fault("this can't be edited: put its dates in quotes", file=str(self._path))]) from None
        except YAMLError as error:
            mark = getattr(error, "problem_mark", None)
            line = mark.line + 1 if mark is not None else None
            raise ConfigError([Fault("this is not valid YAML", line=line, file=str(self._path))]) from None
        if tree is None:
            return CommentedMap()
        if not isinstance(tree, CommentedMap):
            raise ConfigError([Fault("a mapping was expected, such as 'providers:'", file=str(self._path))])
        return tree

    def _means(self, text: str, tree: CommentedMap) -> bool:
        """Whether it says the same: in a text of many lines, what looks like a comment is none."""
        try:
            return bool(_plain(self._tree(text)) == _plain(tree))
        except ConfigError:
            return False

    def _write(self, text: str) -> None:
        # Through a link: what is replaced is the file that it leads to, not the link.
        target = self._path.resolve()
        beside = target.with_name(f".{target.name}.new")
        try:
            target.parent.mkdir(parents=True, exist_ok=True)
            mode = target.stat().st_mode & 0o777 if target.exists() else 0o600
            handle = os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, mode)
            with os.fdopen(handle, "w", encoding="utf-8", newline="\n") as file:
                file.write(text)
                file.flush()
                os.fsync(file.fileno())
            if target.exists():
                shutil.copy2(target, target.with_name(f"{target.name}.bak"))
            beside.replace(target)
        except OSError as error:
            beside.unlink(missing_ok=True)
            raise StoreError(f"the configuration can't be written to {target}: {error.strerror or error}") from None


def flow(values: list[Any]) -> CommentedSeq:
    """A list that is written in one line, as lists of targets and keys are."""
    found = CommentedSeq([flow(value) if isinstance(value, list) else value for value in values])
    found.fa.set_flow_style()
    return found


def text_of(text: str, change: Edit) -> str:
    """A file's text with a change that is written nowhere."""
    tree = _yaml().load(text) or CommentedMap()
    change(tree)
    return _written(tree)


def as_yaml(value: Any) -> Any:
    """A new value as it is put into a tree: mappings in lines of their own, lists of texts in one line, and quotes
    around every text that some reader of YAML may take for something else, such as ``on``, ``1:30`` or ``=``."""
    if isinstance(value, CommentedMap | CommentedSeq):
        return value
    if isinstance(value, dict):
        return CommentedMap({as_yaml(str(key)): as_yaml(inner) for key, inner in value.items()})
    if isinstance(value, list | tuple):
        return flow([as_yaml(inner) for inner in value])
    if isinstance(value, str) and (not _PLAIN.fullmatch(value) or value.lower() in _WORDS):
        return DoubleQuotedScalarString(value)
    return value


def reordered(old: object, values: list[Any]) -> CommentedSeq:
    """``values`` in place of a list that stands in a tree, in the same style; what stood behind an item on its line
    stays with it, and so do its quotes."""
    written = {_key(value): value for value in old} if isinstance(old, CommentedSeq) else {}
    new = CommentedSeq([written.get(_key(value)) or as_yaml(value) for value in values])
    if not isinstance(old, CommentedSeq):
        new.fa.set_flow_style()
        return new
    if old.fa.flow_style():
        new.fa.set_flow_style()
        return new
    new.fa.set_block_style()
    behind = {_key(value): (_remarks(old, index)[0], _column(old, index)) for index, value in enumerate(old)}
    for index, value in enumerate(new):
        # What stands on lines of its own belongs to the place: at the end, to what comes after the list.
        before_next = _remarks(old, len(old) - 1 if index == len(new) - 1 else index)[1]
        if index < len(new) - 1 and index >= len(old) - 1:
            before_next = ""
        remark, column = behind.get(_key(value), ("", 0))
        if remark or before_next:
            token = CommentToken(f"{remark}\n{before_next}", CommentMark(column), None)
            new.ca.items[index] = [token, None, None, None]
    return new


def _key(value: object) -> str:
    return str(list(value)) if isinstance(value, list) else str(value)


def _remarks(items: CommentedSeq, index: int) -> tuple[str, str]:
    """What stands behind an item of a list on its line, and what stands on the lines from there to the next one."""
    found = items.ca.items.get(index)
    text = found[0].value if found and found[0] else ""
    line, _, rest = text.partition("\n")
    return line, rest


def _column(items: CommentedSeq, index: int) -> int:
    """Where the remark behind an item begins."""
    found = items.ca.items.get(index)
    return int(found[0].start_mark.column) if found and found[0] else 0


def _yaml() -> YAML:
    yaml = YAML(typ="rt")
    yaml.preserve_quotes = True
    yaml.width = _WIDTH
    yaml.indent(mapping=2, sequence=4, offset=2)
    yaml.allow_duplicate_keys = False
    return yaml


def _written(tree: CommentedMap) -> str:
    out = io.StringIO()
    _yaml().dump(tree, out)
    return out.getvalue()


def _with_remarks(before: str, after: str) -> str:
    """The text ``after`` an edit, with the comments that stood behind what was taken out: they are about what comes
    next, but to YAML's reader they belong to what comes before them."""
    old, new = before.splitlines(keepends=True), after.splitlines(keepends=True)
    lost = Counter(filter(_is_remark, old)) - Counter(filter(_is_remark, new))
    if not lost:
        return after
    lines: list[str] = []
    for kind, begin, end, into, out_of in SequenceMatcher(None, old, new, autojunk=False).get_opcodes():
        lines += new[into:out_of]
        if kind not in ("delete", "replace"):
            continue
        first = end
        # What stands deeper than what was taken out was within it.
        while first > begin + 1 and (
            not old[first - 1].strip() or (_is_remark(old[first - 1]) and _depth(old[first - 1]) <= _depth(old[begin]))
        ):
            first -= 1
        if any(line in lost for line in old[first:end]):
            lines += old[first:end]
    return "".join(lines)


def _is_remark(line: str) -> bool:
    return line.lstrip(" ").startswith("#")


def _depth(line: str) -> int:
    return len(line) - len(line.lstrip(" "))


def _document(text: str, tree: CommentedMap) -> Document:
    return Document(text, _version(text), _plain(tree))


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {str(key): _plain(inner) for key, inner in value.items()}
    if isinstance(value, list):
        return [_plain(inner) for inner in value]
    if isinstance(value, bool) or value is None:
        return value
    for kind in (str, int, float):
        if isinstance(value, kind):
            return kind(value)
    return str(value)


def _version(text: str) -> str:
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:16]
