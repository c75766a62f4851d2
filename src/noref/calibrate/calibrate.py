"""`noref calibrate`: from labels of one's own to a model file that scores as they do."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from noref import images
from noref.calibrate.calibrated_model import LabelledPictures, write
from noref.calibrate.figures import figures
from noref.calibrate.labels import FEWEST, Labels, read_labels
from noref.calibrate.ridge import Labelled, fit, folds, straight
from noref.calibrate.scenes import scenes
from noref.calibrate.tradeoff import Threshold, best, plot, plotting, table, thresholds
from noref.calibrate.weightings import weightings
from noref.card import Card, card_path, is_card
from noref.data.threads import in_threads
from noref.errors import DataError, ImageError, ModelError, OptionError
from noref.scoring.find_images import check_file
from noref.scoring.network import FEATURES, SPREAD, Network
from noref.writing import check_output, is_picture

Progress = Callable[[int], AbstractContextManager[Callable[[], None]]]
HELD_OUT = 5  # folds that the reported figures come from; each chooses its own penalty


@dataclass(frozen=True)
class Options:
    """How labels are read and what is written.

    Args:
        said: of the table, as `noref.data.own_csv.options` gives it.
        plot: where to draw the trade-off of thresholds, for labels of yes and no.
        overwrite: a model and a plot that noref wrote may be replaced.
        seed: of the folds.
    """

    said: dict[str, Any] = field(default_factory=dict)
    plot: Path | None = None
    overwrite: bool = False
    seed: int = 0


@dataclass(frozen=True)
class Calibration:
    """What `calibrate` did; figures are of held-out folds, RMSE in points."""

    card: Card
    labels: int
    scenes: int
    failed: dict[str, str]  # picture -> why it has no score
    alone: dict[str, float]  # the model with a line behind it
    calibrated: dict[str, float]
    share: float  # of the features' part that counts, [0, 1]; 0: the model's own order stays
    cautions: list[str]
    thresholds: list[Threshold]  # some of them, lowest first, for labels of yes and no
    threshold: Threshold | None  # the best


def calibrate(
    labels: Path,
    *,
    out: Path,
    model: str | Path = "default",
    options: Options | None = None,
    progress: Progress = lambda pictures: nullcontext(lambda: None),
) -> Calibration:
    """Fit a model's score to labels and write it as a model of its own: an ONNX file with its card.

    Args:
        labels: a table with the columns `path` and `score` or `good`; see `read_labels`.
        out: the file to write, `*.onnx`.
        model: a name, or an ONNX file that puts out its features.
        options: see there.
        progress: number of pictures -> a block whose function is called after each.

    Raises:
        OptionError: a call that makes no sense, or an output that would destroy something.
        DataError: labels that nothing can be learnt from; names file and reason.
        ModelError: a broken model, or one without features.
        MissingExtraError: a plot without matplotlib.
    """
    options = options or Options()
    given = read_labels(labels, options.said)
    _check(out, given, labels, options)
    network = _network(model, out)
    with progress(len(given.paths)) as advance:
        data, pictures, failed = _measured(network, given, labels, advance)
    ways = weightings(network.card, data.features.shape[1])
    clipped = network.card.preprocessing.crop is None  # a mean over crops goes through a line alone
    found = fit(data, ways, clipped=clipped, seed=options.seed)
    alone, predicted = _held_out(data, ways, clipped, options.seed)
    before, after = (figures(100 * values, 100 * data.labels) for values in (alone, predicted))
    cuts = thresholds(np.clip(100 * predicted, 0, 100), data.labels > 0.5) if given.yes_no else []
    threshold = best(cuts) if cuts else None
    if options.plot:
        plot(cuts, options.plot)
    residuals = 100 * np.abs(np.clip(predicted, 0, 1) - data.labels)
    card, cautions = write(network, out, found, pictures, {"alone": before, "calibrated": after}, residuals, threshold)
    cautions = [*given.cautions, *cautions]
    shown = table(cuts) if cuts else []
    return Calibration(card, len(data), pictures.scenes, failed, before, after, found.share, cautions, shown, threshold)


def _check(out: Path, given: Labels, labels: Path, options: Options) -> None:
    """Refuse outputs before the work."""
    if out.suffix != ".onnx":
        raise OptionError(f"{out}: a model's name ends in .onnx")
    if options.plot and not given.yes_no:
        raise OptionError(f"{options.plot}: a plot of thresholds needs labels of yes and no, a column `good`")
    if options.plot and options.plot.suffix.lower() != ".png":
        raise OptionError(f"{options.plot}: a plot's name ends in .png")
    if options.plot:
        plotting()
    inputs = [labels, *given.paths]
    for path, ours in (
        (out, lambda head: card_path(out).is_file()),
        (card_path(out), is_card),
        (options.plot, is_picture),
    ):
        if path and not path.parent.is_dir():
            raise OptionError(f"{path}: there is no folder {path.parent}")
        if path:
            check_output(path, inputs=inputs, ours=ours, overwrite=options.overwrite)


def _network(model: str | Path, out: Path) -> Network:
    network = Network(model)
    network.ready()
    if out.exists() and out.samefile(network.path):
        raise OptionError(f"{out}: is the model itself, not overwritten")
    if FEATURES not in network.further:
        raise ModelError(f"{network.path}: puts out no {FEATURES}, so there is nothing to calibrate")
    return network


def _measured(
    network: Network, given: Labels, labels: Path, advance: Callable[[], None]
) -> tuple[Labelled, LabelledPictures, dict[str, str]]:
    """Quality and features of each picture that can be read, and why the others cannot."""

    def one(path: Path) -> tuple[float, NDArray[np.float32], float] | str:
        try:
            if refused := check_file(path):
                return str(refused)
            pixels = images.read(path, preprocessing=network.card.preprocessing, least_side=images.SCORED_SIDE)
            quality, further = network.quality_and(pixels, FEATURES, SPREAD)
            return quality, further[FEATURES].astype(np.float32), float(further.get(SPREAD, 1.0))
        except ImageError as error:
            return str(error).removeprefix(f"{images.name(path)}: ")
        finally:
            advance()

    found = in_threads(one, given.paths, threads=2)
    rows = [row for row, each in enumerate(found) if not isinstance(each, str)]
    failed = {str(given.paths[row]): each for row, each in enumerate(found) if isinstance(each, str)}
    if len(rows) < FEWEST:
        first = f"; {next(iter(failed.items()))}" if failed else ""
        raise DataError(f"{labels}: {len(rows)} of {len(found)} pictures can be read, {FEWEST} are needed{first}")
    paths = [given.paths[row] for row in rows]
    groups = scenes(paths, [given.references[row] for row in rows])
    qualities, features, spreads = zip(*(found[row] for row in rows), strict=True)
    data = Labelled(np.array(qualities, dtype=np.float64), np.stack(features), given.values[rows], groups)
    if data.labels.min() == data.labels.max() or data.quality.min() == data.quality.max():
        raise DataError(f"{labels}: all labels or all scores of the pictures that can be read are the same")
    return (
        data,
        LabelledPictures(labels.name, paths, len(np.unique(groups)), given.scale, given.yes_no, np.array(spreads)),
        failed,
    )


def _held_out(
    data: Labelled, ways: list[NDArray[np.float64]], clipped: bool, seed: int
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """(N,) what the model with a line, and the calibrated one, say of pictures whose scenes they have not learnt."""
    alone, found = np.zeros(len(data)), np.zeros(len(data))
    for part in folds(data.groups, HELD_OUT, seed + 1):
        learnt, own = data.part(~part), data.part(part)
        intercept, slope = straight(learnt)
        alone[part] = intercept + slope * own.quality
        found[part] = fit(learnt, ways, clipped=clipped, seed=seed).line(own.quality, own.features)
    return alone, found
