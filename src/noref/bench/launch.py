"""From the command line to a bench, its table and its report. Behind `noref bench`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from noref.bench.grid import Grid, labelled, read_variants
from noref.bench.run_cells import Outcome, Say, bench
from noref.bench.table import for_terminal, mean_rows, tab_separated
from noref.errors import MissingExtraError, OptionError, unknown
from noref.evaluate.split_protocol import SplitProtocol, parse_parts
from noref.methods import page
from noref.methods.launch import read_config, recipe_options
from noref.report.formatting import counted
from noref.train.options import Given, given_pairs
from noref.train.run_folder import read_all


def run_bench(
    recipe: str,
    *,
    data: Sequence[str],
    table: Mapping[str, Any] | None = None,
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
    width: int | None = None,
    say: Say = lambda text: None,
    tell: Say = lambda text: None,
) -> Outcome:
    """Everything behind `noref bench`; its `--help` says what the other arguments mean.

    Args:
        table: what is said of each csv, as `noref.data.own_csv.options` gives it.
        width: of the terminal that shows the table, in characters; None: for other programs, apart by tabs.
        say: gets a line for each cell and each failure.
        tell: gets the table at the end.

    Raises:
        OptionError: a call that makes no sense.
        DataError: what is wrong with the data sets, the config or the grid.
    """
    recipe_options(recipe)  # an unknown recipe ends here
    every = read_all([*data, *test_data], table)
    sets, test_only = labelled(every[: len(data)]), labelled(every[len(data) :])
    common: Given = {**(read_config(Path(config)) if config else {}), **given_pairs(options)}
    if both := sorted(set(sets) & set(test_only)):
        raise OptionError(f"{', '.join(both)}: in --data and in --test-data; --cross does both")
    tested = {**test_only, **(sets if cross else {})}
    for label, found in {**sets, **test_only}.items():
        for caution in found.cautions:
            say(f"CAUTION: {label}: {caution}")
    protocol = _protocol(recipe, repeats, parts, folds, split, seed=seed, fractions=_shares(fractions))
    chosen = _variants(variants, only)
    grid = Grid(recipe, sets, protocol, common, chosen, tested, repeats=runs, paper_selection=paper_selection)
    folder = out or Path(f"bench-{recipe}-{'-'.join(sets)}")
    try:
        outcome = bench(grid, folder, say=say)
    except KeyboardInterrupt:
        say(f"stopped; the same command goes on with what is left in {folder}")
        raise
    rows = mean_rows(folder)
    tell(tab_separated(rows) if width is None else for_terminal(rows, width))
    if outcome.elsewhere:
        say(f"other processes are at work on {counted(len(outcome.elsewhere), 'cell')}")
    for name, reason in outcome.failed.items():
        say(f"FAILED {name}: {reason}")
    if report and outcome.done:
        try:
            from noref.report.build import build_report

            say(f"report: {build_report(folder).write(folder)}")
        except (MissingExtraError, OptionError) as error:
            say(f"no report: {error}")
    return outcome


def _protocol(
    recipe: str, repeats: int, parts: str | None, folds: int | None, split: Sequence[str], **shared: Any
) -> SplitProtocol:
    if sum(map(bool, (folds, split, parts))) > 1:
        raise OptionError("one of --parts, --folds and --split: each says how images are divided")
    if folds:
        return SplitProtocol("folds", folds, **shared)
    if "official" in split:
        if len(split) > 1:
            raise OptionError("--split official stands alone")
        return SplitProtocol("official", **shared)
    if split:
        return SplitProtocol("files", **shared, files=tuple(map(Path, split)))
    test, validation = parse_parts(parts or str(getattr(page(recipe), "PARTS", "80/20")))
    return SplitProtocol("random", repeats, test, validation, **shared)


def _shares(percents: str | None) -> tuple[float, ...]:
    try:
        return tuple(dict.fromkeys(float(part) / 100 for part in ("100" if percents is None else percents).split(",")))
    except ValueError as error:
        raise OptionError(f"--fractions {percents!r}: write percent with commas, such as 20,40,60,100") from error


def _variants(file: str | None, only: Sequence[str]) -> dict[str, Given]:
    variants = read_variants(Path(file)) if file else {"": {}}
    for name in only:
        if name not in variants:
            raise unknown("variant", name, variants)
    return {name: options for name, options in variants.items() if not only or name in only}
