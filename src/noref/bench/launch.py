"""From the words of a command line to a bench, and from its cells to the table that is printed."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from noref.bench.grid import Given, Grid, labelled, read_variants
from noref.bench.table import read_json
from noref.bench.work import Outcome, bench
from noref.errors import MissingExtraError, OptionError, unknown
from noref.evaluate.protocols import Protocol, shares
from noref.methods import page
from noref.methods.launch import read_config, recipe_options
from noref.train.options import given_pairs
from noref.train.run_folder import read_data

Say = Callable[[str], None]


def run_bench(
    recipe: str,
    *,
    data: Sequence[str],
    out: Path | None = None,
    options: Sequence[str] = (),
    repeats: int = 10,
    parts: str | None = None,
    folds: int | None = None,
    split: Sequence[str] = (),
    seed: int = 0,
    runs: int = 1,
    fractions: str | None = None,
    test_data: Sequence[str] = (),
    cross: bool = False,
    config: str | None = None,
    variants: str | None = None,
    only: Sequence[str] = (),
    paper_selection: bool = False,
    report: bool = True,
    say: Say = lambda text: None,
    tell: Say = lambda text: None,
) -> Outcome:
    """Everything behind `noref bench`; its `--help` says what the arguments mean.

    Args:
        say: gets a line for each cell and each trouble.
        tell: gets the table at the end.

    Raises:
        OptionError: a call that makes no sense.
        DataError: what is wrong with the data sets, the config or the grid.
    """
    recipe_options(recipe)  # an unknown recipe ends here
    sets = labelled([read_data(text) for text in data])
    judging = labelled([read_data(text) for text in test_data])
    common: Given = {**(read_config(Path(config)) if config else {}), **given_pairs(options)}
    if set(sets) & set(judging):
        raise OptionError(
            f"{', '.join(sorted(set(sets) & set(judging)))}: in --data and in --test-data; --cross does both"
        )
    grid = Grid(
        recipe,
        sets,
        _protocol(recipe, repeats, parts, folds, split, seed, fractions),
        common=common,
        variants=_variants(variants, only),
        others={**judging, **(sets if cross else {})},
        repeats=runs,
        paper_selection=paper_selection,
    )
    folder = out or Path(f"bench-{recipe}-{'-'.join(sets)}")
    try:
        outcome = bench(grid, folder, say=say)
    except KeyboardInterrupt:
        say(f"stopped; the same command goes on with what is left in {folder}")
        raise
    _conclude(outcome, folder, report, say, tell)
    return outcome


def _protocol(
    recipe: str,
    repeats: int,
    parts: str | None,
    folds: int | None,
    split: Sequence[str],
    seed: int,
    fractions: str | None,
) -> Protocol:
    if sum(map(bool, (folds, split, parts))) > 1:
        raise OptionError("one of --parts, --folds and --split: each says how images are divided")
    used = (1.0,) if fractions is None else _percents(fractions)
    if folds:
        return Protocol("folds", folds, seed=seed, fractions=used)
    if "official" in split:
        if len(split) > 1:
            raise OptionError("--split official stands alone")
        return Protocol("official", seed=seed, fractions=used)
    if split:
        return Protocol("files", seed=seed, fractions=used, files=tuple(map(Path, split)))
    test, validation = shares(parts or str(getattr(page(recipe), "PARTS", "80/20")))
    return Protocol("random", repeats, test, validation, seed=seed, fractions=used)


def _percents(text: str) -> tuple[float, ...]:
    try:
        return tuple(dict.fromkeys(float(part) / 100 for part in text.split(",")))
    except ValueError as error:
        raise OptionError(f"--fractions {text!r}: write percent with commas, such as 20,40,60,100") from error


def _variants(file: str | None, only: Sequence[str]) -> dict[str, Given]:
    variants = read_variants(Path(file)) if file else {"": {}}
    for name in only:
        if name not in variants:
            raise unknown("variant", name, variants)
    return {name: options for name, options in variants.items() if not only or name in only}


def _conclude(outcome: Outcome, folder: Path, report: bool, say: Say, tell: Say) -> None:
    for line in summary(folder):
        tell(line)
    if outcome.elsewhere:
        say(f"{len(outcome.elsewhere)} cells are being done by other processes")
    for name, reason in outcome.failed.items():
        say(f"FAILED {name}: {reason}")
    if report and outcome.done:
        try:
            from noref.report.report import write_report

            say(f"report: {write_report(folder)}")
        except MissingExtraError as error:
            say(f"no report: {error}")


def summary(folder: Path) -> list[str]:
    """One line for each variant, training set, test set and fraction, columns apart by tabs, with a head."""
    found: dict[tuple[str, str, str], dict[str, list[float]]] = defaultdict(lambda: defaultdict(list))
    for file in sorted(folder.glob("runs/*/*/cell.json")):
        cell = read_json(file)
        learnt = cell["training_set"] + (f" {100 * cell['fraction']:g} %" if cell["fraction"] != 1 else "")
        for test_set, figures in cell["figures"].items():
            row = found[cell["variant"] or "-", learnt, test_set]
            for metric in ("srcc", "plcc", "plcc_logistic4"):
                row[metric].append(figures[metric])
    lines = ["variant\ttrained on\ttested on\truns\tSRCC mean\tmedian\tstd\tPLCC mean\tmedian\tstd\tPLCC logistic mean"]
    for (variant, training_set, test_set), values in sorted(found.items()):
        s, p, mapped = (np.array(values[metric]) for metric in ("srcc", "plcc", "plcc_logistic4"))
        spread = [float(v.std(ddof=1)) if len(v) > 1 else float("nan") for v in (s, p)]
        numbers = [s.mean(), np.median(s), spread[0], p.mean(), np.median(p), spread[1], mapped.mean()]
        words = ["-" if np.isnan(number) else f"{number:.4f}" for number in numbers]
        lines.append("\t".join([variant, training_set, test_set, str(len(s)), *words]))
    return lines
