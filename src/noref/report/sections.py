"""The parts of a report between its figures and its pages: what stands in which table, in which order."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from noref.card import Scale
from noref.evaluate.published import Beside, beside
from noref.report import plots as figures
from noref.report.formatting import PAPERS, differs, model_name
from noref.report.results import Cell, Model, Results, part
from noref.report.summary import Group, Share, by_distortion, by_level
from noref.report.thumbnails import Judged, judged, root_of, strips, with_picture

SCATTERS = 12  # more would make a page that nobody reads to its end
ALL_POINTS = 12_000  # of all scatters together
COLUMNS = 4  # models side by side in a table
SHOWN = 4  # pairs of sets with photos


@dataclass(frozen=True)
class PublishedRow:
    """A row beside the published figures, theirs or ours.

    Attributes:
        name: method, with its variant.
        source: papers and tables; empty for ours.
        statistic: `mean`, `median` or `single`.
        srcc: in [-1, 1], higher is better; None where there is none.
        plcc: likewise, without a curve.
        low: lower end of our interval of SRCC.
        high: the upper end.
        at: place of SRCC on the common axis; None where there is none.
        low_at: place of `low`.
        high_at: place of `high`.
        median: of our SRCC over splits; None where there is one split, and for theirs.
    """

    name: str
    source: str
    statistic: str
    srcc: float | None
    plcc: float | None
    low: float | None = None
    high: float | None = None
    at: float | None = None
    low_at: float | None = None
    high_at: float | None = None
    median: float | None = None

    @property
    def ours(self) -> bool:
        """Whether it is ours."""
        return not self.source


@dataclass(frozen=True)
class PublishedTable:
    """The papers' rows for a pair of sets and a fraction, ours among them, the highest SRCC first.

    Attributes:
        model: of our first row: it says which sets and fraction.
        rows: plain rows and ours.
        ablations: the papers' ablation rows.
        differs: in what ours differ, one sentence each.
    """

    model: Model
    rows: tuple[PublishedRow, ...]
    ablations: tuple[PublishedRow, ...]
    differs: tuple[str, ...]


@dataclass(frozen=True)
class Matrix:
    """One method trained on each set and tested on each; None where that was not done."""

    label: str
    training_sets: tuple[str, ...]
    test_sets: tuple[str, ...]
    cells: tuple[tuple[Group | None, ...], ...]


@dataclass(frozen=True)
class Kinds:
    """SRCC and residual by distortion and by level, models side by side.

    Attributes:
        model: of the first column: it says which sets.
        columns: the models' names.
        distortions: label -> a share for each column; None where a model has no such image.
        levels: likewise.
    """

    model: Model
    columns: tuple[str, ...]
    distortions: dict[str, tuple[Share | None, ...]]
    levels: dict[str, tuple[Share | None, ...]]

    @property
    def farthest(self) -> float:
        """The largest residual, either way: the end of the axis of the bars."""
        shares = [share for row in self.levels.values() for share in row if share]
        return max((abs(share.residual) for share in shares), default=0.0) or 1.0


@dataclass(frozen=True)
class Photos:
    """The best and the worst predicted images of one model.

    Attributes:
        group: the model.
        strips: a key of `noref.report.thumbnails.STRIPS` -> images.
    """

    group: Group
    strips: dict[str, list[Judged]]


def ordered(results: Results) -> list[Cell]:
    """The cells as reports list them: sets as they come, the larger fraction first, variants as in the bench."""
    sets = list(dict.fromkeys((cell.model.training_set, cell.model.test_set) for cell in results.cells))
    variants = [*part(results.about, "variants"), *(cell.model.variant for cell in results.cells)]

    def place(cell: Cell) -> tuple[object, ...]:
        model = cell.model
        return (
            sets.index((model.training_set, model.test_set)),
            -model.fraction,
            variants.index(model.variant),
            model,
            cell.split,
            cell.seed,
        )

    return sorted(results.cells, key=place)


def common(tables: Sequence[PublishedTable]) -> list[str]:
    """What differs in every one of several tables; nothing where there is one only."""
    if len(tables) < 2:
        return []
    return [sentence for sentence in tables[0].differs if all(sentence in table.differs for table in tables)]


def together(found: Iterable[Group], *keys: str) -> list[list[Group]]:
    """Groups that agree in these fields of their model, in order of appearance."""
    parts: dict[tuple[object, ...], list[Group]] = {}
    for group in found:
        parts.setdefault(tuple(getattr(group.model, key) for key in keys), []).append(group)
    return list(parts.values())


def fullest(found: Sequence[Group]) -> list[Group]:
    """Of each model that was trained on several fractions, the one on the largest that has figures."""
    kept = []
    for own in together(found, "recipe", "variant", "training_set", "test_set", "protocol", "selection"):
        usable = [group for group in own if group.figures]
        if usable:
            kept.append(max(usable, key=lambda group: group.model.fraction))
    return kept


def published_tables(results: Results, found: Sequence[Group], several: bool) -> list[PublishedTable]:
    """A table for each pair of sets and fraction of which the papers print something."""
    tables = []
    for own in together([group for group in found if group.figures], "training_set", "test_set", "fraction"):
        model = own[0].model
        rows = beside(model.training_set, model.test_set, model.fraction)
        if not rows:
            continue
        place = figures.strip_axis(rows, [group.figures["srcc"] for group in own])
        ours = [_our_row(group, several) for group in own]
        plain = _merged([row for row in rows if not row.variant])
        placed = [
            PublishedRow(
                **{**row.__dict__, "at": place(row.srcc), "low_at": place(row.low), "high_at": place(row.high)}
            )
            for row in (*ours, *plain)
        ]
        ordered = sorted(placed, key=lambda row: -(row.srcc if row.srcc is not None else -2))
        words = dict.fromkeys(sentence for group in own for sentence in differs(group, results, rows))
        ablations = _merged([row for row in rows if row.variant])
        tables.append(PublishedTable(model, tuple(ordered), tuple(ablations), tuple(words)))
    return tables


def _our_row(group: Group, several: bool) -> PublishedRow:
    srcc, plcc = group.figures["srcc"], group.figures["plcc"]
    name = model_name(group.model, several)
    if group.model.selection == "test":
        name += " (epoch chosen on the test part)"
    kind = "single" if len(group.cells) == 1 else "mean"
    median = srcc.median if len(group.cells) > 1 else None
    return PublishedRow(name, "", kind, srcc.mean, plcc.mean, srcc.low, srcc.high, median=median)


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


def matrices(found: Sequence[Group], several: bool) -> list[Matrix]:
    """A matrix for each method that was tested on more than one set."""
    made = []
    for own in together(fullest(found), "recipe", "variant", "protocol", "selection"):
        test_sets = tuple(dict.fromkeys(group.model.test_set for group in own))
        training_sets = tuple(dict.fromkeys(group.model.training_set for group in own))
        if len(test_sets) < 2:
            continue
        by_pair = {(group.model.training_set, group.model.test_set): group for group in own}
        cells = tuple(tuple(by_pair.get((row, column)) for column in test_sets) for row in training_sets)
        made.append(Matrix(model_name(own[0].model, several), training_sets, test_sets, cells))
    return made


def fraction_curves(found: Sequence[Group], several: bool) -> list[tuple[Model, figures.Curves]]:
    """SRCC over fractions, for each pair of sets that was trained on more than one fraction."""
    made = []
    for own in together([group for group in found if group.figures], "training_set", "test_set"):
        lines = []
        for line in together(own, "recipe", "variant", "protocol", "selection"):
            points = sorted((group.model.fraction, group.figures["srcc"]) for group in line)
            lines.append((model_name(line[0].model, several), points))
        if len({fraction for _, points in lines for fraction, _ in points}) > 1:
            made.append((own[0].model, figures.curves(lines)))
    return made


def scatters(found: Sequence[Group], scales: dict[str, Scale]) -> list[tuple[Group, figures.Scatter]]:
    """A scatter for each model on the largest fraction, the first twelve."""
    chosen = fullest(found)[:SCATTERS]
    limit = min(figures.POINTS, ALL_POINTS // max(1, len(chosen)))
    return [(group, figures.scatter(group, scales[group.model.test_set], limit)) for group in chosen]


def kinds(found: Sequence[Group], several: bool) -> list[Kinds]:
    """Distortions and levels for each pair of sets whose table names them; at most four models side by side."""
    made = []
    for own in together(fullest(found), "training_set", "test_set"):
        columns = own[:COLUMNS]
        distortions, levels = (
            _rows([{share.label: share for share in cut(group)} for group in columns])
            for cut in (by_distortion, by_level)
        )
        if distortions or levels:
            names = tuple(model_name(group.model, several) for group in columns)
            made.append(Kinds(columns[0].model, names, distortions, levels))
    return made


def _rows(columns: Sequence[dict[str, Share]]) -> dict[str, tuple[Share | None, ...]]:
    labels = dict.fromkeys(label for column in columns for label in column)
    return {label: tuple(column.get(label) for column in columns) for label in labels}


def photos(results: Results, found: Sequence[Group], baseline: str | None, pictures: bool) -> list[Photos]:
    """The best and worst predicted images of the baseline on the largest fraction, for the first four pairs of sets.

    Args:
        results: that the groups come from.
        found: all groups.
        baseline: name of a variant; None: the first.
        pictures: with thumbnails.
    """
    made = []
    for own in together(fullest(found), "training_set", "test_set")[:SHOWN]:
        group = next((g for g in own if g.model.variant == baseline), own[0])
        root = root_of(results.data(group.model.test_set), results.table)
        chosen = strips(judged(group))
        if pictures:
            chosen = {key: [with_picture(image, root) for image in row] for key, row in chosen.items()}
        made.append(Photos(group, chosen))
    return made
