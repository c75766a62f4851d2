"""ARNIQA: photos that were made worse in the same way lie at the same place, whatever they show; a line rates places.

Agnolucci et al. 2024, "ARNIQA: Learning Distortion Manifold for Image Quality Assessment",
https://arxiv.org/abs/2310.14918. Deviations and results: docs/papers/arniqa.md.

    3.1, eq. 1   random ordered compositions of 24 distortions    noref.degrade.pipeline.sample_composition
    3.2          two photos, one composition, two scales          noref.data.pairs.Pairs
    eq. 2        h = f(x), z = g(f(x))                            noref.models.arniqa.Encoder, EncoderWithProjector
    eq. 3-4      every element finds its twin among 4B            noref.objectives.contrastive.nt_xent, `contrast` here
    4.1          SGD, cosine annealing with warm restarts         `restarts` here
    4.3          ridge on both scales' features, five crops       noref.methods.arniqa_ridge

Training needs photos and no human score; `head_only` is the second half, which needs scores and no training.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Literal

import cv2
import numpy as np
import torch
from lightning_fabric import Fabric
from numpy.random import Generator
from torch import Tensor, nn

from noref.card import Card, Preprocessing, Scale
from noref.data.pairs import Degrade, Image, Pairs
from noref.data.readers import photos
from noref.degrade.pipeline import GROUPS, Composition, apply_composition, sample_composition
from noref.errors import DataError, OptionError
from noref.methods.arniqa_ridge import ENCODER, fit_head
from noref.methods.epoch_chunks import Steps, Watch
from noref.models.arniqa import EncoderPlan, EncoderWithProjector, build_encoder, save_encoder, settle_batch_norm
from noref.models.weights import origin
from noref.objectives.contrastive import nt_xent
from noref.train.loop import Loaders, Pace, fit
from noref.train.run_folder import DataSet, Run
from noref.train.state import State

PHOTOS = True  # `--data photos=FOLDER` is for this recipe
CHECKPOINT = "checkpoint.safetensors"
REALESRGAN = ("blur", "spatial", "noise", "compression")  # always these, always in this order


@dataclass(frozen=True)
class Config:
    """Every option of a run. Defaults are the paper's, but for `pad`; from `head_only` on they are the head's.

    Args:
        backbone: a timm network; the paper's is torchvision's first ResNet-50.
        weights: of the backbone: "timm" downloads them, "none" is random, else a local safetensors file.
        pad_type: "same" for weights that come from TensorFlow.
        mean: of the pixels that the weights expect, for values in [0, 1]; none: what timm says.
        std: deviation of those pixels likewise.
        batch_norm: frozen, trained, or auto: frozen where the weights come with batch norms that were folded away.
        hidden: width of the projector's middle; none: the backbone's.
        embedding: width of the projector's output.
        max_distortions: of a composition, 1 to 7.
        pristine: probability that a pair is left as it is.
        sigma: how slowly the levels' probabilities fall off; inf makes them uniform.
        order: of a composition's groups: random, or as in RealESRGAN blur, spatial, noise, compression, all four.
        same_image: both crops of a pair from one photo.
        hard_negatives: half-scale crops in the batch; no: twice as many pairs at full scale instead.
        crop: side of the crops in pixels.
        pad: what an image that is smaller than a crop is continued with: its mirror image, or black as the authors'.
        max_pixels: larger images are shrunk to this many pixels; none: never. In training none is the paper's.
        temperature: of the contrast.
        batch: pairs of photos in a step.
        epochs: passes over the photos.
        steps: stop after this many steps; none: after the epochs.
        optimizer: sgd is the paper's; a small network with folded batch norms learns with adamw.
        lr: learning rate after each restart.
        momentum: of SGD; AdamW has betas of its own, 0.9 and 0.999.
        weight_decay: of all parameters.
        clip: largest norm of the gradient; none: no limit.
        restart: epochs until the first restart.
        restart_factor: each stretch is this many times as long as the one before.
        lowest_lr: where each stretch ends.
        held_out: photos that are kept from training, by the seed, and named in held_out.csv.
        part: most steps between two checkpoints; an epoch is cut into equal parts of no more than this.
        head_only: fit the head on rated images; trains nothing else.
        encoder: of the head: a run's folder or an encoder file; none or imagenet: the backbone's own weights.
        split: "random", "official", or a split file.
        test: share of the rated images (or references) that test.
        validation: share that chooses the ridge's penalty, and trains nothing.
        cache: folder that keeps features by content; none: beside the encoder.
        seed: of compositions, crops, order, the projector's start and the split.
        workers: processes that decode and degrade; 0: none besides the main one.
        accelerator: cpu, cuda, or auto.
        devices: 1: the negatives of a batch lie in one process.
        precision: of training; auto: bf16-mixed on a GPU that has it, else 32-true.
    """

    backbone: str = "resnet50.tv_in1k"
    weights: str = "timm"
    pad_type: str = ""
    mean: tuple[float, float, float] | None = None
    std: tuple[float, float, float] | None = None
    batch_norm: Literal["auto", "frozen", "trained"] = "auto"
    hidden: int | None = None
    embedding: int = 128
    max_distortions: int = 4
    pristine: float = 0.05
    sigma: float = 2.5
    order: Literal["random", "realesrgan"] = "random"
    same_image: bool = False
    hard_negatives: bool = True
    crop: int = 224
    pad: Literal["reflect", "zero"] = "reflect"
    max_pixels: int | None = None
    temperature: float = 0.1
    batch: int = 16
    epochs: int = 10
    steps: int | None = None
    optimizer: Literal["sgd", "adamw"] = "sgd"
    lr: float = 1e-3
    momentum: float = 0.9
    weight_decay: float = 1e-4
    clip: float | None = None
    restart: float = 1.0
    restart_factor: float = 2.0
    lowest_lr: float = 1e-6
    held_out: int = 0
    part: int = 500
    head_only: bool = False
    encoder: str | None = None
    split: str = "random"
    test: float = 0.2
    validation: float = 0.1
    cache: str | None = None
    seed: int = 0
    workers: int = 0
    accelerator: str = "auto"
    devices: str = "1"
    precision: str = "auto"


def train(config: Config, data: DataSet, run: Run, fabric: Fabric) -> dict[str, Any]:
    """Pre-train an encoder on photos, or fit a head on rated images; everything is kept in the run's folder.

    Args:
        config: every option.
        data: photos, or, for `head_only`, rated images.
        run: begun already; a resumed one goes on from its checkpoint.
        fabric: launched already, one process.

    Returns:
        Of the encoder: steps done and the last loss. Of a head: the figures on the test part.

    Raises:
        OptionError: options that do not go together.
        DataError: too few photos or images, or too many that cannot be read.
        ImageError: a rated image cannot be read; names the file.
        ModelError: weights or a checkpoint that cannot be used.
    """
    _check(config, data, fabric)
    if config.head_only:
        return fit_head(config, data, run, fabric)
    return pretrain(config, data, run, fabric)


def pretrain(config: Config, data: DataSet, run: Run, fabric: Fabric) -> dict[str, Any]:
    """Learn the distortion manifold from photos; no human score comes near it."""
    cv2.setNumThreads(1)  # a crop is too small to be shared out
    learning, apart = hold_out(photos(Path(data.path)), config.held_out, config.seed)
    run.write_table("held_out.csv", [{"path": path.relative_to(data.path).as_posix()} for path in apart])
    pairs = Pairs(
        learning,
        draw=partial(draw, config),
        size=config.crop,
        half=config.hard_negatives,
        same_image=config.same_image,
        pad=config.pad,
        max_pixels=config.max_pixels,
        seed=config.seed,
    )
    plan = Steps.of(config, len(learning))
    watch = Watch(learning, run)
    if config.workers:
        pairs.preload()  # what is decoded here is shared by the workers of every pass
    state = new_state(config, fabric)
    if run.resumed and run.file(CHECKPOINT).exists():
        state.restore(run.file(CHECKPOINT), fabric)

    def after_epoch(state: State) -> None:
        run.write_table("log.csv", state.log)
        state.save(run.file(CHECKPOINT), fabric)
        report(state.step, {"waiting": watch.waiting})

    def batches(part: int) -> Iterator[Tensor]:
        return watch.over(plan.batches(part, pairs, config.workers))

    with run.curves(state.step) as report:
        fit(
            partial(contrast, config),
            Loaders(batches, plan.part),
            state,
            fabric,
            pace=Pace(plan.parts, lr=lambda parts: restarts(config, parts * plan.part / plan.epoch), clip=config.clip),
            after_epoch=after_epoch,
            report=report,
        )
    network = trained(state)
    save_encoder(network.encoder, run.file(ENCODER), describe(config, data, len(learning) - len(watch.broken), state))
    found = {"steps": state.step, "loss": state.log[-1]["loss"], "photos skipped": len(watch.broken)}
    return found | {"share of time waiting for data": watch.waiting}


def contrast(config: Config, network: nn.Module, crops: Tensor) -> dict[str, Tensor]:
    """The loss of a batch (N, V, 2, 3, S, S): both scales of the first photos against both of the second."""
    views = crops.transpose(0, 1).flatten(0, 1)  # (V N, 2, ...): full scale, then half
    first, second = network(views.transpose(0, 1).flatten(0, 1)).chunk(2)
    return {"loss": nt_xent(first, second, temperature=config.temperature)}


def restarts(config: Config, epoch: float) -> float:
    """The learning rate: a cosine from `lr` down, begun again and again (Loshchilov and Hutter 2017, eq. 5).

    Example:
        >>> [round(restarts(Config(lr=0.1), epoch), 3) for epoch in (0, 0.5, 1, 2, 3)]
        [0.1, 0.05, 0.1, 0.05, 0.1]
    """
    start, length = 0.0, config.restart
    while epoch >= start + length:
        start, length = start + length, length * config.restart_factor
    share = (epoch - start) / length
    return config.lowest_lr + (config.lr - config.lowest_lr) * 0.5 * (1 + math.cos(math.pi * share))


def draw(config: Config, rng: Generator) -> Degrade:
    """A composition as a function of a crop: kinds and levels are fixed here, all other chance comes later."""
    return partial(_degraded, composition(config, rng))


def _degraded(composition: Composition, crop: Image, rng: Generator) -> Image:
    return apply_composition(crop, composition, rng)


def composition(config: Config, rng: Generator) -> Composition:
    """One draw of the degradation model that the options ask for."""
    if config.order == "random":
        return sample_composition(
            rng, max_distortions=config.max_distortions, pristine=config.pristine, sigma=config.sigma
        )
    if rng.random() < config.pristine:
        return []
    weights = np.exp(-(np.arange(5) ** 2) / (2 * config.sigma**2))
    levels = 1 + rng.choice(5, size=len(REALESRGAN), p=weights / weights.sum())
    names = [GROUPS[group][int(rng.integers(len(GROUPS[group])))] for group in REALESRGAN]
    return [(name, int(level)) for name, level in zip(names, levels, strict=True)]


def hold_out(found: list[Path], count: int, seed: int) -> tuple[list[Path], list[Path]]:
    """Photos that train, and `count` that never do, by the seed; each in their order.

    Raises:
        DataError: nothing would be left to train on.
    """
    if count >= len(found):
        raise DataError(f"{count} photos held out of {len(found)} leave none to train on")
    apart = set(np.random.default_rng([7, seed]).permutation(len(found))[:count].tolist())
    return [p for i, p in enumerate(found) if i not in apart], [p for i, p in enumerate(found) if i in apart]


def new_state(config: Config, fabric: Fabric) -> State:
    """Encoder and projector with their optimiser, at the start; the projector random by the seed."""
    fabric.seed_everything(config.seed, verbose=False)
    encoder = build_encoder(
        EncoderPlan(config.backbone, config.pad_type, config.mean, config.std, config.crop), weights=config.weights
    )
    settle_batch_norm(encoder, config.batch_norm, random=config.weights == "none")
    network = EncoderWithProjector(encoder, hidden=config.hidden, width=config.embedding)
    return State(*fabric.setup(network, optimizer_of(config, network)))


def optimizer_of(config: Config, network: nn.Module) -> torch.optim.Optimizer:
    """SGD with momentum, or AdamW, over every parameter."""
    found = list(network.parameters())
    if config.optimizer == "adamw":
        return torch.optim.AdamW(found, lr=config.lr, weight_decay=config.weight_decay)
    return torch.optim.SGD(found, lr=config.lr, momentum=config.momentum, weight_decay=config.weight_decay)


def trained(state: State) -> EncoderWithProjector:
    """The network that a run trains, without what the fabric wraps around it."""
    network = state.network.module
    if not isinstance(network, EncoderWithProjector):
        raise TypeError(f"an ARNIQA run holds no {type(network).__name__}")
    return network


def describe(config: Config, data: DataSet, count: int, state: State) -> Card:
    """The encoder's card: what it started from and what it learnt from."""
    kept = {key: Path(value).name for key in ("weights", "encoder", "cache") if (value := getattr(config, key))}
    training = {
        "recipe": "arniqa",
        "initialised from": origin(config.weights, config.backbone),
        "photos": Path(data.path).name,
        "images": count,
        "steps": state.step,
        "options": dataclasses.asdict(config) | kept,
    }
    rule = Preprocessing(max_pixels=config.max_pixels, min_side=1)
    limits = ["an encoder alone: it gives no score, and its scale means nothing, until a head is fitted"]
    method = f"ARNIQA encoder: {config.backbone}, self-supervised"
    return Card("arniqa-encoder", method, Scale(0, 1), rule, training=training, limits=limits)


def _check(config: Config, data: DataSet, fabric: Fabric) -> None:
    """Whether the options go together."""
    if config.head_only == (data.name == "photos"):
        need = "rated images, such as livec=FOLDER" if config.head_only else "photos=FOLDER"
        raise OptionError(f"--data {data.name}: {'a head' if config.head_only else 'pre-training'} takes {need}")
    if fabric.world_size > 1:
        raise OptionError("the recipe `arniqa` runs in one process: devices 1")
    if not config.temperature > 0 or config.restart <= 0 or config.restart_factor < 1 or not config.sigma > 0:
        raise OptionError("temperature, restart and sigma must be > 0, restart_factor 1 or more")
    if (
        min(config.batch, config.epochs, config.part, config.embedding) < 1
        or config.steps == 0
        or (config.steps or 1) < 1
    ):
        raise OptionError("batch, epochs, steps, part and embedding must be 1 or more")
    sample_composition(np.random.default_rng(0), max_distortions=config.max_distortions, pristine=config.pristine)
