from __future__ import annotations

import pytest

from noref.degrade.pipeline import GROUPS
from noref.embed.colour_scale import UNKNOWN, by_score, by_set, by_thirds, by_type, oklch, ramp
from noref.errors import OptionError

LIGHT, DARK = "#ffffff", "#20201f"  # the page's cards


def luminance(colour):
    """WCAG 2: relative luminance of #rrggbb."""
    shares = [int(colour[at : at + 2], 16) / 255 for at in (1, 3, 5)]
    linear = [s / 12.92 if s <= 0.04045 else ((s + 0.055) / 1.055) ** 2.4 for s in shares]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def contrast(one, other):
    low, high = sorted((luminance(one), luminance(other)))
    return (high + 0.05) / (low + 0.05)


def test_oklch_by_its_known_corners():
    assert oklch(0.5, 0, 123) == "#636363"  # 0.5 cubed is 12.5 % of linear light: 0.38857 in sRGB, 99 of 255
    assert oklch(0.627955, 0.257683, 29.234) == "#ff0000"  # the published place of sRGB's red
    assert oklch(0.519752, 0.176858, 142.495) == "#008000"


def test_every_colour_reads_on_light_and_on_dark():
    names = [name for group in GROUPS.values() for name in group]
    every = [ramp(share / 20) for share in range(21)]
    every += by_type(names, [1] * 24).colours + by_set([f"set{n}" for n in range(8)]).colours + (UNKNOWN,)
    every += by_type([f"{n:02}" for n in range(9)], [None] * 9).colours
    assert min(contrast(colour, LIGHT) for colour in every) > 1.9
    assert min(contrast(colour, DARK) for colour in every) > 2.9


def test_the_ramp_goes_from_the_lowest_to_the_highest():
    found = by_score([40.0, 20.0, 60.0])
    assert found.colours == (ramp(0.5), ramp(0.0), ramp(1.0))
    assert found.ramp == (20.0, 60.0)
    assert by_score([3.0, 3.0]).colours == (ramp(0.0),) * 2


def test_thirds_say_their_ends():
    found = by_thirds([10, 50, 90, 20, 60, 80])
    assert list(found.legend) == ["low: 10 to 20", "middle: 50 to 60", "high: 80 to 90"]
    assert found.colours[0] == found.colours[3] == found.legend["low: 10 to 20"]
    assert "high: none" in by_thirds([10, 50], (35, 70)).legend


def test_types_of_one_group_are_akin_and_levels_are_opacity():
    names = [name for group in GROUPS.values() for name in group]
    found = by_type([*names, names[0]], [1] * 24 + [5])
    assert len(set(found.colours[:24])) == 24
    assert found.colours[24] == found.colours[0]
    assert found.opacity[24] == 1.0
    assert found.opacity[0] == pytest.approx(0.3 + 0.7 / 5)
    assert "1 to 5" in found.note
    assert list(found.legend) == names


def test_an_undistorted_image_is_grey():
    found = by_type(["07", None], [2, None])
    assert found.colours[1] == found.legend["none"] == UNKNOWN
    with pytest.raises(OptionError, match="colour by score, set or thirds"):
        by_type([None, None], [None, None])
