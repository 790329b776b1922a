"""Figures of explanations: what is drawn lies where it is, in the colours and with the names of the classes."""

from __future__ import annotations

import sys

import numpy as np
import pytest
from matplotlib.collections import LineCollection, PathCollection

from maskmed_nnu.analysis.attention_weights import AttentionWeights
from maskmed_nnu.analysis.object_queries import ObjectQueries
from maskmed_nnu.analysis.sampling_places import SamplingPlaces
from maskmed_nnu.visualization.attention_weight_figure import attention_weight_figure
from maskmed_nnu.visualization.map_figure import map_figure
from maskmed_nnu.visualization.object_query_figures import centres_figure, query_masks_figure
from maskmed_nnu.visualization.overlay import class_colour
from maskmed_nnu.visualization.panels import colour_of
from maskmed_nnu.visualization.query_figures import QueryText, masks_figure, roles_figure, similarity_figure
from maskmed_nnu.visualization.sampling_figure import sampling_figure

IMAGE = np.random.default_rng(0).random((1, 20, 30)).astype(np.float32)


def texts(count):
    return [QueryText(n, f"$class_{n}", 0.5, colour_of(n + 1), n, f"{n}% of it") for n in range(count)]


def titles(figure):
    return [axis.get_title().replace("\\$", "$") for axis in figure.axes if axis.get_visible()]


def test_masks_in_the_colours_of_their_classes():
    masks = np.zeros((7, 20, 30))
    masks[2, 3:8, 20:] = 1
    figure = masks_figure(
        IMAGE, np.zeros((20, 30, 3), np.uint8), masks, texts(7), [("a", (1, 0, 0))], aspect=2, title=""
    )
    assert titles(figure)[3] == "query 2: $class_2 0.50\n2% of it"
    assert len(titles(figure)) == 8
    _, tinted = figure.axes[3].images
    rgba = np.asarray(tinted.get_array())
    np.testing.assert_allclose(rgba[..., :3], np.broadcast_to(class_colour(3) / 255, (20, 30, 3)), atol=1e-6)
    np.testing.assert_array_equal(rgba[..., 3] > 0, masks[2] > 0)
    assert figure.axes[3].get_aspect() == 2


def test_roles_in_words():
    shares = np.array([[0.97, np.nan], [0.03, np.nan], [0.0, np.nan]])
    axis = roles_figure(shares, ["liver", "_spleen"], title="").axes[0]
    written = {text.get_text(): text.get_position() for text in axis.texts}
    assert written["97"] == (0, 0) and written["3"] == (0, 1)
    assert written["not in this patch"][0] == 1 and len(written) == 3
    assert [label.get_text() for label in axis.get_yticklabels()] == ["query 0", "query 1", "query 2"]


@pytest.mark.parametrize("count", [1, 2, 20])
def test_queries_of_one_class_stand_together(count):
    queries = [query._replace(rank=-query.number) for query in texts(count)]
    rng = np.random.default_rng(0)
    figure = similarity_figure(rng.random((count, 5)), rng.random((count, 9)), queries, title="")
    numbers = [int(label.get_text()) for label in figure.axes[0].get_xticklabels()]
    assert numbers == sorted(numbers, reverse=True)
    named = {number for text in figure.axes[2].texts for number in text.get_text().split(", ")}
    assert named == {str(number) for number in range(count)}


@pytest.mark.parametrize("dim", [2, 3])
def test_samples_are_drawn_at_their_places(dim):
    rng = np.random.default_rng(0)
    positions = rng.random((2, 3, 2, 4, dim)) * 10
    places = SamplingPlaces((1, 2), rng.random((2, dim)) * 10, positions, rng.random((2, 3, 2, 4)).astype(np.float32))
    image = rng.random((1, 12, 20, 30)[: 1 + dim]).astype(np.float32)
    figure = sampling_figure(image, places, (2.0, 1.0, 0.5)[:dim], title="")
    planes = [(0, 1)] if dim == 2 else [(1, 2), (0, 2), (0, 1)]
    panels = [(row, plane) for row in range(2) for plane in planes]
    for axis, (row, (down, across)) in zip(figure.axes, panels, strict=True):
        dots = [part.get_offsets() for part in axis.collections if isinstance(part, PathCollection)]
        for level, drawn in enumerate(dots):
            np.testing.assert_allclose(drawn, positions[row, :, level].reshape(-1, dim)[:, [across, down]])
        x, y = axis.lines[-1].get_data()
        assert (y[0], x[0]) == tuple(places.asked_at[row][[down, across]])
        assert axis.get_aspect() == (2.0, 1.0, 0.5)[down] / (2.0, 1.0, 0.5)[across]


