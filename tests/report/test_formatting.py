from __future__ import annotations

import pytest

from noref.card import Scale
from noref.evaluate.uncertainty import Difference
from noref.report.formatting import conversion, difference_text, markdown, number, p_value

MINUS = "\N{MINUS SIGN}"


@pytest.mark.parametrize(
    ("found", "words"),
    [
        (Difference(0.012, 0.004, 0.02, 0.002), "better by 0.012 (95 % 0.004 to 0.020, p 0.002)"),
        (Difference(-0.012, -0.02, -0.004, 0.049), f"worse by 0.012 (95 % {MINUS}0.020 to {MINUS}0.004, p 0.049)"),
        (
            Difference(-0.004, -0.02, 0.01, 0.4),
            f"worse by 0.004 (95 % {MINUS}0.020 to 0.010, p 0.40): not distinguishable",
        ),
        (
            Difference(0.0001, -0.0001, 0.0002, 0.05),
            "better by less than 0.001 (95 % 0.000 to 0.000, p 0.050): not distinguishable",
        ),
        (Difference(0.0, 0.0, 0.0, 1.0), "the same"),
    ],
)
def test_a_difference_is_called_what_it_is(found, words):
    assert difference_text(found) == words


@pytest.mark.parametrize(
    ("scale", "formula"),
    [
        (Scale(0, 100), "score / 100."),
        (Scale(1, 5), "(score - 1) / 4."),
        (Scale(-1, 1), "(score + 1) / 2."),
        (Scale(-3, 112, False), "(112 - score) / 115, so a positive correlation is a right one."),
    ],
)
def test_the_conversion_as_text_is_the_one_of_the_scale(scale, formula):
    words = conversion("mine", scale)
    assert words.endswith(f"quality is {formula}")
    score = scale.low + 0.3 * (scale.high - scale.low)
    assert eval(formula.split(",")[0].rstrip("."), {"score": score}) == pytest.approx(scale.quality(score))


def test_numbers():
    assert (number(-0.00004), number(0.5, 1, True), number(-1.25, 1)) == ("0.000", "+0.5", f"{MINUS}1.2")
    assert [p_value(p) for p in (1.0, 0.1, 0.0999, 0.002)] == ["1.00", "0.10", "0.100", "0.002"]


def test_markdown_cannot_be_broken_by_a_name():
    assert markdown("a\n|`b`| [x](y)") == r"a \|\`b\`\| \[x\](y)"
