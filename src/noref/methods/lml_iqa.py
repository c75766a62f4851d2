"""LML-IQA: crops of one image are pulled towards its salient crop, and away from each other and from other images.

Gao et al. 2024, "Local Manifold Learning for No-Reference Image Quality Assessment",
https://arxiv.org/abs/2406.19247. Deviations and results: docs/papers/lml_iqa.md.

    eq. 1    class-to-patch attention of the last K blocks   Vit.class_attention in models/vit.py
    eq. 2    the M x M window with the largest sum           salient_window in objectives/lml.py
    3.2.1    the salient region, cut and resized             SalientCrops in data/salient.py
    eq. 3-5  the local manifold contrast                     local_manifold_loss in objectives/lml.py
    eq. 6-7  score loss, and the sum of both                 `terms`, below
    eq. 8    the teacher follows the student (EMA)           `MutualLearning`, below
    network, schedule, random crops                          as in DEIQT: methods/deiqt.py
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from lightning_fabric import Fabric
from torch import Tensor

from noref.card import Preprocessing, Scale
from noref.data.loading import Crops
from noref.data.records import Record
from noref.data.salient import GRID, SalientCrops
from noref.data.splits import Split
from noref.errors import OptionError
from noref.methods import csiqa, deiqt
from noref.models.network import QualityNet, build
from noref.models.saliency import Source
from noref.objectives.lml import InterNegatives, local_manifold_loss
from noref.train import setup, supervised
from noref.train.config import Distillation, Supervised
from noref.train.distillation import behind
from noref.train.run_folder import CHECKPOINT, DataSet, Run
from noref.train.saliency_windows import SaliencyWindows, sheet
from noref.train.state import State, update_ema
from noref.train.supervised import Forward, Hooks, Term, gathered

WINDOWS = "lml.windows"  # where a run's state keeps the epoch's windows: the teacher has moved on when it is resumed


@dataclass(frozen=True)
class Config(csiqa.Contrast, Distillation, Supervised):
    """Every option of a run: LML-IQA's own, then CSIQA's, whose loss may come on top, then the shared ones.

    Args:
        alpha: share of the local manifold contrast in the loss, 0 to 1 (a of eq. 7); 0: the baseline.
        temperature: of the contrast, t, and of CSIQA's where it comes on top; smaller is sharper.
        positive: the positive of an image's crops: its salient region, or one more random crop.
        window: M, side of the salient region in cells of a 14 x 14 grid over the image.
        blocks: K, last blocks of a transformer whose attention is averaged.
        teacher_update: the saliency teacher follows the student after each step, after each epoch, or stays frozen.
        decay: how slowly it follows (b of eq. 8); 0: it becomes the student.
        intra_negatives: whether the other crops of an image are negatives.
        inter_negatives: negatives from other images: all their crops (eq. 4), or their salient ones (Table 1).
        positive_in_denominator: InfoNCE as elsewhere; the paper's denominator has negatives only.
        first_teacher: the first saliency teacher: the network as it starts, or a trained baseline; auto: the network
            itself if its class token has learnt to attend or `saliency` is activation, a baseline otherwise.
        saliency: a teacher's saliency map is its attention, as in the paper, or the activation of its last stage,
            which needs no trained head and is not in the paper.
        save_saliency: write a sheet of photos with their salient windows before each epoch.
        teacher: a run whose model is the first teacher; empty: see `first_teacher`.
        loss: distance of scores, in units of the data set's scale.
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
    save_saliency: bool = False
    loss: Literal["smooth_l1", "l1"] = "l1"
    batch: int = 40
    together: int = 10

    @property
    def wants_windows(self) -> bool:
        """Whether a teacher must find where images are salient."""
        return self.alpha > 0 and self.positive == "salient"


def train(
    config: Config,
    data: DataSet | Sequence[Record] | str,
    run: Run | Path | str,
    fabric: Fabric | None = None,
    *,
    windows: type[SaliencyWindows] = SaliencyWindows,
) -> dict[str, Any]:
    """Train the student with its saliency teacher, score the test part. See `noref.methods.deiqt.train`.

    An experiment may find the salient `windows` in another way.
    """
    check(config)
    data, run, fabric = setup.opened("lml_iqa", config, data, run, fabric)
    on_top = csiqa.terms(config, data.scale, fabric, beta=config.beta, name="global")
    loss = [*terms(config, data.scale, fabric), *on_top]
    teacher = csiqa.teacher(config, data, run, fabric) if config.wants_teacher else None
    hooks = MutualLearning(config, data, run, fabric, windows)
    return supervised.train(
        config, data, run, fabric, recipe="lml_iqa", terms=loss, hooks=hooks, teacher=teacher, more=csiqa.words(config)
    )


