"""DEIQT: a transformer's tokens, a panel of learnt judges, one loss on human scores. The baseline of all others.

Qin et al. 2023, "Data-Efficient Image Quality Assessment with Attention-Panel Decoder",
https://arxiv.org/abs/2301.00962. Equations, deviations and results: docs/papers/deiqt.md.

1. From every image ten random crops an epoch, mirrored by chance; each has its image's score.
2. Backbone -> class token and patch tokens; the panel's six queries look at them; six scores are averaged.
3. Smooth L1 on the data set's own scale, AdamW, warm-up, the rate cut by ten every three epochs.
4. An image's score is the mean over its crops.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, fields
from functools import partial
from pathlib import Path
from typing import Any, Literal

import torch
from lightning_fabric import Fabric
from torch import Tensor, nn

from noref.card import Card, Preprocessing, Scale
from noref.data.loading import Batch, Crops, Loader, make_loader
from noref.data.records import Record
from noref.data.splits import Split
from noref.errors import OptionError
from noref.methods import feature_cache as bank
from noref.methods.distillation import Teacher, fed, find_teacher
from noref.methods.quality_context import ContrastOptions, QualityContext, Scored, check_fits, noisy
from noref.models.backbones import freeze_stages, layer_depths
from noref.models.frozen_stages import TailNet
from noref.models.network import Plan, QualityNet, build, fuse
from noref.models.weights import origin
from noref.objectives.distill import distilled_loss
from noref.train.evaluator import SELECTION, finish
from noref.train.loop import Loaders, Pace, Step, fit
from noref.train.optim import StepDecay, parameter_groups
from noref.train.run_folder import DataSet, Run
from noref.train.setup import CHECKPOINT, images_in_batch, keeper, prepare, resumed, watched
from noref.train.state import State, follow

PATHS = ("weights", "split", "teacher", "teachers", "bank")  # a card says their names, not where they lay


@dataclass(frozen=True)
class Config(ContrastOptions):
    """Every option of a run. Defaults are the paper's or its code's, but for `validation`, `max_pixels` and `protocol`.

    Args:
        backbone: a timm network.
        weights: of the backbone: "timm" downloads them, "none" is random, else a local safetensors file with
            timm's names or of an ARNIQA encoder.
        pad_type: "same" for weights that come from TensorFlow.
        mean: of the pixels that the weights expect, for values in [0, 1]; none: what timm says.
        std: deviation of those pixels likewise.
        head: the attention panel, one line on the pooled feature, or CSIQA's decoder of class and quality token.
        width: of the panel; none: the transformer's own, 192 for other networks.
        heads: of the panel; its width must divide by them.
        queries: of the panel.
        crop: side of the crops in pixels.
        crops: random crops of an image an epoch.
        together: crops of an image that come in one batch; divides `crops`.
        max_pixels: larger images are shrunk to this many pixels; none: never.
        protocol: crops at test: a deterministic grid, or the paper's ten random ones.
        split: "random", "official", or a split file.
        test: share of the images (or references) that test.
        validation: share that validates after each epoch, taken from the training part.
        select: the epoch that becomes the model: the last, the best on the validation part, or, as the paper's code
            does and no figure of ours should, the best on the test part.
        loss: on scores, in units of the data set's scale.
        beta: below this error smooth L1 is a parabola; in units of the data set's scale.
        epochs: passes over the training part.
        batch: crops in an optimiser step, over all processes.
        accumulate: parts that a batch is worked through in, to save memory.
        lr: learning rate of AdamW that the warm-up climbs to.
        beta1: of AdamW.
        beta2: of AdamW.
        weight_decay: of matrices; biases, norms, position embeddings and class tokens have none.
        warmup_epochs: epochs of the climb.
        warmup_lr: where it starts.
        decay_every: epochs between cuts of the rate, counted from the start.
        decay_factor: of a cut.
        decay_after_warmup: count those epochs from the end of the warm-up.
        clip: largest norm of the gradient; none: no limit.
        layer_decay: each layer of the backbone learns at this share of the rate of the layer behind it.
        frozen: stages of the backbone that do not learn; 1 is the stem.
        bank: folder where what the frozen stages make of the random crops is kept for all runs that share split, seed
            and crops; empty: none. With `crops` 1 an epoch is one pass, and every image one crop.
        bank_sets: after so many epochs the crops come again; as many as epochs: they are new in every epoch.
        fused: run frozen batch norms as part of their convolutions: the same numbers but for rounding, sooner.
        average: decay a step of averaged weights, which are then the model; 0: none.
        save_every: optimiser steps between checkpoints in the middle of an epoch; 0: none but on Ctrl-C.
        seed: of split, crops, order and the panel's start.
        workers: processes that decode images; 0: none besides the main one.
        accelerator: cpu, cuda, or auto.
        devices: how many, or auto: all there are.
        precision: of training; auto: bf16-mixed on a GPU that has it, else 32-true.
    """

    backbone: str = "deit3_small_patch16_224.fb_in1k"
    weights: str = "timm"
    pad_type: str = ""
    mean: tuple[float, float, float] | None = None
    std: tuple[float, float, float] | None = None
    head: Literal["panel", "pooled", "tokens"] = "panel"
    width: int | None = None
    heads: int = 6
    queries: int = 6
    crop: int = 224
    crops: int = 10
    together: int = 1
    max_pixels: int | None = 250_000
    protocol: Literal["grid", "paper"] = "grid"
    split: str = "random"
    test: float = 0.2
    validation: float = 0.1
    select: Literal["last", "validation", "test"] = "last"
    loss: Literal["smooth_l1", "l1"] = "smooth_l1"
    beta: float = 1.0
    epochs: int = 9
    batch: int = 64
    accumulate: int = 1
    lr: float = 2e-4
    beta1: float = 0.9
    beta2: float = 0.999
    weight_decay: float = 0.05
    warmup_epochs: float = 3
    warmup_lr: float = 2e-7
    decay_every: float = 3
    decay_factor: float = 0.1
    decay_after_warmup: bool = False
    clip: float | None = 5.0
    layer_decay: float = 1.0
    frozen: int = 0
    bank: str = ""
    bank_sets: int = 1
    fused: bool = False
    average: float = 0.0
    save_every: int = 0
    seed: int = 0
    workers: int = 0
    accelerator: str = "auto"
    devices: str = "auto"
    precision: str = "auto"


def train(config: Config, data: DataSet, run: Run, fabric: Fabric, *, recipe: str = "deiqt") -> dict[str, Any]:
    """Train, choose the epoch, judge the test part; everything is kept in the run's folder.

    Args:
        config: every option.
        data: the rated images.
        run: begun already; a resumed one goes on from its checkpoint.
        fabric: launched already.
        recipe: under which name, on the model's card.

    Returns:
        The figures on the test part, as `noref.train.evaluator.figures` gives them.

    Raises:
        OptionError: options that do not go together.
        DataError: too few images for the split, or a split of other images.
        ImageError: an image cannot be read; names the file.
        ModelError: backbone weights or a checkpoint that cannot be used.
    """
    check(config)
    split, rule = prepare(config, data, run)
    learning = noisy([data.records[index] for index in split.train], config.label_noise, seed=config.seed)
    context = context_of(config, learning[0].scale, fabric)
    crops, loaders = batches(config, learning, rule, fabric)
    teacher = taught_by(config, data, split, run, fabric)
    state = resumed(new_state(config, fabric, trained_as=partial(bank.cut, config)), run, fabric)
    loaders = fed(config, loaders, crops, teacher, learning, state.network.module, fabric)
    if context is not None:
        context.follow(state)

    def after_step(state: State) -> None:
        if state.teacher is not None:
            follow(state.teacher, state.network, decay=config.average)

    with run.curves(state.step) as report:
        fit(
            score_step(config, learning[0].scale, context),
            watched(loaders, config, data, split, rule, fabric, network=judged),
            state,
            fabric,
            pace=pace(config),
            after_step=after_step,
            after_epoch=keeper(run, fabric, network=judged),
            save=lambda state: state.save(run.file(CHECKPOINT), fabric),
            report=report,
        )
    card = describe(config, data, split, rule, recipe=recipe)
    return finish(judged(state), card, data, split, run, fabric, protocol=config.protocol, selection=config.select)


def check(config: Config) -> None:
    """Refuse what cannot work before anything is spent, such as the training of a teacher.

    Raises:
        OptionError: says which option.
    """
    bank.check(config)
    if config.together < 1 or config.crops % config.together or config.accumulate < 1:
        raise OptionError(f"together {config.together} must divide crops {config.crops}, and accumulate be at least 1")
    if config.mask is not None and config.head == "panel" and config.contrast != "quality-context":
        raise OptionError("mask: only head tokens or pooled, or --contrast quality-context, read a quality token")
    network = bank.cut(config, network_of(config, weights="none"))
    if config.contrast != "none":
        crop = torch.zeros(1, 3, config.crop, config.crop)
        crop = network.frozen_features(crop) if isinstance(network, TailNet) else crop
        seen = network.features(crop, layers=config.embedding)
        images = config.batch // (config.together * config.accumulate)
        check_fits(config, images=images, layers=len(seen.layers))


def plan(config: Config) -> Plan:
    """The network's part of the options: built for the crops, a quality token joins behind what is kept in a cache."""
    chosen = {field.name: getattr(config, field.name) for field in fields(Plan) if hasattr(config, field.name)}
    cut = config.bank and config.mask is not None
    return Plan(**chosen, image_size=config.crop, mask_from=max(0, config.frozen - 1) if cut else 0)


