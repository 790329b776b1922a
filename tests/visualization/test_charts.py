"""Charts show the numbers where they are, and name themselves to screen readers."""

from __future__ import annotations

import doctest
import math
import re
import xml.etree.ElementTree as ElementTree
from importlib import import_module

import pytest
from matplotlib.font_manager import FontProperties
from matplotlib.textpath import TextPath

from maskmed_nnu.visualization.charts import Box, Line, box_chart, line_chart

SVG = "{http://www.w3.org/2000/svg}"


def parsed(svg: str) -> ElementTree.Element:
    return ElementTree.fromstring(svg)  # of our own making


def test_a_curve_breaks_where_a_value_is_missing_and_rises_with_its_values():
    svg = line_chart("a", "Loss", [Line("fold 0", [0, 1, 2, 3], [4.0, 2.0, math.nan, 1.0], 1)], x="epoch", y="loss")
    lines = [one.get("points").split() for one in parsed(svg).iter("polyline")]
    assert [len(points) for points in lines] == [2]
    (x0, y0), (x1, y1) = ([float(n) for n in point.split(",")] for point in lines[0])
    assert x0 < x1 and y0 < y1  # a loss that falls goes down
    assert len(list(parsed(svg).iter("circle"))) == 1  # the last one stands alone


def test_charts_have_titles_and_take_names_as_they_are():
    svg = box_chart("b", "Dice <of> each", {"<liver> & 'co'": {'case "1"': 0.5}}, x="Dice", limits=(0, 1))
    root = parsed(svg)
    assert root.get("role") == "img" and root.get("aria-labelledby") == "b-t b-d"
    assert root.find("title").text == "Dice <of> each" and root.find("desc").text
    assert 'case "1": 0.5' in [one.text for one in root.iter("title")]


def test_long_names_of_classes_end_before_they_are_cut_off_at_the_edge():
    svg = box_chart("b", "Dice", {"Common_carotid_artery_left": {"a": 0.5}}, x="Dice", limits=(0, 1))
    label = next(text for text in parsed(svg).iter("text") if text.get("class") == "label")
    shown = "".join(label.itertext()).removeprefix("Common_carotid_artery_left")  # its title
    drawn = TextPath((0, 0), shown, size=11, prop=FontProperties(family="DejaVu Sans")).get_extents()
    assert shown == "Common_carotid_…" and drawn.width < float(label.get("x"))


def test_boxes_lie_where_their_numbers_are():
    svg = box_chart("b", "Dice", {"a": {str(n): n / 10 for n in range(11)}, "none": {}}, x="Dice", limits=(0, 1))
    root = parsed(svg)
    ticks = {float(t.text): float(t.get("x")) for t in root.iter("text") if t.get("class") == "tick"}
    box = next(root.iter("rect"))
    left = float(box.get("x"))
    place = lambda value: ticks[0.0] + value * (ticks[1.0] - ticks[0.0])  # noqa: E731
    assert abs(left - place(0.25)) < 0.1 and abs(left + float(box.get("width")) - place(0.75)) < 0.1
    median = next(p for p in root.iter("path") if p.get("class") == "median").get("d")
    assert abs(float(re.match(r"M([\d.]+)", median)[1]) - place(0.5)) < 0.1
    assert "no case" in [t.text for t in root.iter("text")]
    assert Box.of([math.nan]) is None


def test_curves_of_one_value_or_none_are_drawn():
    for y in ([0.0], [math.nan]):
        assert "NaN" not in line_chart("a", "t", [Line("f", [0], y, 1)], x="epoch", y="y").replace("nan", "NaN")


@pytest.mark.parametrize(
    "module", ["visualization.charts", "visualization.volume_planes", "visualization.case_pictures",
               "nnunet.evaluation.validation_scores"]
)  # fmt: skip
def test_examples(module):
    tested = doctest.testmod(import_module(f"maskmed_nnu.{module}"))
    assert tested.failed == 0 < tested.attempted
