"""LML-IQA: crops of one image drawn to where a teacher looks in it, and kept apart from each other and from the rest.

Gao et al. 2024, "Local Manifold Learning for No-Reference Image Quality Assessment",
https://arxiv.org/abs/2406.19247. Deviations and results: docs/papers/lml_iqa.md.

    eq. 1    class-to-patch attention, last K blocks   Vit.class_attention (models/vit.py), models/saliency.py
    eq. 2    the M x M window that holds most of it    salient_window (objectives/lml.py), Eye (train/saliency_windows)
    3.2.1    the region, cut and resized               SalientCrops (data/salient.py)
    eq. 3-5  the contrast                              local_manifold_loss (objectives/lml.py)
    eq. 6-7  score and total                           lml_step, below
    eq. 8    the teacher                               first_teacher and train, below; follow (train/state.py)
    network, schedule, crops                           DEIQT's: methods/deiqt.py
"""

from __future__ import annotations

import copy
from dataclasses import dataclass
from functools import partial
from typing import Any, Literal

import torch
from lightning_fabric import Fabric
from torch import Tensor

from noref.card import Preprocessing, Scale
from noref.data.loading import Batch, Crops, Loader, make_loader
from noref.data.records import Record
from noref.data.salient import GRID, SalientCrops
from noref.data.splits import Split
from noref.errors import OptionError
from noref.methods import deiqt
from noref.methods import feature_cache as bank
from noref.methods.distillation import fed
from noref.methods.quality_context import QualityContext, Scored, noisy
from noref.models.frozen_stages import TailNet
from noref.models.network import QualityNet, build, fuse
from noref.models.saliency import Source
from noref.objectives.distill import distilled_loss
from noref.objectives.lml import InterNegatives, local_manifold_loss
from noref.train.evaluator import finish
from noref.train.loop import Loaders, Step, fit
from noref.train.run_folder import DataSet, Run
from noref.train.saliency_windows import WINDOWS, Eye, sheet
from noref.train.setup import CHECKPOINT, images_in_batch, keeper, prepare, resumed, watched
from noref.train.state import State, follow


@dataclass(frozen=True)
class Config(deiqt.Config):
    """Every option of a run: LML-IQA's own, then DEIQT's, then those of CSIQA, whose contrast may come on top.

    Args:
        alpha: share of the local manifold contrast in the loss, 0 to 1 (a of eq. 7); 0: the baseline.
        temperature: of the contrast, t, and of CSIQA's where it comes on top; smaller is sharper.
        positive: what crops are drawn to: their image's salient region, or one more random crop.
        window: M, side of the salient region in cells of a 14 x 14 grid over the image.
        blocks: K, last blocks of a transformer whose attention is averaged.
        teacher_update: the teacher follows the student after each step, after each epoch, or stays frozen.
        decay: how slowly it follows (b of eq. 8); 0: it becomes the student.
        intra_negatives: whether the other crops of an image are negatives.
        inter_negatives: what other images give as negatives: all their crops (eq. 4), or their salient ones (Table 1).
        positive_in_denominator: InfoNCE as elsewhere; the paper's has negatives only.
        first_teacher: who says at first where an image is salient: the network as it starts, or a trained baseline;
            auto: the network itself if its class token has learnt to look or its activation is asked for, a baseline
            otherwise.
        saliency: where a teacher looks is said by its attention, as in the paper, or by the activation of its last
            stage, which needs no trained head: not in the paper.
        relative: divide each map by the mean map of all images before its window is chosen: not in the paper; a panel
            over a padded CNN always looks a little more at corners.
        save_saliency: write a sheet of photos with their salient windows before each epoch.
        teacher: a run whose model is the first teacher; empty: see `first_teacher`.
        teachers: folder where trained baselines are kept for other runs of the same split and options; empty: in the
            run.
        teacher_epochs: of the training of such a baseline; none: as many as the run's own.
        loss: on scores, in units of the data set's scale.
        batch: random crops in an optimiser step, over all processes; the salient ones come on top.
        together: all crops of an image come in one batch, so this is `crops`; without a contrast it may be less.
    """

    alpha: float = 0.1
    positive: Literal["salient", "random"] = "salient"
    window: int = 8
    blocks: int = 3
    teacher_update: Literal["step", "epoch", "frozen"] = "step"
    decay: float = 0.999
    intra_negatives: bool = True
    inter_negatives: InterNegatives = "crops"
    positive_in_denominator: bool = False
    first_teacher: Literal["auto", "network", "trained"] = "auto"
    saliency: Source = "attention"
    relative: bool = False
    save_saliency: bool = False
    loss: Literal["smooth_l1", "l1"] = "l1"
    batch: int = 40
    together: int = 10

    @property
    def wants_windows(self) -> bool:
        """Whether a teacher must say where images are salient."""
        return self.alpha > 0 and self.positive == "salient"


