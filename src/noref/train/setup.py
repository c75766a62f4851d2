"""What comes before the first step of supervised training: split, size rule, crops and batches, network, optimiser."""

from __future__ import annotations

import copy
import dataclasses
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import torch
from lightning_fabric import Fabric

from noref.card import Card, Preprocessing
from noref.data.loading import Batch, Crops, EpochLoader, pass_batches
from noref.data.records import Record
from noref.data.splits import Split
from noref.errors import OptionError
from noref.models.backbones import freeze_stages, layer_depths
from noref.models.frozen_stages import TailNet
from noref.models.network import Plan, QualityNet, build, fuse
from noref.models.weights import origin
from noref.train.config import Data, Hardware, Supervised
from noref.train.evaluator import SELECTION, check_readable
from noref.train.loop import Loaders, Schedule
from noref.train.optim import StepDecay, parameter_groups
from noref.train.run_folder import DataSet, Run, check_resumed, choose_split, open_run, read_data, read_run
from noref.train.state import State

PATHS = ("weights", "split", "teacher", "teachers", "feature_cache")  # a card gives their names, not their folders


def make_fabric(accelerator: str = "auto", devices: str = "auto", precision: str = "auto") -> Fabric:
    """Device, processes and precision, launched: with several devices this starts the other processes.

    Args:
        accelerator: "cpu", "cuda", or "auto".
        devices: how many, or "auto": all there are.
        precision: Fabric's names; "auto" is bf16-mixed on a GPU that has it, else 32-true.

    Raises:
        OptionError: what this machine does not have.
    """
    gpu = accelerator in ("auto", "cuda", "gpu") and torch.cuda.is_available()
    if precision == "auto":
        precision = "bf16-mixed" if gpu and torch.cuda.is_bf16_supported() else "32-true"
    if gpu:
        torch.set_float32_matmul_precision("high")  # TF32
    count: Any = int(devices) if devices.isdecimal() else devices
    try:
        fabric = Fabric(accelerator=accelerator, devices=count, precision=precision)  # type: ignore[arg-type]
        fabric.launch()
    except (ValueError, RuntimeError, TypeError) as error:
        raise OptionError(f"accelerator {accelerator}, devices {devices}, precision {precision}: {error}") from error
    return fabric


def opened(
    recipe: str, config: Hardware, data: DataSet | Sequence[Record] | str, run: Run | Path | str, fabric: Fabric | None
) -> tuple[DataSet, Run, Fabric]:
    """What a page's `train` was given, as it works with it: called from Python, plain values do.

    Args:
        recipe: the page's name.
        config: its options; its hardware is used where there is no fabric.
        data: a data set, records, or `NAME=PATH` as on the command line.
        run: begun already, or a new folder; `Run(folder, resumed=True)` goes on with an earlier run.
        fabric: launched already; None: made now.

    Raises:
        OptionError: the folder holds something already, or an option that would make a resumed run another one.
    """
    if isinstance(data, str):
        data = read_data(data)
    elif not isinstance(data, DataSet):
        data = DataSet("records", "", list(data))
    fabric = fabric or make_fabric(config.accelerator, config.devices, config.precision)
    if not isinstance(run, Run):
        run = open_run(Path(run), resume=False)
    run = dataclasses.replace(run, writes=run.writes and fabric.is_global_zero)
    if run.writes and run.resumed:
        head, saved = read_run(run.folder)
        check_resumed(saved, config)
        run.begin(str(head["recipe"]), data, config)
    elif not run.file("config.yaml").exists():
        run.begin(recipe, data, config)
    return data, run, fabric


def prepare(config: Supervised, data: DataSet, run: Run) -> tuple[Split, Preprocessing]:
    """The split, and how images are brought to size; all images of validation and test were decoded once as a check.

    Raises:
        OptionError: an epoch is to be chosen on a part that is empty.
        DataError: too few images for the split, or a split of other images.
        ImageError: an image cannot be read; names the file.
    """
    split = choose_split(config, data.records, run)
    if config.select == "validation" and not split.validation:
        raise OptionError("select validation needs a validation part: give --validation a share")
    rule = Preprocessing(max_pixels=config.max_pixels, min_side=config.crop, crop=config.crop)
    if not run.resumed:
        check_readable([data.records[index] for index in (*split.validation, *split.test)], rule)
    return split, rule


def random_crops(config: Data, records: Sequence[Record], rule: Preprocessing, *, extra: int = 0) -> Crops:
    """The random crops that come together; crop h is the same, however many `extra` crops come behind it."""
    return Crops(records, size=config.crop, crops=config.together + extra, seed=config.seed, preprocessing=rule)


