"""Models and labelled images -> t-SNE maps of the models' feature spaces, with metrics; behind `noref embed`."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from noref.data.perceptual_hash import learnt_images
from noref.data.records import Record, names
from noref.data.splits import Split, groups, load_split
from noref.embed import colour_scale, metrics
from noref.embed.colour_scale import ColourScale
from noref.embed.embedding_plot import EmbeddingPlot, LabelledImage, Panel, draw, is_points, write_points
from noref.embed.feature_extractor import Backbone, FeatureExtractor, load_extractor
from noref.embed.page import render_page
from noref.errors import DataError, OptionError, unknown
from noref.scoring.progress import tracked
from noref.train.run_folder import DataSet, read_all
from noref.writing import check_output, check_writable, is_page, is_picture, write_text

COLOURS = ("score", "type", "set", "thirds")
FILES = ("embed.png", "embed.html", "embed.csv", "embed.json")
PARTS = ("all", "train", "validation", "test")
Extractors = Sequence[FeatureExtractor]
Map = tuple[str, Mapping[Path, NDArray[np.float32]]]  # its title, and image -> (D,) feature


@dataclass(frozen=True)
class Settings:
    """How an embedding plot is made."""

    features: Sequence[str] = ()  # of each model; a map each. None at all: each model's default one
    colour: str = "score"  # one of `COLOURS`
    bounds: tuple[float, float] | None = None  # of the thirds, quality in per cent; None: equal counts
    part: str = "all"  # one of `PARTS`: the part of a split that is shown
    split: Path | None = None  # its file; None: that of the first run among the models that fits the images
    limit: int | None = None  # so many images at most, drawn by the seed; None: all
    perplexity: float = 30.0  # of t-SNE
    seed: int = 0  # of everything
    backbone: Backbone = field(default_factory=Backbone)  # of models that are timm names, and the crop of encoders
    cache: Path | None = None  # folder of the features; None: `features` in the output folder
    megabytes: float = 8.0  # of the page's thumbnails
    title: str | None = None  # of the figure; None: models and data
    table: Mapping[str, Any] = field(default_factory=dict)  # said of each csv, see `noref.data.own_csv.options`


def embed(models: Sequence[str], *, data: Sequence[str], out: Path, settings: Settings | None = None) -> EmbeddingPlot:
    """Draw one map for each model and feature of the same images; write `FILES`: figure, page, points, metrics.

    Args:
        models: as `load_extractor` takes them.
        data: `NAME=PATH`, once or more.
        out: a folder, made where it is missing.
        settings: everything else.

    Raises:
        OptionError: an unknown name or feature, a number out of range, or a folder without write access.
        DataError: a data set that its reader refuses, or too few images.
        ModelError: a broken model, or one without the feature.
        MissingExtraError: matplotlib or Jinja2 is not installed.
    """
    settings = settings or Settings()
    _check(models, data, settings)
    extractors = [load_extractor(model, settings.backbone) for model in models]
    wanted = _wanted(extractors, settings.features)
    images, notes, folders = _gather(data, extractors, settings)
    _check_count(len(images), settings)
    paths = [image.record.path for image in images]
    cache, broken = settings.cache or out / "features", dict[Path, str]()
    try:
        out.mkdir(parents=True, exist_ok=True)
        check_writable(out)  # now, not after an hour of work
        for name, ours in zip(FILES, (is_picture, is_page, is_points, _is_facts), strict=True):
            check_output(out / name, inputs=folders.values(), ours=ours, overwrite=True)
        maps = [(title, one.features(feature, paths, cache, broken)) for title, one, feature in wanted]
        images = [image for image in images if image.record.path not in broken]
        _check_count(len(images), settings)
        plot = dataclasses.replace(_plot(maps, images, notes, settings), broken=broken)
        _write(plot, out, folders, settings)
        return plot
    except OSError as error:
        raise OptionError(f"{error.filename or out}: cannot be written: {error.strerror or error}") from error


def _check(models: Sequence[str], data: Sequence[str], settings: Settings) -> None:
    if not models or not data:
        raise OptionError("give a model and --data NAME=PATH")
    if settings.colour not in COLOURS:
        raise unknown("colour", settings.colour, COLOURS)
    if settings.part not in PARTS:
        raise unknown("part", settings.part, PARTS)
    limit, megabytes, seed = settings.limit, settings.megabytes, settings.seed
    if (limit is not None and limit < 2) or megabytes <= 0 or seed < 0:
        raise OptionError(f"limit {limit}, page of {megabytes:g} MB, seed {seed}: one of them is too small")
    if settings.bounds is not None and settings.colour != "thirds":
        raise OptionError("bounds go with colour thirds")


def _wanted(extractors: Extractors, features: Sequence[str]) -> list[tuple[str, FeatureExtractor, str]]:
    """Title, model and feature of each map; a feature that only some models have is left out for the others."""
    for feature in features:
        if not any(feature in one.feature_names for one in extractors):
            extractors[0].check(feature)
    for one in extractors:
        if features and not set(features) & set(one.feature_names):
            one.check(features[0])
    asked = [(one, name) for one in extractors for name in dict.fromkeys(features or one.feature_names[:1])]
    found = [(one, name) for one, name in asked if name in one.feature_names]
    plain = {name for _, name in found} == {"pooled"}
    return [(one.name if plain else f"{one.name}, {name}", one, name) for one, name in found]


def _check_count(images: int, settings: Settings) -> None:
    if images < 2:
        raise DataError(f"{images} image{'' if images == 1 else 's'}: a map needs two or more")
    metrics.check_perplexity(settings.perplexity, images)


def _gather(
    data: Sequence[str], extractors: Extractors, settings: Settings
) -> tuple[list[LabelledImage], list[str], dict[str, str]]:
    """The images to show, notes on them, and the folder or table of each data set."""
    images: list[LabelledImage] = []
    notes: dict[str, None] = {}  # in order, each once
    folders: dict[str, str] = {}
    for given in read_all(data, settings.table):
        name = given.name if given.name not in folders else f"{given.name} {Path(given.path).name}"
        records, said = _part(given, name, extractors, settings)
        paths = dict(zip((record.path for record in given.records), names(given.records), strict=True))
        images += [LabelledImage(record, name, paths[record.path]) for record in records]
        notes |= dict.fromkeys(said)
        folders[name] = given.path
    count, limit = len(images), settings.limit
    if len({image.record.path for image in images}) < count:
        raise DataError("an image is in two of the data sets")
    if limit is not None and limit < count:
        some = np.sort(np.random.default_rng([3, settings.seed]).choice(count, limit, replace=False))
        images = [images[at] for at in some]
        notes[f"{limit} of {count} images, drawn by seed {settings.seed}"] = None
    return images, list(notes), folders


def _part(given: DataSet, name: str, extractors: Extractors, settings: Settings) -> tuple[list[Record], list[str]]:
    """The images of one data set that are shown, and notes on them."""
    records, notes, file = list(given.records), list[str](), None
    if settings.part != "all":
        file, split = _split(records, name, extractors, settings)
        chosen = [records[at] for at in getattr(split, settings.part)]
        if not chosen:
            raise DataError(f"{file}: the split has no {settings.part} part")
        counts = f"{len(chosen)} of {len(records)} images"
        notes, records = [f"{name}: {settings.part} part only, {counts}, {split.description}"], chosen
    cautions = [_caution(one, given.name, name, records, file) for one in extractors]
    return records, notes + [caution for caution in cautions if caution] + [f"{name}: {one}" for one in given.cautions]


def _split(records: list[Record], name: str, extractors: Extractors, settings: Settings) -> tuple[Path, Split]:
    """The split that was named, or the first of the models' own that fits these images."""
    files = [one.folder / "split.json" for one in extractors if one.folder]
    files = [settings.split] if settings.split else [file for file in files if file.exists()]
    reasons = []
    for file in files:
        try:
            return file, load_split(file, records)
        except DataError as error:
            reasons.append(str(error))
    reason = reasons[0] if reasons else "no model here is a run, give --split FILE"
    raise OptionError(f"no split of {name} is known: {reason}")


