"""How a report writes things: names of data sets and models, numbers, scales, differences, times."""

from __future__ import annotations

import html
import math
import re

from noref.card import Scale
from noref.evaluate.uncertainty import Difference
from noref.report.cell_metrics import Comparison
from noref.report.results import Model

SETS = {
    "live": "LIVE",
    "live-original": "LIVE with its original DMOS",
    "csiq": "CSIQ",
    "tid2013": "TID2013",
    "kadid10k": "KADID-10k",
    "livec": "LIVE In the Wild",
    "koniq10k": "KonIQ-10k",
    "livefb": "LIVEFB",
    "spaq": "SPAQ",
    "agiqa3k": "AGIQA-3K",
    "bid": "BID",
}
PAPERS = {"lml-iqa": "LML-IQA", "csiqa": "CSIQA", "arniqa": "ARNIQA"}
TEST_CROPS = {  # column `protocol`
    "grid": "a fixed grid of crops that reaches every border, scores averaged",
    "paper": "ten random crops, seeded, scores averaged",
}
SELECTIONS = {  # column `selection`
    "last": "the last epoch",
    "validation": "the best epoch on a validation part of the training images",
    "test": "THE BEST EPOCH ON THE TEST PART",
}
SIGNIFICANT = 0.05  # a p value below it is called a difference


def set_name(name: str) -> str:
    """A data set's name for people; one that is not known stays as it is."""
    return SETS.get(name, name)


def model_name(model: Model, several_recipes: bool = False) -> str:
    """What the rows of a table are called: the variant where there are several, else the recipe."""
    if not model.variant:
        return model.recipe
    return f"{model.recipe}, {model.variant}" if several_recipes else model.variant


def percent(fraction: float) -> str:
    """A fraction as people write it: 0.2 is `20 %`."""
    return f"{100 * fraction:g} %"


def sets_of(model: Model) -> str:
    """What a model learnt from and what it was tested on."""
    if model.training_set == model.test_set:
        return f"trained and tested on parts of {set_name(model.training_set)}"
    return f"trained on {set_name(model.training_set)}, tested on all of {set_name(model.test_set)}"


def scale_text(scale: Scale) -> str:
    """Name, range and direction of raw scores, such as "DMOS 0 to 100, lower is better"."""
    name, better = ("MOS", "higher") if scale.higher_is_better else ("DMOS", "lower")
    return f"{name} {scale.low:g} to {scale.high:g}, {better} is better"


def conversion(name: str, scale: Scale) -> str:
    """How raw scores of a data set become quality."""
    width = f"{scale.high - scale.low:g}"
    if not scale.higher_is_better:
        formula = f"({scale.high:g} - score) / {width}, so a positive correlation is a right one"
    elif scale.low:
        formula = f"(score {'-' if scale.low > 0 else '+'} {abs(scale.low):g}) / {width}"
    else:
        formula = f"score / {width}"
    return f"{set_name(name)}: {scale_text(scale)}; quality is {formula}."


def number(value: float, digits: int = 3, sign: bool = False) -> str:
    """A number with a real minus sign, and none before a zero."""
    return f"{float(value):{'+' if sign else ''}z.{digits}f}".replace("-", "\N{MINUS SIGN}")


def decimals(scale: Scale) -> int:
    """Digits behind the point that a raw score of this scale is printed with: 1 for 0 to 100, 3 for 0 to 1."""
    return max(0, 3 - round(math.log10(scale.high - scale.low)))


def p_value(p: float) -> str:
    """A p value with two digits, or three where it is below 0.1."""
    return f"{p:.2f}" if p >= 0.1 else f"{p:.3f}"


def difference_text(found: Difference) -> str:
    """A difference as a sentence that says whether it can be told from chance.

    Example:
        >>> difference_text(Difference(0.004, -0.01, 0.02, 0.4))
        'better by 0.004 (95 % \N{MINUS SIGN}0.010 to 0.020, p 0.40): not distinguishable'
    """
    if found.value == found.low == found.high == 0:
        return "the same"
    way = "better" if found.value >= 0 else "worse"
    interval = f"95 % {number(found.low)} to {number(found.high)}, p {p_value(found.p)}"
    end = "" if found.p < SIGNIFICANT else ": not distinguishable"
    size = f"{abs(found.value):.3f}" if abs(found.value) >= 0.0005 else "less than 0.001"
    return f"{way} by {size} ({interval}){end}"


def compared_names(found: Comparison, several_recipes: bool = False) -> tuple[str, str]:
    """The two sides of a comparison, as short as they can be told apart."""
    first, second = found.first, found.second
    part = "" if first.fraction == second.fraction == 1 else f", {percent(first.fraction)} of the training part"
    same = first.fraction == second.fraction
    other = model_name(second, several_recipes) if same else percent(second.fraction)
    return model_name(first, several_recipes) + part, other


def counted(count: int, noun: str) -> str:
    """A number with its noun: `1 run`, `2 runs`."""
    return f"{count} {noun}{'' if count == 1 else 's'}"


def markdown(text: object) -> str:
    """Text that a Markdown table prints as it is: on one line, with the signs of Markdown and HTML escaped."""
    plain = re.sub(r"([\\|*_`\[\]])", r"\\\1", html.escape(str(text), quote=False))
    return " ".join(plain.split())
