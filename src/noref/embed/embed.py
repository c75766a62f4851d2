"""Models and labelled images -> maps of their feature spaces, with figures: behind `noref embed`."""

from __future__ import annotations

import dataclasses
import json
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from rich.console import Console
from rich.progress import Progress

from noref.data.records import Record, names
from noref.data.splits import groups, load_split
from noref.embed import colour_scale as colours
from noref.embed.colour_scale import Colouring
from noref.embed.embedding_plot import Cloud, Panel, write_points
from noref.embed.feature_extractor import Backbone, Looker, find_looker
from noref.embed.metrics import (
    NEIGHBOURS,
    Figure,
    nearest,
    numbered,
    score_agreement,
    silhouette,
    thirds,
    tsne,
    type_agreement,
)
from noref.embed.page import render_page
from noref.embed.picture import draw
from noref.errors import DataError, OptionError, unknown
from noref.train.run_folder import read_data
from noref.writing import check_writable, write_text

Part = Literal["all", "train", "validation", "test"]
COLOURS = ("score", "type", "set", "thirds")
PARTS = ("all", "train", "validation", "test")


@dataclass(frozen=True)
class Settings:
    """How a cloud is made.

    Attributes:
        features: of each model; a map each. None at all: each model's usual one.
        colour: one of `COLOURS`.
        bounds: of the thirds, quality in per cent, where the middle begins and ends; None: equal counts.
        part: of a split: the images that are shown.
        split: its file; None: that of the first run among the models which fits the images.
        limit: so many images at most, drawn by the seed; None: all.
        perplexity: of t-SNE.
        seed: of everything.
        backbone: of models that are timm names, and the crop of encoders.
        cache: folder of the features; None: `features` in the output folder.
        megabytes: of the page's thumbnails.
        title: of the picture; None: models and data.
    """

    features: Sequence[str] = ()
    colour: str = "score"
    bounds: tuple[float, float] | None = None
    part: str = "all"
    split: Path | None = None
    limit: int | None = None
    perplexity: float = 30.0
    seed: int = 0
    backbone: Backbone = field(default_factory=Backbone)
    cache: Path | None = None
    megabytes: float = 8.0
    title: str | None = None


@dataclass(frozen=True)
class Embedded:
    """What `embed` made.

    Attributes:
        cloud: the images, maps and figures.
        files: that were written: picture, page, table of points, figures.
        broken: images that could not be read, with the reason; they are not on the maps.
    """

    cloud: Cloud
    files: tuple[Path, ...]
    broken: Mapping[Path, str]


@dataclass(frozen=True)
class Gathered:
    """The images to show."""

    records: tuple[Record, ...]
    sets: tuple[str, ...]
    names: tuple[str, ...]
    notes: tuple[str, ...]
    folders: tuple[tuple[str, str], ...]

    def take(self, places: Sequence[int]) -> Gathered:
        """Some of them."""
        return dataclasses.replace(
            self,
            records=tuple(self.records[at] for at in places),
            sets=tuple(self.sets[at] for at in places),
            names=tuple(self.names[at] for at in places),
        )


def embed(models: Sequence[str], *, data: Sequence[str], out: Path, settings: Settings | None = None) -> Embedded:
    """Draw one map for each model and feature of the same images, and write embed.png, .html, .csv and .json.

    Args:
        models: see `find_looker`.
        data: `NAME=PATH`, once or more.
        out: a folder, made where it is missing.
        settings: everything else.

    Raises:
        OptionError: a name, feature or number that does not exist or cannot be, or a folder that cannot be written.
        DataError: a data set that is not what it must be, or too few images.
        ModelError: a model that cannot be used.
        MissingExtraError: matplotlib or Jinja2 is not installed.
    """
    how = settings or Settings()
    _check(models, data, how)
    lookers = [find_looker(model, how.backbone) for model in models]
    _check_features(lookers, how.features)
    shown = _limited(_gather(data, lookers, how), how)
    _enough(len(shown.records), how)
    try:
        out.mkdir(parents=True, exist_ok=True)
        check_writable(out)  # found now, and not after an hour
        broken: dict[Path, str] = {}
        found = _features(lookers, shown, how, how.cache or out / "features", broken)
        shown = shown.take([at for at, record in enumerate(shown.records) if record.path not in broken])
        _enough(len(shown.records), how)
        cloud = _cloud(found, shown, lookers, how)
        return Embedded(cloud, _write(cloud, out, dict(shown.folders), how), broken)
    except OSError as error:
        raise OptionError(f"{error.filename or out}: cannot be written: {error.strerror or error}") from error


