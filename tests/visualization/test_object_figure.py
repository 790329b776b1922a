"""Three planes of a volume with outlines: the right planes, in their true proportions, in matching colours."""

from __future__ import annotations

import numpy as np
from matplotlib.colors import to_hex

from maskmed_nnu.visualization.object_figure import stack_figure
from maskmed_nnu.visualization.outlines import COLOURS


def outlines(axis) -> list[str]:
    """Colours of the lines that are drawn, without the areas that are tinted."""
    lines = [c for c in axis.collections if not c.get_facecolor().size]
    return [to_hex(line.get_edgecolor()[0]).upper() for line in lines]


def test_three_planes_that_show_most():
    truth = np.zeros((6, 20, 30), np.int32)
    truth[2:5, 4:12, 4:14], truth[2:5, 12:18, 16:28] = 7, 9
    found = np.where(truth == 7, 2, np.where(truth == 9, 1, 0))
    found[1:5, 9:12, 18:21] = 5  # meets none but at the border of 9
    found[truth == 9] = 1
    image = np.random.default_rng(0).normal(size=truth.shape)
    figure = stack_figure(image, truth, found, spacing=(3.0, 1.0, 1.5))
    rows = [figure.axes[3 * row : 3 * row + 3] for row in range(3)]
    for axis, (row, index) in enumerate(zip(rows, (3, 10, 16), strict=True)):
        for panel in row:
            np.testing.assert_array_equal(panel.images[0].get_array(), np.take(image, index, axis))
        assert row[0].get_ylabel() == f"{'zyx'[axis]} = {index}"
    assert [row[0].get_aspect() for row in rows] == [1 / 1.5, 3 / 1.5, 3 / 1]
    assert [panel.get_title() for panel in rows[0]] == ["image", "truth", "found"]
    assert [outlines(panel) for panel in rows[0]] == [[], [*COLOURS[:2]], [COLOURS[1], COLOURS[0], "#FFFFFF"]]
    figure.savefig("/dev/null", format="png")


def test_volumes_without_objects():
    nothing = np.zeros((4, 8, 8), np.int32)
    figure = stack_figure(nothing.astype(float), nothing, nothing, spacing=(1.0, 1.0, 1.0))
    assert not any(axis.collections for axis in figure.axes)
