"""Does a contrast make the embedded model better? Its recipe with LML-IQA's term, CSIQA's, or neither.

python experiments/embedded/contrast.py --data livec=FOLDER --split FILE --inner 5 --out FOLDER --weights FILE
    --photos FOLDER --ratings FILE --cache FOLDER [--row NAME=CROPS,LOCAL,CONTEXT,EPOCHS ...] [--runs N]

A row draws CROPS windows of each image (one: the recipe's own batches), adds LOCAL x the local manifold loss and
CONTEXT x the quality context loss on the means of the last stage's map, and trains for EPOCHS, with seeds 0 to N - 1.

Choose rows with `--inner K`: K folds of the training part of one split; its test part is never scored. Then run the row
that was chosen once more without `--inner`, on every --split file: those metrics may be reported, and must not be used
to choose. Twelve epochs and the contrast of the shipped model were chosen before this rule, as the best of six settings
on the test parts of the five folds that its metrics come from; so these are a little too good.

Each row, split and seed is a file in --out; what is there is not done again, and several processes share the work.
The salient window is the one where ImageNet's last stage is most active. The last fit is in bfloat16 and without
severity series, to save time. predictions.csv in --out is what `noref report` reads.
"""

from __future__ import annotations

import argparse
import copy
import csv
import dataclasses
import itertools
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from filelock import FileLock, Timeout
from torch import Tensor, nn

from noref.data.records import Record, names
from noref.data.splits import folds, load_split
from noref.default_model.cached_features import CachedFeatures, rated_features, view_features
from noref.default_model.config import Config
from noref.default_model.fine_tuning import (
    build_network,
    draw_views,
    fine_tune,
    predict,
    random_window,
    view_losses,
    weighted_sum,
)
from noref.default_model.head_fit import fit_head
from noref.evaluate.correlation import plcc, srcc
from noref.models.stages import StageRegressor, statistics
from noref.objectives.csiqa import quality_context_loss, select_pairs
from noref.objectives.lml import local_manifold_loss, salient_window
from noref.objectives.rated import score_loss
from noref.train.run_folder import DataSet, Run, read_data
from noref.train.setup import make_fabric

SHARE = {1: 0.8, 2: 0.55}  # a window's side, of the image's: two small windows cost what one large one does
CHOOSING = "inner folds of the training part of {}: choose with these; the test part was not scored"
REPORTING = "test parts: report these, and choose nothing by them; choose with --inner"


@dataclass(frozen=True)
class Row:
    """A row of the table: see the module."""

    name: str
    crops: int
    local: float
    context: float
    epochs: int

    @classmethod
    def parse(cls, text: str) -> Row:
        """NAME=CROPS,LOCAL,CONTEXT,EPOCHS."""
        name, _, numbers = text.partition("=")
        crops, local, context, epochs = numbers.split(",")
        if int(crops) not in SHARE:
            raise argparse.ArgumentTypeError(f"{text}: windows of an image must be one of {sorted(SHARE)}")
        return cls(name, int(crops), float(local), float(context), int(epochs))


class Parts(NamedTuple):
    """Indices of images that train and of images that are scored, and a name for both."""

    name: str
    train: Sequence[int]
    scored: Sequence[int]


def parts_of(files: Sequence[Path], records: Sequence[Record], *, inner: int = 0) -> list[Parts]:
    """The parts to train and to score on.

    Args:
        files: splits.
        records: the data set.
        inner: folds of the training part of the only split, its test part left out; 0: each split's own two parts.

    Raises:
        OptionError: one inner fold.
        DataError: not splits of these records.
    """
    splits = [(file.stem, load_split(file, records)) for file in files]
    if not inner:
        return [Parts(name, split.train, split.test) for name, split in splits]
    ((name, outer),) = splits
    return [
        Parts(
            f"{name}-inner{number}of{inner}", [outer.train[i] for i in fold.train], [outer.train[i] for i in fold.test]
        )
        for number, fold in enumerate(folds([records[i] for i in outer.train], inner, seed=0), start=1)
    ]


class Windows(NamedTuple):
    """Windows of one image, or of its mirror image: (H, C, h, w) at full scale, half scale and frozen statistics."""

    full: Tensor
    half: Tensor
    frozen: Tensor


class Extracted(NamedTuple):
    """Features of an image's windows: (H, F) what the head reads, and (H, C) the mean of the last stage's map."""

    features: Tensor
    pooled: Tensor


