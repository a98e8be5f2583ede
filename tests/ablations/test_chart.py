"""Charts are well-formed SVG that shows every point inside its frame."""

import itertools
from xml.etree import ElementTree

import pytest

from ablations.chart import HEIGHT, WIDTH, Line, line_chart, ticks


@pytest.mark.parametrize("values", [[0.0, 1.0], [22.1, 22.1], [1e-4, 3e-4], [640, 26240], [-3.0, 5.0], [0.0]])
def test_ticks_are_even_and_hold_all_values(values: list[float]) -> None:
    found = ticks(values)
    assert found[0] <= min(values) <= max(values) <= found[-1] + 1e-9
    steps = [b - a for a, b in itertools.pairwise(found)]
    assert steps == pytest.approx([steps[0]] * len(steps))
    assert 2 <= len(found) <= 8


def test_every_point_is_drawn_inside_the_frame_and_names_are_escaped() -> None:
    lines = [Line("a < b", [(0.1, 25.0), (0.9, 22.0)], [0.5, None]), Line("c", [(0.5, 30.0)])]
    tree = ElementTree.fromstring(line_chart(lines, "r", "FID", marked=True))
    dots = [(float(c.get("cx", "-1")), float(c.get("cy", "-1"))) for c in tree.iter() if c.tag.endswith("circle")]
    assert len(dots) == 3
    assert all(0 < x < WIDTH and 0 < y < HEIGHT for x, y in dots)
    assert any(t.text == "a < b" for t in tree.iter())


def test_no_points_is_an_error() -> None:
    with pytest.raises(ValueError, match="FID: no points"):
        line_chart([Line("a", [])], "r", "FID")
