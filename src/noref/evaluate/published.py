"""The result tables of the three papers as data, so that a result of ours can stand beside theirs.

`published.csv` holds every number of the tables; docs/published.md says what was left out and where the papers
contradict each other. Papers quote one another, so a method may stand in several of them, with other values too.
"""

from __future__ import annotations

import csv
import functools
import math
from dataclasses import dataclass
from pathlib import Path

from noref.errors import OptionError, unknown

FILE = Path(__file__).with_name("published.csv")


@dataclass(frozen=True)
class Published:
    """One number of a paper's table."""

    paper: str  # `lml-iqa`, `csiqa` or `arniqa`: where it is printed, not who invented the method
    table: int  # its number there
    method: str  # as the paper names it
    variant: str  # row or setting of an ablation, such as `+ random crop` or `M=8`; empty for a plain row
    metric: str  # `srcc` or `plcc`, both in [-1, 1], higher is better
    training_set: str  # a key of `noref.data.readers.READERS`; or `average`, a mean over the table's sets
    test_set: str  # likewise; the same as `training_set` where a set was split into parts
    fraction: float  # share of the training images that were used, in (0, 1]; 1 but in a table on less data
    value: float
    std: float | None  # standard deviation over the splits, where the paper prints it
    statistic: str  # `mean` or `median` over random splits, `single` where there was one division only


@dataclass(frozen=True)
class Beside:
    """A row of a report: both metrics of one method as one paper prints them. Fields are as in `Published`."""

    paper: str
    table: int  # the first, where a paper repeats the same numbers
    method: str
    variant: str
    srcc: float | None  # None where the paper has none
    plcc: float | None
    statistic: str


def published(
    *,
    paper: str | None = None,
    table: int | None = None,
    method: str | None = None,
    metric: str | None = None,
    training_set: str | None = None,
    test_set: str | None = None,
    fraction: float | None = None,
    variant: str | None = None,
) -> list[Published]:
    """The numbers that fit every filter that is given, in the order of the papers' tables.

    Each filter is a field of `Published`; None: every value of it. Letter case plays no role. An empty `variant` gives
    the plain rows.

    Raises:
        OptionError: (a ValueError) a name that stands nowhere in the tables.

    Example:
        >>> [row.value for row in published(paper="lml-iqa", table=2, method="DEIQT", test_set="tid2013")]
        [0.908, 0.892]
    """
    names = {"paper": paper, "method": method, "metric": metric, "variant": variant}
    names |= {"training_set": training_set, "test_set": test_set}
    rows = list(_rows())
    for field, name in names.items():
        if name is not None:
            known = {getattr(row, field) for row in _rows()}
            if name.casefold() not in {other.casefold() for other in known}:
                raise unknown(field.replace("_", " "), name, known - {""})
            rows = [row for row in rows if getattr(row, field).casefold() == name.casefold()]
    if table is not None:
        tables = sorted({row.table for row in _rows() if paper is None or row.paper == paper.casefold()})
        if table not in tables:
            shown = ", ".join(map(str, tables))
            raise OptionError(f"no results in table {table} of {paper or 'any paper'}: known are {shown}")
        rows = [row for row in rows if row.table == table]
    return [row for row in rows if fraction is None or math.isclose(row.fraction, fraction, abs_tol=1e-9)]


def beside(training_set: str, test_set: str, fraction: float = 1.0) -> list[Beside]:
    """What the papers print for a pair of sets, SRCC and PLCC side by side: a report's rows.

    One row for each paper, method and variant. Where tables of a paper differ, each has its row; where they agree,
    the first stands for both. Plain rows come first, then ablations; in both the highest SRCC first.

    Arguments are fields of `Published`. No rows for sets of which the papers say nothing.

    Example:
        >>> [(row.paper, row.srcc, row.plcc) for row in beside("csiq", "live") if row.method == "HyperIQA"]
        [('arniqa', 0.926, None), ('csiqa', 0.926, None), ('lml-iqa', 0.926, None)]
    """
    values: dict[tuple[str, int, str, str, str], dict[str, float]] = {}
    for row in _rows():
        if (row.training_set, row.test_set) == (training_set, test_set) and math.isclose(row.fraction, fraction):
            key = (row.paper, row.table, row.method, row.variant, row.statistic)
            values.setdefault(key, {})[row.metric] = row.value
    found: dict[tuple[object, ...], Beside] = {}
    for (paper, table, method, variant, statistic), metrics in values.items():
        srcc, plcc = metrics.get("srcc"), metrics.get("plcc")
        line = Beside(paper, table, method, variant, srcc, plcc, statistic)
        found.setdefault((paper, method, variant, srcc, plcc), line)
    return sorted(found.values(), key=_rank)


def _rank(row: Beside) -> tuple[object, ...]:
    return (row.variant != "", -(-1.0 if row.srcc is None else row.srcc), row.paper, row.method, row.variant, row.table)


@functools.cache
def _rows() -> tuple[Published, ...]:
    with FILE.open(encoding="utf-8", newline="") as file:
        return tuple(_row(**line) for line in csv.DictReader(file))


def _row(table: str, fraction: str, value: str, std: str, **names: str) -> Published:
    deviation = float(std) if std else None
    return Published(table=int(table), fraction=float(fraction), value=float(value), std=deviation, **names)
