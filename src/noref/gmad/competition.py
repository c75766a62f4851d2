"""Two models and a folder of images -> a gMAD competition on the disk: `pairs.csv` and the page to vote on.

A model is a CSV of scores, a model of noref, or a metric of an installed IQA-PyTorch.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from noref.errors import DataError, ImageError, OptionError, printable
from noref.gmad.page import render_page
from noref.gmad.pairs import GmadPair, both_roles, is_pairs, write_pairs
from noref.gmad.score_table import ScoreTable, align, read_score_table
from noref.gmad.selection import Groups
from noref.images import read
from noref.scoring import pyiqa_metric
from noref.scoring.find_images import find_images
from noref.scoring.progress import progress
from noref.writing import check_output, is_page, write_text

Outcome = tuple[float, float] | ImageError  # the score to show and the one that orders, higher is better; or why not


@dataclass(frozen=True)
class Competitor:
    """One of the two models, as the caller names it."""

    source: str  # a .csv file; `pyiqa:` and the name of a metric; else what `noref.Scorer` takes
    name: str | None = None  # on tables and pages; None: after its source
    columns: tuple[str, str] = ("path", "score")  # headers of a CSV
    lower_is_better: bool = False  # of a CSV; other models know their own direction

    @property
    def is_table(self) -> bool:
        """Whether the scores are there already."""
        return self.source.lower().endswith(".csv")

    @property
    def title(self) -> str:
        """The name on tables and pages."""
        return self.name or (Path(self.source).stem if self.is_table else self.source)


@dataclass(frozen=True)
class Competition:
    """The result of a competition, and the two files that were written."""

    pairs: list[GmadPair]  # of both roles
    images: int  # that took part
    failed: dict[str, str]  # image -> why a model could not score it; these took no part
    table: Path
    page: Path


def run_competition(
    defender: Competitor,
    attacker: Competitor,
    out: Path,
    *,
    images: Path | None = None,
    levels: int = 6,
    top: int = 1,
    groups: Groups = "count",
    seed: int = 0,
    side: int = 640,
    overwrite: bool = False,
) -> Competition:
    """Score where scores are missing, find the pairs of both roles, write `pairs.csv` and `gmad.html`.

    Args:
        defender, attacker: in the first role; the roles are then swapped.
        out: folder for the two files, made if it is not there.
        images: folder that the paths of tables are relative to; a model scores all images in it and below. None: the
            paths of a table are relative to its own folder.
        levels, top, groups, seed: as in `both_roles`.
        side: longer side of the images on the page, in pixels, at most.
        overwrite: replace the two files of an earlier call.

    Raises:
        OptionError: an unknown model, a missing folder, a number out of range, a folder without write access, or a
            file in it that must not be replaced.
        DataError: tables that do not fit each other, or no pairs; an image of a pair that is not there.
        MissingExtraError: the page needs Jinja2.
    """
    if images is not None and not images.is_dir():
        raise OptionError(f"{images}: no such folder")
    if side < 32:
        raise OptionError(f"side must be 32 pixels or more, got {side}")
    if defender.title == attacker.title:
        raise OptionError(f"both models are called {defender.title!r}: give one of them another name")
    table, page = out / "pairs.csv", out / "gmad.html"
    tables = [one.source for one in (defender, attacker) if one.is_table]
    for file, ours in ((table, is_pairs), (page, is_page)):
        check_output(file, inputs=tables, ours=ours, overwrite=overwrite)
    folders = [images] if images else [Path(one.source).parent for one in (defender, attacker) if one.is_table]

    def locate(path: str) -> Path:
        for folder in folders:
            if (folder / path).is_file():
                return folder / path
        raise DataError(f"{printable(path)}: no such image in {' nor in '.join(map(str, dict.fromkeys(folders)))}")

    first, second, failed = _score_tables(defender, attacker, images, locate)
    pairs = both_roles(first, second, levels=levels, top=top, groups=groups, seed=seed)
    try:
        out.mkdir(parents=True, exist_ok=True)
        write_pairs(pairs, table)
        with progress(len(pairs), sys.stderr) as advance:
            text = render_page(pairs, (first, second), locate, levels=levels, side=side, advance=advance)
        write_text(page, text)
    except OSError as error:
        raise OptionError(f"{error.filename or out}: cannot be written: {error.strerror}") from error
    return Competition(pairs, len(first.paths), failed, table, page)


def _score_tables(
    defender: Competitor, attacker: Competitor, images: Path | None, locate: Callable[[str], Path]
) -> tuple[ScoreTable, ScoreTable, dict[str, str]]:
    """Both on the same images, and the images that one of them could not score."""
    tables: dict[Competitor, ScoreTable] = {}
    for one in (defender, attacker):
        if one.is_table:
            up = not one.lower_is_better
            tables[one] = read_score_table(
                Path(one.source), name=one.title, columns=one.columns, higher_is_better=up, below=images
            )
    if len(tables) == 2:
        return *align(tables[defender], tables[attacker]), {}
    if tables:
        paths = next(iter(tables.values())).paths
    elif images is not None:
        found = list(find_images([str(images)], recursive=True))
        if errors := [f"{printable(item.path)}: {item.error}" for item in found if item.error is not None]:
            raise OptionError(errors[0])
        paths = tuple(os.path.relpath(item.path, images) for item in found)
    else:
        raise OptionError("two models need a folder of images to score: --images FOLDER")
    failed: dict[str, str] = {}
    for one in (defender, attacker):
        if one not in tables:
            tables[one] = _score(one, paths, locate, failed)
    kept = np.array([row for row, path in enumerate(paths) if path not in failed], dtype=np.int64)
    return tables[defender].take(kept), tables[attacker].take(kept), failed


def _score(
    model: Competitor, paths: Sequence[str], locate: Callable[[str], Path], failed: dict[str, str]
) -> ScoreTable:
    """Score every image; what fails goes into `failed` and is NaN, for the caller to take out."""
    files = [locate(path) for path in paths]
    score_files = _pyiqa if model.source.startswith(pyiqa_metric.PREFIX) else _noref
    outcomes, higher_is_better = score_files(model.source, files)
    scores, exact = np.full((2, len(paths)), np.nan)
    with progress(len(paths), sys.stderr) as advance:
        for row, outcome in enumerate(outcomes):
            if isinstance(outcome, ImageError):
                failed.setdefault(paths[row], f"{model.title}: {outcome}")
            else:
                scores[row], exact[row] = outcome
            advance()
    return ScoreTable(model.title, tuple(paths), scores, higher_is_better, exact)


def _noref(source: str, files: Sequence[Path]) -> tuple[Iterator[Outcome], bool]:
    """A model of noref: its outcome of each file, in order, and whether higher scores are better."""
    from noref.scoring.scorer import Scorer

    found = Scorer(source).stream(iter(files))
    return (one if isinstance(one, ImageError) else (one.value, one.quality) for one in found), True


def _pyiqa(source: str, files: Sequence[Path]) -> tuple[Iterator[Outcome], bool]:
    """The same of a metric of IQA-PyTorch."""
    metric = pyiqa_metric.create_metric(source)
    import torch

    sign = -1.0 if metric.lower_better else 1.0

    def score(file: Path) -> Outcome:
        try:
            pixels = torch.from_numpy(read(file)).permute(2, 0, 1)[None].float() / 255
            with torch.inference_mode():
                value = float(metric(pixels))
        except ImageError as error:
            return error
        except Exception as error:  # whatever a metric of another project may raise: too small, out of memory
            return ImageError(f"{printable(str(file))}: {source}: {error}")
        return (value, sign * value) if np.isfinite(value) else ImageError(f"{printable(str(file))}: scored {value}")

    return map(score, files), not metric.lower_better
