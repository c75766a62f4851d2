"""Two models, a folder of images -> a gMAD competition on the disk: `pairs.csv` and the page to vote on.

Stands above scoring and evaluation because it needs both: what scores images knows no competition, and the other way
round. A model is a CSV of scores, a model of noref, or a metric of an installed IQA-PyTorch.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, closing, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from noref.errors import DataError, ImageError, OptionError, unknown
from noref.gmad.page import render_page
from noref.gmad.pairs import Match, both_roles, write_matches
from noref.gmad.score_table import Opponent, align, read_opponent
from noref.gmad.selection import Groups
from noref.images import printable, read
from noref.writing import write_text

PYIQA = "pyiqa:"


@dataclass(frozen=True)
class Side:
    """How the caller names one of the two models.

    Attributes:
        source: a .csv file; `pyiqa:` and the name of a metric; else what `noref.Scorer` takes.
        name: what to call it; None: after its source.
        columns: of a CSV: the headers of path and score.
        lower_is_better: of a CSV: direction of its scores. The others know their own.
    """

    source: str
    name: str | None = None
    columns: tuple[str, str] = ("path", "score")
    lower_is_better: bool = False

    @property
    def is_table(self) -> bool:
        """Whether the scores are there already."""
        return self.source.lower().endswith(".csv")

    @property
    def called(self) -> str:
        """The name on tables and pages."""
        return self.name or (Path(self.source).stem if self.is_table else self.source)


@dataclass(frozen=True)
class Contest:
    """What a run came to.

    Attributes:
        matches: the pairs of both roles.
        images: how many images took part.
        failed: image -> why a model could not score it; these took no part.
        table: the file of pairs.
        page: the page to vote on.
    """

    matches: list[Match]
    images: int
    failed: dict[str, str]
    table: Path
    page: Path


def hold(
    defender: Side,
    attacker: Side,
    out: Path,
    *,
    images: Path | None = None,
    levels: int = 6,
    top: int = 1,
    groups: Groups = "count",
    seed: int = 0,
    side: int = 640,
) -> Contest:
    """Score where scores are missing, find the pairs of both roles, write `pairs.csv` and `gmad.html`.

    Args:
        defender: defends first; the roles are then swapped.
        attacker: attacks first.
        out: folder for the two files, made if it is not there.
        images: folder that the paths of tables are relative to; a model scores all images in it and below. None: the
            paths of a table are relative to its own folder.
        levels: as in `find_pairs`.
        top: as in `find_pairs`.
        groups: as in `find_pairs`.
        seed: shuffles the sides.
        side: longer side of the images on the page, in pixels, at most.

    Raises:
        OptionError: an unknown model, no folder where one is needed, a number that cannot be, a folder that cannot
            be written.
        DataError: tables that do not fit each other, or no pairs; an image of a pair that is not there.
        MissingExtraError: the page needs Jinja2.
    """
    if images is not None and not images.is_dir():
        raise OptionError(f"{images}: no such folder")
    if side < 32:
        raise OptionError(f"side must be 32 pixels or more, got {side}")
    if defender.called == attacker.called:
        raise OptionError(f"both models are called {defender.called!r}: give one of them another name")
    places = [images] if images else [Path(s.source).parent for s in (defender, attacker) if s.is_table]
    locate = _locator(places)
    first, second, failed = _opponents(defender, attacker, images, locate)
    matches = both_roles(first, second, levels=levels, top=top, groups=groups, seed=seed)
    try:
        out.mkdir(parents=True, exist_ok=True)
        table, page = out / "pairs.csv", out / "gmad.html"
        write_matches(matches, table)
        with _progress(len(matches)) as advance:
            text = render_page(matches, (first, second), locate, levels=levels, side=side, advance=advance)
        write_text(page, text)
    except OSError as error:
        raise OptionError(f"{error.filename or out}: cannot be written: {error.strerror}") from error
    return Contest(matches, len(first.paths), failed, table, page)


def _opponents(
    defender: Side, attacker: Side, images: Path | None, locate: Callable[[str], Path]
) -> tuple[Opponent, Opponent, dict[str, str]]:
    """Both on the same images, and the images that one of them could not score."""
    tables = {side: _table(side, images) for side in (defender, attacker) if side.is_table}
    if len(tables) == 2:
        first, second = align(tables[defender], tables[attacker])
        return first, second, {}
    if tables:
        paths = next(iter(tables.values())).paths
    elif images is not None:
        paths = _all_below(images)
    else:
        raise OptionError("two models need a folder of images to score: --images FOLDER")
    scored, failed = dict(tables), dict[str, str]()
    for side in (defender, attacker):
        if side not in scored:
            judge = _pyiqa(side) if side.source.startswith(PYIQA) else _noref(side)
            scored[side] = _score(judge, side.called, paths, locate, failed)
    kept = np.array([row for row, path in enumerate(paths) if path not in failed], dtype=np.int64)
    return scored[defender].take(kept), scored[attacker].take(kept), failed


def _table(side: Side, images: Path | None) -> Opponent:
    path_column, score_column = side.columns
    return read_opponent(
        Path(side.source),
        name=side.called,
        path_column=path_column,
        score_column=score_column,
        higher_is_better=not side.lower_is_better,
        below=images,
    )


def _all_below(folder: Path) -> tuple[str, ...]:
    from noref.scoring.find_images import find_images

    found = list(find_images([str(folder)], recursive=True))
    for item in found:
        if item.error is not None:
            raise OptionError(f"{printable(item.path)}: {item.error}")
    return tuple(os.path.relpath(item.path, folder) for item in found)


def _locator(places: Sequence[Path]) -> Callable[[str], Path]:
    """Path as in a table -> the file, in the first of the places that has it."""

    def locate(path: str) -> Path:
        for place in places:
            if (place / path).is_file():
                return place / path
        where = " nor in ".join(str(place) for place in dict.fromkeys(places))
        raise DataError(f"{printable(path)}: no such image in {where}")

    return locate


@dataclass(frozen=True)
class _Judge:
    """A model that is ready to score files."""

    stream: Callable[[Iterator[Path]], Any]  # (shown score, exact score) or an ImageError, in order
    higher_is_better: bool


def _noref(side: Side) -> _Judge:
    from noref.scoring.scorer import Scorer

    scorer = Scorer(side.source)

    def stream(files: Iterator[Path]) -> Iterator[tuple[float, float] | ImageError]:
        with closing(scorer.stream(files)) as outcomes:
            for outcome in outcomes:
                yield outcome if isinstance(outcome, ImageError) else (outcome.value, outcome.quality)

    return _Judge(stream, True)


def _pyiqa(side: Side) -> _Judge:
    name = side.source.removeprefix(PYIQA)
    try:
        import pyiqa  # type: ignore[import-not-found, unused-ignore]
        import torch
    except ImportError as error:
        raise OptionError(f"{side.source} needs IQA-PyTorch, which is not installed: pip install pyiqa") from error
    if name not in pyiqa.list_models():
        raise unknown("metric of IQA-PyTorch", name, pyiqa.list_models())
    metric = pyiqa.create_metric(name)
    sign = -1.0 if metric.lower_better else 1.0

    def score(file: Path) -> tuple[float, float] | ImageError:
        try:
            pixels = torch.from_numpy(read(file)).permute(2, 0, 1)[None].float() / 255
            with torch.inference_mode():
                value = float(metric(pixels))
        except ImageError as error:
            return error
        except Exception as error:  # whatever a metric of another project may raise: too small, out of memory
            return ImageError(f"{printable(str(file))}: {side.source}: {error}")
        return (value, sign * value) if np.isfinite(value) else ImageError(f"{printable(str(file))}: scored {value}")

    return _Judge(lambda files: map(score, files), not metric.lower_better)


def _score(
    judge: _Judge, name: str, paths: Sequence[str], locate: Callable[[str], Path], failed: dict[str, str]
) -> Opponent:
    """Score every image; what fails goes into `failed` and is NaN, for the caller to take out."""
    shown, exact = np.full(len(paths), np.nan), np.full(len(paths), np.nan)
    files = [locate(path) for path in paths]
    with _progress(len(paths)) as advance:
        for row, outcome in enumerate(judge.stream(iter(files))):
            if isinstance(outcome, ImageError):
                failed.setdefault(paths[row], f"{name}: {outcome}")
            else:
                shown[row], exact[row] = outcome
            advance()
    return Opponent(name, tuple(paths), shown, judge.higher_is_better, exact)


def _progress(total: int) -> AbstractContextManager[Callable[[], None]]:
    if total < 2 or not sys.stderr.isatty():
        return nullcontext(lambda: None)
    from noref.scoring.terminal import progress

    return progress(total, sys.stderr, rows_to_terminal=False)
