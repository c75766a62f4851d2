"""What a reader must know beside the metrics: warnings, notes, failures, and what differs from the papers."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import numpy as np

from noref.evaluate.metrics import outside_scale
from noref.evaluate.published import Beside
from noref.report.cell_metrics import Group
from noref.report.formatting import SELECTIONS, counted, model_name, set_name, sets_of
from noref.report.results import Results
from noref.report.table import nested

FEW = 0.01  # as many predictions outside of the scale are worth a note; more, a warning
SOME = 0.25  # the same, where the scale runs from the smallest to the largest score


def warnings(results: Results, found: Sequence[Group]) -> list[str]:
    """What can make a reader draw a wrong conclusion, one sentence each, the gravest first."""
    sentences = []
    if any(group.model.selection == "test" for group in found):
        sentences.append(
            "The epoch was chosen on the test part. These metrics are too good by an unknown amount and say nothing "
            "about new images."
        )
    cells = nested(results.metadata, "cells")
    wanted, done = cells.get("wanted"), cells.get("done")
    if isinstance(wanted, int) and isinstance(done, int) and done < wanted:
        sentences.append(f"Not finished: {done} of {wanted} training runs are done. The metrics are of those.")
    if failed := failures(results):
        sentences.append(f"{counted(len(failed), 'run')} failed; see the end.")
    if undefined := [cell for group in found for cell in group.undefined]:
        first = undefined[0]
        sentences.append(f"{counted(len(undefined), 'cell')} without metrics: {first.name}: {first.trouble}.")
    sentences += [sentence for grave, sentence in _outside(results, found) if grave]
    for name in _sets(found):
        if lacking := results.data(name).get("shortfall"):
            sentences.append(f"{set_name(name)} is incomplete: {lacking}.")
    return sentences


def notes(results: Results, found: Sequence[Group]) -> list[str]:
    """What is good to know and no reason for doubt, one sentence each."""
    said = [f"{set_name(name)}: {note}." for name in _sets(found) if (note := results.data(name).get("note"))]
    said += [f"{set_name(name)}: {one}" for name in _sets(found) for one in cautions(results, name)]
    return said + [sentence for grave, sentence in _outside(results, found) if not grave]


def cautions(results: Results, name: str) -> list[str]:
    """What was taken for granted in reading a data set, one sentence each."""
    found = results.data(name).get("cautions")
    return [f"{one}." for one in found if isinstance(one, str)] if isinstance(found, list) else []


def _sets(found: Sequence[Group]) -> list[str]:
    return list(dict.fromkeys(n for group in found for n in (group.model.training_set, group.model.test_set)))


def _outside(results: Results, found: Sequence[Group]) -> Iterator[tuple[bool, str]]:
    """For each test set on which predictions leave the scale: whether that is grave, and a sentence.

    It is not where they are few; where the scale is no more than the span of the scores, some always leave it.
    """
    for name, scale in results.scales.items():
        own = [group for group in found if group.model.test_set == name]
        quality = [np.concatenate([cell.quality for cell in (*group.cells, *group.undefined)]) for group in own]
        if outside := outside_scale(np.concatenate(quality), scale):
            counts = [getattr(outside_scale(values, scale), "share", 0.0) for values in quality]
            worst = own[int(np.argmax(counts))].model
            most = f"; the largest share: {model_name(worst)}, {sets_of(worst)}" if len(own) > 1 else ""
            usual = SOME if results.data(name).get("spanned") else FEW
            yield outside.share > usual, f"{set_name(name)}: {outside}{most}."


def failures(results: Results) -> list[tuple[str, str]]:
    """Runs that failed, with the reason."""
    rows = nested(results.metadata, "cells").get("failed")
    rows = rows if isinstance(rows, list) else []
    return [(str(row.get("cell", "?")), str(row.get("reason", ""))) for row in rows if isinstance(row, Mapping)]


def differences_from_papers(group: Group, results: Results, rows: Sequence[Beside]) -> list[str]:
    """In what our metrics are not those that the papers print for the same sets (`rows`), one sentence each."""
    model, found = group.model, []
    for name in _sets([group]):
        if lacking := results.data(name).get("shortfall"):
            found.append(f"{set_name(name)} is incomplete here: {lacking}. The papers use all of it.")
        if note := results.data(name).get("note"):
            found.append(f"{set_name(name)}: {note}.")
    if model.selection == "test":
        found.append("Our epoch is the best on the test part, as the published code of this family chooses it.")
    else:
        theirs = "the published code of this family takes the best on the test part, which flatters"
        found.append(f"Our epoch is {SELECTIONS.get(model.selection, model.selection)}; {theirs}.")
    shared = nested(results.metadata, "options").get("backbone")
    backbone = str(nested(results.metadata, "variants", model.variant).get("backbone", shared) or "")
    if backbone and not backbone.startswith("deit3_small"):
        theirs = "LML-IQA, CSIQA and DEIQT print theirs with ViT-S/16, ARNIQA with ResNet-50"
        found.append(f"Our network is {backbone}; {theirs}.")
    if model.protocol == "grid":
        found.append("We score a fixed grid of crops; LML-IQA and CSIQA score ten random ones, ARNIQA five.")
    statistics, count = {row.statistic for row in rows}, len(group.cells)
    ours = "the result of one split" if count == 1 else f"a mean over {count} splits"
    found.append(f"Our {model_name(model)} is {ours}, PLCC without a curve, as the papers' codes compute it.")
    if "median" in statistics and count > 1:
        found.append("Rows marked median stand beside the median of ours, below the word mean.")
    if "single" in statistics:
        found.append("Rows marked single come from one division only.")
    if model.fraction < 1:
        found.append("The paper does not say whether its fraction is of the training part or of all images.")
    return found
