"""ARNIQA's head: ridge regression of human scores on the frozen encoder's features; behind `--head-only`.

1. Five crops of each image, at full and at half scale -> five features of 2D numbers
   (`noref.models.arniqa_regressor`). They depend on the image and the encoder alone and are kept on disk by their
   contents: ten splits cost one pass.
2. Ridge regression of the raw scores on the crops of the training part, each crop with its image's score.
3. The penalty is the one of a grid from 1e-3 to 1e3 whose scores follow those of this split's validation part best.
4. An image's score is the mean over its crops.
"""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from lightning_fabric import Fabric
from numpy.typing import NDArray
from sklearn.linear_model import Ridge

from noref import images
from noref.card import Card, Preprocessing
from noref.data.records import Record
from noref.data.splits import Split
from noref.errors import DataError, OptionError
from noref.evaluate.correlation import srcc
from noref.models import arniqa_regressor as raters
from noref.models.arniqa import Encoder, EncoderPlan, build_encoder, load_encoder, settle_batch_norm
from noref.models.arniqa_regressor import ARNIQA
from noref.models.weights import origin
from noref.train.evaluator import figures
from noref.train.feature_files import feature_files
from noref.train.run_folder import DataSet, Run, choose_split

if TYPE_CHECKING:
    from noref.methods.arniqa import Config

Matrix = NDArray[np.float32]
ENCODER, MODEL = "encoder.safetensors", "model.safetensors"
GRID = np.geomspace(1e-3, 1e3, 13)  # two a decade
PROTOCOL = "five crops at two scales"
LEAST = 8  # px; smaller images are enlarged, for half a pixel is none


def fit_head(config: Config, data: DataSet, run: Run, fabric: Fabric) -> dict[str, Any]:
    """Fit the head on the training part, judge the test part once; everything is kept in the run's folder.

    Args:
        config: the recipe's options.
        data: the rated images.
        run: begun already.
        fabric: device.

    Returns:
        The figures on the test part, and the penalty.

    Raises:
        OptionError: options that do not go together.
        DataError: no validation part, or too few images.
        ImageError: an image cannot be read; names the file.
        ModelError: an encoder that cannot be used.
    """
    encoder, source = find_encoder(config)
    settle_batch_norm(encoder.eval(), "frozen", random=False)  # the encoder stays as it is, and so it is quicker
    split = choose_split(config, data.records, run)
    if not split.validation:
        raise OptionError("the ridge's penalty is chosen on a validation part: give --validation a share")
    rule = Preprocessing(max_pixels=config.max_pixels, min_side=LEAST)
    rater = ARNIQA(encoder, crop=config.crop, pad=config.pad).to(fabric.device).eval()
    folder = Path(config.cache) if config.cache else _beside(config, run)
    features = kept_features(rater, data.records, rule, folder)  # (M, 5, 2D)
    raw = np.array([record.raw_score for record in data.records])
    alpha, line = choose(features, raw, split)
    scale = data.records[0].scale
    set_line(rater, line, scale.quality)
    records = [data.records[index] for index in split.test]
    quality = [scale.quality(value) for value in predict(line, features[list(split.test)])]
    found = figures(quality, records)
    card = describe(config, data, split, rule, source, alpha)
    part = {"data": data.name, "part": f"test, {split.description}, seed {split.seed}", "protocol": PROTOCOL}
    if run.writes:
        rows = [{**part, "metric": key, "value": round(value, 4)} for key, value in found.items() if key != "images"]
        raters.save(rater.cpu(), run.file(MODEL), dataclasses.replace(card, results=rows))
    run.write_predictions(records, quality, among=data.records)
    run.write_results({**part, "alpha": alpha, **found})
    return {**found, "alpha": alpha}


