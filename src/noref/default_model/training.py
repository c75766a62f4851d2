"""The model inside the package: all stages of a MobileNetV2, fine-tuned on human scores and on distorted views.

1. The frozen stages run once over every image and its mirror image, and over the distorted views of photographs without
   scores (`cached_features.py`, `distorted_views.py`).
2. Ridge regression of quality on the statistics of all stages gives the linear layer its start. Fine-tuning from a
   head that already works keeps what ImageNet taught (Kumar et al. 2022, https://arxiv.org/abs/2202.10054).
3. AdamW, one cosine, later stages faster than early ones, weights averaged over steps (`fine_tuning.py`).
4. Ridge regression on the fine-tuned features gives the linear layer its last values, from the human scores, with a
   penalty where a severity series does not lower quality; a logistic curve behind it (`head_fit.py`).

The last epoch is the result: nothing is picked by the test part.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from lightning_fabric import Fabric

from noref import images
from noref.card import Card
from noref.data.splits import Split
from noref.default_model.cached_features import rated_features, view_features
from noref.default_model.config import PREPROCESSING, Config, check_options
from noref.default_model.fine_tuning import build_network, fine_tune, predict
from noref.default_model.head_fit import refit_head
from noref.evaluate.correlation import srcc
from noref.models.stages import StageRegressor
from noref.models.weights import origin
from noref.scoring.export import export_onnx
from noref.train.evaluator import finish_exported, learnt_hashes
from noref.train.run_folder import DataSet, Run, choose_split


def train(config: Config, data: DataSet, run: Run, fabric: Fabric) -> dict[str, Any]:
    """Fine-tune, fit the head again, export, evaluate the test part; everything is kept in the run's folder.

    The run has begun and the fabric is launched, one process on the CPU; a resumed run goes on from its checkpoint.
    Gives the exported model's metrics on the test part, and on a validation part as `validation_...`.

    Raises:
        NorefError: wrong options; broken images, ratings, weights or checkpoint; says which and why.
    """
    check_options(config)
    everything = tuple(range(len(data.records)))
    split = choose_split(config, data.records, run) if config.test else Split(everything, (), (), None, "all images")
    cache = Path(config.cache) if config.cache else run.file("cache")
    start = build_network(config)
    rated, views = rated_features(start, data.records, cache), view_features(start, config, cache)
    training, held_out = [rated[i] for i in split.train], [rated[i] for i in split.validation]

    def validate(model: StageRegressor) -> Mapping[str, float]:
        return {"validation_srcc": srcc(predict(model, held_out), [float(item.quality[0]) for item in held_out])}

    with run.curves(0) as report:
        validation = validate if held_out else None
        model = fine_tune(start, config, training, views, fabric, run=run, validate=validation, report=report)
    model.round_weights()
    refit_head(model, config, [data.records[i] for i in split.train], views)
    example = images.read(data.records[0].path, preprocessing=PREPROCESSING)[None]
    out, card = run.file("model.onnx"), describe(config, data, split)
    card.training["image_hashes"] = learnt_hashes(data, split)
    export_onnx(model, out, card, example=example, dynamic_size=True)
    return finish_exported(out, card, data, split, run)


def describe(config: Config, data: DataSet, split: Split) -> Card:
    """The model's card, before its results are known: what it started from and what it learnt from."""
    options = dataclasses.asdict(config)
    paths = {name: Path(options[name]).name for name in ("weights", "photos", "ratings", "cache") if options[name]}
    training = {
        "recipe": "embedded",
        "initialised from": origin(config.weights, "mobilenetv2_100"),
        "data set": data.name,
        "images": len(split.train),
        "split": split.description,
        "options": options | paths,
    }
    method = "MobileNetV2, statistics of all stages at two scales, ridge, logistic curve"
    return Card("embedded", method, data.records[0].scale, PREPROCESSING, training=training)
