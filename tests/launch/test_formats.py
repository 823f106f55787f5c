"""A change in one place of a file of settings, with everything else left as it is."""

from __future__ import annotations

import copy
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chain429.launch.formats import ABSENT, FORMATS, CantChange, Item, Kind, Place, changed, put_in, value_at

TOML = """\
# mine
model = "gpt-5" # good
notes = '''
model = "no key"
'''

# about projects
[projects."/x"]
trust_level = "trusted"

[model_providers.other]
name = "other"
"""

YAML = """\
# mine
dark-mode: true  # at night
models:
  # the first
  - name: one
    provider: 'openai'
"""


@pytest.mark.parametrize(
    ("kind", "before", "place", "value", "after"),
    [
        (Kind.JSON, "", ("a", "b"), 1, '{\n  "a": {\n    "b": 1\n  }\n}\n'),
        (Kind.JSON, '{\n\t"x": "é"\n}', ("a",), "b", '{\n\t"x": "é",\n\t"a": "b"\n}\n'),
        (Kind.JSON, '{"a": {"b": 1}, "c": 2}', ("a", "b"), ABSENT, '{\n  "c": 2\n}\n'),
        (Kind.TOML, "", ("model",), 'a"b', 'model = "a\\"b"\n'),
        (Kind.TOML, TOML, ("model",), "default", TOML.replace('"gpt-5" # good', '"default"')),
        (Kind.TOML, TOML, ("other",), "x", TOML.replace("'''\n\n", "'''\nother = \"x\"\n\n")),
        (
            Kind.TOML,
            TOML,
            ("model_providers", "a"),
            {"b": {"c": "d"}},
            f'{TOML}\n[model_providers.a]\nb = {{ "c" = "d" }}\n',
        ),
        (Kind.TOML, TOML, ("model_providers", "other"), ABSENT, TOML[: TOML.index("\n[model_providers")]),
        (Kind.TOML, TOML, ("projects", "absent"), ABSENT, TOML),
        (Kind.YAML, YAML, ("model",), "x", f"{YAML}model: x\n"),
        (
            Kind.YAML,
            YAML,
            ("models", Item("name", "two")),
            {"name": "two"},
            f"{YAML}  - name: two\n",
        ),
        (Kind.YAML, "a:\n- b: 1\n", ("a", Item("b", "2")), {"b": "2"}, "a:\n- b: 1\n- b: '2'\n"),
        (Kind.YAML, "# only this\na: 1\n", ("a",), ABSENT, "# only this\n"),
        (Kind.YAML_LIST, "", (Item("id", "x"),), {"id": "x"}, "- id: x\n"),
        (Kind.YAML_LIST, "- id: y\n", (Item("id", "x"),), {"id": "x"}, "- id: y\n- id: x\n"),
        (Kind.SHELL, "PS1=x", ("us",), "a\n", "PS1=x\n# >>> us >>>\na\n# <<< us <<<\n"),
        (Kind.SHELL, "1\n# >>> us >>>\na\n# <<< us <<<\n2\n", ("us",), "b\n", "1\n# >>> us >>>\nb\n# <<< us <<<\n2\n"),
        (Kind.SHELL, "1\n# >>> us >>>\na\n# <<< us <<<\n2\n", ("us",), ABSENT, "1\n2\n"),
    ],
)
def test_one_place_is_changed(kind: Kind, before: str, place: Place, value: Any, after: str) -> None:
    assert changed(FORMATS[kind], before, place, value) == after
    # What is there already is not written again, however it is written.
    assert changed(FORMATS[kind], after, place, value) == after


@pytest.mark.parametrize(
    ("kind", "text", "place", "value", "why"),
    [
        (Kind.JSON, '{"a": 1 /* one */}', ("b",), 2, "not plain JSON"),
        (Kind.JSON, "[" * 100_000, ("b",), 2, "not plain JSON"),
        (Kind.JSON, '{"env": "x"}', ("env", "A"), "b", "something else stands where A would be"),
        (Kind.JSON, "[]", ("a",), "b", "something else stands where a would be"),
        (Kind.TOML, "a = ", ("b",), "x", "not valid TOML"),
        # The key is there, in a table that is written in a way that is not looked for.
        (Kind.TOML, "p = { c = { x = 1 } }\n", ("p", "c"), {"x": "2"}, "not valid TOML"),
        (Kind.TOML, "[p.c]\nx = 1\n[p.c.y]\nz = 1\n", ("p", "c"), {"x": "2"}, "can't be changed safely"),
        (Kind.TOML, 'model = """\na"""\n', ("model",), "x", "not valid TOML"),
        (Kind.TOML, "model.a = 1\n", ("model",), "x", "not valid TOML"),
        (Kind.YAML, "a: [", ("b",), "x", "not valid YAML"),
        (Kind.YAML, "- a\n", ("b",), "x", "something else stands where b would be"),
        (Kind.YAML, "models: {name: x}\n", ("models", Item("name", "x")), {}, "something else stands where x would be"),
        (Kind.SHELL, "# >>> us >>>\na\n", ("us",), "b\n", "are not pairs"),
    ],
)
def test_what_can_not_be_changed_safely_is_not(kind: Kind, text: str, place: Place, value: Any, why: str) -> None:
    with pytest.raises(CantChange, match=why):
        changed(FORMATS[kind], text, place, value)


NAMES = st.text("abc-_é'\"\\\n #=:[]{}", min_size=1, max_size=6)
TREES = st.dictionaries(NAMES, st.one_of(NAMES, st.dictionaries(NAMES, NAMES, max_size=3)), max_size=4)


@given(tree=TREES, text=st.text(max_size=10).filter(str.isprintable), kind=st.sampled_from([Kind.JSON, Kind.YAML]))
def test_put_and_taken_away_again_leaves_what_was(tree: dict[str, Any], text: str, kind: Kind) -> None:
    before = FORMATS[kind].put("", ("x y",), tree)
    place: Place = ("x y", "ours", "value")
    between = changed(FORMATS[kind], before, place, text)
    assert value_at(FORMATS[kind].read(between), place) == text
    wanted = copy.deepcopy({"x y": tree})
    put_in(wanted, place, text)
    assert FORMATS[kind].read(between) == wanted
    after = FORMATS[kind].read(changed(FORMATS[kind], between, place, ABSENT))
    assert after == ({"x y": tree} if tree else {})
