"""Training on rated images, once for all methods: a sum of loss terms on each batch, and hooks around the steps.

A page brings its loss terms, and hooks where its method does more than add a loss:

    def terms(config, scale):
        return [Term("score", 1 - config.alpha, score), Term("contrast", config.alpha, contrast)]

    supervised.train(config, data, run, fabric, recipe="lml_iqa", terms=terms(config, data.scale))

Everything else is here and below: split, crops, network, optimiser, validation, checkpoints, the model and its metrics.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from lightning_fabric import Fabric
from torch import Tensor

from noref.card import Preprocessing
from noref.data.loading import Batch, Crops
from noref.data.records import Record
from noref.data.splits import Split
from noref.errors import NorefError, OptionError
from noref.evaluate.correlation import plcc, srcc
from noref.models.features import Embedding
from noref.models.frozen_stages import TailNet
from noref.models.network import QualityNet
from noref.train import setup
from noref.train.config import Supervised
from noref.train.distillation import DistillationTeacher, ScoredBatch, add_teacher_scores, behind
from noref.train.evaluator import Evaluator, finish, keep_best
from noref.train.frozen_features import cached
from noref.train.loop import Loaders, Step, fit
from noref.train.run_folder import CHECKPOINT, DataSet, Run
from noref.train.state import State, update_ema

EMPTY = torch.empty(0)


class Forward(NamedTuple):
    """A batch of N images with H random crops each after the forward pass: what loss terms read."""

    predicted: Tensor  # (N, H) quality of the crops, about [0, 1], higher is better
    quality: Tensor  # (N,) labels in [0, 1], higher is better
    indices: Tensor  # (N,) which image it is: crops of one image are never a pair
    teacher: Tensor | None = None  # (N, H) the distillation teacher's scores
    pooled: Tensor = EMPTY  # (N, H, D) class token, or the mean of the tokens; if a term asks for features
    extra: Tensor = EMPTY  # (N, D) the same of one more crop of each image, which gets no score; if there is one
    layers: Sequence[Tensor] = ()  # (N, H, D_l) an embedding for each layer; if a term asks for it


@dataclass(frozen=True)
class Term:
    """One term of a loss."""

    name: str  # its column in log.csv, where it stands without its weight
    weight: float  # in the sum
    loss: Callable[[Forward], Tensor]  # the forward pass of a batch -> () mean over crops and images
    features: bool = False  # whether it reads `pooled` and `extra`
    layers: Embedding | None = None  # the embedding of each layer that it reads, or None
    whole_batch: bool = False  # whether it compares the images of a batch, which must then stay whole
    notes: Callable[[Forward], Mapping[str, Tensor]] = lambda outputs: {}  # more numbers for the log


class Hooks:
    """What a method does besides adding loss terms. Nothing here; a page overrides what it needs."""

    drop_last = False

    def crops(self, config: Supervised, records: Sequence[Record], rule: Preprocessing) -> Crops:
        """The data set that cuts the crops of a batch."""
        return setup.random_crops(config, records, rule)

    def before_network(self, split: Split) -> None:
        """Before the network is made: the place to train another one first, for both draw random numbers."""

    def start(self, state: State, crops: Crops) -> None:
        """Network and optimiser are new; a checkpoint is not read yet."""

    def resume(self, state: State) -> None:
        """The state is complete, new or as the checkpoint has it."""

    def before_epoch(self, state: State) -> None:
        """Before the first batch of an epoch, and not where one is resumed in its middle."""

    def after_step(self, state: State) -> None:
        """After each optimiser step."""

    def after_epoch(self, state: State) -> None:
        """After each epoch, before its checkpoint."""


def train(
    config: Supervised,
    data: DataSet,
    run: Run,
    fabric: Fabric,
    *,
    recipe: str,
    terms: Sequence[Term],
    hooks: Hooks | None = None,
    teacher: Callable[[Split], DistillationTeacher] | None = None,
    more: str = "",
) -> dict[str, Any]:
    """Train, choose the epoch, score the test part; everything is kept in the run's folder.

    Args:
        config: every option.
        data: the rated images.
        run: begun already; a resumed one goes on from its checkpoint.
        fabric: launched already.
        recipe: the method's name, on the model's card.
        terms: of the loss.
        hooks: what else the method does.
        teacher: finds or trains the distillation teacher, once the split is known; None: there is none.
        more: what else the card says of the method.

    Returns:
        The metrics on the test part; errors as `noref.methods.deiqt.train` has them.
    """
    hooks = hooks or Hooks()
    try:
        check(config, terms)
        split, rule = setup.prepare(config, data, run)
        records = [data.records[index] for index in split.train]
        crops = hooks.crops(config, records, rule)
        loaders = setup.batches(config, crops, fabric, drop_last=hooks.drop_last)
        distilled = teacher(split) if teacher else None
        hooks.before_network(split)
        mean = sum(record.quality for record in records) / len(records) if config.start == "mean" else 0.0
        state = setup.new_state(config, fabric, mean=mean)
    except NorefError:
        run.abandon()
        raise
    hooks.start(state, crops)
    if run.resumed and run.file(CHECKPOINT).exists():
        state.restore(run.file(CHECKPOINT), fabric)
    hooks.resume(state)
    loaders = _prepared(config, loaders, crops, distilled, state, fabric)
    loaders = _validated(config, loaders, data, split, rule, fabric)

    def after_step(state: State) -> None:
        if config.average and state.ema is not None:
            update_ema(state.ema, setup.trained(state).whole, decay=config.average)
        hooks.after_step(state)

    def after_epoch(state: State) -> None:
        hooks.after_epoch(state)
        keep_best(result(config, state), state, run)
        run.write_table("log.csv", state.log)
        state.save(run.file(CHECKPOINT), fabric)

    with run.curves(state.step) as report:
        fit(
            step_of(terms, config.together),
            loaders,
            state,
            fabric,
            schedule=setup.schedule(config),
            before_epoch=hooks.before_epoch,
            after_step=after_step,
            after_epoch=after_epoch,
            save=lambda state: state.save(run.file(CHECKPOINT), fabric),
            report=report,
        )
    card = setup.describe(config, data, split, rule, recipe=recipe, more=more)
    network = result(config, state)
    return finish(network, card, data, split, run, fabric, protocol=config.protocol, selection=config.select)


def check(config: Supervised, terms: Sequence[Term] = ()) -> None:
    """Refuse what cannot work before anything is spent, such as the training of a teacher.

    Raises:
        OptionError: says which option.
    """
    least = {"epochs": 1, "batch": 1, "accumulate": 1, "crop": 1, "save_every": 0, "warmup_epochs": 0, "crop_sets": 1}
    for name, lowest in least.items():
        if not getattr(config, name) >= lowest:
            raise OptionError(f"{name} must be at least {lowest}, got {getattr(config, name)}")
    for name in ("lr", "beta", "decay_every", "decay_factor"):
        if not getattr(config, name) > 0:
            raise OptionError(f"{name} must be above 0, got {getattr(config, name):g}")
    for name in ("weight_decay", "warmup_lr"):
        if not getattr(config, name) >= 0:
            raise OptionError(f"{name} must be at least 0, got {getattr(config, name):g}")
    if config.clip is not None and not config.clip > 0:
        raise OptionError(f"clip must be above 0, or none, got {config.clip:g}")
    if not 0 <= config.average < 1:
        raise OptionError(f"average must be from 0 to below 1, got {config.average:g}")
    if not 0 < config.layer_decay <= 1:
        raise OptionError(f"layer_decay must be above 0 and at most 1, got {config.layer_decay:g}")
    if config.together < 1 or config.crops % config.together:
        raise OptionError(f"together {config.together} must divide crops {config.crops}")
    if config.accumulate > 1 and (split := [term.name for term in terms if term.whole_batch and term.weight]):
        raise OptionError(
            f"accumulate {config.accumulate} would split the batch that {split[0]} compares as a whole: accumulate 1"
        )
    if config.feature_cache and (config.frozen < 1 or config.together != config.crops or config.average):
        raise OptionError(
            "feature_cache: needs frozen stages (--frozen 6: a MobileNetV2's up to stride 16), all crops of an image "
            f"in one batch (together {config.together} = crops {config.crops}), and no average of weights"
        )
    setup.trained_part(config, setup.network_of(config, weights="none"))


def layers_seen(config: Supervised, embedding: Embedding) -> int:
    """For how many layers the network that is trained gives an embedding: found on one black crop."""
    network = setup.trained_part(config, setup.network_of(config, weights="none"))
    crop = torch.zeros(1, 3, config.crop, config.crop)
    with torch.no_grad():
        seen = network.frozen_features(crop) if isinstance(network, TailNet) else crop
        return len(network.features(seen, layers=embedding).layers)


def step_of(terms: Sequence[Term], random: int) -> Step:
    """The loss of one batch: the sum of all terms, each with its weight.

    Args:
        terms: of the loss; a single one is logged as the loss alone.
        random: H, crops of an image that get a score; what comes behind them is `Forward.extra`.
    """
    layers = next((term.layers for term in terms if term.layers), None)
    features = layers is not None or any(term.features for term in terms)

    def step(network: Any, batch: Batch | ScoredBatch) -> dict[str, Tensor]:
        outputs = forward(network, batch, random, features=features, layers=layers)
        values = {term.name: term.loss(outputs) for term in terms}
        loss = torch.stack([term.weight * values[term.name] for term in terms]).sum()
        if len(terms) == 1:
            return {"loss": loss}
        notes = {name: value for term in terms for name, value in term.notes(outputs).items()}
        return {"loss": loss, **{name: value.detach() for name, value in (values | notes).items()}}

    return step


def forward(
    network: Any, batch: Batch | ScoredBatch, random: int, *, features: bool, layers: Embedding | None
) -> Forward:
    """One pass over all crops of a batch, those that get a score first, an image's side by side."""
    crops = torch.cat([batch.crops[:, :random].flatten(0, 1), batch.crops[:, random:].flatten(0, 1)])
    found = network(crops, features=True, layers=layers) if features else (network(crops), None)
    images, count = len(batch.crops), len(batch.crops) * random
    scores, seen = found

    def each(values: Tensor) -> Tensor:
        return values[:count].view(images, random, *values.shape[1:])

    return Forward(
        each(scores),
        batch.quality,
        batch.indices,
        batch.teacher[:, :random] if isinstance(batch, ScoredBatch) else None,
        *((each(seen.pooled), seen.pooled[count:], [each(layer) for layer in seen.layers]) if seen else ()),
    )


