"""Where metrics come from: title and first sentences of a report, and all that its end says of how it was measured."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence

import numpy as np

from noref.report import formatting
from noref.report.cell_metrics import Group
from noref.report.formatting import decimals, number
from noref.report.results import Results
from noref.report.sections import largest_fractions
from noref.report.table import nested
from noref.scoring.progress import duration

Rows = list[tuple[str, str]]
METRICS = (
    "SRCC, PLCC and KRCC (tau-b) of quality within each test part, then mean, median and standard deviation (n - 1) "
    "over parts. PLCC is raw; PLCC after logistic is after the 4-parameter logistic of VQEG, fitted to that part. RMSE "
    "in raw units without a curve."
)


def title(found: Sequence[Group]) -> str:
    """What a report is called: the method and the sets that it was tested on."""
    recipes = list(dict.fromkeys(group.model.recipe for group in found))
    sets = list(dict.fromkeys(formatting.set_name(group.model.test_set) for group in found))
    where = " and ".join(sets) if len(sets) < 3 else f"{len(sets)} data sets"
    return f"{' and '.join(recipes) if len(recipes) < 4 else f'{len(recipes)} methods'} on {where}"


def first_sentences(results: Results, found: Sequence[Group], baseline: str, several: bool) -> list[str]:
    """The main result: of the baseline on the largest training part, at most two sentences."""
    defined = largest_fractions(found)
    usable = [group for group in defined if group.model.variant == baseline] or defined
    own = [group for group in usable if group.model.training_set == group.model.test_set] or usable
    sentences = []
    for group in own[:2]:
        model, scale = group.model, results.scales[group.model.test_set]
        srcc, rmse = group.metrics["srcc"], group.metrics["rmse"]
        interval = ""
        if srcc.low is not None and srcc.high is not None:
            interval = f" (95 % {number(srcc.low)} to {number(srcc.high)})"
        over = "one split" if len(group.cells) == 1 else f"the mean over {len(group.cells)} splits"
        correlations = f"SRCC {number(srcc.mean)}{interval}, PLCC {number(group.metrics['plcc'].mean)}"
        error = f"RMSE {rmse.mean:.{decimals(scale)}f} on {formatting.scale_text(scale)}"
        name = f"{formatting.model_name(model, several)}, {formatting.sets_of(model)}"
        sentences.append(f"{name}: {correlations}, {error}; {over}.")
    return sentences


def measured(results: Results, found: Sequence[Group], draws: int) -> Rows:
    """What was done, a row a thing."""
    metadata, models = results.metadata, [group.model for group in found]
    plain = {key: value for key, value in nested(metadata, "protocol").items() if not isinstance(value, dict)}
    rows = [(str(key).replace("_", " ").capitalize(), str(value)) for key, value in plain.items()]
    protocols = dict.fromkeys(model.protocol for model in models)
    rows.append(("Crops at test", "; ".join(f"{name}: {formatting.TEST_CROPS.get(name, name)}" for name in protocols)))
    selections = dict.fromkeys(model.selection for model in models)
    rows.append(("The model is", "; ".join(formatting.SELECTIONS.get(name, name) for name in selections)))
    seeds = sorted({cell.seed for group in found for cell in (*group.cells, *group.undefined)})
    rows.append(("Seeds of training", ", ".join(map(str, seeds))))
    rows += [("Scores", formatting.conversion(name, scale)) for name, scale in results.scales.items()]
    referenced = any(all(cell.references) for group in found for cell in group.cells)
    drawn = "references, or images where there is none, are" if referenced else "images are"
    bootstrap = f"percentiles of a bootstrap, {draws} draws: {drawn} drawn with replacement, once for all splits of a "
    rows += [("Metrics", METRICS), ("Intervals", bootstrap + "draw; the interval is of the mean over splits")]
    for name, data in nested(metadata, "data").items():
        if isinstance(data, Mapping):
            said = [f"{data['images']} images" if data.get("images") else "", data.get("shortfall"), data.get("note")]
            said.append(f"checksum {data['checksum']}" if data.get("checksum") else "")
            rows.append((formatting.set_name(str(name)), "; ".join(str(text) for text in said if text)))
    labels = {"hardware": "Hardware", "noref": "noref", "commit": "Commit", "created": "Begun"}
    rows += [(label, str(metadata[key])) for key, label in labels.items() if metadata.get(key)]
    if seconds := [value for value in nested(metadata, "seconds").values() if isinstance(value, int | float)]:
        median, total = duration(float(np.median(seconds))), duration(sum(seconds))
        rows.append(("Time", f"{median} a run in the median, {total} in all"))
    return rows


def settings(results: Results) -> list[tuple[str, Rows]]:
    """Options that all runs share, then those of each variant."""
    variants = nested(results.metadata, "variants")
    tables = [("Options of all runs", nested(results.metadata, "options"))]
    tables += [(f"Variant {name}", nested(variants, name) or {"all options": "as above"}) for name in variants if name]
    return [(title, [(str(key), _option(value)) for key, value in rows.items()]) for title, rows in tables if rows]


def _option(value: object) -> str:
    return value if isinstance(value, str) and value else json.dumps(value, ensure_ascii=False)


def splits(results: Results) -> list[dict[str, str]]:
    """The splits that the bench wrote to files, with their checksums; empty text where it does not say."""
    rows, found = results.metadata.get("splits"), []
    for row in rows if isinstance(rows, list) else []:
        if isinstance(row, Mapping):
            text = {key: str(row.get(key, "")) for key in ("training_set", "split", "description", "file", "checksum")}
            seed = f"seed {row['seed']}" if row.get("seed") is not None else ""
            verbs = {"train": "train", "validation": "validate", "test": "test"}
            counts = [f"{row[key]} {verb}" for key, verb in verbs.items() if row.get(key)]
            text["training_set"] = formatting.set_name(text["training_set"])
            text["description"] = ", ".join(said for said in (text["description"], seed, *counts) if said)
            found.append(text)
    return found