def train(config: Config, data: DataSet, run: Run, fabric: Fabric) -> dict[str, Any]:
    """Train, choose the epoch, judge the test part; everything is kept in the run's folder.

    Args:
        config: every option.
        data: the rated images.
        run: begun already; a resumed one goes on from its checkpoint.
        fabric: launched already.

    Returns:
        The figures on the test part, as `noref.train.evaluator.figures` gives them.

    Raises:
        OptionError: options that do not go together.
        DataError: too few images for the split, or a split of other images.
        ImageError: an image cannot be read; names the file.
        ModelError: backbone weights, a teacher or a checkpoint that cannot be used.
    """
    check(config)
    split, rule = prepare(config, data, run)
    learning = noisy([data.records[index] for index in split.train], config.label_noise, seed=config.seed)
    context = deiqt.context_of(config, learning[0].scale, fabric)
    crops, loaders = batches(config, learning, rule, fabric)
    scorer = deiqt.taught_by(config, data, split, run, fabric)
    eye = None
    if isinstance(crops, SalientCrops):
        eye = Eye(
            crops,
            blocks=config.blocks,
            crop=config.crop,
            workers=config.workers,
            fabric=fabric,
            relative=config.relative,
            by=config.saliency,
        )
    state = new_state(config, data, split, run, fabric)
    loaders = fed(config, loaders, crops, scorer, learning, state.network.module, fabric)
    if eye is not None and WINDOWS in state.extras:
        eye.remember(state.extras[WINDOWS])
    if context is not None:
        context.follow(state)
    keep = keeper(run, fabric, network=student)

    def before_epoch(state: State) -> None:
        if eye is not None:
            if config.teacher_update != "frozen" or WINDOWS not in state.extras:
                state.extras[WINDOWS] = eye.look(bank.cut_alike(teacher_of(state), state.network.module))
            if config.save_saliency and run.writes:
                run.file("saliency").mkdir(exist_ok=True)
                sheet(eye.crops).save(run.file(f"saliency/epoch-{state.epoch + 1:02d}.png"))

    def after_epoch(state: State) -> None:
        move_teacher(config, state, "epoch")
        keep(state)

    with run.curves(state.step) as report:
        fit(
            lml_step(config, learning[0].scale, context),
            watched(loaders, config, data, split, rule, fabric, network=student),
            state,
            fabric,
            pace=deiqt.pace(config),
            before_epoch=before_epoch,
            after_step=lambda state: move_teacher(config, state, "step"),
            after_epoch=after_epoch,
            save=lambda state: state.save(run.file(CHECKPOINT), fabric),
            report=report,
        )
    card = deiqt.describe(config, data, split, rule, recipe="lml_iqa")
    return finish(student(state), card, data, split, run, fabric, protocol=config.protocol, selection=config.select)


def check(config: Config) -> None:
    """Refuse what cannot work before anything is spent.

    Raises:
        OptionError: says which option.
    """
    if not 0 <= config.alpha <= 1 or not config.temperature > 0 or not 0 <= config.decay <= 1:
        raise OptionError(
            f"alpha {config.alpha} and decay {config.decay} must be 0 to 1, temperature {config.temperature} above 0"
        )
    if not 1 <= config.window <= GRID:
        raise OptionError(f"window must be 1 to {GRID} cells, got {config.window}")
    if config.average:
        raise OptionError("average: LML-IQA's averaged network is its teacher, which is not the model")
    if config.label_weight != 1:
        raise OptionError("label_weight: the local manifold contrast has no labels to leave out; use csiqa or deiqt")
    if config.alpha > 0 and config.together != config.crops:
        raise OptionError(f"together {config.together} must be crops {config.crops}: an image's crops are contrasted")
    deiqt.check(config)


