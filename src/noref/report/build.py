"""One table of predictions -> a report in Markdown, JSON and one HTML page that needs nothing besides itself."""

from __future__ import annotations

import functools
import itertools
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from noref.errors import MissingExtraError, OptionError

if not all(map(find_spec, ("jinja2", "scipy"))):
    raise MissingExtraError("report", "a report")

from noref.report import formatting, notes, provenance, sections
from noref.report.cell_metrics import METRICS, Comparison, Group, comparisons, groups, subsets
from noref.report.pages import SHARED, template
from noref.report.results import Results, read_results
from noref.report.table import nested
from noref.report.thumbnails import TITLES, ImageResult
from noref.writing import check_output, is_page, write_text

FORMAT = 1
FILES = ("report.html", "report.md", "report.json")
METRIC_NAMES = {
    "srcc": "SRCC",
    "plcc": "PLCC, raw",
    "plcc_logistic4": "PLCC after logistic",
    "krcc": "KRCC",
    "rmse": "RMSE, raw units",
}
FILTERS: dict[str, Callable[..., Any]] = {
    "capfirst": lambda text: text[:1].upper() + text[1:],
    "md": formatting.markdown,
    "num": formatting.number,
}
# functions of `noref.report.formatting` that templates call
CALLED = ("compared_names", "decimals", "difference_text", "percent", "scale_text", "set_name", "sets_of")


@dataclass(frozen=True)
class Report:
    """Everything that the three files say."""

    results: Results  # the table and what is written beside it
    groups: tuple[Group, ...]  # a model's cells and metrics, for each model
    comparisons: tuple[Comparison, ...]  # of variants and of fractions
    baseline: str  # the variant that others are compared with
    examples: tuple[sections.Examples, ...]  # best and worst predicted images
    draws: int  # of the bootstrap
    created: str  # when, in UTC

    @property
    def undefined(self) -> list[tuple[str, str]]:
        """Cells that have no metrics, with the reason."""
        return [(cell.name, cell.trouble) for group in self.groups for cell in group.undefined]

    def html(self) -> str:
        """The page: UTF-8, no script needed, nothing loaded from anywhere."""
        return self._render(FILES[0])

    def markdown(self) -> str:
        """The same for a repository or a letter; without plots and thumbnails."""
        return self._render(FILES[1])

    def json(self) -> str:
        """The same for programs; never NaN. docs/report.md says what the fields mean."""
        results, cells = self.results, nested(self.results.metadata, "cells")
        content = {
            "format": FORMAT,
            "noref": version("noref"),
            "created": self.created,
            "table": results.table.name,
            "draws": self.draws,
            "baseline": self.baseline,
            "warnings": [*self._content["warnings"], *self._content["notes"]],
            "cells": {
                "wanted": cells.get("wanted"),
                "done": cells.get("done"),
                "failed": [{"cell": cell, "reason": reason} for cell, reason in notes.failures(results)],
                "without_figures": [{"cell": cell, "reason": reason} for cell, reason in self.undefined],
            },
            "scales": results.scales,
            "results": [_result_json(group) for group in self.groups],
            "comparisons": [_comparison_json(one) for one in self.comparisons],
            "published": [_published_json(table) for table in self._content["published"]],
            "photos": [_examples_json(*one) for one in self.examples],
            "bench": _metadata_json(results.metadata),
        }
        return json.dumps(content, indent=2, ensure_ascii=False, allow_nan=False, default=vars) + "\n"

    def write(self, out: Path) -> Path:
        """Write `report.html`, `report.md` and `report.json`, each in one step; return the page's path.

        Raises:
            OptionError: as `check_folder`.
        """
        check_folder(out)
        out.mkdir(parents=True, exist_ok=True)
        for name, text in zip(FILES, (self.html(), self.markdown(), self.json()), strict=True):
            write_text(out / name, text)
        return out / FILES[0]

    def _render(self, name: str) -> str:
        return str(template(SHARED / name, "a report", **FILTERS).render(self._content))

    @functools.cached_property
    def _content(self) -> dict[str, Any]:
        found, scales = self.groups, dict(self.results.scales)
        several = len({group.model.recipe for group in found}) > 1
        published = sections.published_tables(self.results, found, several)
        by_sets = itertools.groupby(self.comparisons, key=lambda one: (one.first.training_set, one.first.test_set))
        return {
            **{name: getattr(formatting, name) for name in CALLED},
            "example_titles": TITLES,
            "metric_names": METRIC_NAMES,
            "version": version("noref"),
            "report": self,
            "several": several,
            "title": provenance.title(found),
            "first_sentences": provenance.first_sentences(self.results, found, self.baseline, several),
            "measured": provenance.measured(self.results, found, self.draws),
            "settings": provenance.settings(self.results),
            "splits": provenance.splits(self.results),
            "blocks": sections.grouped(found, "training_set", "test_set"),
            "scales": scales,
            "names": {group.model: formatting.model_name(group.model, several) for group in found},
            "warnings": notes.warnings(self.results, found),
            "notes": notes.notes(self.results, found),
            "failures": notes.failures(self.results),
            "comparisons": [list(rows) for _, rows in by_sets],
            "published": published,
            "common": sections.common_differences(published),
            "smallest_p": formatting.p_value(2 / (self.draws + 1)),
            "matrices": sections.matrices(found, several),
            "curves": sections.fraction_curves(found, several),
            "scatters": sections.scatters(found, scales),
            "breakdowns": sections.breakdowns(found, several),
        }