def _caution(model: FeatureExtractor, data_set: str, name: str, shown: Sequence[Record], split: Path | None) -> str:
    """That the model learnt from images which are shown: by their content, or by the data set's name; may be empty."""
    if model.card is None:
        return ""
    if (count := learnt_images(model.card, shown)) is not None:
        told = f"{model.name} learnt from {count} of these {len(shown)} images of {name}, or from copies of them"
        return told if count else ""
    training = model.card.training
    if data_set not in {str(run.get("data set")) for run in (training, training.get("run") or {})}:
        return ""
    if split is None:
        return f"{model.name} learnt from {name} and may have seen these images"
    return "" if model.folder == split.parent else f"{model.name} learnt from {name}, by a split of its own"


def _plot(
    maps: Sequence[Map], images: Sequence[LabelledImage], notes: Sequence[str], settings: Settings
) -> EmbeddingPlot:
    own, panels = _groups(images), []
    for name, features in tracked(maps, "t-SNE and metrics", unit="maps"):
        matrix = np.stack([features[image.record.path] for image in images]).astype(np.float64)
        places = metrics.tsne(matrix, perplexity=settings.perplexity, seed=settings.seed)
        panels.append(Panel(name, places, _measure(matrix, images, own, settings)))
    models, sets = dict.fromkeys(panel.title for panel in panels), dict.fromkeys(image.data_set for image in images)
    title = settings.title or f"{', '.join(models)} on {', '.join(sets)}"
    note = f"{len(images)} images, perplexity {settings.perplexity:g}, seed {settings.seed}"
    return EmbeddingPlot(title, images, _colours(images, settings), panels, (note, *notes))


