"""One tidy table of predictions -> a report in Markdown, JSON and one HTML page that needs nothing besides itself."""

from __future__ import annotations

import dataclasses
import functools
import itertools
import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.progress import Progress

from noref.errors import MissingExtraError, OptionError

if not all(map(find_spec, ("jinja2", "scipy"))):
    raise MissingExtraError("report", "a report")

import jinja2

from noref.report import formatting as words
from noref.report import provenance, sections
from noref.report.plots import decimals
from noref.report.results import Model, Results, part, read_results
from noref.report.summary import (
    METRICS,
    Comparison,
    Group,
    Share,
    Spread,
    by_distortion,
    by_level,
    comparisons,
    groups,
    pairs,
)
from noref.report.thumbnails import STRIPS
from noref.writing import write_text

if TYPE_CHECKING:
    from noref.evaluate.uncertainty import Difference

FORMAT = 1
FILES = ("report.html", "report.md", "report.json")
TITLES = {
    "srcc": "SRCC",
    "plcc": "PLCC, raw",
    "plcc_logistic4": "PLCC after logistic",
    "krcc": "KRCC",
    "rmse": "RMSE, raw units",
}


@dataclass(frozen=True)
class Report:
    """Everything that the three files say.

    Attributes:
        results: the table and the bench's words.
        groups: a model's cells and figures, for each model.
        comparisons: of variants and of fractions.
        baseline: the variant that others are compared with.
        photos: best and worst predicted images.
        draws: of the bootstrap.
        created: when, in UTC.
    """

    results: Results
    groups: tuple[Group, ...]
    comparisons: tuple[Comparison, ...]
    baseline: str
    photos: tuple[sections.Photos, ...]
    draws: int
    created: str

    @property
    def without_figures(self) -> list[tuple[str, str]]:
        """Cells that have no figures, with the reason."""
        return [(cell.name, cell.trouble) for group in self.groups for cell in group.without]

    @property
    def several(self) -> bool:
        """Whether there is more than one recipe."""
        return len({group.model.recipe for group in self.groups}) > 1

    def html(self) -> str:
        """The page: UTF-8, no script needed, nothing loaded from anywhere."""
        return _environment().get_template("report.html").render(self._content)

    def markdown(self) -> str:
        """The same figures for a repository or a letter; without pictures."""
        return _environment().get_template("report.md").render(self._content)

    def json(self) -> str:
        """The same figures for programs; never NaN."""
        return json.dumps(as_json(self), indent=2, ensure_ascii=False, allow_nan=False) + "\n"

    def write(self, out: Path) -> Path:
        """Write `report.html`, `report.md` and `report.json`, each in one step; return the page's path."""
        out.mkdir(parents=True, exist_ok=True)
        for name, text in zip(FILES, (self.html(), self.markdown(), self.json()), strict=True):
            write_text(out / name, text)
        return out / FILES[0]

    @functools.cached_property
    def _content(self) -> dict[str, Any]:
        found, several, scales = self.groups, self.several, dict(self.results.scales)
        published = sections.published_tables(self.results, found, several)
        named = [(words.compared(one, several), one) for one in self.comparisons]
        return {
            "report": self,
            "title": provenance.title(found),
            "lead": provenance.lead(self.results, found, self.baseline),
            "measured": provenance.measured(self.results, found, self.draws),
            "settings": provenance.settings(self.results),
            "splits": provenance.splits(self.results),
            "about": self.results.about,
            "metrics": TITLES,
            "blocks": sections.together(found, "training_set", "test_set"),
            "scales": scales,
            "names": {group.model: words.model_name(group.model, several) for group in found},
            "warnings": words.warnings(self.results, found),
            "failures": words.failures(self.results),
            "comparisons": [list(rows) for _, rows in itertools.groupby(named, key=_sets)],
            "published": published,
            "common": sections.common(published),
            "least": words.chance(2 / (self.draws + 1)),
            "matrices": sections.matrices(found, several),
            "curves": sections.fraction_curves(found, several),
            "scatters": sections.scatters(found, scales),
            "kinds": sections.kinds(found, several),
        }


def write_report(
    path: Path, out: Path | None = None, *, compare: str | None = None, pictures: bool = True, draws: int = 1000
) -> Path:
    """Make the report of a bench, finished or not, or of a table alone, and write it.

    Args:
        path: a bench's folder, or a table of predictions.
        out: folder to write to; None: the bench's own, or the table's.
        compare: see `make_report`, as all that follow.
        pictures: with thumbnails.
        draws: of the bootstrap.

    Returns:
        The page's path.

    Raises:
        OptionError: no such folder, file or variant.
        DataError: a table that cannot be trusted; names file, line and reason.
    """
    report = make_report(path, compare=compare, pictures=pictures, draws=draws)
    return report.write(out or report.results.table.parent)


