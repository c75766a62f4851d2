"""The model parameter randomisation test: maps must change when what the model has learnt is destroyed.

After Adebayo et al. 2018, "Sanity checks for saliency maps", https://arxiv.org/abs/1810.03292: cascading randomisation
from the output down, maps compared by rank correlation and SSIM. Differs: the weights of a tensor are shuffled among
themselves and not drawn anew, so that each layer keeps its scale and networks whose batch norms are folded away keep
their signal; it works on an exported model too. A logistic curve at the end is left out of the copies, and their scores
are not clipped: at the ends of the scale a map is flat, whatever the weights. Three steps of the cascade instead of
every layer. The verdict and its limit are ours.
"""

from __future__ import annotations

import csv
import sys
from collections.abc import Mapping, Sequence
from dataclasses import astuple, dataclass, field, replace
from pathlib import Path

import numpy as np

from noref.errors import DataError, ImageError
from noref.explain import figure
from noref.explain.colormap import resized
from noref.explain.explain import SHOWN, find_photos, make_folder, model_maps, open_models, reason
from noref.explain.figure import ModelMaps, PhotoMaps
from noref.explain.map_types import Options, Plane
from noref.images import name, read
from noref.scoring.progress import progress
from noref.writing import check_output, replacing

STAGES = {"head": 0.0, "upper half": 0.5, "all": 1.0}  # share of the layers below the head that are randomised too
LIMIT = 0.5  # mean absolute rank correlation with the maps of a wholly randomised model, at most
SIDE = 32  # points a side on which maps are compared
TABLE = "sanity.csv"
COLUMNS = ("model", "kind", "stage", "photos", "rank", "size", "ssim", "flat")


@dataclass(frozen=True)
class Row:
    """How similar the maps of a partly randomised model are to its own, mean over photos. A row of `sanity.csv`."""

    model: str
    map_type: str  # a key of `MAP_TYPES`
    stage: str  # a key of `STAGES`
    photos: int  # how many
    rank_correlation: float  # as `similarity`
    absolute: float  # mean of its absolute value, 0 to 1
    ssim: float  # as `similarity`
    flat: int = 0  # maps of the randomised model of equal values: they count 0, and say little

    @property
    def passed(self) -> bool:
        """Whether the map has changed enough."""
        return self.absolute < LIMIT


@dataclass
class Report:
    """What a test came to."""

    rows: list[Row] = field(default_factory=list)  # one for each model, map type and stage
    failed: dict[str, str] = field(default_factory=dict)  # photo -> why it is left out

    @property
    def passed(self) -> bool:
        """Whether every map of every model depends on what was learnt."""
        return bool(self.rows) and all(row.passed for row in self.rows if row.stage == "all")

    @property
    def verdicts(self) -> list[str]:
        """One sentence for each model and map type."""
        return [
            f"{row.map_type} of {row.model} {'passes' if row.passed else 'FAILS'}: |rank correlation| with shuffled"
            f" weights {row.absolute:.2f}, {'below' if row.passed else 'not below'} {LIMIT:g}"
            + (f"; {row.flat} of {row.photos} of these maps are flat" if row.flat else "")
            for row in self.rows
            if row.stage == "all"
        ]