def _check(models: Sequence[str], data: Sequence[str], how: Settings) -> None:
    if not models or not data:
        raise OptionError("give a model and --data NAME=PATH")
    if how.colour not in COLOURS:
        raise unknown("colour", how.colour, COLOURS)
    if how.part not in PARTS:
        raise unknown("part", how.part, PARTS)
    if (how.limit is not None and how.limit < 2) or how.megabytes <= 0 or how.seed < 0:
        raise OptionError(f"limit {how.limit}, page of {how.megabytes:g} MB, seed {how.seed}: one of them is too small")
    if how.bounds is not None and how.colour != "thirds":
        raise OptionError("bounds go with colour thirds")


def _check_features(lookers: Sequence[Looker], kinds: Sequence[str]) -> None:
    """Each feature is one of some model, and each model has one of them; else an error lists what there is."""
    for kind in kinds:
        if not any(kind in looker.kinds for looker in lookers):
            lookers[0].check(kind)
    for looker in lookers:
        if kinds and not set(kinds) & set(looker.kinds):
            looker.check(kinds[0])


def _gather(data: Sequence[str], lookers: Sequence[Looker], how: Settings) -> Gathered:
    records: list[Record] = []
    sets: list[str] = []
    called: list[str] = []
    notes: list[str] = []
    folders: list[tuple[str, str]] = []
    for text in data:
        own = read_data(text)
        name = own.name if sets.count(own.name) == 0 else f"{own.name} {Path(own.path).name}"
        some, words = _part(list(own.records), name, lookers, how)
        paths = dict(zip((record.path for record in own.records), names(own.records), strict=True))
        records += some
        called += [paths[record.path] for record in some]
        sets += [name] * len(some)
        notes += words
        folders.append((name, own.path))
    if len({record.path for record in records}) < len(records):
        raise DataError("an image is in two of the data sets")
    return Gathered(tuple(records), tuple(sets), tuple(called), tuple(dict.fromkeys(notes)), tuple(folders))


def _part(records: list[Record], name: str, lookers: Sequence[Looker], how: Settings) -> tuple[list[Record], list[str]]:
    """The images of one data set that are shown, and what is to be said of that."""
    learnt = [looker for looker in lookers if looker.card and _learnt_from(looker, name)]
    if how.part == "all":
        return records, [f"{looker.name} learnt from {name} and may have seen these images" for looker in learnt]
    files = [how.split] if how.split else [looker.folder / "split.json" for looker in lookers if looker.folder]
    files = [file for file in files if file.exists() or how.split]
    reasons = []
    for file in files:
        try:
            split = load_split(file, records)
        except DataError as error:
            reasons.append(str(error))
            continue
        chosen = [records[at] for at in getattr(split, how.part)]
        if not chosen:
            raise DataError(f"{file}: the split has no {how.part} part")
        words = f"{name}: {how.part} part only, {len(chosen)} of {len(records)} images, {split.description}"
        others = [looker.name for looker in learnt if looker.folder != file.parent]
        return chosen, [words, *(f"{other} learnt from {name}, by a split of its own" for other in others)]
    why = f": {reasons[0]}" if reasons else ": no model here is a run, give --split FILE"
    raise OptionError(f"no split of {name} is known{why}")


def _learnt_from(looker: Looker, name: str) -> bool:
    training = looker.card.training if looker.card else {}
    return name in {str(run.get("data set")) for run in (training, training.get("run") or {})}


def _limited(shown: Gathered, how: Settings) -> Gathered:
    count = len(shown.records)
    if how.limit is None or how.limit >= count:
        return shown
    some = np.sort(np.random.default_rng([3, how.seed]).choice(count, how.limit, replace=False))
    note = f"{how.limit} of {count} images, drawn by seed {how.seed}"
    return dataclasses.replace(shown.take([int(at) for at in some]), notes=(*shown.notes, note))