def as_teacher(config: Config, run: Run) -> Config:
    """The options that a run's own teacher is trained with: the same network without what CSIQA adds."""
    own = {field.name: getattr(config, field.name) for field in fields(Config)}
    without = {field.name: field.default for field in fields(ContrastOptions) if field.name != "label_noise"}
    changed: dict[str, Any] = {
        "split": str(run.file("split.json")),
        "head": "panel" if config.head == "tokens" else config.head,
        "epochs": config.teacher_epochs or config.epochs,
        "together": 1,
        "bank": config.bank if config.crops == 1 else "",
    }
    if config.teacher_backbone:
        other = {"backbone": config.teacher_backbone, "weights": config.teacher_weights, "width": None}
        changed |= {**other, "pad_type": "", "mean": None, "std": None, "fused": False, "frozen": 0, "bank": ""}
    return Config(**{**own, **without, **changed})


def teacher_for(config: Config, data: DataSet, split: Split, run: Run, fabric: Fabric) -> Teacher:
    """The teacher that the options name, or one that is trained first.

    This comes before the network is made, for both draw from torch's generator.
    """
    plain = as_teacher(config, run)
    if not config.teacher:
        check(plain)
    return find_teacher(config, plain, data, split, run, fabric, train=lambda own: train(plain, data, own, fabric))


