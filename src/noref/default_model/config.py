"""The options of the recipe `embedded`."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, Literal

from noref.card import Preprocessing
from noref.errors import ModelError, OptionError

PREPROCESSING = Preprocessing(max_pixels=250_000, min_side=384, crop=None, resample="bicubic")
TIMM = "timm"


@dataclass(frozen=True)
class Config:
    """Everything that decides a run.

    Args:
        weights: of timm's mobilenetv2_100, from ImageNet: "timm" downloads timm's own; else a safetensors file of ones
            with TensorFlow padding, for pixels in [-1, 1].
        photos: folder of photographs without scores, for the distorted views; none: no distorted views.
        ratings: KADID-10k's score table, for the distorted views.
        cache: folder for the cached features of the frozen stages, for the next run too; none: the run's own.
        split: "random", "official", or a split file.
        test: share of the images that tests; 0: all images train, and the model has no metrics of its own.
        validation: share that is scored after each epoch, taken from the training part; it picks nothing.
        frozen: stages that are not trained, of nine.
        epochs: over the training part.
        batch: rated images in a step.
        lr: AdamW's peak learning rate of the last stage.
        layer_decay: each stage learns at this share of the rate of the stage behind it.
        head_lr: learning rate of the linear layer; small, as all its 7 000 features move together.
        weight_decay: of the stages.
        alpha: ridge penalty of the first fit of the linear layer; strong, so that something is left to learn.
        window: side of the random window as a share of the image's.
        plcc_weight: of 1 - PLCC within the batch.
        contrast: an extra loss between the images of a batch: CSIQA's quality context, easy pairs.
        contrast_weight: of the contrast.
        temperature: of the contrast; smaller is sharper.
        distorted_weight: of the rating loss on distorted views.
        ranking_weight: of the ranking loss on severity series.
        views: of a photograph in a step: itself, a severity series, single distortions.
        single_distortions: made of each photograph.
        photo_crop: side of the photographs' crops in px.
        margin: by which quality should fall from one severity to the next.
        ema_decay: of the averaged weights, at each step.
        refit_alpha: ridge penalty of the last fit of the linear layer, on the fine-tuned features.
        refit_margin: in that fit, a severity that lowers quality by less than this is penalised; 0: none is.
        seed: of split, windows, order and views.
        accelerator: cpu; the cached features and bfloat16 make this a recipe for it.
        devices: 1.
        precision: of what is not said otherwise; the stages run in bfloat16.
    """

    ALIASES: ClassVar[dict[str, str]] = {  # names of earlier versions
        "rate": "lr", "stage_decay": "layer_decay", "head_rate": "head_lr", "averaging": "ema_decay",
        "agreement": "plcc_weight", "lessons": "distorted_weight", "ranking": "ranking_weight", "versions": "views",
        "singles": "single_distortions", "side": "photo_crop", "refit": "refit_alpha", "drop": "refit_margin",
    }  # fmt: skip

    weights: str = "mobilenetv2_100_imagenet.safetensors"
    photos: str | None = None
    ratings: str | None = None
    cache: str | None = None
    split: str = "random"
    test: float = 0.2
    validation: float = 0.0
    frozen: int = 4
    epochs: int = 12
    batch: int = 16
    lr: float = 3e-4
    layer_decay: float = 0.7
    head_lr: float = 3e-6
    weight_decay: float = 0.05
    alpha: float = 30_000.0
    window: float = 0.8
    plcc_weight: float = 0.05
    contrast: Literal["none", "quality-context"] = "quality-context"
    contrast_weight: float = 0.1
    temperature: float = 0.3
    distorted_weight: float = 0.3
    ranking_weight: float = 0.5
    views: int = 9
    single_distortions: int = 9
    photo_crop: int = 352
    margin: float = 0.04
    ema_decay: float = 0.995
    refit_alpha: float = 30_000.0
    refit_margin: float = 0.02
    seed: int = 0
    accelerator: str = "cpu"
    devices: str = "1"
    precision: str = "32-true"


def check_options(config: Config) -> None:
    """Raise an `OptionError` for options that do not go together, a `ModelError` where there is no file of weights."""
    if (config.accelerator, config.devices) != ("cpu", "1"):
        raise OptionError("the recipe `embedded` runs on one CPU process: accelerator cpu, devices 1")
    if config.epochs < 1 or config.lr <= 0:
        raise OptionError(f"epochs must be >= 1 and lr > 0, got {config.epochs} and {config.lr:g}")
    if config.temperature <= 0 or config.contrast_weight < 0:
        raise OptionError("temperature must be > 0 and contrast_weight >= 0")
    if config.contrast != "none" and config.batch < 3:
        need = "three images in a batch, one to compare with two others"
        raise OptionError(f"contrast: needs {need}, got {config.batch}")
    if config.photos is not None and config.ratings is None:
        raise OptionError("photos need ratings: KADID-10k's score table")
    if not config.test and (config.validation or config.split != "random"):
        raise OptionError("test 0 means that all images train: no validation part and no split file go with it")
    if config.weights != TIMM and not Path(config.weights).is_file():
        raise ModelError(f"{config.weights}: no such file; --weights timm downloads weights of the same network")
