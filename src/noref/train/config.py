"""The options that supervised methods share, in small groups; a page's `Config` joins groups and its own options.

Dataclasses are joined by inheriting from all of them, so that flags, attributes and the Python signature stay flat:
`--lr 1e-4`, `config.lr`, `Config(lr=1e-4)`. No group knows another one, and no page inherits from another page.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import ClassVar, Literal

from lightning_fabric import Fabric

from noref.models.heads import HEADS
from noref.scoring.network import cores


@dataclass(frozen=True)
class Data:
    """Which images train and test, and how crops are cut from them.

    Args:
        crop: side of the crops in pixels.
        crops: random crops of an image an epoch.
        together: crops of an image that come in one batch; divides `crops`.
        max_pixels: larger images are shrunk to this many pixels before they are cropped; none: never.
        protocol: crops at test: a deterministic grid, or the paper's ten random ones.
        split: "random", "official", or a split file.
        test: share of the images (or references) that test.
        validation: share that validates after each epoch, taken from the training part.
        select: the epoch that becomes the model: the last, the best on the validation part, or, as the paper's code
            does and no result of ours should, the best on the test part.
        seed: of split, crops, order and the head's start.
    """

    crop: int = 224
    crops: int = 10
    together: int = 1
    max_pixels: int | None = 250_000
    protocol: Literal["grid", "paper"] = "grid"
    split: str = "random"
    test: float = 0.2
    validation: float = 0.1
    select: Literal["last", "validation", "test"] = "last"
    seed: int = 0


@dataclass(frozen=True)
class Network:
    """What is trained, and which part of it is not.

    Args:
        backbone: a timm network.
        weights: of the backbone: "timm" downloads them, "none" is random, else a local safetensors file with
            timm's names or of an ARNIQA encoder.
        pad_type: "same" for weights that come from TensorFlow.
        mean: of the pixels that the weights expect, for values in [0, 1]; none: what timm says.
        std: deviation of those pixels likewise.
        head: what gives the score: DEIQT's attention panel, one linear layer on the pooled feature, or CSIQA's decoder
            of class and quality token.
        width: of the panel; none: the transformer's own, 192 for other networks.
        heads: of the panel; its width must divide by them.
        start: first predictions lie around the mean of the training labels, or, as in the paper, around zero.
        frozen: stages of the backbone that do not learn; 1 is the stem.
        feature_cache: folder where the features of the frozen stages are kept for all runs that share split, seed and
            crops; empty: none. With `crops` 1 an epoch is one pass, and every image one crop.
        crop_sets: with a feature cache, the same crops come again after so many epochs; as many as epochs: new ones in
            every epoch.
    """

    backbone: str = "deit3_small_patch16_224.fb_in1k"
    weights: str = "timm"
    pad_type: str = ""
    mean: tuple[float, float, float] | None = None
    std: tuple[float, float, float] | None = None
    head: str = field(default="panel", metadata={"choices": HEADS})
    width: int | None = None
    heads: int = 6
    start: Literal["mean", "zero"] = "mean"
    frozen: int = 0
    feature_cache: str = ""
    crop_sets: int = 1


@dataclass(frozen=True)
class Optimiser:
    """AdamW (betas 0.9 and 0.999) on the distance of scores, and its schedule.

    Args:
        beta: below this error smooth L1 is a parabola; in units of the data set's scale.
        epochs: passes over the training part.
        batch: crops in an optimiser step, over all processes.
        accumulate: parts that a batch is worked through in, to save memory.
        lr: learning rate that the warm-up climbs to.
        weight_decay: of matrices; biases, norms, position embeddings and class tokens have none.
        warmup_epochs: epochs of the climb.
        warmup_lr: where it starts.
        decay_every: epochs between cuts of the rate, counted from the start.
        decay_factor: of a cut.
        clip: largest norm of the gradient; none: no limit.
        layer_decay: each layer of the backbone learns at this share of the rate of the layer behind it.
        average: decay a step of the exponential moving average (EMA) of the weights, which is then the model; 0: none.
        save_every: optimiser steps between checkpoints in the middle of an epoch; 0: none but on Ctrl-C.
    """

    beta: float = 1.0
    epochs: int = 9
    batch: int = 64
    accumulate: int = 1
    lr: float = 2e-4
    weight_decay: float = 0.05
    warmup_epochs: float = 3
    warmup_lr: float = 2e-7
    decay_every: float = 3
    decay_factor: float = 0.1
    clip: float | None = 5.0
    layer_decay: float = 1.0
    average: float = 0.0
    save_every: int = 0


@dataclass(frozen=True)
class Hardware:
    """What a run is carried out on; a resumed run may change these.

    Args:
        workers: processes that decode images; 0: none besides the main one; none: where a GPU trains as many as
            there are other cores, at most 8, else 0.
        accelerator: cpu, cuda, or auto.
        devices: how many, or auto: all there are.
        precision: of training; auto: bf16-mixed on a GPU that has it, else 32-true.
    """

    workers: int | None = None
    accelerator: str = "auto"
    devices: str = "auto"
    precision: str = "auto"

    def decoders(self, fabric: Fabric) -> int:
        """Worker processes of each process that trains: `workers`, or what its default means there."""
        if self.workers is not None:
            return self.workers
        return min(8, max(1, cores() // fabric.world_size - 1)) if fabric.device.type == "cuda" else 0


@dataclass(frozen=True)
class Supervised(Data, Network, Optimiser, Hardware):
    """All four groups: what `noref.train.supervised.train` needs, and DEIQT has.

    `ALIASES` are old names of options. `REMOVED` are options that are gone: the old default, which old files may still
    give, and what to do instead; None as the default: any value was taken and none is needed any more. `BEFORE` is
    what runs did before an option was there.
    """

    EXTENDABLE: ClassVar[tuple[str, ...]] = ("epochs",)  # a resumed run may get more of these
    BEFORE: ClassVar[dict[str, str]] = {"start": "zero"}
    ALIASES: ClassVar[dict[str, str]] = {"bank": "feature_cache", "bank_sets": "crop_sets"}
    REMOVED: ClassVar[dict[str, tuple[str | None, str]]] = {
        "fused": (None, "frozen batch norms always run inside their convolutions where that changes nothing"),
        "queries": ("6", "the panel has six queries, as in the paper"),
        "beta1": ("0.9", "AdamW's betas are 0.9 and 0.999"),
        "beta2": ("0.999", "AdamW's betas are 0.9 and 0.999"),
        "decay_after_warmup": ("False", "cuts of the rate are counted from the start: add the warm-up to decay_every"),
        "relative": ("False", "experiments/lml_iqa/relative_maps.py has it"),
        "sampling": ("fixed", "experiments/csiqa/variants.py has it"),
        "delta": ("0.1", "experiments/csiqa/variants.py has it"),
        "margin": ("0.05", "experiments/csiqa/variants.py has it"),
        "label_noise": ("0.0", "experiments/csiqa/variants.py has it"),
    }


@dataclass(frozen=True)
class Distillation:
    """A distillation teacher: a trained network whose scores are learnt from.

    Args:
        teacher: a run whose model teaches; empty: one is trained first, on the same images, as a plain baseline.
        teachers: folder where such teachers are kept for other runs of the same split and options; empty: in the run.
        teacher_epochs: of that training; none: as many as the run's own.
        teacher_backbone: a timm network for that training; empty: the run's own.
        teacher_weights: of such a backbone: "timm" downloads them, "none" is random, else a local safetensors file.
        teacher_scores: of every crop anew in each epoch, or one for each image, found once.
    """

    teacher: str = ""
    teachers: str = ""
    teacher_epochs: int | None = None
    teacher_backbone: str = ""
    teacher_weights: str = "timm"
    teacher_scores: Literal["crop", "image"] = "crop"