def check_folder(out: Path) -> None:
    """Raise an OptionError where a file of a report's name lies in the folder that noref did not write."""
    for name, ours in zip(FILES, (is_page, _is_markdown, _is_json), strict=True):
        check_output(out / name, ours=ours, overwrite=True)


def _is_markdown(head: bytes) -> bool:
    return head.startswith(b"# ") and b". The plots are in report.html, " in head


def _is_json(head: bytes) -> bool:
    return head.startswith(b'{\n  "format": ') and b'\n  "noref": "' in head


def build_report(path: Path, *, compare: str | None = None, thumbnails: bool = True, draws: int = 1000) -> Report:
    """Read a table and compute what a report says; a bar shows progress on a terminal.

    Args:
        path: the folder of a bench, finished or not, or of a training run; or a table of predictions.
        compare: the variant that others are compared with; None: the first in the table.
        thumbnails: of the best and worst predicted images.
        draws: of the bootstrap; intervals of 95 %, p values not below 2 / (draws + 1).

    Raises:
        OptionError: no such folder, file or variant.
        DataError: a broken or contradictory table; names file, line and reason.
    """
    if draws < 20:
        raise OptionError(f"{draws} draws make no interval; take 1000")
    results = read_results(path)
    cells = sections.sorted_cells(results)
    found = groups(cells, draws=draws)
    compared = comparisons(found, compare, draws=draws)
    baseline = cells[0].model.variant if compare is None else compare
    shown = sections.examples(results, found, baseline, thumbnails)
    created = datetime.now(UTC).isoformat(timespec="seconds")
    return Report(results, tuple(found), tuple(compared), baseline, tuple(shown), draws, created)


def _result_json(group: Group) -> dict[str, Any]:
    return {
        **group.model._asdict(),
        "cells": [cell.name for cell in group.cells],
        "splits": group.splits,
        "images": group.images,
        **{name: group.metrics.get(name) for name in METRICS},
        "distortions": subsets(group, "distortions"),
        "levels": subsets(group, "levels"),
    }


def _comparison_json(one: Comparison) -> dict[str, Any]:
    values = {**vars(one), "first": one.first._asdict(), "second": one.second._asdict()}
    for name in ("srcc", "plcc"):
        if values[name]:
            values[name] = {**vars(values[name]), "words": formatting.difference_text(values[name])}
    return values


def _published_json(table: sections.PublishedTable) -> dict[str, Any]:
    rows = [{**vars(row), "ours": row.ours} for row in (*table.rows, *table.ablations)]
    sets = {key: getattr(table.model, key) for key in ("training_set", "test_set", "fraction")}
    return {**sets, "rows": rows, "differs": table.differences}


def _examples_json(group: Group, images: Mapping[str, list[ImageResult]]) -> dict[str, Any]:
    rows = {
        kind: [{key: value for key, value in vars(image).items() if key != "thumbnail"} for image in row]
        for kind, row in images.items()
    }
    return {**group.model._asdict(), **rows}


def _metadata_json(metadata: Mapping[str, Any]) -> dict[str, Any]:
    """What the bench says besides, without the folders of the machine that it ran on."""
    said = {key: value for key, value in metadata.items() if key != "cells"}
    for name in (data := nested(metadata, "data")):
        own = {key: value for key, value in nested(data, name).items() if key not in ("path", "root")}
        said["data"] = {**said["data"], name: own}
    return said
