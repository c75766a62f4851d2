"""Does a contrast make the embedded model better? Its recipe with LML-IQA's term, CSIQA's, or neither.

python experiments/embedded/contrast.py --data livec=FOLDER --split FILE... --out FOLDER --weights FILE --photos FOLDER
    --ratings FILE --cache FOLDER [--row NAME=CROPS,LOCAL,CONTEXT,EPOCHS ...] [--runs N]

A row draws CROPS windows of each image (one: the recipe's own batches), adds LOCAL x the local manifold loss and
CONTEXT x the quality context loss on the means of the last stage's map, and trains for EPOCHS, with seeds 0 to N - 1.
Each row, split and seed is a file in --out; what is there is not done again, and several processes share the work.
The salient window is the one where ImageNet's last stage is most active. Head and figures as in the recipe, but in
bfloat16 and without ladders in the last fit, which cost time and not the comparison. predictions.csv there is what
`noref report` reads.
"""

from __future__ import annotations

import argparse
import csv
import dataclasses
import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from filelock import FileLock, Timeout
from torch import Tensor, nn

from noref.data.records import names
from noref.data.splits import load_split
from noref.default_model.cached_features import Chilled, features_of, window
from noref.default_model.distorted_views import STEPS, pick_versions
from noref.default_model.training import Config, chill_lessons, chill_records
from noref.default_model.tuning import build, predict, tune
from noref.evaluate.correlation import plcc, srcc
from noref.methods.launch import make_fabric
from noref.models.stages import StageRegressor, statistics
from noref.objectives.csiqa import quality_context_loss, select_pairs
from noref.objectives.lml import local_manifold_loss, salient_window
from noref.objectives.rated import lesson_losses, score_loss
from noref.train.run_folder import DataSet, Run, read_data

SHARE = {1: 0.8, 2: 0.55}  # a window's side, of the image's: two small windows cost what one large one does


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


class Views(NamedTuple):
    """Windows of one image, or of its mirror image: (H, C, h, w) at full scale, half scale and frozen statistics."""

    full: Tensor
    half: Tensor
    cold: Tensor


class Seen(NamedTuple):
    """What `look` finds: (H, F) what the head reads, and (H, C) the mean of the last stage's map."""

    features: Tensor
    pooled: Tensor


def look(model: StageRegressor, views: Sequence[Views]) -> list[Seen]:
    """Images whose shapes agree go together; half scale is the same for all windows of an image, and done once."""
    alike: dict[tuple[torch.Size, torch.Size], list[int]] = {}
    for index, each in enumerate(views):
        alike.setdefault((each.full.shape, each.half.shape), []).append(index)
    seen: dict[int, Seen] = {}
    for (shape, _), members in alike.items():
        windows = shape[0]
        x, half, cold = (torch.cat(parts) for parts in zip(*(views[index] for index in members), strict=True))
        with torch.autocast("cpu", torch.bfloat16):
            found = [cold.repeat_interleave(windows, dim=0)]
            for stage in model.warm:
                x = stage(x)
                found.append(statistics(x))
            for stage in model.warm:
                half = stage(half)
                found.append(statistics(half).repeat_interleave(windows, dim=0))
        features, pooled = torch.split(torch.cat(found, dim=1), windows), torch.split(x.float().mean((2, 3)), windows)
        seen |= zip(members, map(Seen, features, pooled), strict=True)
    return [seen[index] for index in range(len(views))]


@torch.no_grad()
def salient_places(model: StageRegressor, items: Sequence[Chilled], share: float) -> list[tuple[float, float]]:
    """Top and left of each image's most active window, as shares of its sides."""
    places = []
    for item in items:
        with torch.autocast("cpu", torch.bfloat16):
            last = nn.Sequential(*model.warm)(item.full[:1])
        active = last.float().clamp(min=0).sum(1)
        active = torch.nn.functional.interpolate(active[:, None], (14, 14), mode="area")[:, 0]
        top, left = salient_window(active, round(14 * share))
        places.append((int(top) / 14, int(left) / 14))
    return places


def cut(item: Chilled, side: int, place: tuple[float, float], share: float) -> Tensor:
    """(1, C, h, w) the window at that place of the image (side 0) or its mirror image (side 1)."""
    full = item.full[side : side + 1]
    height, width = full.shape[2:]
    rows, columns = round(height * share), round(width * share)
    top, left = min(round(place[0] * height), height - rows), min(round(place[1] * width), width - columns)
    if side:
        left = width - columns - left
    return full[:, :, top : top + rows, left : left + columns]


class Batch(NamedTuple):
    """Views of each image (random windows, then the salient one if it is wanted), labels, versions of a photograph."""

    views: list[Views]
    quality: Tensor
    lesson: tuple[Tensor, ...] | None


