"""ARNIQA: photos with the same degradation get the same feature, whatever they show; a linear head gives the score.

Agnolucci et al. 2024, "ARNIQA: Learning Distortion Manifold for Image Quality Assessment",
https://arxiv.org/abs/2310.14918. Deviations and results: docs/papers/arniqa.md.

    3.1, eq. 1   random ordered compositions of 24 distortions    noref.degrade.pipeline.sample_composition
    3.2          two photos, one composition, two scales          noref.data.pairs.Pairs
    eq. 2        h = f(x), z = g(f(x))                            noref.models.arniqa.Encoder, EncoderWithProjector
    eq. 3-4      every element finds its twin among 4B            noref.objectives.contrastive.nt_xent, `contrast` here
    4.1          SGD, cosine annealing with warm restarts         WarmRestarts in train/optim.py
    4.3          ridge on both scales' features, five crops       noref.methods.arniqa_ridge

Training needs photos and no human score; `head_only` is the second half, which needs scores and no training.
Known difference: both views of a pair go through the network, and so through its batch norms, in one pass; the
authors' code takes two.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, ClassVar, Literal

import cv2
import numpy as np
import torch
from lightning_fabric import Fabric
from numpy.random import Generator
from torch import Tensor, nn

from noref.card import Card, Preprocessing, Scale
from noref.data.pairs import Degrade, Image, Pairs, hold_out
from noref.data.readers import photos
from noref.data.records import Record
from noref.degrade.pipeline import Composition, apply_composition, sample_composition
from noref.errors import OptionError
from noref.methods.arniqa_ridge import ENCODER, HeadOptions, fit_head
from noref.models.arniqa import EncoderPlan, EncoderWithProjector, build_encoder, save_encoder, settle_batch_norm
from noref.models.weights import origin
from noref.objectives.contrastive import nt_xent
from noref.train.config import Hardware
from noref.train.epoch_chunks import DataMonitor, EpochChunks
from noref.train.loop import Loaders, Schedule, fit
from noref.train.optim import WarmRestarts
from noref.train.run_folder import CHECKPOINT, DataSet, Run
from noref.train.setup import opened
from noref.train.state import State

PHOTOS = True  # `--data photos=FOLDER` is for this recipe


@dataclass(frozen=True)
class Config(HeadOptions, Hardware):
    """Every option of a run. Defaults are the paper's, but for `pad`; pre-training's first, then the head's.

    Args:
        batch_norm: frozen, trained, or auto: frozen where the weights come with batch norms that were folded away.
        hidden: width of the projector's middle; none: the backbone's.
        embedding: width of the projector's output.
        max_distortions: of a composition, 1 to 7.
        pristine: probability that a pair is left as it is.
        sigma: how slowly the levels' probabilities fall off; inf makes them uniform.
        same_image: both crops of a pair from one photo.
        hard_negatives: half-scale crops in the batch; no: twice as many pairs at full scale instead.
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
        chunk: most steps between two checkpoints; an epoch is cut into equal chunks of no more than this.
        head_only: fit the head on rated images; trains nothing else.
        devices: 1: the negatives of a batch lie in one process.
    """

    EXTENDABLE: ClassVar[tuple[str, ...]] = ("epochs", "steps")
    ALIASES: ClassVar[dict[str, str]] = {"part": "chunk"}
    REMOVED: ClassVar[dict[str, tuple[str | None, str]]] = {
        "order": ("random", "experiments/arniqa/realesrgan.py has the order of RealESRGAN")
    }

    batch_norm: Literal["auto", "frozen", "trained"] = "auto"
    hidden: int | None = None
    embedding: int = 128
    max_distortions: int = 4
    pristine: float = 0.05
    sigma: float = 2.5
    same_image: bool = False
    hard_negatives: bool = True
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
    chunk: int = 500
    head_only: bool = False
    devices: str = "1"


def train(
    config: Config, data: DataSet | Sequence[Record] | str, run: Run | Path | str, fabric: Fabric | None = None
) -> dict[str, Any]:
    """Pre-train an encoder on photos, or fit a head on rated images; everything is kept in the run's folder.

    Args:
        config: every option.
        data: photos (`DataSet("photos", FOLDER, [])`), or, for `head_only`, rated images.
        run: a new folder, or a run that is begun already; a resumed one goes on from its checkpoint.
        fabric: one process; None: as the options say.

    Returns:
        Of the encoder: steps done and the last loss. Of a head: the metrics on the test part.

    Raises:
        OptionError, DataError: options that do not go together; too few photos or images that can be read.
        ImageError, ModelError: a broken rated image, weights or checkpoint, or weights that do not fit.
    """
    data, run, fabric = opened("arniqa", config, data, run, fabric)
    _check(config, data, fabric)
    return fit_head(config, data, run, fabric) if config.head_only else pretrain(config, data, run, fabric)


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
    per_step = config.batch if config.hard_negatives else 2 * config.batch
    chunks = EpochChunks.of(len(learning), pairs=per_step, most=config.chunk, epochs=config.epochs, steps=config.steps)
    monitor = DataMonitor(learning, run)
    if workers := config.decoders(fabric):
        pairs.preload()  # what is decoded here is shared by the workers of every chunk
    state = new_state(config, fabric)
    if run.resumed and run.file(CHECKPOINT).exists():
        state.restore(run.file(CHECKPOINT), fabric)

    def after_epoch(state: State) -> None:
        run.write_table("log.csv", state.log)
        state.save(run.file(CHECKPOINT), fabric)
        report(state.step, {"waiting": monitor.waiting})

    rate = WarmRestarts(config.lr, first=config.restart, factor=config.restart_factor, lowest=config.lowest_lr)

    with run.curves(state.step) as report:
        fit(
            partial(contrast, config),
            Loaders(lambda number: monitor.over(chunks.batches(number, pairs, workers)), chunks.chunk),
            state,
            fabric,
            schedule=Schedule(chunks.count, lambda done: rate(done * chunks.chunk / chunks.epoch), clip=config.clip),
            after_epoch=after_epoch,
            report=report,
        )
    network, used = trained(state), len(learning) - len(monitor.broken)
    save_encoder(network.encoder, run.file(ENCODER), describe(config, data, used, state))
    found = {"steps": state.step, "loss": state.log[-1]["loss"], "photos skipped": len(monitor.broken)}
    return found | {"share of time waiting for data": monitor.waiting}


def contrast(config: Config, network: nn.Module, crops: Tensor) -> dict[str, Tensor]:
    """The loss of a batch (N, V, 2, 3, S, S): both scales of the first photos against both of the second."""
    views = crops.transpose(0, 1).flatten(0, 1)  # (V N, 2, ...): full scale, then half
    first, second = network(views.transpose(0, 1).flatten(0, 1)).chunk(2)
    return {"loss": nt_xent(first, second, temperature=config.temperature)}


def draw(config: Config, rng: Generator) -> Degrade:
    """A composition as a function of a crop: kinds and levels are fixed here, all other chance comes later."""
    found = sample_composition(
        rng, max_distortions=config.max_distortions, pristine=config.pristine, sigma=config.sigma
    )
    return partial(degraded, found)


def degraded(composition: Composition, crop: Image, rng: Generator) -> Image:
    """A crop with a composition, as workers call it."""
    return apply_composition(crop, composition, rng)


def new_state(config: Config, fabric: Fabric) -> State:
    """Encoder and projector with their optimiser, at the start; the projector random by the seed."""
    fabric.seed_everything(config.seed, verbose=False)
    encoder = build_encoder(
        EncoderPlan(config.backbone, config.pad_type, config.mean, config.std, config.crop), weights=config.weights
    )
    settle_batch_norm(encoder, config.batch_norm, random=config.weights == "none")
    network = EncoderWithProjector(encoder, hidden=config.hidden, width=config.embedding)
    rates: dict[str, Any] = {"lr": config.lr, "weight_decay": config.weight_decay}
    parameters = list(network.parameters())
    if config.optimizer == "adamw":
        return State(*fabric.setup(network, torch.optim.AdamW(parameters, **rates)))
    return State(*fabric.setup(network, torch.optim.SGD(parameters, momentum=config.momentum, **rates)))


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
    rule, method = Preprocessing(config.max_pixels, 1), f"ARNIQA encoder: {config.backbone}, self-supervised"
    limits = ["an encoder alone: it gives no score, and its scale means nothing, until a head is fitted"]
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
    counts = (config.batch, config.epochs, config.chunk, config.embedding, 1 if config.steps is None else config.steps)
    if min(counts) < 1 or not config.lr > 0:
        raise OptionError("batch, epochs, steps, chunk and embedding must be 1 or more, lr above 0")
    sample_composition(np.random.default_rng(0), max_distortions=config.max_distortions, pristine=config.pristine)