def objects():
    mask = np.full((6, 10), 0.9, np.float32)
    return ObjectQueries(
        class_probabilities=np.array([[0.1, 0.8, 0.1], [0.2, 0.1, 0.7]], np.float32),
        boxes=np.array([[5, 12, 11, 22], [0, 0, 0, 0]]),
        masks=[mask, np.zeros((0, 0), np.float32)],
        heat=np.eye(2, dtype=np.float32)[:, :, None] * np.ones((2, 2, 17), np.float32),
        heat_stride=(2, 2),
        peaks=np.array([[8.0, 17.0], [1.0, 2.0]]),
        votes=np.stack([np.full((12, 17), 3.0), np.full((12, 17), -1.0)]).astype(np.float32),
        vote_stride=(2, 2),
        offset=(4, 4),
    )


def test_peaks_heat_votes_and_outlines():
    colours = [colour_of(1), colour_of(2)]
    figure = centres_figure(IMAGE, objects(), ["cell", "nucleus"], colours, threshold=0.5, aspect=1, title="")
    peaks, heat, votes, outlines = figure.axes
    left_out, found = (part.get_offsets() for part in peaks.collections)
    np.testing.assert_array_equal(found, [[17, 8]])
    np.testing.assert_array_equal(left_out, [[2, 1]])
    assert heat.images[-1].get_extent() == [-4.5, 29.5, -0.5, -4.5]
    np.testing.assert_allclose(np.asarray(heat.images[-1].get_array())[0, 0], colours[0], atol=1e-6)
    assert heat.get_xlim() == (-0.5, 29.5) and heat.get_ylim() == (19.5, -0.5)
    (lines,) = (part for part in votes.collections if isinstance(part, LineCollection))
    assert len(lines.get_segments()) > 5
    for start, end in lines.get_segments():
        assert 12 <= start[0] < 22 and 5 <= start[1] < 11
        np.testing.assert_allclose(end - start, (-1, 3))
        assert (start + 4 - 1) % 2 == pytest.approx(0)  # pixel number 1 of each cell of two
    assert outlines.collections


def test_masks_of_queries_on_one_scale():
    figure = query_masks_figure(IMAGE, objects(), ["cell", "nucleus"], [colour_of(1), colour_of(2)], aspect=1, title="")
    axis = figure.axes[0]
    assert axis.get_title() == "query 0\nnucleus 0.80"
    assert np.mean(axis.get_xlim()) == 16.5 and np.mean(axis.get_ylim()) == 7.5
    opacity = np.asarray(axis.images[1].get_array())[..., 3]
    assert (opacity[5:11, 12:22] > 0).all() and (opacity > 0).sum() == 60


def test_attention_over_the_image():
    weights = AttentionWeights(
        attention=np.full((2, 3, 4), 1 / 12, np.float32),
        mask=np.ones((2, 3, 4), np.float32),
        cell=np.array([8.0, 8.0]),
        asked_at=np.array([7.5, 11.5]),
        offset=np.array([2, 1]),
    )
    names = [f"encoder.{number}.1" for number in range(7)]
    figure = attention_weight_figure(IMAGE, dict.fromkeys(names, weights), aspect=1, title="")
    assert [title.split("\n") for title in titles(figure) if title] == [[name, "3×4 keys"] for name in names]
    first = figure.axes[0]
    assert first.images[-1].get_extent() == [-1.5, 30.5, 21.5, -2.5]
    x, y = first.lines[-1].get_data()
    assert (y[0], x[0]) == (7.5, 11.5)


@pytest.mark.parametrize("name", ["co$t$ \\frac{$", "_$", "caf\udce9"])
def test_names_are_drawn_as_they_are(name):
    figure = map_figure(np.zeros((4, 4, 3), np.uint8), {1: name}, title=name, aspect=1)
    figure.draw_without_rendering()  # a formula that is none, or bytes that are no text, would end it
    assert [text.get_text().lstrip("\u200b") for text in figure.legends[0].get_texts()] == [
        name.replace("$", "\\$").replace("\udce9", "?")
    ]


def test_pyplot_is_left_alone():
    pyplot = sys.modules.get("matplotlib.pyplot")
    before = pyplot.get_fignums() if pyplot else []
    roles_figure(np.eye(2), ["a", "b"], title="")
    pyplot = sys.modules.get("matplotlib.pyplot")
    assert (pyplot.get_fignums() if pyplot else []) == before
