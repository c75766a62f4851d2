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
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

import torch
import torch.nn.functional as functional
from lightning_fabric import Fabric
from torch import Tensor, nn

from noref.card import Card, Preprocessing, Scale
from noref.data.loading import Batch, Crops, Loader, make_loader
from noref.data.records import Record
from noref.data.splits import Split
from noref.errors import OptionError
from noref.models.backbones import freeze_stages, layer_depths
from noref.models.network import Plan, QualityNet, build
from noref.models.weights import origin
from noref.recipes.judge import SELECTION, Judge, check_readable, finish, keep_best
from noref.recipes.run import DataSet, Run, choose_split
from noref.train.loop import Loaders, Pace, Step, fit
from noref.train.optim import StepDecay, parameter_groups
from noref.train.state import State, follow


@dataclass(frozen=True)
class Config:
    """Every option of a run. Defaults are the paper's or its code's, but for `validation`, `max_pixels` and `protocol`.

    Args:
        backbone: a timm network.
        weights: of the backbone: "timm" downloads them, "none" is random, else a local safetensors file.
        pad_type: "same" for weights that come from TensorFlow.
        mean: of the pixels that the weights expect, for values in [0, 1]; none: what timm says.
        std: deviation of those pixels likewise.
        head: the attention panel, or one line on the pooled feature.
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
        average: decay a step of averaged weights, which are then the model; 0: none.
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
    head: Literal["panel", "pooled"] = "panel"
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
    average: float = 0.0
    seed: int = 0
    workers: int = 0
    accelerator: str = "auto"
    devices: str = "auto"
    precision: str = "auto"


def train(config: Config, data: DataSet, run: Run, fabric: Fabric) -> dict[str, Any]:
    """Train, choose the epoch, judge the test part; everything is kept in the run's folder.

    Args:
        config: every option.
        data: the rated images.
        run: begun already; a resumed one goes on from its checkpoint.
        fabric: launched already.

    Returns:
        The figures on the test part, as `noref.recipes.judge.figures` gives them.

    Raises:
        OptionError: options that do not go together.
        DataError: too few images for the split, or a split of other images.
        ImageError: an image cannot be read; names the file.
        ModelError: backbone weights or a checkpoint that cannot be used.
    """
    split = choose_split(config, data.records, run)
    if config.select == "validation" and not split.validation:
        raise OptionError("select validation needs a validation part: give --validation a share")
    rule = Preprocessing(max_pixels=config.max_pixels, min_side=config.crop, crop=config.crop)
    if not run.resumed:
        check_readable([data.records[index] for index in (*split.validation, *split.test)], rule)
    learning = [data.records[index] for index in split.train]
    loaders = batches(config, learning, rule, fabric)
    state = new_state(config, fabric)
    if run.resumed and run.file("checkpoint.safetensors").exists():
        state.restore(run.file("checkpoint.safetensors"), fabric)
    choosing = split.test if config.select == "test" else split.validation
    if choosing:
        held_out = [data.records[index] for index in choosing]
        judge = Judge(held_out, preprocessing=rule, protocol=config.protocol, workers=config.workers, fabric=fabric)
        name, follows = ("test_plcc", judge.plcc) if config.select == "test" else ("validation_srcc", judge.srcc)
        loaders = Loaders(loaders.train, loaders.batches, lambda state: {name: follows(judged(state))})

    def after_epoch(state: State) -> None:
        keep_best(judged(state), state, run)
        run.write_table("log.csv", state.log)
        state.save(run.file("checkpoint.safetensors"), fabric)

    def after_step(state: State) -> None:
        if state.teacher is not None:
            follow(state.teacher, state.network, decay=config.average)

    with run.curves(state.step) as report:
        fit(
            score_step(config, learning[0].scale),
            loaders,
            state,
            fabric,
            pace=pace(config),
            after_step=after_step,
            after_epoch=after_epoch,
            report=report,
        )
    card = describe(config, data, split, rule)
    return finish(judged(state), card, data, split, run, fabric, protocol=config.protocol, selection=config.select)


def plan(config: Config) -> Plan:
    """The network's part of the options."""
    return Plan(
        backbone=config.backbone,
        head=config.head,
        width=config.width,
        heads=config.heads,
        queries=config.queries,
        pad_type=config.pad_type,
        mean=config.mean,
        std=config.std,
    )


