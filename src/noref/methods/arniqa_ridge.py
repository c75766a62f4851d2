"""ARNIQA's head: ridge regression of human scores on the frozen encoder's features (4.3); behind `--head-only`.

1. Five crops of each image, at full and at half scale -> five features of 2D numbers
   (`noref.models.arniqa_regressor`). They depend on the image and the encoder alone and are kept on disk by their
   contents: ten splits cost one pass.
2. Ridge regression of the raw scores on the crops of the training part, each crop with its image's score.
3. The penalty is the one of a grid from 1e-3 to 1e3 whose scores follow those of this split's validation part best.
4. An image's score is the mean over its crops.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from lightning_fabric import Fabric
from numpy.typing import NDArray
from sklearn.linear_model import Ridge

from noref import images
from noref.card import Card, Preprocessing, Scale
from noref.data.records import Record
from noref.data.splits import Split
from noref.errors import DataError, OptionError
from noref.evaluate.correlation import srcc
from noref.evaluate.metrics import metrics
from noref.models import arniqa_regressor
from noref.models.arniqa import Encoder, EncoderPlan, build_encoder, load_encoder, settle_batch_norm
from noref.models.arniqa_regressor import ARNIQA, Pad
from noref.models.weights import origin
from noref.train.evaluator import learnt_hashes, warn_outside_scale
from noref.train.feature_cache import FeatureCache, fingerprint, of_images
from noref.train.run_folder import MODEL, DataSet, Run, choose_split

Matrix = NDArray[np.float32]
ENCODER = "encoder.safetensors"
GRID = np.geomspace(1e-3, 1e3, 13)  # two a decade
PROTOCOL = "five crops at two scales"
LEAST = 8  # px; smaller images are enlarged, or half of one would be nothing


@dataclass(frozen=True)
class HeadOptions:
    """What the head and its encoder's pre-training share, then the head's own.

    Args:
        backbone: a timm network; the paper's is torchvision's first ResNet-50.
        weights: of the backbone: "timm" downloads them, "none" is random, else a local safetensors file.
        pad_type: "same" for weights that come from TensorFlow.
        mean: of the pixels that the weights expect, for values in [0, 1]; none: what timm says.
        std: deviation of those pixels likewise.
        crop: side of the crops in pixels.
        pad: what an image that is smaller than a crop is continued with: its mirror image, or black as the authors'.
        max_pixels: larger images are shrunk to this many pixels; none: never. In training none is the paper's.
        seed: of compositions, crops, order, the projector's start and the split.
        encoder: of the head: a run's folder or an encoder file; none or imagenet: the backbone's own weights.
        split: "random", "official", or a split file.
        test: share of the rated images (or references) that test.
        validation: share that chooses the ridge's penalty, and trains nothing.
        cache: folder that keeps features by content; none: beside the encoder.
    """

    backbone: str = "resnet50.tv_in1k"
    weights: str = "timm"
    pad_type: str = ""
    mean: tuple[float, float, float] | None = None
    std: tuple[float, float, float] | None = None
    crop: int = 224
    pad: Pad = "reflect"
    max_pixels: int | None = None
    seed: int = 0
    encoder: str | None = None
    split: str = "random"
    test: float = 0.2
    validation: float = 0.1
    cache: str | None = None


def fit_head(config: HeadOptions, data: DataSet, run: Run, fabric: Fabric) -> dict[str, Any]:
    """Fit the head on the training part, score the test part once; everything is kept in the run's folder.

    Returns:
        The metrics on the test part, and the penalty.

    Raises:
        OptionError, DataError: options that do not go together, no validation part, too few images.
        ImageError, ModelError: a broken image or encoder; names the file.
    """
    encoder, source = find_encoder(config)
    settle_batch_norm(encoder.eval(), "frozen", random=False)  # the encoder stays as it is, and so it is quicker
    split = choose_split(config, data.records, run)
    if not split.validation:
        raise OptionError("the ridge's penalty is chosen on a validation part: give --validation a share")
    rule = Preprocessing(max_pixels=config.max_pixels, min_side=LEAST)
    network = ARNIQA(encoder, crop=config.crop, pad=config.pad).to(fabric.device).eval()
    features = cached_features(network, data.records, rule, _cache_folder(config, run))  # (M, 5, 2D)
    raw = np.array([record.raw_score for record in data.records])
    alpha, head = choose(features, raw, split)
    set_linear_head(network, head, data.scale)
    records = [data.records[index] for index in split.test]
    quality = [data.scale.quality(value) for value in predict(head, features[list(split.test)])]
    found = metrics(quality, records)
    card = describe(config, data, split, rule, source, alpha)
    warn_outside_scale(np.array(quality), data, run)
    part = {"data": data.name, "part": f"test, {split.description}, seed {split.seed}", "protocol": PROTOCOL}
    if run.writes:
        rows = [{**part, "metric": key, "value": round(value, 4)} for key, value in found.items() if key != "images"]
        card.training["image_hashes"] = learnt_hashes(data, split)
        arniqa_regressor.save(network.cpu(), run.file(MODEL), dataclasses.replace(card, results=rows))
    run.write_predictions(records, quality, among=data.records)
    run.write_results({**part, "alpha": alpha, **found})
    return {**found, "alpha": alpha}


def find_encoder(config: HeadOptions) -> tuple[Encoder, str]:
    """The encoder that the options name, and where it comes from, for the card.

    Raises:
        OptionError: no such run or file.
        ModelError: a broken file, or one of another kind of model.
    """
    if config.encoder in (None, "imagenet", "none"):
        plan = EncoderPlan(config.backbone, config.pad_type, config.mean, config.std, config.crop)
        return build_encoder(plan, weights=config.weights), origin(config.weights, config.backbone)
    named = Path(config.encoder)
    path = named / ENCODER if named.is_dir() else named
    if not path.exists():
        raise OptionError(f"{config.encoder}: no pre-trained encoder: there is no {path}")
    encoder, card = load_encoder(path)
    steps = card.training.get("steps", "unknown")
    return encoder, f"{path.name}, {steps} steps, sha256 {card.sha256}"


def cached_features(network: ARNIQA, records: Sequence[Record], rule: Preprocessing, folder: Path) -> Matrix:
    """(M, 5, 2D) features of every image; those that lie in `folder` already are not computed again.

    Raises:
        ImageError: an image cannot be read; names the file.
    """
    found = dict(arniqa_features(network, [record.path for record in records], rule, folder))
    return np.stack([found[record.path] for record in records])


def arniqa_features(
    network: ARNIQA, paths: Sequence[Path], rule: Preprocessing, folder: Path, *, broken: dict[Path, str] | None = None
) -> Iterator[tuple[Path, Matrix]]:
    """Each image with its (5, 2D) features, kept below `folder` by encoder, crops, resize rule and content.

    The network is in evaluation mode; `broken` as in `noref.train.feature_cache.of_images`.
    """
    encoder = network.encoder
    cache = FeatureCache(folder, "ARNIQA", network.crop, network.pad, rule, encoder.plan, fingerprint(encoder))
    device = next(network.parameters()).device

    def compute(path: Path) -> torch.Tensor:
        pixels = torch.from_numpy(images.read(path, preprocessing=rule)).permute(2, 0, 1)[None]
        with torch.inference_mode():
            return network.features(pixels.to(device))[0].float()

    for path, found in of_images(cache, paths, compute, broken=broken):
        yield path, found.numpy()


LinearHead = tuple[NDArray[np.float64], float]  # weight (2D,), intercept


def choose(features: Matrix, raw: NDArray[np.float64], split: Split) -> tuple[float, LinearHead]:
    """The penalty of `GRID` with the best SRCC on the validation part, and the linear head that it gives.

    Args:
        features: (M, 5, 2D) of all images.
        raw: (M,) raw scores.
        split: train fits, validation chooses; the test part is not used. Ties go to the strongest penalty.

    Raises:
        DataError: fewer than 2 images to validate on, or scores that are all the same.
    """
    learning, choosing = list(split.train), list(split.validation)
    rows = features[learning].reshape(-1, features.shape[2]).astype(np.float64)
    wanted = np.repeat(raw[learning], features.shape[1])
    # one target a penalty: scikit-learn then forms the normal equations once for all of them
    model = Ridge(alpha=GRID, solver="cholesky").fit(rows, np.tile(wanted[:, None], len(GRID)))
    heads: list[LinearHead] = [(w, float(b)) for w, b in zip(model.coef_, model.intercept_, strict=True)]
    follows = [_srcc(predict(head, features[choosing]), raw[choosing]) for head in heads]
    best = len(GRID) - 1 - int(np.argmax(follows[::-1]))
    if follows[best] == -np.inf:
        raise DataError("no penalty gives scores that differ on the validation part")
    return float(GRID[best]), heads[best]


def _srcc(predicted: NDArray[np.float64], raw: NDArray[np.float64]) -> float:
    return srcc(predicted, raw) if np.ptp(predicted) > 0 else -np.inf


def predict(head: LinearHead, features: Matrix) -> NDArray[np.float64]:
    """(M,) raw scores: the mean over each image's crops."""
    weight, intercept = head
    found: NDArray[np.float64] = (features.astype(np.float64) @ weight + intercept).mean(axis=1)
    return found


