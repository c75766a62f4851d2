"""A distillation teacher: a trained network, found or trained first, whose scores stand beside every batch."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import nullcontext
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any, NamedTuple

import torch
from filelock import FileLock
from lightning_fabric import Fabric
from torch import Tensor, nn

from noref.card import Card, digest
from noref.data.loading import Batch, Crops, Protocol
from noref.data.records import Record, names
from noref.data.splits import Split, learnt_from
from noref.errors import OptionError
from noref.models import network as networks
from noref.models.frozen_stages import TailNet
from noref.models.network import QualityNet, fuse
from noref.train.config import Supervised
from noref.train.evaluator import Evaluator
from noref.train.feature_cache import FeatureCache
from noref.train.loop import Loaders
from noref.train.run_folder import HARDWARE, MODEL, DataSet, Run


class ScoredBatch(NamedTuple):
    """A `noref.data.loading.Batch` with the distillation teacher's scores."""

    crops: Tensor
    quality: Tensor
    indices: Tensor
    teacher: Tensor  # (N, C) quality of each crop by the teacher, in [0, 1] or so, higher is better


@dataclass(frozen=True)
class Baseline:
    """How a teacher is trained where none is named."""

    recipe: str  # the method's name, for its config.yaml
    config: Any
    train: Callable[[Run], Any]  # into a folder that is begun


class DistillationTeacher:
    """A network on the fabric's device that has learnt already and learns no more."""

    def __init__(self, network: QualityNet, card: Card, fabric: Fabric) -> None:
        self.network, self.card, self.fabric = network.eval().requires_grad_(False), card, fabric

    @torch.no_grad()
    def score_crops(self, batch: Batch, *, by: nn.Module | None = None) -> Tensor:
        """(N, C) quality of each crop, float32, on the device; `by`: what `behind` gives, for cached features."""
        with self.fabric.autocast():
            scores = (by or self.network)(self.fabric.to_device(batch.crops.flatten(0, 1)))
        found: Tensor = scores.float().view(batch.crops.shape[:2])
        return found

    def score_images(self, records: Sequence[Record], *, protocol: Protocol, workers: int) -> Tensor:
        """(M,) quality of whole images, as at test, the same in every process."""
        rule = self.card.preprocessing
        evaluator = Evaluator(records, preprocessing=rule, protocol=protocol, workers=workers, fabric=self.fabric)
        return torch.from_numpy(evaluator.scores(self.network)).float()


def behind(teacher: QualityNet, student: QualityNet | TailNet) -> TailNet | None:
    """A network behind the frozen stages of a student that is trained behind its own, if both are the same."""
    if not isinstance(student, TailNet):
        return None
    theirs = dict(teacher.backbone.named_parameters())
    frozen = [item for item in student.whole.backbone.named_parameters() if not item[1].requires_grad]
    if any(name not in theirs or not torch.equal(theirs[name], value) for name, value in frozen):
        return None
    return TailNet(teacher, student.stages)


def add_teacher_scores(
    loaders: Loaders, teacher: DistillationTeacher, config: Any, crops: Crops, *, by: nn.Module | None = None
) -> Loaders:
    """The same batches with the teacher's scores beside them.

    Args:
        loaders: of the run.
        teacher: its teacher.
        config: `teacher_scores`: of each crop, or one for all crops of an image, the mean over its test crops.
        crops: what cuts the crops; those that come again are scored once, at first sight and image by image, so that
            the scores do not depend on the epoch that a run was resumed in.
        by: the teacher for what the batches hold, crops or cached features, see `DistillationTeacher.score_crops`.
    """
    known = FeatureCache(None)
    if config.teacher_scores == "image":
        records = [record for record in crops.records if isinstance(record, Record)]
        found = teacher.score_images(records, protocol=config.protocol, workers=config.decoders(teacher.fabric))
        found = teacher.fabric.to_device(found)

    def one(batch: Batch, row: int) -> dict[str, Tensor]:
        return {"scores": teacher.score_crops(Batch(*(part[row : row + 1] for part in batch)), by=by)[0]}

    def scores(epoch: int, batch: Batch) -> Tensor:
        if config.teacher_scores == "image":
            return found[batch.indices][:, None].expand(batch.crops.shape[:2])
        if not crops.cycle or type(crops) is not Crops:  # new crops in every epoch
            return teacher.score_crops(batch, by=by)
        places = [f"{epoch % crops.cycle}-{index}" for index in batch.indices.tolist()]
        rows = [known.get(place, lambda row=row: one(batch, row)) for row, place in enumerate(places)]  # type: ignore[misc]
        return torch.stack([row["scores"] for row in rows])

    def beside(epoch: int, batches: Callable[[], Iterable[Batch]]) -> Iterator[ScoredBatch]:
        for batch in batches():
            there: Batch = teacher.fabric.to_device(batch)  # once, for teacher and student
            yield ScoredBatch(*there, scores(epoch, there))

    return loaders.through(beside)


