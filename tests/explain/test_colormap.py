"""Colours, legends and the drawing of a window."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from noref.errors import OptionError
from noref.explain.colormap import COLORMAPS, DIM, FRAME, draw_window, laid_over, legend, overlay, paint
from noref.explain.map_types import MAP_TYPES, Map, check_maps, color_range, over_mean


@pytest.mark.parametrize("colormap", COLORMAPS)
def test_colours_are_the_stops_and_straight_between_them(colormap):
    stops = np.array(COLORMAPS[colormap], float)
    last = len(stops) - 1
    values = np.array([[0.0, 1.0, -5.0, 9.0, 0.5 / last]])
    found = paint(values, colormap, 0.0, 1.0)[0]
    np.testing.assert_array_equal(found[:4], stops[[0, last, 0, last]])
    np.testing.assert_allclose(found[4], (stops[0] + stops[1]) / 2, atol=0.51)


def test_where_nothing_is_said_the_photo_is_seen():
    cover = overlay(Map("gradcam-up", np.zeros((3, 4))), (0.0, 1.0), (40, 30))
    photo = np.full((30, 40, 3), 90, np.uint8)
    np.testing.assert_array_equal(np.asarray(laid_over(photo, cover)), photo)


def test_the_photo_below_a_map_is_grey_below_a_window_it_is_not():
    photo = np.zeros((30, 40, 3), np.uint8)
    photo[..., 0] = 200
    clear = Image.new("RGBA", (40, 30), (0, 0, 0, 0))
    below = np.asarray(laid_over(photo, clear))
    assert (below[..., 0] == below[..., 1]).all()
    np.testing.assert_array_equal(np.asarray(laid_over(photo, clear, grey=False)), photo)


def test_a_window_is_clear_inside_framed_at_its_edge_and_dim_outside():
    found = np.asarray(draw_window((0.25, 0.5, 0.75, 1.0), (200, 100)))
    assert tuple(found[50, 150]) == (0, 0, 0, 0)
    assert tuple(found[10, 150]) == tuple(found[50, 50]) == DIM
    for row, column in ((26, 150), (73, 150), (50, 101), (50, 198)):  # one pixel inside of each edge
        assert tuple(found[row, column]) == FRAME
    assert tuple(found[24, 150]) == tuple(found[75, 150]) == tuple(found[50, 99]) == DIM


def test_a_legend_goes_from_one_end_to_the_other():
    found = np.asarray(legend("quality", (50, 4))).astype(int)
    assert found.shape == (4, 50, 3)
    assert found[0, 0, 0] > found[0, 0, 2]  # worse is red
    assert found[0, -1, 2] > found[0, -1, 0]  # better is blue


@pytest.mark.parametrize(
    ("name", "values", "ends"),
    [
        ("quality", [[10, 80], [30, 40]], (10, 80)),
        ("quality", [[50, 51]], (40.5, 60.5)),
        ("quality", [[0, 4]], (0, 20)),
        ("quality", [[100, 100]], (80, 100)),
        ("gradcam-down", [[0, 0.2]], (0, 1)),
        ("panel-attention", [[0.9, 1.1]], (0, 2)),
        ("activation", [[0.1, 5.0]], (0, 5)),
    ],
)
def test_the_ends_of_the_colours(name, values, ends):
    assert color_range([Map(name, np.array(values, float))]) == pytest.approx(ends)


def test_maps_side_by_side_share_their_ends():
    maps = [Map("quality", np.array([[20.0, 30.0]])), Map("quality", np.array([[60.0, 70.0]]))]
    assert color_range(maps) == (20, 70)


def test_a_map_of_zeros_stays_as_it_is():
    assert over_mean(np.zeros((2, 2))).tolist() == [[0, 0], [0, 0]]


def test_unknown_and_missing_maps():
    check_maps(["quality", "quality", "window"], ["quality", "window"], "default")
    with pytest.raises(OptionError, match="unknown map 'qualty': did you mean quality"):
        check_maps(["qualty"], ["quality"], "default")
    with pytest.raises(OptionError, match="default has no map window: it has quality"):
        check_maps(["quality", "window"], ["quality"], "default")
    assert all(one.meaning and one.title for one in MAP_TYPES.values())
