"""What a report says in sentences: names, scales, differences, and in what we differ from the papers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from noref.card import Scale
from noref.evaluate.published import Beside
from noref.evaluate.uncertainty import Difference
from noref.report.results import Model, Results, part
from noref.report.summary import Comparison, Group

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
PROTOCOLS = {
    "grid": "a fixed grid of crops that reaches every border, scores averaged",
    "paper": "ten random crops, seeded, scores averaged",
}
SELECTIONS = {
    "last": "the last epoch",
    "validation": "the best epoch on a validation part of the training images",
    "test": "THE BEST EPOCH ON THE TEST PART",
}
SURE = 0.05  # p below it is called a difference


def set_name(name: str) -> str:
    """A data set's name for people.

    Example:
        >>> set_name("livec"), set_name("my_photos")
        ('LIVE In the Wild', 'my_photos')
    """
    return SETS.get(name, name)


def model_name(model: Model, several_recipes: bool = False) -> str:
    """What the rows of a table are called: the variant where there are several, else the recipe."""
    if not model.variant:
        return model.recipe
    return f"{model.recipe}, {model.variant}" if several_recipes else model.variant


def share(fraction: float) -> str:
    """A fraction as people write it.

    Example:
        >>> share(0.2)
        '20 %'
    """
    return f"{100 * fraction:g} %"


def pair(model: Model) -> str:
    """What a model learnt from and what it was tested on.

    Example:
        >>> pair(Model("deiqt", "", "csiq", "live", 1.0, "grid", "last"))
        'trained on CSIQ, tested on all of LIVE'
    """
    if model.training_set == model.test_set:
        return f"trained and tested on parts of {set_name(model.training_set)}"
    return f"trained on {set_name(model.training_set)}, tested on all of {set_name(model.test_set)}"


def range_of(scale: Scale) -> str:
    """Range and direction of raw scores, and their name.

    Example:
        >>> range_of(Scale(0, 100, higher_is_better=False))
        'DMOS 0 to 100, lower is better'
    """
    name = "MOS" if scale.higher_is_better else "DMOS"
    return f"{name} {scale.low:g} to {scale.high:g}, {'higher' if scale.higher_is_better else 'lower'} is better"


def conversion(name: str, scale: Scale) -> str:
    """How raw scores of a set become quality, and what that means for the figures."""
    width = f"{scale.high - scale.low:g}"
    if not scale.higher_is_better:
        formula = f"({scale.high:g} - score) / {width}, so a positive correlation is a right one"
    elif scale.low:
        formula = f"(score {'-' if scale.low > 0 else '+'} {abs(scale.low):g}) / {width}"
    else:
        formula = f"score / {width}"
    return f"{set_name(name)}: {range_of(scale)}; quality is {formula}."


def number(value: float, digits: int = 3, sign: bool = False) -> str:
    """A number with a real minus.

    Example:
        >>> number(-0.0123)
        '\N{MINUS SIGN}0.012'
    """
    rounded = round(float(value), digits) + 0.0  # no minus before a zero
    return f"{rounded:{'+' if sign else ''}.{digits}f}".replace("-", "\N{MINUS SIGN}")


def chance(p: float) -> str:
    """A p value with as many digits as it deserves.

    Example:
        >>> chance(0.4123), chance(0.031), chance(0.002)
        ('0.41', '0.031', '0.002')
    """
    return f"{p:.2f}" if p >= 0.1 else f"{p:.3f}"


def verdict(found: Difference) -> str:
    """A difference in words, called what it is.

    Example:
        >>> verdict(Difference(0.004, -0.01, 0.02, 0.4))
        'better by 0.004 (95 % \N{MINUS SIGN}0.010 to 0.020, p 0.40): not distinguishable'
    """
    if found.value == found.low == found.high == 0:
        return "the same"
    way = "better" if found.value >= 0 else "worse"
    ends = f"95 % {number(found.low)} to {number(found.high)}, p {chance(found.p)}"
    end = "" if found.p < SURE else ": not distinguishable"
    size = f"{abs(found.value):.3f}" if abs(found.value) >= 0.0005 else "less than 0.001"
    return f"{way} by {size} ({ends}){end}"


def compared(found: Comparison, several_recipes: bool = False) -> tuple[str, str]:
    """The two sides of a comparison, as short as they can be told apart."""
    first, second = found.first, found.second
    if first.fraction != second.fraction:
        name = model_name(first, several_recipes)
        return f"{name}, {share(first.fraction)} of the training part", share(second.fraction)
    also = "" if first.fraction == 1 else f", {share(first.fraction)} of the training part"
    return model_name(first, several_recipes) + also, model_name(second, several_recipes)


def differs(group: Group, results: Results, rows: Sequence[Beside]) -> list[str]:
    """In what a figure of ours is not the papers', one sentence each.

    Args:
        group: ours.
        results: that it comes from.
        rows: what the papers print for the same sets.
    """
    model = group.model
    found = []
    for name in dict.fromkeys((model.training_set, model.test_set)):
        lacking, note = results.data(name).get("shortfall"), results.data(name).get("note")
        if lacking:
            found.append(f"{set_name(name)} is incomplete here: {lacking}. The papers use all of it.")
        if note:
            found.append(f"{set_name(name)}: {note}.")
    if model.selection == "test":
        found.append("Our epoch is the best on the test part, as the published code of this family chooses it.")
    else:
        found.append(
            f"Our epoch is {SELECTIONS.get(model.selection, model.selection)}; "
            "the published code of this family takes the best on the test part, which flatters."
        )
    backbone = _option(results.about, model.variant, "backbone")
    if backbone and not backbone.startswith("deit3_small"):
        found.append(
            f"Our network is {backbone}; LML-IQA, CSIQA and DEIQT print theirs with ViT-S/16, ARNIQA with ResNet-50."
        )
    if model.protocol == "grid":
        found.append("We score a fixed grid of crops; LML-IQA and CSIQA score ten random ones, ARNIQA five.")
    found += _of_statistics(group, rows)
    if model.fraction < 1:
        found.append("Of which whole a fraction is taken, the training part or all images, the paper does not say.")
    return found


def _of_statistics(group: Group, rows: Sequence[Beside]) -> list[str]:
    kinds = {row.statistic for row in rows}
    name, count = model_name(group.model), len(group.cells)
    figure = "the figure of one split" if count == 1 else f"a mean over {count} splits"
    found = [f"Our {name} is {figure}, PLCC without a curve, as the papers' codes compute it."]
    if "median" in kinds and count > 1:
        found.append("Rows marked median stand beside the median of ours, below the word mean.")
    if "single" in kinds:
        found.append("Rows marked single come from one division only.")
    return found


def _option(about: Mapping[str, object], variant: str, name: str) -> str:
    value = part(about, "variants", variant).get(name, part(about, "options").get(name))
    return "" if value is None else str(value)


def warnings(results: Results, found: Sequence[Group]) -> list[str]:
    """What a reader must know before any figure, the gravest first."""
    words = []
    if any(group.model.selection == "test" for group in found):
        words.append(
            "The epoch was chosen on the test part. These figures are too good by an unknown amount and say nothing "
            "about new images."
        )
    cells = part(results.about, "cells")
    wanted, done = cells.get("wanted"), cells.get("done")
    if isinstance(wanted, int) and isinstance(done, int) and done < wanted:
        words.append(f"Not finished: {done} of {wanted} training runs are done. The figures are of those.")
    failed = failures(results)
    if failed:
        words.append(f"{_count(len(failed), 'run')} failed; see the end.")
    without = [cell for group in found for cell in group.without]
    if without:
        words.append(f"{_count(len(without), 'cell')} without figures: {without[0].name}: {without[0].trouble}.")
    for name in dict.fromkeys(n for group in found for n in (group.model.training_set, group.model.test_set)):
        data = results.data(name)
        if data.get("shortfall"):
            words.append(f"{set_name(name)} is incomplete: {data['shortfall']}.")
        if data.get("note"):
            words.append(f"{set_name(name)}: {data['note']}.")
    return words


def failures(results: Results) -> list[tuple[str, str]]:
    """Runs that failed, with the reason."""
    rows = part(results.about, "cells").get("failed")
    rows = rows if isinstance(rows, list) else []
    return [(str(row.get("cell", "?")), str(row.get("reason", ""))) for row in rows if isinstance(row, Mapping)]


def _count(count: int, noun: str) -> str:
    return f"{count} {noun}{'' if count == 1 else 's'}"


def markdown(text: object) -> str:
    r"""Text that a Markdown table prints as it is.

    Example:
        >>> print(markdown("a|b <script> *c*"))
        a\|b &lt;script&gt; \*c\*
    """
    plain = str(text).replace("\\", "\\\\").replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    for sign in "|*_`[]":
        plain = plain.replace(sign, "\\" + sign)
    return " ".join(plain.split())
