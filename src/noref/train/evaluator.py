"""Scores of a network on rated images, their metrics, and the model that is kept with them."""

from __future__ import annotations

import dataclasses
import math
import sys
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
from lightning_fabric import Fabric
from numpy.typing import NDArray
from rich.console import Console
from torch import nn

from noref import images
from noref.card import Card, Preprocessing
from noref.data.loading import Crops, Protocol, make_loader
from noref.data.perceptual_hash import training_hashes
from noref.data.records import Record
from noref.data.splits import Split
from noref.errors import DataError
from noref.evaluate.metrics import metrics, outside_scale
from noref.models import network as networks
from noref.models import weights as files
from noref.models.network import QualityNet
from noref.scoring.progress import progress, tracked
from noref.scoring.scorer import Scorer
from noref.train.loop import predict
from noref.train.run_folder import MODEL, DataSet, Run
from noref.train.state import State

SELECTION = {
    "last": "last epoch",
    "validation": "best epoch on the validation part",
    "test": "best epoch ON THE TEST PART: too good by an unknown amount",
}


class Evaluator:
    """Scores the same images again and again, as after every epoch; decoded images are kept in memory.

    Args:
        records: the images, in the order of the scores.
        preprocessing: the network's; its `crop` is the side of the crops.
        protocol: "grid" or "paper", see `noref.data.loading.Crops`.
        workers: processes that decode; 0: this one.
        fabric: device and processes; each process scores its share.
    """

    def __init__(
        self,
        records: Sequence[Record],
        *,
        preprocessing: Preprocessing,
        protocol: Protocol = "grid",
        workers: int = 0,
        fabric: Fabric,
    ) -> None:
        self.records, self.workers, self.fabric = records, workers, fabric
        self.images = Crops(
            records, size=preprocessing.crop, preprocessing=preprocessing, train=False, protocol=protocol
        )

    def scores(self, network: nn.Module) -> NDArray[np.float64]:
        """(M,) quality of every image, about [0, 1], higher is better.

        Args:
            network: (B, 3, S, S) uint8 -> (B,), on the fabric's device, not wrapped.

        Raises:
            ImageError: an image cannot be read; names the file.
        """
        batches = make_loader(
            self.images,
            batch_images=1,
            shuffle=False,
            workers=self.workers,
            rank=self.fabric.global_rank,
            ranks=self.fabric.world_size,
        )
        shown = tracked(batches, "scoring") if self.fabric.is_global_zero else batches
        return predict(network, shown, len(self.records), self.fabric).numpy()

    def correlation(self, network: nn.Module, statistic: Callable[..., float]) -> float:
        """`srcc` or `plcc` of the scores with the human ones; NaN where there is none, as with constant scores."""
        try:
            return statistic(self.scores(network), [record.quality for record in self.records])
        except DataError:
            return float("nan")


def check_readable(records: Sequence[Record], preprocessing: Preprocessing, *, threads: int = 2) -> None:
    """Decode every image once and keep none: a broken one is found now, and not after hours of training.

    Raises:
        ImageError: the first unreadable image; names the file.
    """
    with ThreadPoolExecutor(threads) as pool, progress(len(records), sys.stderr, title="reading") as advance:
        for _ in pool.map(lambda record: images.read(record.path, preprocessing=preprocessing).shape, records):
            advance()


def keep_best(network: QualityNet, state: State, run: Run) -> None:
    """Keep the weights as `best.safetensors` if the epoch just done is the best so far on the part that chooses."""
    found = [row.get("validation_srcc", row.get("test_plcc", math.nan)) for row in state.log]
    earlier = [value for value in found[:-1] if not math.isnan(value)]
    if run.writes and found[-1] > max(earlier, default=-math.inf):
        files.write(run.file("best.safetensors"), network.state_dict(), {"epoch": str(state.epoch)})


def finish(
    network: QualityNet,
    card: Card,
    data: DataSet,
    split: Split,
    run: Run,
    fabric: Fabric,
    *,
    protocol: Protocol,
    selection: str = "last",
) -> dict[str, Any]:
    """Write the model, score the test part once, write predictions and metrics, and put the metrics on the card.

    Args:
        network: as the last epoch left it; unless `selection` is "last", the weights of the best epoch are taken.
        card: without results.
        data: the whole data set.
        split: its parts.
        run: where to write.
        fabric: device and processes.
        protocol: crops at test.
        selection: a key of `SELECTION`.
    """
    if selection != "last" and run.file("best.safetensors").exists():
        tensors, words = files.read(run.file("best.safetensors"))
        files.fill(network, tensors, source=run.file("best.safetensors"))
        card.training["epoch"] = int(words["epoch"])
    path, records = run.file(MODEL), [data.records[index] for index in split.test]
    if run.writes:
        card.training["image_hashes"] = learnt_hashes(data, split)
        networks.save(network, path, card)
    quality = Evaluator(records, preprocessing=card.preprocessing, protocol=protocol, fabric=fabric).scores(network)
    run.write_predictions(records, quality.tolist(), among=data.records)
    warn_outside_scale(quality, data, run)
    found = metrics(quality, records)
    named: dict[str, Any] = {
        "data": data.name,
        "part": f"test, {split.description}, seed {split.seed}",
        "protocol": protocol,
        "selection": SELECTION[selection],
    }
    run.write_results({**named, **found})
    if run.writes:
        named["images"] = len(records)
        rows = [{**named, "metric": key, "value": round(value, 4)} for key, value in found.items() if key != "images"]
        dataclasses.replace(card, results=rows).write(path)
    return found


def learnt_hashes(data: DataSet, split: Split) -> str:
    """Perceptual hashes of the images that train and validate, for a card: no test of the model is one of them."""
    return training_hashes([data.records[index] for index in (*split.train, *split.validation)])


def warn_outside_scale(quality: NDArray[np.float64], data: DataSet, run: Run) -> None:
    """Say on stderr where predictions leave the scale of the human scores, as where a network has learnt too little."""
    outside = outside_scale(quality, data.scale)
    if outside is not None and run.writes:
        Console(stderr=True, soft_wrap=True).print(str(outside), highlight=False)


def finish_exported(model: Path, card: Card, data: DataSet, split: Split, run: Run) -> dict[str, Any]:
    """Metrics of the exported model on the test part, also on its card; those on the validation part beside them."""
    scorer = Scorer(model)
    parts: dict[str, dict[str, float]] = {}
    for name, indices in (("validation", split.validation), ("test", split.test)):
        if not indices:
            continue
        records = [data.records[i] for i in indices]
        quality = [score.quality for score in scorer.score_many([record.path for record in records])]
        parts[name] = metrics(quality, records)
        if name == "test":
            run.write_predictions(records, quality, among=data.records)
    found = parts.get("test", {})
    if found:
        run.write_results({"data": data.name, "part": f"test, {split.description}, seed {split.seed}", **found})
        dataclasses.replace(card, results=[{"metric": k, "value": v} for k, v in found.items()]).write(model)
    return {**found, **{f"validation_{k}": v for k, v in parts.get("validation", {}).items()}}
