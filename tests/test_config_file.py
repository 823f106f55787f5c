from __future__ import annotations

import stat
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from ruamel.yaml.comments import CommentedMap

from chain429.config import Config, parse
from chain429.config.faults import Places
from chain429.config.reading import Reader
from chain429.config_file import ConfigFile, as_yaml, flow, reordered, text_of
from chain429.errors import ConfigError, EditConflict, StoreError

TEXT = """\
# Mine.
providers:
  a: {base_url: 'http://a.test/v1', timeouts: {idle: 5}}   # the first

  # The second one.
  b:
    base_url: "http://b.test/v1"
    limits:
      rpm: 10   # measured
chains:
  default:
    - a/big
    - [b/small, "b/other:free"]
aliases: {gpt-4o: default}   # tools ask for it
"""


def check(text: str, path: Path) -> Config:
    return parse(text, {"KEY": "k" * 20}, file=str(path))


def file_of(folder: Path, text: str | None = TEXT, first: str = "") -> ConfigFile:
    path = folder / "chain429.yaml"
    if text is not None:
        path.write_text(text, encoding="utf-8")
    return ConfigFile(path, check, lambda: first)


def nothing(tree: CommentedMap) -> None:
    pass


def test_an_edit_changes_what_it_means_to_and_nothing_else(tmp_path: Path) -> None:
    file = file_of(tmp_path)

    def edit(tree: CommentedMap) -> None:
        tree["providers"]["b"]["limits"]["rpm"] = 20
        tree["chains"]["default"].append("b/large")
        tree["chains"]["fast"] = flow(["b/small", ["a/big", "b/other:free"]])

    document, config = file.change(edit)
    assert document.text == (
        TEXT.replace("rpm: 10   #", "rpm: 20   #").replace(
            '"b/other:free"]\n', '"b/other:free"]\n    - b/large\n  fast: [b/small, [a/big, b/other:free]]\n'
        )
    )
    assert file.path.read_text(encoding="utf-8") == document.text
    assert [target.model for target in config.chains["default"].targets] == ["big", "small", "other:free", "large"]
    assert document.data["chains"]["fast"] == ["b/small", ["a/big", "b/other:free"]]


def test_what_was_there_before_is_kept_beside_it(tmp_path: Path) -> None:
    file = file_of(tmp_path)
    file.change(lambda tree: tree.update(patience=1))
    assert (tmp_path / "chain429.yaml.bak").read_text(encoding="utf-8") == TEXT
    assert sorted(path.name for path in tmp_path.iterdir()) == ["chain429.yaml", "chain429.yaml.bak"]


def test_a_wrong_result_is_told_with_every_fault_and_not_written(tmp_path: Path) -> None:
    file = file_of(tmp_path)

    def edit(tree: CommentedMap) -> None:
        tree["patience"] = -1
        tree["chains"]["default"].append("c/x")

    with pytest.raises(ConfigError) as raised:
        file.change(edit)
    assert [fault.key for fault in raised.value.faults] == ["chains.default.2", "patience"]
    assert file.path.read_text(encoding="utf-8") == TEXT
    assert [path.name for path in tmp_path.iterdir()] == ["chain429.yaml"]


def test_a_change_of_somebody_else_is_not_lost(tmp_path: Path) -> None:
    file = file_of(tmp_path)
    seen = file.read().version
    file.path.write_text(TEXT + "strict: true\n", encoding="utf-8")
    with pytest.raises(EditConflict, match="changed meanwhile"):
        file.change(nothing, seen)
    with pytest.raises(EditConflict, match="changed meanwhile"):
        file.replace(TEXT, seen)
    document, _ = file.change(nothing, file.read().version)
    assert document.data["strict"] is True


def test_a_file_that_is_not_there_begins_with_what_is_in_use(tmp_path: Path) -> None:
    file = file_of(
        tmp_path / "new", None, "providers:\n  a: {base_url: 'http://a.test/v1'}\nchains:\n  default: [a/m]\n"
    )
    assert file.read().data["chains"] == {"default": ["a/m"]}
    assert not (tmp_path / "new").exists()
    file.change(lambda tree: tree.update(strict=True))
    assert file.path.read_text(encoding="utf-8").endswith("default: [a/m]\nstrict: true\n")
    assert stat.S_IMODE(file.path.stat().st_mode) == 0o600


def test_mode_and_link_of_the_file_stay(tmp_path: Path) -> None:
    real = tmp_path / "real"
    real.mkdir()
    file_of(real).path.chmod(0o640)
    link = tmp_path / "chain429.yaml"
    link.symlink_to(real / "chain429.yaml")
    ConfigFile(link, check, str).change(lambda tree: tree.update(strict=True))
    assert link.is_symlink()
    assert "strict: true" in (real / "chain429.yaml").read_text(encoding="utf-8")
    assert stat.S_IMODE((real / "chain429.yaml").stat().st_mode) == 0o640