def find_encoder(config: Config) -> tuple[Encoder, str]:
    """The encoder that the options name, and where it comes from, for the card.

    Raises:
        OptionError: no such run or file.
        ModelError: a file that cannot be used.
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


def kept_features(rater: ARNIQA, records: Sequence[Record], rule: Preprocessing, folder: Path) -> Matrix:
    """(M, 5, 2D) features of every image; those that lie in `folder` already are not computed again.

    Raises:
        ImageError: an image cannot be read; names the file.
    """
    files = rater_files(rater, [record.path for record in records], rule, folder)
    return np.stack([np.load(files[record.path], allow_pickle=False) for record in records])


def rater_files(
    rater: ARNIQA, paths: Sequence[Path], rule: Preprocessing, folder: Path, *, broken: dict[Path, str] | None = None
) -> Mapping[Path, Path]:
    """Image -> file with its (5, 2D) features; below `folder`, named by encoder, crops, resize rule and image.

    Args:
        rater: in evaluation mode.
        paths: the images.
        rule: how they are read.
        folder: made where it is missing.
        broken: see `feature_files`.
    """
    facts = [rater.crop, rater.pad, dataclasses.astuple(rule)]
    own = folder / hashlib.sha256(repr([facts, _fingerprint(rater.encoder)]).encode()).hexdigest()[:16]
    device = next(rater.parameters()).device

    def look(path: Path) -> Matrix:
        pixels = torch.from_numpy(images.read(path, preprocessing=rule)).permute(2, 0, 1)[None]
        with torch.inference_mode():
            found: Matrix = rater.features(pixels.to(device))[0].float().cpu().numpy()
        return found

    return feature_files(paths, own, look, broken=broken)


Line = tuple[NDArray[np.float64], float]  # weight (2D,), intercept


def choose(features: Matrix, raw: NDArray[np.float64], split: Split) -> tuple[float, Line]:
    """The penalty of `GRID` that serves the validation part best, and the line that it gives.

    Args:
        features: (M, 5, 2D) of all images.
        raw: (M,) raw scores.
        split: train fits, validation chooses; the test part is not looked at. Ties go to the strongest penalty.

    Raises:
        DataError: fewer than 2 images to validate on, or scores that are all the same.
    """
    learning, choosing = list(split.train), list(split.validation)
    rows = features[learning].reshape(-1, features.shape[2]).astype(np.float64)
    wanted = np.repeat(raw[learning], features.shape[1])
    # one target a penalty: scikit-learn then forms the normal equations once for all of them
    model = Ridge(alpha=GRID, solver="cholesky").fit(rows, np.tile(wanted[:, None], len(GRID)))
    lines: list[Line] = [(w, float(b)) for w, b in zip(model.coef_, model.intercept_, strict=True)]
    follows = [_srcc(predict(line, features[choosing]), raw[choosing]) for line in lines]
    best = len(GRID) - 1 - int(np.argmax(follows[::-1]))
    if follows[best] == -np.inf:
        raise DataError("no penalty gives scores that differ on the validation part")
    return float(GRID[best]), lines[best]


def _srcc(predicted: NDArray[np.float64], raw: NDArray[np.float64]) -> float:
    return srcc(predicted, raw) if np.ptp(predicted) > 0 else -np.inf


def predict(line: Line, features: Matrix) -> NDArray[np.float64]:
    """(M,) raw scores: the mean over each image's crops."""
    weight, intercept = line
    found: NDArray[np.float64] = (features.astype(np.float64) @ weight + intercept).mean(axis=1)
    return found


def set_line(rater: ARNIQA, line: Line, quality: Any) -> None:
    """Give the rater the line from features to raw scores, turned into quality by the scale's `quality`."""
    weight, intercept = line
    unit = quality(1.0) - quality(0.0)  # the conversion is a line itself
    rater.set_linear_head(torch.from_numpy(weight * unit).float(), quality(intercept))


def describe(config: Config, data: DataSet, split: Split, rule: Preprocessing, source: str, alpha: float) -> Card:
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


def _beside(config: Config, run: Run) -> Path:
    """Where features are kept by default: in the encoder's folder, so that every split of it finds them."""
    if config.encoder in (None, "imagenet", "none"):
        return run.file("features")
    named = Path(str(config.encoder))
    return (named if named.is_dir() else named.parent) / "features"


def _fingerprint(encoder: Encoder) -> str:
    """Of everything in an encoder that decides a feature."""
    found = hashlib.sha256(repr(dataclasses.astuple(encoder.plan)).encode())
    for name, tensor in encoder.state_dict().items():
        found.update(name.encode() + tensor.detach().cpu().contiguous().numpy().tobytes())
    return found.hexdigest()