def extract(model: StageRegressor, images: Sequence[Windows]) -> list[Extracted]:
    """Images whose shapes agree go together; half scale is the same for all windows of an image, and done once."""
    alike: dict[tuple[torch.Size, torch.Size], list[int]] = {}
    for index, each in enumerate(images):
        alike.setdefault((each.full.shape, each.half.shape), []).append(index)
    extracted: dict[int, Extracted] = {}
    for (shape, _), members in alike.items():
        windows = shape[0]
        x, half, frozen = (torch.cat(parts) for parts in zip(*(images[index] for index in members), strict=True))
        with torch.autocast("cpu", torch.bfloat16):
            found = [frozen.repeat_interleave(windows, dim=0)]
            for stage in model.tuned_stages:
                x = stage(x)
                found.append(statistics(x))
            for stage in model.tuned_stages:
                half = stage(half)
                found.append(statistics(half).repeat_interleave(windows, dim=0))
        features, pooled = torch.split(torch.cat(found, dim=1), windows), torch.split(x.float().mean((2, 3)), windows)
        extracted |= zip(members, map(Extracted, features, pooled), strict=True)
    return [extracted[index] for index in range(len(images))]


@torch.no_grad()
def salient_places(model: StageRegressor, items: Sequence[CachedFeatures], share: float) -> list[tuple[float, float]]:
    """Top and left of each image's most active window, as shares of its sides."""
    places = []
    for item in items:
        with torch.autocast("cpu", torch.bfloat16):
            last = nn.Sequential(*model.tuned_stages)(item.full[:1])
        active = last.float().clamp(min=0).sum(1)
        active = torch.nn.functional.interpolate(active[:, None], (14, 14), mode="area")[:, 0]
        top, left = salient_window(active, round(14 * share))
        places.append((int(top) / 14, int(left) / 14))
    return places


def cut(item: CachedFeatures, side: int, place: tuple[float, float], share: float) -> Tensor:
    """(1, C, h, w) the window at that place of the image (side 0) or its mirror image (side 1)."""
    full = item.full[side : side + 1]
    height, width = full.shape[2:]
    rows, columns = round(height * share), round(width * share)
    top, left = min(round(place[0] * height), height - rows), min(round(place[1] * width), width - columns)
    if side:
        left = width - columns - left
    return full[:, :, top : top + rows, left : left + columns]


class Batch(NamedTuple):
    """Windows of each image (random ones, then the salient one if it is wanted), labels, views of a photograph."""

    windows: list[Windows]
    quality: Tensor
    views: tuple[Tensor, ...] | None


def batches(
    config: Config,
    row: Row,
    rated: Sequence[CachedFeatures],
    views: Sequence[CachedFeatures],
    places: Sequence[tuple[float, float]],
    epoch: int,
) -> Iterator[Batch]:
    """An epoch; the random windows do not depend on whether a salient one is wanted."""
    rng = np.random.default_rng([31, config.seed, epoch])
    order, share = rng.permutation(len(rated)), SHARE[row.crops]
    for at in range(0, len(rated) - config.batch + 1, config.batch):
        images = []
        for index in order[at : at + config.batch]:
            side = int(rng.integers(2))
            full, half, frozen = rated[index].inputs(slice(side, side + 1))
            windows = [random_window(full, share, rng) for _ in range(row.crops)]
            if row.local:
                windows.append(cut(rated[index], side, places[index], share))
            images.append(Windows(torch.cat(windows), half, frozen))
        quality = torch.stack([rated[index].quality[0] for index in order[at : at + config.batch]])
        yield Batch(images, quality, draw_views(config, views, rng))


def losses(config: Config, row: Row, network: nn.Module, batch: Batch) -> dict[str, Tensor]:
    """The recipe's losses and the row's own."""
    model: StageRegressor = network.regressor  # type: ignore[assignment]
    images = extract(model, batch.windows)
    scores = torch.cat([model.head(each.features[: row.crops]) for each in images])
    labels = batch.quality.repeat_interleave(row.crops)
    crops = torch.stack([each.pooled[: row.crops] for each in images])
    values = {"score": score_loss(scores, labels, config.plcc_weight)}
    if row.local:
        salient = torch.cat([each.pooled[row.crops :] for each in images])
        values["local"] = local_manifold_loss(crops, salient, temperature=config.temperature)
    if row.context:
        groups = torch.arange(len(images)).repeat_interleave(row.crops)
        pairs = select_pairs(labels, groups=groups)
        values["context"] = quality_context_loss(crops.flatten(0, 1), *pairs, temperature=config.temperature)
    values |= view_losses(config, network, batch.views)
    return {"loss": weighted_sum(config, values, local=row.local, context=row.context), **values}


