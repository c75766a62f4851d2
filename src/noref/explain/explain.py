"""A whole run of `noref explain`: photos and models -> a PNG for each photo, the maps as numbers, and one page."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import os
import sys
from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from noref.card import Preprocessing, Scale
from noref.data.own_csv import FLAGS, cautions, csv
from noref.data.records import Record
from noref.errors import DataError, ImageError, MissingExtraError, OptionError, printable
from noref.explain import figure, store
from noref.explain.figure import ModelMaps, PhotoMaps
from noref.explain.load import Explainable, open_model
from noref.explain.map_types import Options
from noref.explain.page import GENERATOR, page_entry, render_page
from noref.images import name, read
from noref.scoring.find_images import find_images
from noref.scoring.progress import progress
from noref.scoring.reasons import in_words
from noref.writing import check_output, check_writable, write_text

SHOWN = Preprocessing(max_pixels=640 * 480, min_side=1)  # a photo on page and figure
PAGE = "explain.html"


@dataclass
class Outcome:
    """What a run came to."""

    drawn: int = 0  # photos whose maps were made now
    kept: int = 0  # photos whose maps were there and current
    failed: dict[str, str] = field(default_factory=dict)  # photo -> why it could not be explained
    unscored: list[str] = field(default_factory=list)  # photos that the score file does not name
    page: Path | None = None
    no_page: str | None = None  # why there is no page
    cautions: Sequence[str] = ()  # what was taken for granted in reading the true scores, one sentence each


def explain(
    paths: Sequence[str],
    out: Path,
    *,
    models: Sequence[str] = ("default",),
    options: Options | None = None,
    scores: Path | None = None,
    table: Mapping[str, Any] | None = None,
    recursive: bool = False,
) -> Outcome:
    """Draw the maps of photos, models side by side.

    Args:
        out: folder for `NAME.png`, `maps/NAME.npz` and `explain.html`, made if it is not there.
        models, options: as for `open_model`, models in the order of the columns.
        scores: a table of true scores, as the reader `csv` takes it.
        table: what is said of it, as `noref.data.own_csv.options` gives it.

    Raises:
        OptionError: as `open_model`; a folder without write access, or with files of these names by another program.
        ModelError, MissingExtraError: as `open_model`.
        DataError: what is wrong with the score file, or it names none of the photos.
    """
    options = options or Options()
    said = dict(table or {})
    if said and scores is None:
        raise OptionError(f"{FLAGS} are for --scores FILE")
    truths = {os.path.realpath(record.path): record for record in csv(scores, **said)} if scores else {}
    opened = open_models(models, options)
    photos, failed = find_photos(paths, out, recursive=recursive)
    records = {photo: truths.get(os.path.realpath(photo)) for photo in photos}
    if scores and photos and not any(records.values()):
        raise DataError(f"{scores}: names none of the photos, the first of which is {name(photos[0])}")
    targets = _targets(photos, out)
    make_folder(out, targets.values())
    unscored = [name(photo) for photo in photos if scores and records[photo] is None]
    taken = cautions(scores, **said) if scores else ()
    outcome, entries = Outcome(failed=failed, unscored=unscored, cautions=taken), []
    with progress(len(photos), sys.stderr) as advance:
        for photo in photos:
            try:
                photo_maps, new = _photo_maps(photo, targets[photo], opened, options, records[photo])
            except ImageError as error:
                outcome.failed[name(photo)] = reason(photo, error)
            else:
                entries.append(page_entry(photo_maps))
                outcome.drawn, outcome.kept = outcome.drawn + new, outcome.kept + (not new)
            advance()
    if not entries:
        outcome.no_page = "no photo could be explained"
        return outcome
    try:
        html = render_page(entries, [(label, model.card.method) for label, model in opened.items()])
    except MissingExtraError as error:
        outcome.no_page = str(error)
        return outcome
    outcome.page = out / PAGE
    with _writing(outcome.page):
        write_text(outcome.page, html)
    return outcome


def open_models(models: Sequence[str], options: Options) -> dict[str, Explainable]:
    """Each model once, under its label: the name on its card, and where two are alike also what the caller wrote."""
    opened = {text: open_model(text, options) for text in dict.fromkeys(models)}
    names = {text: model.card.name for text, model in opened.items()}
    alike, places = Counter(names.values()), {text: os.path.basename(os.path.normpath(text)) for text in opened}
    if len({(names[text], places[text]) for text in opened}) < len(opened):
        places = {text: printable(text) for text in opened}
    labels = {text: own if alike[own] == 1 else f"{own} ({places[text]})" for text, own in names.items()}
    return {labels[text]: model for text, model in opened.items()}


def find_photos(paths: Sequence[str], out: Path, *, recursive: bool) -> tuple[list[Path], dict[str, str]]:
    """The photos, without the figures of earlier runs into the same folder, and what is none -> why."""
    photos, failed = [], {}
    for item in find_images(paths, recursive=recursive):
        path = Path(item.path)
        if item.error is not None:
            failed[printable(item.path)] = str(item.error)
        elif not (path.suffix == ".png" and path.parent.resolve() == out.resolve() and figure.key_of(path)):
            photos.append(path)
    return photos, failed


def model_maps(photo: Path, label: str, model: Explainable, options: Options) -> ModelMaps:
    """The score and the maps of a photo by one model; ImageError where it cannot be read, or the model fails on it."""
    pixels = read(photo, preprocessing=model.card.preprocessing)
    try:
        score, maps, reasons = model.score(pixels), model.maps(pixels, options.maps), model.reasons(pixels)
    except ImageError as error:
        raise ImageError(f"{name(photo)}: {error}") from error
    rounded = [dataclasses.replace(one, values=one.values.astype(np.float32).astype(np.float64)) for one in maps]
    return ModelMaps(label, score, tuple(rounded), in_words(reasons))


def _photo_maps(
    photo: Path, target: Path, models: Mapping[str, Explainable], options: Options, record: Record | None
) -> tuple[PhotoMaps, bool]:
    """The maps of a photo, from what is kept if that is current, and whether they had to be made."""
    if "\n" in photo.name:
        raise ImageError("its name has a line break: rename it")
    picture, truth = read(photo, preprocessing=SHOWN), _truth(record)
    content = hashlib.sha256(photo.read_bytes()).hexdigest()
    checksums = [(label, model.card.sha256) for label, model in models.items()]
    words = [store.FORMAT, photo.name, content, checksums, vars(options), truth]
    key = hashlib.sha256(json.dumps(words, default=str).encode("utf-8", "surrogateescape")).hexdigest()
    kept = store.beside(target)
    found = store.load(kept, key) if figure.key_of(target) == key else None
    if found is not None:
        return PhotoMaps(name(photo.name), picture, found, truth), False
    found = tuple(model_maps(photo, label, model, options) for label, model in models.items())
    photo_maps = PhotoMaps(name(photo.name), picture, found, truth)
    with _writing(target):
        store.save(kept, key, found)
        figure.save(figure.draw(photo_maps), target, key)
    return photo_maps, True


def _truth(record: Record | None) -> str | None:
    if record is None:
        return None
    if record.scale == Scale(0, 100):
        return f"{record.raw_score:.1f}"
    return f"{record.raw_score:g} of {record.scale}: {100 * record.quality:.1f} on 0-100"


def reason(path: Path, error: ImageError) -> str:
    """Why a photo is left out, without its name."""
    return str(error).removeprefix(f"{name(path)}: ")


@contextmanager
def _writing(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise OptionError(f"{path}: cannot be written: {error.strerror}") from error


def _targets(photos: Sequence[Path], out: Path) -> dict[Path, Path]:
    """Where each photo's figure goes; photos of one name in different folders get a short hash of their path."""
    alike, targets = Counter(photo.stem.casefold() for photo in photos), {}
    for photo in photos:
        stem = photo.stem
        if alike[stem.casefold()] > 1:
            stem += "-" + hashlib.sha256(os.fsencode(os.path.realpath(photo))).hexdigest()[:6]
        targets[photo] = out / f"{stem}.png"
    return targets


def make_folder(out: Path, figures: Collection[Path]) -> None:
    """Make the folder; OptionError where it cannot be written, or a figure or the page in it is by something else."""
    with _writing(out):
        (out / "maps").mkdir(parents=True, exist_ok=True)
        check_writable(out)
    foreign = [path for path in figures if figure.key_of(path) == ""]
    page = out / PAGE
    if page.exists() and f'content="{GENERATOR}"' not in page.read_text("utf-8", "replace")[:2000]:
        foreign.append(page)
    if foreign:
        raise OptionError(f"{foreign[0]}: is there and was not written by noref explain; choose another folder")
    for path in figures:
        if not figure.key_of(path):  # its own maps may be damaged
            check_output(store.beside(path), ours=store.is_maps, overwrite=True)
