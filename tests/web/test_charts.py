from __future__ import annotations

import itertools
from collections import defaultdict
from collections.abc import Callable
from xml.etree import ElementTree

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chain429.web.charts import BOTTOM, COLOURS, LEFT, RIGHT, TOP, Chart, Series, bars, ceiling, lines

SVG = "{http://www.w3.org/2000/svg}"


def chart(*series: Series, slots: tuple[str, ...] = ("Mon", "Tue")) -> Chart:
    return Chart("used", "Requests", "Requests by provider", slots, series, lambda value: f"{value:g}")


def drawn(svg: str) -> ElementTree.Element:
    return ElementTree.fromstring(svg.replace("<svg ", '<svg xmlns="http://www.w3.org/2000/svg" ', 1))


def each(svg: str, tag: str) -> list[dict[str, str]]:
    return [{**one.attrib, "title": one.findtext(f"{SVG}title", "")} for one in drawn(svg).iter(f"{SVG}{tag}")]


def test_bars_stand_on_each_other_and_are_as_high_as_their_values() -> None:
    groq, cerebras, tuesday = each(bars(chart(Series("Groq", (6.0, 0.0)), Series("Cerebras", (4.0, 5.0)))), "rect")
    assert [one["class"] for one in (groq, cerebras, tuesday)] == ["c0", "c1", "c1"]
    # The axis ends at 10, which 182 units stand for; a slot has 206, and its bar the middle 80 % of them.
    assert (groq["x"], groq["y"], groq["width"], groq["height"]) == ("80.60", "86.80", "164.80", "109.20")
    assert (cerebras["x"], cerebras["y"], cerebras["height"]) == ("80.60", "14.00", "72.80")
    assert (tuesday["x"], tuesday["y"], tuesday["height"]) == ("286.60", "105.00", "91.00")
    assert [one["title"] for one in (groq, tuesday)] == ["Groq, Mon: 6", "Cerebras, Tue: 5"]


def test_a_line_goes_through_the_middle_of_its_slots_and_has_gaps() -> None:
    svg = lines(chart(Series("Groq", (1.0, 2.0, None, 4.0)), slots=("a", "b", "c", "d")))
    (line,) = each(svg, "polyline")
    assert line["points"] == "111.50,159.60 214.50,123.20"
    points = each(svg, "circle")
    assert [(one["cx"], one["cy"]) for one in points] == [
        ("111.50", "159.60"),
        ("214.50", "123.20"),
        ("420.50", "50.40"),
    ]
    assert points[2]["title"] == "Groq, d: 4"


def test_the_axis_is_written_at_its_ends_and_its_middle() -> None:
    svg = bars(chart(Series("Groq", (3.0, 1.0))))
    texts = [(one.get("class"), one.get("y"), one.text) for one in drawn(svg).iter(f"{SVG}text")]
    assert texts == [
        ("amount", "200.00", "0"),
        ("amount", "109.00", "2.5"),
        ("amount", "18.00", "5"),
        ("slot", "220", "Mon"),
        ("slot", "220", "Tue"),
    ]


def test_not_every_slot_has_room_for_its_name() -> None:
    slots = tuple(f"{hour:02}:00" for hour in range(24))
    svg = bars(chart(Series("Groq", (1.0,) * 24), slots=slots))
    assert [one.text for one in drawn(svg).iter(f"{SVG}text") if one.get("class") == "slot"] == [
        *("00:00", "05:00", "10:00", "15:00", "20:00")
    ]


@pytest.mark.parametrize("draw", [bars, lines])
def test_a_chart_says_what_it_is(draw: Callable[[Chart], str]) -> None:
    root = drawn(draw(chart()))
    assert root.get("role") == "img"
    named = [root.find(f"*[@id='{id}']") for id in root.attrib["aria-labelledby"].split()]
    assert [one.text for one in named if one is not None] == ["Requests", "Requests by provider"]


@pytest.mark.parametrize("draw", [bars, lines])
def test_a_name_is_no_markup(draw: Callable[[Chart], str]) -> None:
    svg = draw(chart(Series("<script>&\"'", (1.0, 1.0)), slots=("<b>", "&")))
    assert "<script>" not in svg
    assert {one["title"] for one in each(svg, "rect") + each(svg, "circle")} == {
        "<script>&\"', <b>: 1",
        "<script>&\"', &: 1",
    }


@pytest.mark.parametrize(
    ("values", "end"),
    [
        ((), 1.0),
        ((0.0,), 1.0),
        ((1.0,), 1.0),
        ((1.1,), 2.0),
        ((3.0, 4.9), 5.0),
        ((5.1,), 10.0),
        ((0.03,), 0.05),
        ((7200.0,), 10_000.0),
    ],
)
def test_the_axis_ends_at_a_round_number(values: tuple[float, ...], end: float) -> None:
    assert ceiling(values) == pytest.approx(end)


VALUES = st.lists(
    st.tuples(*[st.none() | st.floats(0, 1e15, allow_subnormal=False)] * 4), max_size=COLOURS + 2
)  # what a log may hold, and more


@given(VALUES)
def test_nothing_is_drawn_outside_or_over_each_other(values: list[tuple[float | None, ...]]) -> None:
    series = [Series(str(number), row) for number, row in enumerate(values)]
    whole = chart(*series, slots=("a", "b", "c", "d"))
    stacks: dict[str, list[tuple[float, float]]] = defaultdict(list)
    for one in each(bars(whole), "rect"):
        x, y, width, height = (float(one[name]) for name in ("x", "y", "width", "height"))
        assert x >= LEFT
        assert x + width <= RIGHT
        assert y >= TOP - 0.01
        assert y + height <= BOTTOM + 0.01
        stacks[one["x"]].append((y, height))
    for stack in stacks.values():
        for (below, _), (y, height) in itertools.pairwise(stack):
            assert y + height == pytest.approx(below, abs=0.02)
    for one in each(lines(whole), "circle"):
        assert LEFT <= float(one["cx"]) <= RIGHT
        assert TOP <= float(one["cy"]) <= BOTTOM