class Material(NamedTuple):
    """What all rows and splits start from: the network, the data set, its images and views after the frozen stages."""

    network: StageRegressor
    data: DataSet
    rated: list[CachedFeatures]
    views: list[CachedFeatures]


def evaluate(row: Row, config: Config, material: Material, parts: Parts, number: int) -> list[dict[str, object]]:
    """Train a row on the number-th parts; its predictions for the images to score, in the columns of a bench."""
    start, data, rated, views = material
    paths = names(data.records)
    training, scored = [rated[i] for i in parts.train], [rated[i] for i in parts.scored]
    places = salient_places(start, training, SHARE[row.crops]) if row.local else []
    model = fine_tune(
        copy.deepcopy(start),
        config,
        training,
        views,
        make_fabric("cpu", "1", "32-true"),
        draw=lambda epoch: batches(config, row, training, views, places, epoch),
        losses=lambda network, batch: losses(config, row, network, batch),
    )
    fit_head(model.head, model, training, config.refit_alpha, "ridge, fine-tuned features")
    predicted, human = predict(model, scored), [float(item.quality[0]) for item in scored]
    metrics = f"SRCC {srcc(predicted, human):.4f} PLCC {plcc(predicted, human):.4f}"
    print(f"{row.name}, {parts.name}, seed {config.seed}: {metrics}", flush=True)
    return [
        {
            "cell": f"{row.name}/{parts.name}-seed{config.seed} on {data.name}",
            "recipe": "embedded",
            "variant": row.name,
            "training_set": data.name,
            "test_set": data.name,
            "fraction": 1.0,
            "split": number,
            "seed": config.seed,
            "protocol": "grid",
            "selection": "last",
            "path": paths[index],
            "reference": "",
            "distortion": "",
            "level": "",
            "score": data.records[index].raw_score,
            "predicted": data.records[index].scale.raw(float(quality)),
            "human": data.records[index].quality,
            "quality": float(quality),
        }
        for index, quality in zip(parts.scored, predicted, strict=True)
    ]


def main() -> None:
    """Train what nobody else has, then put together all that is there."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", required=True)
    parser.add_argument("--split", type=Path, action="append", required=True)
    parser.add_argument("--inner", type=int, default=0, help="folds of the training part of the one split")
    parser.add_argument("--row", type=Row.parse, action="append", required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--weights", required=True)
    parser.add_argument("--photos", required=True)
    parser.add_argument("--ratings", required=True)
    parser.add_argument("--cache", type=Path, required=True)
    parser.add_argument("--runs", type=int, default=1)
    given = parser.parse_args()
    if given.inner and len(given.split) > 1:
        parser.error("--inner takes one --split")
    config, data, out = Config(given.weights, given.photos, given.ratings), read_data(given.data), Run(given.out)
    given.out.mkdir(parents=True, exist_ok=True)
    start = build_network(config)
    rated = rated_features(start, data.records, given.cache)
    material = Material(start, data, rated, view_features(start, config, given.cache))
    parts = parts_of(given.split, data.records, inner=given.inner)
    for seed, (number, part), row in itertools.product(range(given.runs), enumerate(parts), given.row):
        path = given.out / f"{row.name}~{part.name}-seed{seed}.csv".replace(" ", "_")
        try:
            with FileLock(path.with_suffix(".lock"), timeout=0):
                if not path.exists():
                    setting = dataclasses.replace(config, epochs=row.epochs, seed=seed)
                    out.write_table(path.name, evaluate(row, setting, material, part, number))
        except Timeout:
            continue  # another process is at it
    done = [path for path in sorted(given.out.glob("*~*.csv")) if ("-inner" in path.name) == bool(given.inner)]
    if found := [line for path in done for line in csv.DictReader(path.open())]:
        out.write_table("predictions.csv", found)
    print(CHOOSING.format(given.split[0]) if given.inner else REPORTING, file=sys.stderr)


if __name__ == "__main__":
    main()