def _groups(images: Sequence[LabelledImage]) -> NDArray[np.int64]:
    """(M,) images of one number have one reference, or the same bytes."""
    apart = [  # references of two data sets are never the same
        dataclasses.replace(image.record, reference=f"{image.data_set}/{image.record.reference}")
        if image.record.reference
        else image.record
        for image in images
    ]
    found = np.empty(len(apart), dtype=np.int64)
    for number, members in enumerate(groups(apart)):
        found[list(members)] = number
    return found


def _measure(
    matrix: NDArray[np.float64], images: Sequence[LabelledImage], own: NDArray[np.int64], settings: Settings
) -> tuple[metrics.Metric, ...]:
    """The metrics that the labels allow of (M, D) features and (M,) groups: agreements, silhouettes."""
    quality = [image.record.quality for image in images]
    labels: dict[str, Any] = {"set": [image.data_set for image in images]}
    if all(image.record.distortion for image in images):
        labels["type"] = [image.record.distortion for image in images]
    if settings.colour == "thirds":
        labels["third"] = metrics.thirds([100 * value for value in quality], settings.bounds)
    numbers = {name: np.unique(label, return_inverse=True)[1] for name, label in labels.items()}
    found = []
    if len(own) - np.unique(own, return_counts=True)[1].max() >= metrics.NEIGHBOURS:
        neighbours = metrics.nearest(matrix, own)
        if len(set(quality)) > 1:
            found.append(metrics.score_agreement(neighbours, quality, own, seed=settings.seed))
        if "type" in numbers and numbers["type"].any():
            found.append(metrics.type_agreement(neighbours, numbers["type"], own, seed=settings.seed))
    for name, label in numbers.items():
        if 2 <= len(np.unique(label)) < len(label):
            found.append(metrics.silhouette(matrix, label, name, seed=settings.seed))
    return tuple(found)


def _colours(images: Sequence[LabelledImage], settings: Settings) -> ColourScale:
    records = [image.record for image in images]
    quality = [100 * record.quality for record in records]
    if settings.colour == "type":
        return colour_scale.by_type([r.distortion for r in records], [r.level for r in records])
    if settings.colour == "set":
        return colour_scale.by_set([image.data_set for image in images])
    if settings.colour == "thirds":
        return colour_scale.by_thirds(quality, settings.bounds)
    return colour_scale.by_score(quality)


def _write(plot: EmbeddingPlot, out: Path, data: Mapping[str, str], settings: Settings) -> None:
    figure, page, table, facts = (out / name for name in FILES)
    draw(plot, figure)
    write_text(page, render_page(plot, megabytes=settings.megabytes))
    write_points(plot, table)
    content = {
        "data": data,
        "images": len(plot.images),
        "notes": plot.notes,
        "maps": {panel.title: [metric._asdict() for metric in panel.metrics] for panel in plot.panels},
    }
    write_text(facts, json.dumps(content, indent=2) + "\n")


def _is_facts(head: bytes) -> bool:
    return head.startswith(b'{\n  "data": {')
