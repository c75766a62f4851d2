"""Where figures come from: the first sentences of a report, and all that its end says of how it was measured."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from noref.report import formatting as words
from noref.report.plots import decimals
from noref.report.results import Results, part
from noref.report.sections import fullest
from noref.report.summary import Group

Rows = list[tuple[str, str]]


class SplitRow(NamedTuple):
    """A split as the bench wrote it; empty where it does not say."""

    training_set: str
    split: str
    words: str
    file: str
    checksum: str


def title(found: Sequence[Group]) -> str:
    """What a report is called: the method and the sets that it was tested on."""
    recipes = list(dict.fromkeys(group.model.recipe for group in found))
    sets = list(dict.fromkeys(words.set_name(group.model.test_set) for group in found))
    where = " and ".join(sets) if len(sets) < 3 else f"{len(sets)} data sets"
    return f"{' and '.join(recipes) if len(recipes) < 4 else f'{len(recipes)} methods'} on {where}"


def lead(results: Results, found: Sequence[Group], baseline: str) -> list[str]:
    """The figures that one looks for first: of the baseline on the whole training part, at most two sentences."""
    usable = [group for group in fullest(found) if group.model.variant == baseline] or fullest(found)
    own = [group for group in usable if group.model.training_set == group.model.test_set] or usable
    several = len({group.model.recipe for group in found}) > 1
    sentences = []
    for group in own[:2]:
        model, scale = group.model, results.scales[group.model.test_set]
        srcc, rmse = group.figures["srcc"], group.figures["rmse"]
        ends = (
            ""
            if srcc.low is None or srcc.high is None
            else f" (95 % {words.number(srcc.low)} to {words.number(srcc.high)})"
        )
        count = len(group.cells)
        over = "one split" if count == 1 else f"the mean over {count} splits"
        sentences.append(
            f"{words.model_name(model, several)}, {words.pair(model)}: SRCC {words.number(srcc.mean)}{ends}, "
            f"PLCC {words.number(group.figures['plcc'].mean)}, RMSE {rmse.mean:.{decimals(scale)}f} on "
            f"{words.range_of(scale)}; {over}."
        )
    return sentences


def measured(results: Results, found: Sequence[Group], draws: int) -> Rows:
    """What was done, a row a thing."""
    about = results.about
    rows = [(_name(key), str(value)) for key, value in part(about, "protocol").items() if not isinstance(value, dict)]
    models = [group.model for group in found]
    protocols = dict.fromkeys(model.protocol for model in models)
    rows.append(("Crops at test", "; ".join(f"{name}: {words.PROTOCOLS.get(name, name)}" for name in protocols)))
    selections = dict.fromkeys(model.selection for model in models)
    rows.append(("The model is", "; ".join(words.SELECTIONS.get(name, name) for name in selections)))
    seeds = sorted({cell.seed for group in found for cell in (*group.cells, *group.without)})
    rows.append(("Seeds of training", ", ".join(map(str, seeds))))
    rows += [("Scores", words.conversion(name, scale)) for name, scale in results.scales.items()]
    rows.append(
        (
            "Figures",
            "SRCC, PLCC and KRCC (tau-b) of quality within each test part, then mean, median and standard deviation "
            "(n - 1) over parts. PLCC is raw; PLCC after logistic is after the 4-parameter logistic of VQEG, fitted to "
            "that part. RMSE in raw units without a curve.",
        )
    )
    rows.append(("Intervals", _interval_words(found, draws)))
    rows += _data_rows(results)
    for key, label in (("hardware", "Hardware"), ("noref", "noref"), ("commit", "Commit"), ("created", "Begun")):
        if about.get(key):
            rows.append((label, str(about[key])))
    seconds = [value for value in part(about, "seconds").values() if isinstance(value, int | float)]
    if seconds:
        rows.append(
            ("Time", f"{np.median(seconds) / 60:.1f} min a run in the median, {sum(seconds) / 3600:.1f} h in all")
        )
    return rows


def _interval_words(found: Sequence[Group], draws: int) -> str:
    referenced = any(all(cell.references) for group in found for cell in group.cells)
    drawn = "images are" if not referenced else "references, or images where there is none, are"
    return (
        f"percentiles of a bootstrap, {draws} draws: {drawn} drawn with replacement, once for all splits of a draw; "
        "the interval is of the mean over splits"
    )


def _data_rows(results: Results) -> Rows:
    rows = []
    for name, data in part(results.about, "data").items():
        if not isinstance(data, Mapping):
            continue
        said = [f"{data['images']} images" if data.get("images") else "", data.get("shortfall"), data.get("note")]
        said.append(f"checksum {data['checksum']}" if data.get("checksum") else "")
        rows.append((words.set_name(str(name)), "; ".join(str(text) for text in said if text)))
    return rows


def settings(results: Results) -> list[tuple[str, Rows]]:
    """Options that all runs share, then those of each variant."""
    tables = [("Options of all runs", part(results.about, "options"))]
    for name in part(results.about, "variants"):
        if name:
            tables.append((f"Variant {name}", part(results.about, "variants", name) or {"all options": "as above"}))
    return [(title, [(str(key), _value(value)) for key, value in rows.items()]) for title, rows in tables if rows]


def _value(value: Any) -> str:
    return value if isinstance(value, str) and value else json.dumps(value, ensure_ascii=False)


def _name(key: object) -> str:
    text = str(key).replace("_", " ")
    return text[:1].upper() + text[1:]


def splits(results: Results) -> list[SplitRow]:
    """The splits that the bench wrote to files, with their checksums."""
    rows = results.about.get("splits")
    found = []
    for row in rows if isinstance(rows, list) else []:
        if isinstance(row, Mapping):
            counts = [
                f"{row[key]} {word}"
                for key, word in (("train", "train"), ("validation", "validate"), ("test", "test"))
                if row.get(key)
            ]
            said = [
                str(row.get("description", "")),
                f"seed {row['seed']}" if row.get("seed") is not None else "",
                *counts,
            ]
            found.append(
                SplitRow(
                    words.set_name(str(row.get("training_set", ""))),
                    str(row.get("split", "")),
                    ", ".join(text for text in said if text),
                    str(row.get("file", "")),
                    str(row.get("checksum", "")),
                )
            )
    return found