def new_state(config: Config, fabric: Fabric) -> State:
    """The network with its optimiser, at the start; the head random by the seed."""
    fabric.seed_everything(config.seed, verbose=False)
    network = build(plan(config), weights=config.weights)
    freeze_stages(network.backbone, config.frozen)
    depths = layer_depths(network.backbone) if config.layer_decay != 1 else {}
    groups = parameter_groups(
        network,
        weight_decay=config.weight_decay,
        depths={f"backbone.{name}": depth for name, depth in depths.items()},
        layer_decay=config.layer_decay,
    )
    optimizer = torch.optim.AdamW(groups, lr=config.lr, betas=(config.beta1, config.beta2))
    wrapped, optimizer = fabric.setup(network, optimizer)
    teacher = copy.deepcopy(network).requires_grad_(False) if config.average else None
    return State(wrapped, optimizer, teacher)


def judged(state: State) -> QualityNet:
    """The network that is the result so far: the averaged one where there is one. Bare, on its device."""
    network = state.teacher if state.teacher is not None else state.network.module
    if not isinstance(network, QualityNet):
        raise TypeError(f"a DEIQT run holds no {type(network).__name__}")
    return network


def batches(config: Config, records: list[Record], rule: Preprocessing, fabric: Fabric) -> Loaders:
    """An epoch is `crops / together` passes over the images, with new crops and a new order each.

    With `together` = 1 all crops of a batch come from different images, as in the paper's code.
    """
    if config.together < 1 or config.crops % config.together:
        raise OptionError(f"together {config.together} must divide crops {config.crops}")
    share = config.together * fabric.world_size * config.accumulate
    if config.batch < 1 or config.batch % share:
        parts = f"together {config.together} x {fabric.world_size} processes x accumulate {config.accumulate}"
        raise OptionError(f"batch {config.batch} must divide by {parts}")
    passes = config.crops // config.together
    images = Crops(records, size=config.crop, crops=config.together, seed=config.seed, preprocessing=rule)

    def one_pass(number: int) -> Loader:
        return make_loader(
            images,
            batch_images=config.batch // share,
            seed=config.seed,
            epoch=number,
            workers=config.workers,
            drop_last=fabric.world_size > 1,
            rank=fabric.global_rank,
            ranks=fabric.world_size,
        )

    def epoch(number: int) -> Iterator[Batch]:
        for place in range(passes):
            yield from one_pass(number * passes + place)

    if config.workers:
        images.preload()  # what is decoded here is shared by the workers of every pass
    return Loaders(epoch, passes * len(one_pass(0)))


def score_step(config: Config, scale: Scale) -> Step:
    """The loss of one batch: distance of each crop's score from its image's, in units of the data set's scale."""
    span = scale.high - scale.low

    def step(network: nn.Module, batch: Batch) -> dict[str, Tensor]:
        crops, quality, _ = batch
        predicted = network(crops.flatten(0, 1))
        wanted = quality.repeat_interleave(crops.shape[1])
        if config.loss == "l1":
            return {"loss": functional.l1_loss(predicted * span, wanted * span)}
        return {"loss": functional.smooth_l1_loss(predicted * span, wanted * span, beta=config.beta)}

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
    return Pace(config.epochs, lr=rate, clip=config.clip, accumulate=config.accumulate)


def describe(config: Config, data: DataSet, split: Split, rule: Preprocessing) -> Card:
    """The model's card, before its results are known."""
    options = asdict(config) | {"weights": Path(config.weights).name, "split": Path(config.split).name}
    training = {
        "recipe": "deiqt",
        "initialised from": origin(config.weights, config.backbone),
        "data set": data.name,
        "images": len(split.train),
        "split": split.description,
        "epoch chosen by": SELECTION[config.select],
        "options": options,
    }
    method = f"DEIQT: {config.backbone}, {config.head} head"
    return Card(f"deiqt-{data.name}", method, data.records[0].scale, rule, training=training)
