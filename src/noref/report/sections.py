"""The sections of a report between its metrics and its pages: what stands in which table, in which order."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from noref.card import Scale
from noref.evaluate.published import Beside, beside
from noref.report import plots
from noref.report.cell_metrics import Group, Subset, subsets
from noref.report.formatting import PAPERS, model_name
from noref.report.notes import differences_from_papers
from noref.report.results import Cell, Model, Results
from noref.report.table import nested
from noref.report.thumbnails import ImageResult, best_and_worst, image_results, with_thumbnail

SCATTERS = 12  # more would make a page that nobody reads to its end
ALL_POINTS = 12_000  # of all scatters together
COLUMNS = 4  # models side by side in a table
SHOWN = 4  # pairs of sets with thumbnails


@dataclass(frozen=True)
class PublishedRow:
    """A row of published results, theirs or ours."""

    name: str  # method, with its variant
    source: str  # papers and tables; empty for ours
    statistic: str  # `mean`, `median` or `single`
    srcc: float | None  # in [-1, 1], higher is better; None where there is none
    plcc: float | None  # likewise, without a curve
    low: float | None = None  # lower end of our interval of SRCC
    high: float | None = None  # the upper end
    median: float | None = None  # of our SRCC over splits; None where there is one split, and for theirs

    @property
    def ours(self) -> bool:
        """Whether it is ours."""
        return not self.source


@dataclass(frozen=True)
class PublishedTable:
    """The papers' rows for a pair of sets and a fraction, ours among them, the highest SRCC first."""

    model: Model  # of our first row: it says which sets and fraction
    rows: list[PublishedRow]  # plain rows and ours
    ablations: list[PublishedRow]  # the papers' ablation rows
    differences: list[str]  # in what ours differ, one sentence each
    place: Callable[[float | None], float | None]  # SRCC -> where it is drawn, see `noref.report.plots.bar_axis`


@dataclass(frozen=True)
class Matrix:
    """One method trained on each set and tested on each; None where that was not done."""

    label: str
    training_sets: list[str]
    test_sets: list[str]
    cells: list[list[Group | None]]


@dataclass(frozen=True)
class Breakdown:
    """SRCC and residual by distortion and by level, models side by side."""

    model: Model  # of the first column: it says which sets
    columns: tuple[str, ...]  # the models' names
    distortions: dict[str, tuple[Subset | None, ...]]  # label -> one for each column; None: no such image
    levels: dict[str, tuple[Subset | None, ...]]  # likewise

    @property
    def largest_residual(self) -> float:
        """By level, either way: the end of the axis of the bars."""
        known = [subset for row in self.levels.values() for subset in row if subset]
        return max((abs(subset.residual) for subset in known), default=0.0) or 1.0


Examples = tuple[Group, dict[str, list[ImageResult]]]  # a model; a key of `TITLES` -> its best and worst images


def sorted_cells(results: Results) -> list[Cell]:
    """The cells as reports list them: sets as they come, the larger fraction first, variants as in the bench."""
    sets = list(dict.fromkeys((cell.model.training_set, cell.model.test_set) for cell in results.cells))
    variants = [*nested(results.metadata, "variants"), *(cell.model.variant for cell in results.cells)]

    def place(cell: Cell) -> tuple[object, ...]:
        model, pair = cell.model, (cell.model.training_set, cell.model.test_set)
        return sets.index(pair), -model.fraction, variants.index(model.variant), model, cell.split, cell.seed

    return sorted(results.cells, key=place)


def grouped(found: Iterable[Group], *keys: str) -> list[list[Group]]:
    """Groups that agree in these fields of their model, in order of appearance."""
    parts: dict[tuple[object, ...], list[Group]] = {}
    for group in found:
        parts.setdefault(tuple(getattr(group.model, key) for key in keys), []).append(group)
    return list(parts.values())


def largest_fractions(found: Sequence[Group]) -> list[Group]:
    """Of each model that was trained on several fractions, the one on the largest that has metrics."""
    models = grouped(_with_metrics(found), "recipe", "variant", "training_set", "test_set", "protocol", "selection")
    return [max(own, key=lambda group: group.model.fraction) for own in models]


def _with_metrics(found: Sequence[Group]) -> list[Group]:
    return [group for group in found if group.metrics]


def published_tables(results: Results, found: Sequence[Group], several: bool) -> list[PublishedTable]:
    """A table for each pair of sets and fraction of which the papers print something."""
    tables = []
    for own in grouped(_with_metrics(found), "training_set", "test_set", "fraction"):
        model = own[0].model
        printed = beside(model.training_set, model.test_set, model.fraction)
        if printed:
            rows = [_our_row(group, several) for group in own] + _merged([row for row in printed if not row.variant])
            rows.sort(key=lambda row: -2 if row.srcc is None else row.srcc, reverse=True)
            sentences = [sentence for group in own for sentence in differences_from_papers(group, results, printed)]
            place = plots.bar_axis([value for row in rows for value in (row.srcc, row.low) if value is not None])
            ablations = _merged([row for row in printed if row.variant])
            tables.append(PublishedTable(model, rows, ablations, list(dict.fromkeys(sentences)), place))
    return tables