def _enough(count: int, how: Settings) -> None:
    """Before the long work; the same is checked where it matters."""
    if count < 2:
        raise DataError(f"{count} image{'' if count == 1 else 's'}: a map needs two or more")
    if not 0 < how.perplexity < count:
        fits = max(1, count // 3)
        raise OptionError(f"perplexity {how.perplexity:g} must lie between 0 and {count}, the images; {fits} would do")


def _features(
    lookers: Sequence[Looker], shown: Gathered, how: Settings, cache: Path, broken: dict[Path, str]
) -> dict[tuple[int, str], dict[Path, NDArray[np.float32]]]:
    """Of each model and kind, in order; a kind that only some models have is left out for the others."""
    asked = [(at, kind) for at, looker in enumerate(lookers) for kind in how.features or looker.kinds[:1]]
    wanted = [(at, kind) for at, kind in asked if kind in lookers[at].kinds]
    paths = [record.path for record in shown.records]
    return {(at, kind): lookers[at].features(kind, paths, cache, broken) for at, kind in wanted}


def _cloud(
    found: Mapping[tuple[int, str], Mapping[Path, NDArray[np.float32]]],
    shown: Gathered,
    lookers: Sequence[Looker],
    how: Settings,
) -> Cloud:
    records = shown.records
    kinds = len({kind for _, kind in found}) > 1 or {kind for _, kind in found} != {"pooled"}
    own = _groups(shown)
    panels = []
    console = Console(stderr=True)
    with Progress(console=console, disable=not sys.stderr.isatty(), transient=True) as bar:
        task = bar.add_task("t-SNE and figures", total=len(found))
        for (at, kind), features in found.items():
            matrix = np.stack([features[record.path] for record in records]).astype(np.float64)
            title = f"{lookers[at].name}, {kind}" if kinds else lookers[at].name
            places = tsne(matrix, perplexity=how.perplexity, seed=how.seed)
            panels.append(Panel(title, places, figures(matrix, shown, own, how)))
            bar.advance(task)
    title = (
        how.title
        or f"{', '.join(dict.fromkeys(panel.title for panel in panels))} on {', '.join(dict.fromkeys(shown.sets))}"
    )
    note = f"{len(records)} images, perplexity {how.perplexity:g}, seed {how.seed}"
    return Cloud(title, records, shown.sets, shown.names, _colouring(shown, how), panels, (note, *shown.notes))


def _groups(shown: Gathered) -> NDArray[np.int64]:
    """(M,) images of one number have one reference, or the same bytes."""
    apart = [
        dataclasses.replace(record, reference=f"{name}/{record.reference}") if record.reference else record
        for name, record in zip(shown.sets, shown.records, strict=True)
    ]
    found = np.empty(len(apart), dtype=np.int64)
    for number, members in enumerate(groups(apart)):
        found[list(members)] = number
    return found


def figures(matrix: NDArray[np.float64], shown: Gathered, own: NDArray[np.int64], how: Settings) -> tuple[Figure, ...]:
    """What can be measured with these labels: agreement of score and type, silhouettes.

    Args:
        matrix: (M, D) features.
        shown: the M images.
        own: (M,) group of each.
        how: colour, bounds and seed.
    """
    quality = [record.quality for record in shown.records]
    kinds = [record.distortion for record in shown.records]
    found = []
    enough = len(own) - np.unique(own, return_counts=True)[1].max() >= NEIGHBOURS
    neighbours = nearest(matrix, own) if enough else None
    if neighbours is not None and len(set(quality)) > 1:
        found.append(score_agreement(neighbours, quality, own, seed=how.seed))
    labels: dict[str, Any] = {"set": numbered(shown.sets)[0]}
    if all(kinds):
        labels["type"] = numbered([str(kind) for kind in kinds])[0]
        if neighbours is not None and len(set(kinds)) > 1:
            found.append(type_agreement(neighbours, labels["type"], own, seed=how.seed))
    if how.colour == "thirds":
        labels["third"] = thirds([100 * value for value in quality], how.bounds)
    for what, label in labels.items():
        if 2 <= len(np.unique(label)) < len(label):
            found.append(silhouette(matrix, label, what, seed=how.seed))
    return tuple(found)


def _colouring(shown: Gathered, how: Settings) -> Colouring:
    quality = [100 * record.quality for record in shown.records]
    if how.colour == "type":
        return colours.by_type([r.distortion for r in shown.records], [r.level for r in shown.records])
    if how.colour == "set":
        return colours.by_set(shown.sets)
    return colours.by_thirds(quality, how.bounds) if how.colour == "thirds" else colours.by_score(quality)


def _write(cloud: Cloud, out: Path, data: Mapping[str, str], how: Settings) -> tuple[Path, ...]:
    picture, page, table, kept = (out / f"embed.{kind}" for kind in ("png", "html", "csv", "json"))
    draw(cloud, picture)
    with Progress(console=Console(stderr=True), disable=not sys.stderr.isatty(), transient=True) as bar:
        task = bar.add_task("page", total=len(cloud.records))
        text = render_page(cloud, megabytes=how.megabytes, advance=lambda: bar.advance(task))
    write_text(page, text)
    write_points(cloud, table)
    words = {
        "data": dict(data),
        "images": len(cloud.records),
        "notes": list(cloud.notes),
        "maps": {panel.title: [figure._asdict() for figure in panel.figures] for panel in cloud.panels},
    }
    write_text(kept, json.dumps(words, indent=2) + "\n")
    return picture, page, table, kept