def set_linear_head(network: ARNIQA, head: LinearHead, scale: Scale) -> None:
    """Give the network the linear map from features to raw scores, turned into quality by the scale."""
    weight, intercept = head
    unit = scale.quality(1.0) - scale.quality(0.0)  # the conversion is linear itself
    network.set_linear_head(torch.from_numpy(weight * unit).float(), scale.quality(intercept))


def describe(config: HeadOptions, data: DataSet, split: Split, rule: Preprocessing, source: str, alpha: float) -> Card:
    """The model's card, before its results are known."""
    paths = ("weights", "encoder", "cache", "split")
    kept = {key: Path(value).name for key in paths if (value := getattr(config, key))}
    training = {
        "recipe": "arniqa",
        "initialised from": source,
        "data set": data.name,
        "images": len(split.train),
        "split": split.description,
        "alpha": alpha,
        "half scale": "Pillow's bicubic, antialiased, (height // 2, width // 2)",
        "beyond the border": config.pad,
        "options": dataclasses.asdict(config) | kept,
    }
    method = "ARNIQA: frozen encoder at two scales, five crops, ridge"
    return Card(f"arniqa-{data.name}", method, data.records[0].scale, rule, training=training)


def _cache_folder(config: HeadOptions, run: Run) -> Path:
    """By default in the encoder's folder, so that every split of it finds the features."""
    if config.cache:
        return Path(config.cache)
    if config.encoder in (None, "imagenet", "none"):
        return run.file("features")
    named = Path(str(config.encoder))
    return (named if named.is_dir() else named.parent) / "features"