def terms(config: Config, scale: Scale, fabric: Fabric) -> list[Term]:
    """Eq. 7: (1 - a) times the score loss, in units of the data set's scale, plus a times the contrast.

    With several processes the contrast is taken over the crops of all of them.
    """

    def contrast(outputs: Forward) -> Tensor:
        crops, salient = (gathered(fabric, found, grads=True) for found in (outputs.pooled, outputs.extra))
        return local_manifold_loss(
            crops,
            salient,
            temperature=config.temperature,
            inter_negatives=config.inter_negatives,
            intra_negatives=config.intra_negatives,
            positive_in_denominator=config.positive_in_denominator,
        )

    score = deiqt.score_term(scale, distance=config.loss, beta=config.beta, weight=1 - config.alpha)
    if config.alpha == 0:
        return [score]
    return [score, Term("contrast", config.alpha, contrast, features=True, whole_batch=True)]


class MutualLearning(Hooks):
    """Before each epoch the teacher finds the salient windows; the student learns; the teacher follows it (eq. 8).

    A teacher that follows is the EMA in the run's state. A frozen one is needed once: its windows are in the state.
    """

    def __init__(
        self, config: Config, data: DataSet, run: Run, fabric: Fabric, kind: type[SaliencyWindows] = SaliencyWindows
    ) -> None:
        self.config, self.data, self.run, self.fabric, self.kind = config, data, run, fabric, kind
        self.drop_last = config.together == config.crops  # the contrast of fewer images would be another
        self.windows: SaliencyWindows | None = None
        self.frozen: QualityNet | None = None  # a teacher that does not follow
        self.trained: QualityNet | None = None  # the first teacher, if it is not the student's start

    def crops(self, config: Supervised, records: Sequence[Record], rule: Preprocessing) -> Crops:
        """Random crops, and behind them the positive of each image."""
        own = self.config
        if not own.wants_windows:
            return setup.random_crops(own, records, rule, extra=int(own.alpha > 0))
        crops = SalientCrops(
            records, size=own.crop, crops=own.crops, window=own.window, seed=own.seed, preprocessing=rule
        )
        self.windows = self.kind(
            crops,
            blocks=own.blocks,
            crop=own.crop,
            workers=own.decoders(self.fabric),
            fabric=self.fabric,
            source=own.saliency,
        )
        return crops

    def before_network(self, split: Split) -> None:
        """Find or train the first teacher, unless it is the network itself."""
        resumed = self.run.resumed and self.run.file(CHECKPOINT).exists()
        if self.config.wants_windows and not resumed and not starts_by_itself(self.config):
            self.trained = csiqa.teacher(self.config, self.data, self.run, self.fabric)(split).network

    def start(self, state: State, crops: Crops) -> None:
        """The teacher: the trained one, or the student's start."""
        if not self.config.wants_windows:
            return
        student = setup.trained(state).whole
        teacher = self.trained or copy.deepcopy(student)
        if self.config.teacher_update == "frozen":
            self.frozen = teacher.eval().requires_grad_(False)
            return
        if teacher.plan != student.plan:
            raise OptionError("a teacher of another build than the student cannot follow it: --teacher-update frozen")
        state.ema = teacher.eval().requires_grad_(False)

    def resume(self, state: State) -> None:
        """The windows of the epoch under way."""
        if self.windows is not None and WINDOWS in state.extras:
            self.windows.restore(state.extras[WINDOWS])

    def before_epoch(self, state: State) -> None:
        """Find the windows; those of a frozen teacher stay as they are."""
        if self.windows is None:
            return
        teacher = self.frozen or state.ema
        if isinstance(teacher, QualityNet) and (self.frozen is None or WINDOWS not in state.extras):
            state.extras[WINDOWS] = self.windows.update(behind(teacher, setup.trained(state)) or teacher)
        if self.config.save_saliency and self.run.writes:
            self.run.file("saliency").mkdir(exist_ok=True)
            sheet(self.windows.crops).save(self.run.file(f"saliency/epoch-{state.epoch + 1:02d}.png"))

    def after_step(self, state: State) -> None:
        """Eq. 8 at every step."""
        self._follow(state, "step")

    def after_epoch(self, state: State) -> None:
        """Eq. 8 once an epoch, as section 4.5 has it."""
        self._follow(state, "epoch")

    def _follow(self, state: State, moment: Literal["step", "epoch"]) -> None:
        if state.ema is not None and self.config.teacher_update == moment:
            update_ema(state.ema, setup.trained(state).whole, decay=self.config.decay)


def starts_by_itself(config: Config) -> bool:
    """Whether the network as it starts is the first teacher."""
    if config.teacher or config.first_teacher == "trained":
        return False
    if config.first_teacher == "network" or config.saliency == "activation":
        return True
    return build(setup.plan(config), weights="none").backbone.has_class_token


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
        raise OptionError("average: LML-IQA's averaged network is its saliency teacher, which is not the model")
    if config.label_weight != 1:
        raise OptionError("label_weight: the local manifold contrast has no labels to leave out; use csiqa")
    if config.alpha > 0 and config.together != config.crops:
        raise OptionError(f"together {config.together} must be crops {config.crops}: an image's crops are contrasted")
    csiqa.check_contrast(config)