def make_report(path: Path, *, compare: str | None = None, pictures: bool = True, draws: int = 1000) -> Report:
    """Read a table and compute what a report says; a bar shows progress on a terminal.

    Args:
        path: a bench's folder, or a table of predictions.
        compare: the variant that others are compared with; None: the first in the table.
        pictures: with thumbnails of the best and worst predicted images.
        draws: of the bootstrap; intervals of 95 %, p values not below 2 / (draws + 1).

    Raises:
        OptionError: no such folder, file or variant.
        DataError: a table that cannot be trusted; names file, line and reason.
    """
    if draws < 20:
        raise OptionError(f"{draws} draws make no interval; take 1000")
    results = read_results(path)
    cells = sections.ordered(results)
    models = {cell.model for cell in cells}
    console = Console(stderr=True)
    with Progress(console=console, transient=True, disable=not console.is_terminal) as shown:
        task = shown.add_task("intervals", total=len(models))

        def tick() -> None:
            shown.advance(task)

        found = groups(cells, draws=draws, tick=tick)
        shown.update(task, description="comparisons", total=len(models) + len(pairs(found, compare)))
        compared = comparisons(found, compare, draws=draws, tick=tick)
    baseline = cells[0].model.variant if compare is None else compare
    shown_photos = sections.photos(results, found, baseline, pictures)
    created = datetime.now(UTC).isoformat(timespec="seconds")
    return Report(results, tuple(found), tuple(compared), baseline, tuple(shown_photos), draws, created)


def as_json(report: Report) -> dict[str, Any]:
    """What `report.json` holds; docs/report.md says what the fields mean."""
    about = report.results.about
    return {
        "format": FORMAT,
        "noref": version("noref"),
        "created": report.created,
        "table": report.results.table.name,
        "draws": report.draws,
        "baseline": report.baseline,
        "warnings": words.warnings(report.results, report.groups),
        "cells": {
            "wanted": part(about, "cells").get("wanted"),
            "done": part(about, "cells").get("done"),
            "failed": [{"cell": cell, "reason": why} for cell, why in words.failures(report.results)],
            "without_figures": [{"cell": cell, "reason": why} for cell, why in report.without_figures],
        },
        "scales": {name: dataclasses.asdict(scale) for name, scale in report.results.scales.items()},
        "results": [_group_json(group) for group in report.groups],
        "comparisons": [_comparison_json(one) for one in report.comparisons],
        "published": [
            {
                "training_set": table.model.training_set,
                "test_set": table.model.test_set,
                "fraction": table.model.fraction,
                "rows": [_published_json(row) for row in (*table.rows, *table.ablations)],
                "differs": list(table.differs),
            }
            for table in sections.published_tables(report.results, report.groups, report.several)
        ],
        "photos": [
            {
                **_model_json(photos.group.model),
                **{
                    strip: [{key: value for key, value in image.__dict__.items() if key != "picture"} for image in row]
                    for strip, row in photos.strips.items()
                },
            }
            for photos in report.photos
        ],
        "bench": _without_places(about),
    }


def _without_places(about: Mapping[str, Any]) -> dict[str, Any]:
    """What the bench says besides, without the folders of the machine that it ran on."""
    data = {
        name: {key: value for key, value in part(about, "data", name).items() if key not in ("path", "root")}
        for name in part(about, "data")
    }
    return {**{key: value for key, value in about.items() if key != "cells"}, **({"data": data} if data else {})}


def _group_json(group: Group) -> dict[str, Any]:
    return {
        **_model_json(group.model),
        "cells": [cell.name for cell in group.cells],
        "splits": list(group.splits),
        "images": group.images,
        **{name: _spread_json(group.figures.get(name)) for name in METRICS},
        "distortions": [_share_json(share) for share in by_distortion(group)],
        "levels": [_share_json(share) for share in by_level(group)],
    }


def _model_json(model: Model) -> dict[str, Any]:
    return dict(model._asdict())


def _spread_json(spread: Spread | None) -> dict[str, Any] | None:
    return None if spread is None else {**dataclasses.asdict(spread), "values": dict(spread.values)}


def _share_json(share: Share) -> dict[str, Any]:
    return dataclasses.asdict(share)


def _published_json(row: sections.PublishedRow) -> Mapping[str, Any]:
    return {key: value for key, value in {**row.__dict__, "ours": row.ours}.items() if not key.endswith("at")}


def _comparison_json(one: Comparison) -> dict[str, Any]:
    def difference(found: Difference | None) -> dict[str, Any] | None:
        return None if found is None else {**dataclasses.asdict(found), "words": words.verdict(found)}

    return {
        "first": _model_json(one.first),
        "second": _model_json(one.second),
        "splits": list(one.splits),
        "srcc": difference(one.srcc),
        "plcc": difference(one.plcc),
        "trouble": one.trouble,
    }


def _sets(named: tuple[tuple[str, str], Comparison]) -> tuple[str, str]:
    return named[1].first.training_set, named[1].first.test_set


@functools.cache
def _environment() -> jinja2.Environment:
    made = jinja2.Environment(
        loader=jinja2.FileSystemLoader(Path(__file__).with_name("templates")),
        autoescape=jinja2.select_autoescape(["html"]),
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    made.filters["capfirst"] = lambda text: text[:1].upper() + text[1:]
    made.filters["num"] = words.number
    made.filters["md"] = words.markdown
    made.globals |= {
        "conversion": words.conversion,
        "decimals": decimals,
        "pair": words.pair,
        "papers": words.PAPERS,
        "part": part,
        "protocols": words.PROTOCOLS,
        "range_of": words.range_of,
        "selections": words.SELECTIONS,
        "set_name": words.set_name,
        "share": words.share,
        "strip_titles": STRIPS,
        "verdict": words.verdict,
        "version": version("noref"),
    }
    return made