def batches(config: Supervised, crops: Crops, fabric: Fabric, *, drop_last: bool = False) -> Loaders:
    """An epoch is `crops / together` passes over the images, with new crops and a new order each.

    With `together` 1 all crops of a batch come from different images, as in DEIQT's code.

    With `drop_last`, and always with several processes, a last batch that is not full is left out.

    Raises:
        OptionError: the batch does not divide.
    """
    share = config.together * fabric.world_size * config.accumulate
    if config.batch < 1 or config.batch % share:
        called = "crops" if config.together == config.crops else "together"
        parts = f"{called} {config.together} x {fabric.world_size} processes x accumulate {config.accumulate}"
        raise OptionError(f"batch {config.batch} must divide by {parts}")
    passes = config.crops // config.together

    def one_pass(number: int) -> list[list[int]]:
        return pass_batches(
            len(crops),
            batch_images=config.batch // share,
            seed=config.seed,
            epoch=number,
            drop_last=drop_last or fabric.world_size > 1,
            rank=fabric.global_rank,
            ranks=fabric.world_size,
        )

    def epoch(number: int, done: int = 0) -> Iterator[Batch]:
        left = range(number * passes + done // length, (number + 1) * passes)
        return loader.load([(n, one_pass(n)[done % length if n == left[0] else 0 :]) for n in left])

    if workers := config.decoders(fabric):
        crops.preload()  # what is decoded here is shared by all workers
    loader = EpochLoader(crops, workers=workers, pin=fabric.device.type == "cuda")
    length = len(one_pass(0))
    return Loaders(epoch, passes * length, rest=epoch)


def plan(config: Supervised) -> Plan:
    """The network's part of the options: built for the crops, its quality token behind the blocks that are cached."""
    names = [field.name for field in dataclasses.fields(Plan) if hasattr(config, field.name)]
    cut = config.feature_cache and getattr(config, "mask", None) is not None
    chosen = {name: getattr(config, name) for name in names}
    return Plan(**chosen, image_size=config.crop, mask_from=max(0, config.frozen - 1) if cut else 0)


def network_of(config: Supervised, *, weights: str) -> QualityNet:
    """The network that learns, its frozen stages frozen; the head random by torch's generator."""
    network = build(plan(config), weights=weights)
    freeze_stages(network.backbone, config.frozen)
    fuse(network, config.crop)
    return network


def trained_part(config: Supervised, network: QualityNet) -> QualityNet | TailNet:
    """What is trained: the network, or, with a feature cache, what comes behind its frozen stages."""
    return TailNet(network, config.frozen) if config.feature_cache else network


def new_state(config: Supervised, fabric: Fabric, *, mean: float = 0.0) -> State:
    """The network with its optimiser, at the start; the head random by the seed.

    From here on each process has its own random numbers, for what is drawn in the network, such as masks. First
    predictions lie around `mean`, quality in [0, 1]; 0: as the head is drawn.
    """
    fabric.seed_everything(config.seed, verbose=False)
    network = network_of(config, weights=config.weights)
    if mean:
        network.head.start_at(mean)
    depths = layer_depths(network.backbone) if config.layer_decay != 1 else {}
    groups = parameter_groups(
        network,
        weight_decay=config.weight_decay,
        depths={f"backbone.{name}": depth for name, depth in depths.items()},
        layer_decay=config.layer_decay,
    )
    optimizer = torch.optim.AdamW(groups, lr=config.lr, betas=(0.9, 0.999))
    wrapped, optimizer = fabric.setup(trained_part(config, network), optimizer)
    if fabric.global_rank:
        torch.manual_seed(config.seed + 1_000_003 * fabric.global_rank)
    return State(wrapped, optimizer, copy.deepcopy(network).requires_grad_(False) if config.average else None)


def trained(state: State) -> QualityNet | TailNet:
    """What a supervised run trains, without what the fabric wraps around it; its `whole` is the network."""
    found = state.network.module
    if not isinstance(found, QualityNet | TailNet):
        raise TypeError(f"a supervised run trains no {type(found).__name__}")
    return found


def schedule(config: Supervised) -> Schedule:
    """Epochs, learning rate, clipping."""
    rate = StepDecay(
        config.lr,
        warmup_epochs=config.warmup_epochs,
        warmup_lr=config.warmup_lr,
        every=config.decay_every,
        factor=config.decay_factor,
    )
    return Schedule(
        config.epochs, lr=rate, clip=config.clip, accumulate=config.accumulate, save_every=config.save_every
    )


def describe(config: Supervised, data: DataSet, split: Split, rule: Preprocessing, *, recipe: str, more: str) -> Card:
    """The model's card, before its results are known; `more` ends the line on the method."""
    options = {field.name: getattr(config, field.name) for field in dataclasses.fields(config)}
    training = {
        "recipe": recipe,
        "initialised from": origin(config.weights, config.backbone),
        "data set": data.name,
        "images": len(split.train),
        "split": split.description,
        "epoch chosen by": SELECTION[config.select],
        "options": options | {name: Path(options[name]).name for name in PATHS if name in options},
    }
    method = f"{recipe.upper()}: {config.backbone}, {config.head} head{more}"
    return Card(f"{recipe}-{data.name}", method, data.scale, rule, training=training)