def taught_by(config: Config, data: DataSet, split: Split, run: Run, fabric: Fabric) -> Teacher | None:
    """The teacher whose scores are learnt from, if the options ask for one; fused where the network is."""
    if not config.wants_teacher:
        return None
    found = teacher_for(config, data, split, run, fabric)
    if config.fused and found.network.plan.backbone == config.backbone:
        fuse(found.network, config.crop)
    return found


def context_of(config: Config, scale: Scale, fabric: Fabric) -> QualityContext | None:
    """What CSIQA adds to a step, if the options ask for any of it."""
    if config.contrast == "none" and not config.wants_teacher and config.label_weight == 1:
        return None
    return QualityContext(config, scale, fabric, distance=config.loss, beta=config.beta)


def new_state(
    config: Config, fabric: Fabric, *, trained_as: Callable[[QualityNet], nn.Module] = lambda network: network
) -> State:
    """The network with its optimiser, at the start; the head random by the seed.

    Args:
        config: every option.
        fabric: device and precision.
        trained_as: what the network is wrapped into for training.
    """
    fabric.seed_everything(config.seed, verbose=False)
    network = network_of(config, weights=config.weights)
    depths = layer_depths(network.backbone) if config.layer_decay != 1 else {}
    groups = parameter_groups(
        network,
        weight_decay=config.weight_decay,
        depths={f"backbone.{name}": depth for name, depth in depths.items()},
        layer_decay=config.layer_decay,
    )
    optimizer = torch.optim.AdamW(groups, lr=config.lr, betas=(config.beta1, config.beta2))
    wrapped, optimizer = fabric.setup(trained_as(network), optimizer)
    teacher = copy.deepcopy(network).requires_grad_(False) if config.average else None
    return State(wrapped, optimizer, teacher)