def run(
    paths: Sequence[str],
    out: Path,
    *,
    models: Sequence[str] = ("default",),
    options: Options | None = None,
    recursive: bool = False,
    seed: int = 0,
) -> Report:
    """Compare each model's maps with those of randomised copies; write `sanity.csv` and a figure of the first photo.

    Args:
        paths: photos and folders of photos; several, for one photo says little.
        out: folder for `sanity.csv` and a `sanity-N.png` for each model.
        models, options: as in `noref.explain.explain.explain`.
        seed: of the randomisation.

    Raises:
        NorefError: as `noref.explain.explain.explain`.
    """
    options = options or Options()
    opened = open_models(models, options)
    photos, failed = find_photos(paths, out, recursive=recursive)
    figures = [out / f"sanity-{number}.png" for number in range(1, len(opened) + 1)]
    make_folder(out, figures)
    check_output(out / TABLE, ours=lambda head: head.startswith(",".join(COLUMNS).encode()), overwrite=True)
    report = Report(failed=failed)
    with progress(len(photos) * len(opened), sys.stderr) as advance:
        for (label, model), target in zip(opened.items(), figures, strict=True):
            stages = {"trained": model}
            for stage, share in STAGES.items():
                stages[stage] = model.randomised(share, np.random.default_rng(seed))
            found: dict[Path, dict[str, ModelMaps]] = {}
            for photo in photos:
                try:
                    found[photo] = {stage: model_maps(photo, stage, one, options) for stage, one in stages.items()}
                except ImageError as error:
                    report.failed[name(photo)] = reason(photo, error)
                advance()
            if found:
                report.rows += _rows(label, list(found.values()))
                _draw(label, *next(iter(found.items())), target, seed)
    with replacing(out / TABLE) as partial, partial.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(COLUMNS)
        writer.writerows([f"{v:.4f}" if isinstance(v, float) else v for v in astuple(row)] for row in report.rows)
    return report


def similarity(first: Plane, second: Plane) -> tuple[float, float]:
    """Spearman's correlation of two maps, 0 where one is flat, and their SSIM, on 32 x 32 points: -1 to 1, 1: the same.

    Example:
        >>> plane = np.add.outer(np.arange(32.0), np.arange(32.0))
        >>> [round(value, 6) for value in similarity(plane, plane)]
        [1.0, 1.0]
    """
    from noref.evaluate.correlation import srcc

    small = [resized(plane, (SIDE, SIDE)) for plane in (first, second)]
    try:
        rank = srcc(small[0].ravel(), small[1].ravel())
    except DataError:
        rank = 0.0
    return rank, ssim(small[0], small[1])


def ssim(first: Plane, second: Plane, window: int = 7) -> float:
    """Structural similarity of two maps of one size, each scaled to 0-1; a flat map is all 0.

    Source:
        Wang et al. 2004, https://doi.org/10.1109/TIP.2003.819861, with a square window of equal weights that lies
        wholly inside, and the unbiased variance.
    """
    scaled = [(plane - plane.min()) / (np.ptp(plane) or 1.0) for plane in (first, second)]
    windows = (np.lib.stride_tricks.sliding_window_view(plane, (window, window)) for plane in scaled)
    x, y = (one.reshape(-1, window**2) for one in windows)
    mean_x, mean_y = x.mean(axis=1), y.mean(axis=1)
    covariance = ((x - mean_x[:, None]) * (y - mean_y[:, None])).sum(axis=1) / (window**2 - 1)
    c1, c2 = 0.01**2, 0.03**2
    above = (2 * mean_x * mean_y + c1) * (2 * covariance + c2)
    below = (mean_x**2 + mean_y**2 + c1) * (x.var(axis=1, ddof=1) + y.var(axis=1, ddof=1) + c2)
    return float((above / below).mean())


def _rows(label: str, found: Sequence[Mapping[str, ModelMaps]]) -> list[Row]:
    rows = []
    for number, one in enumerate(found[0]["trained"].maps):
        trained = [photo["trained"].maps[number].values for photo in found]
        for stage in STAGES:
            copies = [photo[stage].maps[number].values for photo in found]
            rank, alike = np.array([similarity(*pair) for pair in zip(trained, copies, strict=True)]).T
            means = float(rank.mean()), float(np.abs(rank).mean()), float(alike.mean())
            flat = sum(int(np.ptp(resized(plane, (SIDE, SIDE))) == 0) for plane in copies)
            rows.append(Row(label, one.type, stage, len(found), *means, flat))
    return rows


def _draw(label: str, photo: Path, stages: Mapping[str, ModelMaps], target: Path, seed: int) -> None:
    columns = []
    for stage, found in stages.items():
        title = stage if stage == "trained" else f"{stage} shuffled"
        maps = [replace(one, values=one.values.clip(0, 100)) if one.type == "quality" else one for one in found.maps]
        columns.append(ModelMaps(title, found.score, tuple(maps)))
    picture = figure.draw(PhotoMaps(label, read(photo, preprocessing=SHOWN), tuple(columns)))
    figure.save(picture, target, f"sanity {seed}")
