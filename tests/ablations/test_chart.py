"""Charts are well-formed SVG that shows every point inside its frame."""

import math
from xml.etree import ElementTree

import pytest
from matplotlib import rc_params_from_file

from ablations.chart import STYLE, Estimate, Line, interval_chart, line_chart

SVG = "{http://www.w3.org/2000/svg}"
COLOURS = [*dict.fromkeys(rc_params_from_file(STYLE, use_default_template=False)["axes.prop_cycle"].by_key()["color"])]
LINES = [Line("a < b_$1$", [(0.1, 25.0), (0.9, 22.0)], [0.5, None]), Line("_c", [(0.5, 30.0)])]


def dots(svg: bytes, line: int) -> list[tuple[float, float]]:
    """Where a line's points are, as shares of the picture's width and height."""
    tree = ElementTree.fromstring(svg)
    width, height = (float(size) for size in tree.get("viewBox", "").split()[2:])
    uses = tree.findall(f".//{SVG}g[@id='line-{line}']//{SVG}use")
    return [(float(use.get("x", "-1")) / width, float(use.get("y", "-1")) / height) for use in uses]


def texts(svg: bytes) -> list[str | None]:
    return [element.text for element in ElementTree.fromstring(svg).iter(f"{SVG}text")]


def test_every_point_is_drawn_inside_the_frame_and_names_are_shown_as_they_are() -> None:
    svg = line_chart(LINES, "r", "FID", marked=True)
    places = [dots(svg, number) for number in range(2)]
    assert [len(of_line) for of_line in places] == [2, 1]
    assert all(0 < x < 1 and 0 < y < 1 for of_line in places for x, y in of_line)
    (left, low), (right, lowest) = places[0]
    assert left < right
    assert low < lowest  # y of SVG points downwards
    assert {"a < b_$1$", "_c", "r", "FID"} <= set(texts(svg))


@pytest.mark.parametrize("values", [[0.0, 1.0], [22.1, 22.1], [1e-4, 3e-4], [640, 26240], [-3.0, 5.0], [0.0]])
def test_values_of_any_size_and_equal_ones_are_drawn(values: list[float]) -> None:
    svg = line_chart([Line("a", [(y, y) for y in values], [None for _ in values])], "x", "y", marked=True)
    assert all(0 < x < 1 and 0 < y < 1 for x, y in dots(svg, 0))
    assert len(dots(svg, 0)) == len(values)


def test_many_images_are_counted_in_thousands() -> None:
    assert "20k" in texts(line_chart([Line("a", [(640, 1.0), (26240, 0.5)])], "images seen", "loss"))


def test_more_lines_than_colours_differ_in_their_dashes() -> None:
    lines = [Line(str(number), [(0, number), (1, number)]) for number in range(len(COLOURS) + 1)]
    tree = ElementTree.fromstring(line_chart(lines, "x", "y"))
    styles = [tree.find(f".//{SVG}g[@id='line-{n}']/{SVG}path") for n in (0, len(COLOURS))]
    solid, dashed = (path.get("style", "") for path in styles if path is not None)
    assert COLOURS[0] in solid
    assert COLOURS[0] in dashed
    assert "dasharray" in dashed
    assert "dasharray" not in solid


def test_the_same_lines_give_the_same_bytes() -> None:
    assert line_chart(LINES, "r", "FID", marked=True) == line_chart(LINES, "r", "FID", marked=True)


def test_no_points_is_an_error() -> None:
    with pytest.raises(ValueError, match="FID: no points"):
        line_chart([Line("a", [])], "r", "FID")


def test_every_estimate_is_drawn_with_its_name_also_without_an_interval() -> None:
    svg = interval_chart([Estimate("a", 1.0, 0.2, [0.9, 1.1]), Estimate("b", 3.0, math.inf, [3.0])], "KID")
    groups = ElementTree.fromstring(svg).findall(f".//{SVG}g[@id]")
    assert {"estimate-0", "estimate-1"} <= {group.get("id") for group in groups}
    assert {"a", "b", "KID"} <= set(texts(svg))
    assert svg == interval_chart([Estimate("a", 1.0, 0.2, [0.9, 1.1]), Estimate("b", 3.0, math.inf, [3.0])], "KID")
    with pytest.raises(ValueError, match="KID: no estimates"):
        interval_chart([], "KID")