def _our_row(group: Group, several: bool) -> PublishedRow:
    srcc, plcc = group.metrics["srcc"], group.metrics["plcc"]
    name = model_name(group.model, several)
    if group.model.selection == "test":
        name += " (epoch chosen on the test part)"
    statistic, median = ("single", None) if len(group.cells) == 1 else ("mean", srcc.median)
    return PublishedRow(name, "", statistic, srcc.mean, plcc.mean, srcc.low, srcc.high, median)


def _merged(rows: Sequence[Beside]) -> list[PublishedRow]:
    """One row where several papers print the same numbers of the same method."""
    sources: dict[tuple[str, str, float | None, float | None], list[str]] = {}
    for row in rows:
        name = f"{row.method}, {row.variant}" if row.variant else row.method
        where = f"{PAPERS.get(row.paper, row.paper)} {row.table}"
        sources.setdefault((name, row.statistic, row.srcc, row.plcc), []).append(where)
    return [
        PublishedRow(name, ", ".join(where), statistic, srcc, plcc)
        for (name, statistic, srcc, plcc), where in sources.items()
    ]


def common_differences(tables: Sequence[PublishedTable]) -> list[str]:
    """What differs in every one of several tables; nothing where there is one only."""
    first = tables[0].differences if len(tables) > 1 else []
    return [one for one in first if all(one in table.differences for table in tables)]


def matrices(found: Sequence[Group], several: bool) -> list[Matrix]:
    """A matrix for each method that was tested on more than one set."""
    made = []
    for own in grouped(largest_fractions(found), "recipe", "variant", "protocol", "selection"):
        test_sets = list(dict.fromkeys(group.model.test_set for group in own))
        training_sets = list(dict.fromkeys(group.model.training_set for group in own))
        if len(test_sets) > 1:
            by_pair = {(group.model.training_set, group.model.test_set): group for group in own}
            cells = [[by_pair.get((row, column)) for column in test_sets] for row in training_sets]
            made.append(Matrix(model_name(own[0].model, several), training_sets, test_sets, cells))
    return made


def fraction_curves(found: Sequence[Group], several: bool) -> list[tuple[Model, plots.Curves]]:
    """SRCC over fractions, for each pair of sets that was trained on more than one fraction."""
    made = []
    for own in grouped(_with_metrics(found), "training_set", "test_set"):
        models = grouped(own, "recipe", "variant", "protocol", "selection")
        names = [model_name(line[0].model, several) for line in models]
        points = [sorted((group.model.fraction, group.metrics["srcc"]) for group in line) for line in models]
        if len({group.model.fraction for group in own}) > 1:
            made.append((own[0].model, plots.curves(list(zip(names, points, strict=True)))))
    return made


def scatters(found: Sequence[Group], scales: dict[str, Scale]) -> list[tuple[Group, plots.Scatter]]:
    """A scatter for each model on the largest fraction, the first twelve."""
    chosen = largest_fractions(found)[:SCATTERS]
    limit = min(plots.POINTS, ALL_POINTS // max(1, len(chosen)))
    return [(group, plots.scatter(group, scales[group.model.test_set], limit)) for group in chosen]


def breakdowns(found: Sequence[Group], several: bool) -> list[Breakdown]:
    """Distortions and levels for each pair of sets whose table names them; at most four models side by side."""
    made = []
    for own in grouped(largest_fractions(found), "training_set", "test_set"):
        columns = own[:COLUMNS]
        distortions = _rows([subsets(group, "distortions") for group in columns])
        levels = _rows([subsets(group, "levels") for group in columns])
        if distortions or levels:
            names = tuple(model_name(group.model, several) for group in columns)
            made.append(Breakdown(columns[0].model, names, distortions, levels))
    return made


def _rows(columns: Sequence[Sequence[Subset]]) -> dict[str, tuple[Subset | None, ...]]:
    by_label = [{subset.label: subset for subset in column} for column in columns]
    labels = dict.fromkeys(label for column in by_label for label in column)
    return {label: tuple(column.get(label) for column in by_label) for label in labels}


def examples(results: Results, found: Sequence[Group], baseline: str, thumbnails: bool) -> list[Examples]:
    """The best and worst predicted images of the baseline on the largest fraction, for the first four pairs of sets."""
    made = []
    for own in grouped(largest_fractions(found), "training_set", "test_set")[:SHOWN]:
        group = next((g for g in own if g.model.variant == baseline), own[0])
        chosen = best_and_worst(image_results(group))
        if thumbnails:
            root = results.data(group.model.test_set).get("root")
            folder = results.table.parent / str(root) if root else None
            chosen = {key: [with_thumbnail(image, folder) for image in row] for key, row in chosen.items()}
        made.append((group, chosen))
    return made
