"""A frozen teacher for a run: found or trained first, and its scores beside every batch."""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Callable, Iterable, Iterator
from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from filelock import FileLock
from lightning_fabric import Fabric
from torch import Tensor, nn

from noref.card import Card, digest
from noref.data.loading import Batch, Crops, Protocol
from noref.data.records import Record, names
from noref.data.splits import Split, learnt_from
from noref.errors import OptionError
from noref.methods import feature_cache as bank
from noref.methods.quality_context import ContrastOptions, Scored
from noref.models import network as networks
from noref.models.frozen_stages import TailNet
from noref.models.network import QualityNet
from noref.train.evaluator import Judge
from noref.train.loop import Loaders
from noref.train.run_folder import HARDWARE, DataSet, Run

if TYPE_CHECKING:
    from noref.methods.deiqt import Config

MODEL = "model.safetensors"
Train = Callable[[Run], Any]  # trains a teacher into a folder that it has begun


class Teacher:
    """A network that has learnt already and learns no more.

    Args:
        network: on the fabric's device.
        card: of the network.
        fabric: device and precision.
    """

    def __init__(self, network: QualityNet, card: Card, fabric: Fabric) -> None:
        self.network, self.card, self.fabric = network.eval().requires_grad_(False), card, fabric

    @torch.no_grad()
    def of_crops(self, batch: Batch, *, by: nn.Module | None = None) -> Tensor:
        """(N, C) quality of every crop of a batch, float32, on the CPU; `by`: the network cut for kept maps."""
        with self.fabric.autocast():
            scores = (by or self.network)(self.fabric.to_device(batch.crops.flatten(0, 1)))
        found: Tensor = scores.float().view(batch.crops.shape[:2]).cpu()
        return found

    def of_images(self, records: list[Record], *, protocol: Protocol, workers: int) -> Tensor:
        """(M,) quality of whole images, as at test, the same in every process."""
        rule = self.card.preprocessing
        judge = Judge(records, preprocessing=rule, protocol=protocol, workers=workers, fabric=self.fabric)
        return torch.from_numpy(judge.scores(self.network)).float()


def fed(
    config: Config,
    loaders: Loaders,
    crops: Crops,
    teacher: Teacher | None,
    records: list[Record],
    network: nn.Module | Tensor,
    fabric: Fabric,
) -> Loaders:
    """The batches as the network wants them, see `bank.kept`, with a teacher's scores if there is one.

    A teacher whose frozen stages are the student's scores the kept maps of a crop, not the crop.

    Args:
        config: every option of the run.
        loaders: batches of crops.
        crops: what they are cut by.
        teacher: of the run, if the options ask for one.
        records: the images of the training part, in the order of the batches' indices.
        network: what is trained, bare.
        fabric: device and precision.
    """

    def scored(teacher: Teacher, batches: Loaders, by: nn.Module) -> Loaders:
        if config.teacher_scores == "image":
            return teach_images(batches, teacher, records, protocol=config.protocol, workers=config.workers)
        if config.bank and type(crops) is Crops:  # and none that move
            return teach_fixed(batches, teacher, by=by, sets=config.bank_sets)
        return teach(batches, teacher, by=by)

    if teacher is None:
        return bank.kept(config, loaders, crops, network, fabric)
    tail = bank.cut_alike(teacher.network, network)
    if isinstance(tail, TailNet):
        return scored(teacher, bank.kept(config, loaders, crops, network, fabric), tail)
    return bank.kept(config, scored(teacher, loaders, teacher.network), crops, network, fabric)


def teach(loaders: Loaders, teacher: Teacher, *, by: nn.Module | None = None) -> Loaders:
    """The same batches with the teacher's scores of their crops beside them.

    Crops are new in every epoch, so their scores are found at its beginning, one pass forward over all of them, and
    kept until its end: the steps run as if there were no teacher.

    Args:
        loaders: of the run.
        teacher: its teacher.
        by: the teacher as it looks at what is in the batches: cut, where they hold kept maps; none: whole.
    """

    def beside(epoch: int, batches: Callable[[], Iterable[Batch]]) -> Iterator[Scored]:
        kept = [teacher.of_crops(batch, by=by) for batch in batches()]
        for batch, scores in zip(batches(), kept, strict=True):
            yield Scored(*batch, scores)

    return loaders.through(beside)