def lml_step(config: Config, scale: Scale, context: QualityContext | None = None) -> Step:
    """Eq. 7: (1 - a) times the distance of scores, in units of the data set's scale, plus a times the contrast.

    A context adds CSIQA's terms on the random crops; its contrast is then `global` in the log.
    """
    span = scale.high - scale.low

    def step(network: Any, batch: Batch | Scored) -> dict[str, Tensor]:
        images, count = len(batch.crops), batch.crops.shape[1] - (config.alpha > 0)
        random, last = batch.crops[:, :count].flatten(0, 1), batch.crops[:, count:].flatten(0, 1)
        asked = None if context is None else context.layers
        scores, features = network(torch.cat([random, last]), features=True, layers=asked)
        predicted, wanted = scores[: len(random)], batch.quality.repeat_interleave(count)
        score = distilled_loss(predicted * span, wanted * span, distance=config.loss, beta=config.beta)
        values = {"loss": score}
        if config.alpha > 0:
            contrast = local_manifold_loss(
                features.pooled[: len(random)].unflatten(0, (images, count)),
                features.pooled[len(random) :],
                temperature=config.temperature,
                inter_negatives=config.inter_negatives,
                intra_negatives=config.intra_negatives,
                positive_in_denominator=config.positive_in_denominator,
            )
            total = (1 - config.alpha) * score + config.alpha * contrast
            values = {"loss": total, "score": score.detach(), "contrast": contrast.detach()}
        if context is None:
            return values
        layers = [layer[: len(random)] for layer in features.layers]
        teacher = batch.teacher[:, :count] if isinstance(batch, Scored) else None
        more = context.add(values["loss"], predicted, layers, batch.quality, batch.indices, teacher)
        return {**values, **{"global" if name == "contrast" else name: value for name, value in more.items()}}

    return step


def batches(config: Config, records: list[Record], rule: Preprocessing, fabric: Fabric) -> tuple[Crops, Loaders]:
    """An epoch is one pass over the images, each with all its crops and what they are drawn to as the last one.

    A last batch that is not full is left out, another one in each epoch: its contrast would be another.

    Raises:
        OptionError: numbers that do not divide.
    """
    if config.alpha == 0 and config.together != config.crops:
        return deiqt.batches(config, records, rule, fabric)
    count = images_in_batch(config, fabric, crops=config.crops, called="crops")
    options: dict[str, Any] = {"size": config.crop, "seed": config.seed, "preprocessing": rule}
    if config.wants_windows:
        crops: Crops = SalientCrops(records, crops=config.crops, window=config.window, **options)
    else:
        crops = Crops(records, crops=config.crops + (config.alpha > 0), **options)

    def epoch(number: int, done: int = 0) -> Loader:
        return make_loader(
            crops,
            batch_images=count,
            seed=config.seed,
            epoch=number,
            start_batch=done,
            workers=config.workers,
            drop_last=True,
            rank=fabric.global_rank,
            ranks=fabric.world_size,
        )

    if config.workers:
        crops.preload()
    return crops, Loaders(epoch, len(epoch(0)), rest=epoch)


def new_state(config: Config, data: DataSet, split: Split, run: Run, fabric: Fabric) -> State:
    """Student, first teacher, optimiser; or all of it as the checkpoint has it."""
    kept = run.resumed and run.file(CHECKPOINT).exists()
    trained = None if kept else first_teacher(config, data, split, run, fabric)
    if trained is not None and config.fused:
        fuse(trained, config.crop)
    state = deiqt.new_state(config, fabric, trained_as=partial(bank.cut, config))  # seeds torch's generator anew
    if config.wants_windows:
        state.teacher = trained or copy.deepcopy(student(state))
        if teacher_of(state).plan != student(state).plan and config.teacher_update != "frozen":
            raise OptionError("a teacher of another build than the student cannot follow it: --teacher-update frozen")
        state.teacher.eval().requires_grad_(False)
    return resumed(state, run, fabric)


def first_teacher(config: Config, data: DataSet, split: Split, run: Run, fabric: Fabric) -> QualityNet | None:
    """A trained network, found or trained now; None: the student's start is the teacher's.

    Raises:
        OptionError: a teacher that has seen the test part, or that does not exist.
    """
    if not config.wants_windows or (config.first_teacher == "network" and not config.teacher):
        return None
    if config.first_teacher == "auto" and not config.teacher and _looks_by_itself(config):
        return None
    return deiqt.teacher_for(config, data, split, run, fabric).network


def _looks_by_itself(config: Config) -> bool:
    if config.saliency == "activation":
        return True
    return build(deiqt.plan(config), weights="none").backbone.has_class_token


def move_teacher(config: Config, state: State, moment: Literal["step", "epoch"]) -> None:
    """Eq. 8, if this is the moment for it."""
    if state.teacher is not None and config.teacher_update == moment:
        follow(state.teacher, student(state), decay=config.decay)


def student(state: State) -> QualityNet:
    """The network that learns, and is the result. Bare, on its device."""
    network = state.network.module
    network = network.whole if isinstance(network, TailNet) else network
    if not isinstance(network, QualityNet):
        raise TypeError(f"an LML-IQA run holds no {type(network).__name__}")
    return network


def teacher_of(state: State) -> QualityNet:
    """The network that says where images are salient."""
    if not isinstance(state.teacher, QualityNet):
        raise TypeError("this LML-IQA run has no teacher")
    return state.teacher