@pytest.mark.parametrize("text", ["a: [", "- a\n", "a: 1\na: 2\n", "\0"])
def test_what_is_no_mapping_is_said(tmp_path: Path, text: str) -> None:
    with pytest.raises(ConfigError, match=r"chain429\.yaml"):
        file_of(tmp_path, text).read()
    with pytest.raises(ConfigError):
        file_of(tmp_path).replace(text)


def test_a_folder_that_can_t_be_written_is_said_and_nothing_is_lost(tmp_path: Path) -> None:
    (tmp_path / ".chain429.yaml.new").mkdir()  # in the way, for root too
    file = file_of(tmp_path)
    with pytest.raises((StoreError, OSError)):
        file.change(nothing)
    assert file.path.read_text(encoding="utf-8") == TEXT


REMARKS = """\
chains:
  default:
    - a/big      # the best
    # cheaper ones:
    - [b/small, "b/other:free"]   # both free
    - b/last

# Names for tools.
aliases: {gpt-4o: default}
"""


@pytest.mark.parametrize(
    ("values", "lines"),
    [
        (
            ["a/big", ["b/small", "b/other:free"], "b/last"],
            ["- a/big      # the best", "# cheaper ones:", '- [b/small, "b/other:free"]   # both free', "- b/last"],
        ),
        (
            ["b/last", "b/new", "a/big"],
            ["- b/last", "# cheaper ones:", "- b/new", "- a/big      # the best"],
        ),
        (["b/new"], ["- b/new"]),
        (
            ["a/1", "a/2", "a/big", "a/3", "a/4"],
            ["- a/1", "# cheaper ones:", "- a/2", "- a/big      # the best", "- a/3", "- a/4"],
        ),
    ],
    ids=["as it was", "another order", "one", "more"],
)
def test_a_list_in_another_order_keeps_its_remarks(tmp_path: Path, values: list[object], lines: list[str]) -> None:
    file = file_of(
        tmp_path, f"providers: {{a: {{base_url: http://a.test}}, b: {{base_url: http://b.test}}}}\n{REMARKS}"
    )

    def edit(tree: CommentedMap) -> None:
        tree["chains"]["default"] = reordered(tree["chains"]["default"], values)

    file.change(edit)
    text = file.path.read_text(encoding="utf-8").partition("  default:\n")[2]
    found, _, rest = text.partition("\n\n")
    assert [line.strip() for line in found.splitlines()] == lines
    assert rest == "# Names for tools.\naliases: {gpt-4o: default}\n"


@given(st.dictionaries(st.text(min_size=1, max_size=8).filter(str.isprintable), st.text(max_size=12), max_size=5))
def test_whatever_is_put_into_the_tree_is_read_back_as_text(told: dict[str, str]) -> None:
    text = text_of("a: 1\n", lambda tree: tree.update(aliases=as_yaml(told)))
    data = Reader(Places("file")).read(text)
    assert data == {"a": 1, "aliases": told}


comments = st.text(
    st.characters(codec="utf-8", categories=("L", "N", "P", "Zs"), exclude_characters="\u2028\u2029\x85")
)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.tuples(st.sampled_from("acd"), st.integers(1, 9)), max_size=4), comments)
def test_whatever_is_edited_the_comments_of_the_rest_stay(
    tmp_path: Path, edits: list[tuple[str, int]], comment: str
) -> None:
    file = file_of(tmp_path, TEXT.replace("# Mine.", f"# {comment.strip()}."))
    for name, number in edits:

        def edit(tree: CommentedMap, name: str = name, number: int = number) -> None:
            if name == "d":
                tree["chains"].pop("extra", None)
            elif name == "c":
                tree["chains"]["extra"] = flow([f"a/m{number}"])
            else:
                tree["patience"] = number

        document, _ = file.change(edit, file.read().version)
        assert document == file.read()
    found = file.path.read_text(encoding="utf-8")
    for kept in (f"# {comment.strip()}.", "# the first", "  # The second one.", "rpm: 10   # measured", "# tools ask"):
        assert kept in found


def test_what_is_taken_out_does_not_take_the_comment_of_what_comes_next(tmp_path: Path) -> None:
    text = """\
providers:
  a: {base_url: 'http://a.test/v1'}
  # Of b itself.
  b:
    base_url: "http://b.test/v1"   # its own
    # Its end.
  # Of c.
  c: {base_url: 'http://c.test/v1'}

# Of the chains.
chains:
  default: [a/big]
  fast: [c/big]   # quick

# Of patience.
patience: 5
"""

    def edit(tree: CommentedMap) -> None:
        del tree["providers"]["b"]
        del tree["chains"]["fast"]

    document, _ = file_of(tmp_path, text).change(edit)
    of_b = text[text.index("  # Of b itself.") : text.index("  # Of c.")]
    assert document.text == text.replace(of_b, "").replace("  fast: [c/big]   # quick\n", "")


def test_what_only_looks_like_a_comment_is_not_brought_back(tmp_path: Path) -> None:
    text = TEXT + "compare: |\n  a/big\n  # no comment\n"

    def edit(tree: CommentedMap) -> None:
        tree["compare"] = "a/b"

    document, _ = file_of(tmp_path, text).change(edit)
    assert document.data["compare"] == "a/b"
    assert document.text.startswith(TEXT)