def batches(
    config: Config,
    row: Row,
    rated: Sequence[Chilled],
    lessons: Sequence[Chilled],
    places: Sequence[tuple[float, float]],
    epoch: int,
) -> Iterator[Batch]:
    """An epoch; the random windows do not depend on whether a salient one is wanted."""
    rng = np.random.default_rng([31, config.seed, epoch])
    order, share = rng.permutation(len(rated)), SHARE[row.crops]
    for at in range(0, len(rated) - config.batch + 1, config.batch):
        views = []
        for index in order[at : at + config.batch]:
            item, side = rated[index], int(rng.integers(2))
            one = slice(side, side + 1)
            windows = [window(item.full[one], item.half[one], share, rng)[0] for _ in range(row.crops)]
            if row.local:
                windows.append(cut(item, side, places[index], share))
            views.append(Views(torch.cat(windows), item.half[one], item.cold[one]))
        quality = torch.stack([rated[index].quality[0] for index in order[at : at + config.batch]])
        if not lessons:
            yield Batch(views, quality, None)
            continue
        lesson = lessons[int(rng.integers(len(lessons)))]
        some = torch.from_numpy(pick_versions(rng, len(lesson.quality), config.versions))
        yield Batch(views, quality, (lesson.full[some], lesson.half[some], lesson.cold[some], lesson.quality[some]))


def losses(config: Config, row: Row, network: nn.Module, batch: Batch) -> dict[str, Tensor]:
    """The recipe's losses and the row's own."""
    model: StageRegressor = network.regressor  # type: ignore[assignment]
    seen = look(model, batch.views)
    scores = torch.cat([model.head(each.features[: row.crops]) for each in seen])
    labels = batch.quality.repeat_interleave(row.crops)
    crops = torch.stack([each.pooled[: row.crops] for each in seen])
    values = {"score": score_loss(scores, labels, config.agreement)}
    total = values["score"]
    if row.local:
        salient = torch.cat([each.pooled[row.crops :] for each in seen])
        values["local"] = local_manifold_loss(crops, salient, temperature=config.temperature)
        total = total + row.local * values["local"]
    if row.context:
        image = torch.arange(len(batch.views)).repeat_interleave(row.crops)
        positive, negative = select_pairs(labels, groups=image)
        values["context"] = quality_context_loss(
            crops.flatten(0, 1), positive, negative, temperature=config.temperature
        )
        total = total + row.context * values["context"]
    if batch.lesson is not None:
        score, rating, _ = network(*batch.lesson[:3])
        values |= lesson_losses(score, rating, batch.lesson[3], ladder=1 + STEPS, margin=config.margin)
        total = total + config.lessons * values["rating"] + config.ranking * values["ranking"]
    return {"loss": total, **values}


class Material(NamedTuple):
    """What all rows and splits learn from: the data set, its images and the lessons after the frozen stages."""

    data: DataSet
    rated: list[Chilled]
    lessons: list[Chilled]


def judge(row: Row, config: Config, material: Material, split: Path, number: int) -> list[dict[str, object]]:
    """Train a row on a split, the number-th; what it says of the test part, in the columns of a bench."""
    data, rated, lessons = material
    parts, paths = load_split(split, data.records), names(data.records)
    learning, tested = [rated[i] for i in parts.train], [rated[i] for i in parts.test]
    places = salient_places(build(config), learning, SHARE[row.crops]) if row.local else []
    model = tune(
        config,
        learning,
        lessons,
        make_fabric("cpu", "1", "32-true"),
        draw=lambda epoch: batches(config, row, learning, lessons, places, epoch),
        losses=lambda network, batch: losses(config, row, network, batch),
    )
    model.head.fit(*features_of(model, learning, len(learning), "ridge on the tuned features"), alpha=config.refit)
    predicted, human = predict(model, tested), [float(item.quality[0]) for item in tested]
    figures = f"SRCC {srcc(predicted, human):.4f} PLCC {plcc(predicted, human):.4f}"
    print(f"{row.name}, {split.stem}, seed {config.seed}: {figures}", flush=True)
    return [
        {
            "cell": f"{row.name}/{split.stem}-seed{config.seed} on {data.name}",
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
        for index, quality in zip(parts.test, predicted, strict=True)
    ]


def main() -> None:
    """Train what nobody else has, then put together all that is there."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", required=True)
    parser.add_argument("--split", type=Path, action="append", required=True)
    parser.add_argument("--row", type=Row.parse, action="append", required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--weights", required=True)
    parser.add_argument("--photos", required=True)
    parser.add_argument("--ratings", required=True)
    parser.add_argument("--cache", type=Path, required=True)
    parser.add_argument("--runs", type=int, default=1)
    given = parser.parse_args()
    config, data, out = Config(given.weights, given.photos, given.ratings), read_data(given.data), Run(given.out)
    given.out.mkdir(parents=True, exist_ok=True)
    untuned = build(config)
    rated = chill_records(untuned, config, data.records, given.cache)
    material = Material(data, rated, chill_lessons(untuned, config, given.cache))
    for seed, (number, split), row in itertools.product(range(given.runs), enumerate(given.split), given.row):
        path = given.out / f"{row.name}~{split.stem}-seed{seed}.csv".replace(" ", "_")
        try:
            with FileLock(path.with_suffix(".lock"), timeout=0):
                if not path.exists():
                    setting = dataclasses.replace(config, epochs=row.epochs, seed=seed)
                    out.write_table(path.name, judge(row, setting, material, split, number))
        except Timeout:
            continue  # another process is at it
    found = [line for path in sorted(given.out.glob("*~*.csv")) for line in csv.DictReader(path.open())]
    if found:
        out.write_table("predictions.csv", found)


if __name__ == "__main__":
    main()