def teach_fixed(loaders: Loaders, teacher: Teacher, *, sets: int, by: nn.Module | None = None) -> Loaders:
    """The batches with the teacher's scores beside them, where crops come again: each is scored once, at first sight.

    Images are scored one by one, so that the scores do not depend on the epoch that a run was resumed in.

    Args:
        loaders: of the run.
        teacher: its teacher.
        sets: after so many epochs the crops come again.
        by: see `teach`.
    """
    known: dict[tuple[int, int], Tensor] = {}  # (set, image) -> (C,)

    def beside(epoch: int, batches: Callable[[], Iterable[Batch]]) -> Iterator[Scored]:
        for batch in batches():
            places = [(epoch % sets, index) for index in batch.indices.tolist()]
            for row, place in enumerate(places):
                if place not in known:
                    known[place] = teacher.of_crops(Batch(*(part[row : row + 1] for part in batch)), by=by)[0]
            yield Scored(*batch, torch.stack([known[place] for place in places]))

    return loaders.through(beside)


def teach_images(
    loaders: Loaders, teacher: Teacher, records: list[Record], *, protocol: Protocol, workers: int
) -> Loaders:
    """The batches with one score of the teacher for all crops of an image, found once: the mean over its test crops.

    Args:
        loaders: of the run.
        teacher: its teacher.
        records: the images of the training part, in the order of the batches' indices.
        protocol: crops at test.
        workers: processes that decode.
    """
    found = teacher.of_images(records, protocol=protocol, workers=workers)

    def beside(epoch: int, batches: Callable[[], Iterable[Batch]]) -> Iterator[Scored]:
        for batch in batches():
            yield Scored(*batch, found[batch.indices][:, None].expand(batch.crops.shape[:2]))

    return loaders.through(beside)


def find_teacher(
    options: ContrastOptions, plain: Any, data: DataSet, split: Split, run: Run, fabric: Fabric, *, train: Train
) -> Teacher:
    """The teacher that the options name, or one that is trained now, or was by an earlier run.

    Args:
        options: of the run.
        plain: the config that a teacher is trained with.
        data: the data set.
        split: of the run.
        run: its folder.
        fabric: device and processes.
        train: trains a teacher.

    Raises:
        OptionError: a teacher that has seen the test part, or whose scores have another scale.
        DataError: its split.json cannot be read.
        ModelError: a model that cannot be trusted.
    """
    folder = Path(options.teacher) if options.teacher else _trained(options, plain, data, run, fabric, train)
    path = folder / MODEL if folder.is_dir() else folder
    if not path.exists() or path.suffix != ".safetensors":
        raise OptionError(f"teacher {folder}: there is no trained model; give a run's folder or its {MODEL}")
    network, card = networks.load(path)
    if card.scale != data.records[0].scale:
        raise OptionError(f"teacher {folder}: its scores are {card.scale}, the data set's {data.records[0].scale}")
    _check_unseen(path.parent, data, split)
    network.to(fabric.device)
    return Teacher(network, card, fabric)


def _trained(options: ContrastOptions, plain: Any, data: DataSet, run: Run, fabric: Fabric, train: Train) -> Path:
    """The folder of a teacher of the run's own, trained now if it is not there."""
    fabric.barrier()  # the first process has written the split
    folder = run.file("teacher")
    if options.teachers:
        facts = {k: v for k, v in dataclasses.asdict(plain).items() if k not in (*HARDWARE, "split")}
        if Path(plain.weights).is_file():  # other weights may come under the same name
            facts["weights"] = digest(Path(plain.weights))
        text = f"{data.name}\n{sorted(facts.items(), key=str)}\n{run.file('split.json').read_text(encoding='utf-8')}"
        folder = Path(options.teachers) / hashlib.sha256(text.encode()).hexdigest()[:16]
        folder.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(f"{folder}.lock") if run.writes else nullcontext():  # another run may want the same teacher
        fabric.barrier()
        if not (folder / MODEL).exists() or not (folder / "results.json").exists():
            own = Run(folder, resumed=(folder / "config.yaml").exists(), writes=run.writes)
            own.begin("deiqt", data, plain)
            fabric.barrier()
            train(own)
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