def find_teacher(
    config: Any, baseline: Baseline, data: DataSet, split: Split, run: Run, fabric: Fabric
) -> DistillationTeacher:
    """The teacher that the options name, or one that is trained now, or was by an earlier run.

    Raises:
        OptionError: a teacher that has seen the test part, or whose scores have another scale.
        DataError, ModelError: its split.json is unreadable, or its model file is broken.
    """
    folder = Path(config.teacher) if config.teacher else _trained(config, baseline, data, run, fabric)
    path = folder / MODEL if folder.is_dir() else folder
    if not path.exists() or path.suffix != ".safetensors":
        raise OptionError(f"teacher {folder}: there is no trained model; give a run's folder or its {MODEL}")
    network, card = networks.load(path)
    if card.scale != data.scale:
        raise OptionError(f"teacher {folder}: its scores are {card.scale}, the data set's {data.scale}")
    _check_unseen(path.parent, data, split)
    fuse(network, config.crop)
    return DistillationTeacher(network.to(fabric.device), card, fabric)


def baseline_config(kind: type[Supervised], config: Any, run: Run, **changes: Any) -> Any:
    """The options of a run's own teacher: the run's, but for what `Distillation` and `changes` say otherwise.

    The teacher's method takes those options that it has, and the run's split.
    """
    names = [field.name for field in fields(kind)]
    changed = {
        "split": str(run.file("split.json")),
        "epochs": config.teacher_epochs or config.epochs,
        "together": 1,
        "feature_cache": config.feature_cache if config.crops == 1 else "",
        **changes,
    }
    if config.teacher_backbone:
        other = {"backbone": config.teacher_backbone, "weights": config.teacher_weights, "width": None}
        changed |= {**other, "pad_type": "", "mean": None, "std": None, "frozen": 0, "feature_cache": ""}
    return kind(**({name: getattr(config, name) for name in names} | changed))


def _trained(config: Any, baseline: Baseline, data: DataSet, run: Run, fabric: Fabric) -> Path:
    """The folder of a teacher of the run's own, trained now if it is not there."""
    fabric.barrier()  # the first process has written the split
    folder = run.file("teacher")
    if config.teachers:
        facts = {k: v for k, v in asdict(baseline.config).items() if k not in (*HARDWARE, "split")}
        if Path(facts["weights"]).is_file():  # other weights may come under the same name
            facts["weights"] = digest(Path(facts["weights"]))
        text = f"{data.name}\n{sorted(facts.items(), key=str)}\n{run.file('split.json').read_text(encoding='utf-8')}"
        folder = Path(config.teachers) / hashlib.sha256(text.encode()).hexdigest()[:16]
        folder.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(f"{folder}.lock") if run.writes else nullcontext():  # another run may want the same teacher
        fabric.barrier()
        if not (folder / MODEL).exists() or not (folder / "results.json").exists():
            own = Run(folder, resumed=(folder / "config.yaml").exists(), writes=run.writes)
            own.begin(baseline.recipe, data, baseline.config)
            fabric.barrier()
            baseline.train(own)
        fabric.barrier()
    return folder


def _check_unseen(folder: Path, data: DataSet, split: Split) -> None:
    """A teacher that has learnt from the run's test part would teach what the test asks.

    Images are known by their names, of which one may have more folders in front: a table with another score, with a
    row less, or of one folder of several is still of the same images.
    """
    if not (folder / "split.json").exists():
        raise OptionError(f"teacher {folder}: no split.json says what it has learnt from")
    tested: dict[str, list[str]] = {}  # the file's name -> names with that end
    named = names(data.records)
    for index in split.test:
        tested.setdefault(named[index].rpartition("/")[2], []).append(f"/{named[index]}")
    seen = {
        name
        for name in learnt_from(folder / "split.json")
        for other in tested.get(name.rpartition("/")[2], [])
        if other.endswith(f"/{name}") or f"/{name}".endswith(other)
    }
    if seen:
        known = f"{len(seen)} images of this run's test part by their names, such as {min(seen)}"
        raise OptionError(f"teacher {folder}: it has learnt from {known}")