def network_of(config: Config, *, weights: str) -> QualityNet:
    """The network that learns, its frozen stages frozen; the head random by torch's generator."""
    network = build(plan(config), weights=weights)
    freeze_stages(network.backbone, config.frozen)
    if config.fused:
        fuse(network, config.crop)
    return network


def judged(state: State) -> QualityNet:
    """The network that is the result so far: the averaged one where there is one. Bare, on its device."""
    network = state.teacher if state.teacher is not None else state.network.module
    network = network.whole if isinstance(network, TailNet) else network
    if not isinstance(network, QualityNet):
        raise TypeError(f"a DEIQT run holds no {type(network).__name__}")
    return network


def batches(config: Config, records: list[Record], rule: Preprocessing, fabric: Fabric) -> tuple[Crops, Loaders]:
    """An epoch is `crops / together` passes over the images, with new crops and a new order each.

    With `together` = 1 all crops of a batch come from different images, as in the paper's code.
    """
    count = images_in_batch(config, fabric, crops=config.together, called="together")
    passes = config.crops // config.together
    images = Crops(records, size=config.crop, crops=config.together, seed=config.seed, preprocessing=rule)

    def one_pass(number: int, start: int = 0) -> Loader:
        return make_loader(
            images,
            batch_images=count,
            seed=config.seed,
            epoch=number,
            start_batch=start,
            workers=config.workers,
            drop_last=fabric.world_size > 1,
            rank=fabric.global_rank,
            ranks=fabric.world_size,
        )

    def epoch(number: int, done: int = 0) -> Iterator[Batch]:
        for place in range(done // length, passes):
            yield from one_pass(number * passes + place, max(0, done - place * length))

    if config.workers:
        images.preload()  # what is decoded here is shared by the workers of every pass
    length = len(one_pass(0))
    return images, Loaders(epoch, passes * length, rest=epoch)


def score_step(config: Config, scale: Scale, context: QualityContext | None = None) -> Step:
    """The loss of one batch: distance of each crop's score from its image's, in units of the data set's scale.

    A context adds what CSIQA adds.
    """
    span = scale.high - scale.low

    def rated(predicted: Tensor, wanted: Tensor) -> Tensor:
        return distilled_loss(predicted * span, wanted * span, distance=config.loss, beta=config.beta)

    def step(network: Any, batch: Batch | Scored) -> dict[str, Tensor]:
        images, wanted = batch.crops.flatten(0, 1), batch.quality.repeat_interleave(batch.crops.shape[1])
        if context is None:
            return {"loss": rated(network(images), wanted)}
        predicted, features = network(images, features=True, layers=context.layers)
        teacher = batch.teacher if isinstance(batch, Scored) else None
        loss = rated(predicted, wanted)
        return context.add(loss, predicted, features.layers, batch.quality, batch.indices, teacher)

    return step


def pace(config: Config) -> Pace:
    """Epochs, learning rate, clipping."""
    rate = StepDecay(
        config.lr,
        warmup_epochs=config.warmup_epochs,
        warmup_lr=config.warmup_lr,
        every=config.decay_every,
        factor=config.decay_factor,
        after_warmup=config.decay_after_warmup,
    )
    return Pace(config.epochs, lr=rate, clip=config.clip, accumulate=config.accumulate, save_every=config.save_every)


def describe(config: Config, data: DataSet, split: Split, rule: Preprocessing, *, recipe: str = "deiqt") -> Card:
    """The model's card, before its results are known."""
    paths = {name: Path(getattr(config, name)).name for name in PATHS if hasattr(config, name)}
    options = asdict(config) | paths
    training = {
        "recipe": recipe,
        "initialised from": origin(config.weights, config.backbone),
        "data set": data.name,
        "images": len(split.train),
        "split": split.description,
        "epoch chosen by": SELECTION[config.select],
        "options": options,
    }
    more = "" if config.contrast == "none" else f", {config.contrast} contrast"
    method = f"{recipe.upper()}: {config.backbone}, {config.head} head{more}"
    return Card(f"{recipe}-{data.name}", method, data.records[0].scale, rule, training=training)