def gathered(fabric: Fabric, values: Tensor, *, grads: bool = False) -> Tensor:
    """(N, ...) of each process -> (W * N, ...) of all, in the order of one process that does it all.

    With `grads` gradients flow back to the process that each value came from.
    """
    if fabric.world_size == 1:
        return values
    everywhere = torch.as_tensor(fabric.all_gather(values.contiguous(), sync_grads=grads))  # (W, N, ...)
    return everywhere.transpose(0, 1).flatten(0, 1)


def result(config: Supervised, state: State) -> QualityNet:
    """The network that is the result so far: the averaged one where there is one. Bare, on its device."""
    found = state.ema if config.average else setup.trained(state).whole
    if not isinstance(found, QualityNet):
        raise TypeError(f"a supervised run gives no {type(found).__name__}")
    return found


def _prepared(
    config: Supervised,
    loaders: Loaders,
    crops: Crops,
    teacher: DistillationTeacher | None,
    state: State,
    fabric: Fabric,
) -> Loaders:
    """The batches with cached features of the frozen stages and with a teacher's scores, where they are asked for."""
    network = setup.trained(state)
    if not isinstance(network, TailNet):
        return loaders if teacher is None else add_teacher_scores(loaders, teacher, config, crops)
    if teacher is None:
        return cached(config, loaders, crops, network, fabric)
    tail = behind(teacher.network, network)
    if tail is None:  # its frozen stages are others: it must see the images
        return cached(config, add_teacher_scores(loaders, teacher, config, crops), crops, network, fabric)
    return add_teacher_scores(cached(config, loaders, crops, network, fabric), teacher, config, crops, by=tail)


def _validated(
    config: Supervised, loaders: Loaders, data: DataSet, split: Split, rule: Preprocessing, fabric: Fabric
) -> Loaders:
    """The same batches, with a metric after each epoch on the part that chooses it, if there is one."""
    chosen = split.test if config.select == "test" else split.validation
    if not chosen:
        return loaders
    evaluator = Evaluator(
        [data.records[index] for index in chosen],
        preprocessing=rule,
        protocol=config.protocol,
        workers=config.decoders(fabric),
        fabric=fabric,
    )
    name, metric = ("test_plcc", plcc) if config.select == "test" else ("validation_srcc", srcc)
    validate = lambda state: {name: evaluator.correlation(result(config, state), metric)}  # noqa: E731
    return dataclasses.replace(loaders, validate=validate)
