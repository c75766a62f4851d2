"""A whole run of `noref explain`: photos and models -> a PNG a photo, the maps as numbers, and one page."""

from __future__ import annotations

import hashlib
import json
import os
import sys
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from noref.card import Preprocessing
from noref.data.readers import csv
from noref.data.records import Record
from noref.errors import DataError, ImageError, MissingExtraError, OptionError
from noref.explain import figure, store
from noref.explain.figure import Column, Sheet
from noref.explain.load import Subject, open_model
from noref.explain.map_types import Map, check, known
from noref.explain.page import GENERATOR, render_page, shown, template
from noref.images import name as called
from noref.images import printable, read
from noref.scoring.find_images import Found, find_images
from noref.writing import check_writable, write_text

SHOWN = Preprocessing(max_pixels=640 * 480, min_side=1)  # a photo on page and figure
PAGE = "explain.html"


@dataclass(frozen=True)
class Options:
    """What changes a map, apart from photo and model.

    Attributes:
        maps: kinds, in the order of the rows.
        crop: side of the crops of the local quality map; None: the model's own, or 160 pixels.
        layer: of Grad-CAM; None: the last one with places.
        window: side of the salient window in cells of a 14 x 14 grid.
        window_by: "attention" or "activation".
    """

    maps: tuple[str, ...] = ("quality",)
    crop: int | None = None
    layer: str | None = None
    window: int = 8
    window_by: str = "attention"

    def open(self, model: str) -> Subject:
        """A model that has these maps; errors as `open_model`, and `OptionError` for a map that it has not."""
        subject = open_model(model, crop=self.crop, layer=self.layer, window=self.window, window_by=self.window_by)
        check(known(self.maps), subject.kinds, model)
        return subject


@dataclass
class Outcome:
    """What a run came to.

    Attributes:
        drawn: photos whose maps were made now.
        kept: photos whose maps were there and current.
        failed: photo -> why it could not be explained.
        unscored: photos that the score file does not name.
        page: the page; None where it could not be made.
        no_page: why there is none.
    """

    drawn: int = 0
    kept: int = 0
    failed: dict[str, str] = field(default_factory=dict)
    unscored: list[str] = field(default_factory=list)
    page: Path | None = None
    no_page: str | None = None


def explain(
    paths: Sequence[str],
    out: Path,
    *,
    models: Sequence[str] = ("default",),
    options: Options | None = None,
    scores: Path | None = None,
    recursive: bool = False,
) -> Outcome:
    """Draw what models say of the places of photos, side by side.

    Args:
        paths: files and folders, in the order of the page.
        out: folder for `NAME.png`, `maps/NAME.npz` and `explain.html`, made if it is not there.
        models: as in `open_model`, in the order of the columns.
        options: kinds of map and what changes them.
        scores: a table of true scores, as the reader `csv` takes it.
        recursive: folders below the folders too.

    Raises:
        OptionError: an unknown model, map or layer, a map that a model has not, or a folder that cannot be written or
            holds files of these names that something else wrote.
        ModelError: a model that cannot be trusted.
        DataError: what is wrong with the score file, or it names none of the photos.
        MissingExtraError: a part that a model or a map needs is not installed.
    """
    options = options or Options()
    truths = _truths(scores) if scores else None
    subjects = {name: options.open(name) for name in dict.fromkeys(models)}
    found = [item for item in find_images(paths, recursive=recursive) if not _ours(item, out)]
    outcome = Outcome(failed={printable(item.path): _reason(item.path, item.error) for item in found if item.error})
    photos = [Path(item.path) for item in found if item.error is None]
    if truths is not None and photos and not any(_real(photo) in truths for photo in photos):
        raise DataError(f"{scores}: names none of the photos, the first of which is {called(photos[0])}")
    targets = _targets(photos, out)
    prepare(out, targets.values())
    labels, entries = labels_of(subjects), []
    with progress(len(photos)) as advance:
        for photo in photos:
            record = truths.get(_real(photo)) if truths is not None else None
            if truths is not None and record is None:
                outcome.unscored.append(called(photo))
            try:
                sheet, new = _sheet(
                    photo, targets[photo], dict(zip(labels, subjects.values(), strict=True)), options, record
                )
            except ImageError as error:
                outcome.failed[called(photo)] = _reason(str(photo), error)
            else:
                entries.append(shown(sheet))
                outcome.drawn, outcome.kept = outcome.drawn + new, outcome.kept + (not new)
            advance()
    _write_page(
        outcome,
        entries,
        out / PAGE,
        [(label, one.card.method) for label, one in zip(labels, subjects.values(), strict=True)],
    )
    return outcome


def _sheet(
    photo: Path, target: Path, subjects: Mapping[str, Subject], options: Options, record: Record | None
) -> tuple[Sheet, bool]:
    """A photo's sheet, from what is kept if that is current, and whether it had to be made."""
    picture, truth = read(photo, preprocessing=SHOWN), _in_words(record)
    key = _key(photo, subjects, options, truth)
    kept = target.parent / "maps" / f"{target.stem}.npz"
    columns = store.load(kept, key) if figure.key_of(target) == key else None
    if columns is not None:
        return Sheet(called(photo.name), picture, columns, truth), False
    columns = tuple(_column(photo, label, subject, options) for label, subject in subjects.items())
    sheet = Sheet(called(photo.name), picture, columns, truth)
    try:
        store.save(kept, key, columns)
        figure.save(figure.draw(sheet), target, key)
    except OSError as error:
        raise OptionError(f"{error.filename or target}: cannot be written: {error.strerror}") from error
    return sheet, True


def _column(photo: Path, label: str, subject: Subject, options: Options) -> Column:
    pixels = read(photo, preprocessing=subject.card.preprocessing)
    try:
        score, maps = subject.score(pixels), subject.maps(pixels, options.maps)
    except ImageError as error:
        raise ImageError(f"{called(photo)}: {error}") from error
    rounded = [Map(one.kind, one.values.astype(np.float32).astype(np.float64), one.window) for one in maps]
    return Column(label, score, tuple(rounded))


def _key(photo: Path, subjects: Mapping[str, Subject], options: Options, truth: str | None) -> str:
    """Names all that a figure depends on; the photo and the models by their content."""
    content = hashlib.sha256(photo.read_bytes()).hexdigest()
    models = [(label, subject.card.sha256) for label, subject in subjects.items()]
    words = [store.FORMAT, photo.name, content, models, vars(options), truth]
    return hashlib.sha256(json.dumps(words, default=str).encode("utf-8", "surrogateescape")).hexdigest()


def labels_of(subjects: Mapping[str, Subject]) -> list[str]:
    """What to call the models: the names on their cards, and where two are alike also what the caller wrote."""
    names = [subject.card.name for subject in subjects.values()]
    texts = [os.path.basename(os.path.normpath(text)) for text in subjects]
    labels = [name if names.count(name) == 1 else f"{name} ({text})" for name, text in zip(names, texts, strict=True)]
    return [
        label if labels.count(label) == 1 else f"{name} ({printable(text)})"
        for label, name, text in zip(labels, names, subjects, strict=True)
    ]


def _truths(path: Path) -> dict[str, Record]:
    return {_real(record.path): record for record in csv(path)}


def _in_words(record: Record | None) -> str | None:
    if record is None:
        return None
    if (record.scale.low, record.scale.high, record.scale.higher_is_better) == (0, 100, True):
        return f"{record.raw_score:.1f}"
    return f"{record.raw_score:g} of {record.scale}: {100 * record.quality:.1f} on 0-100"


def _real(path: Path) -> str:
    return os.path.realpath(path)


def _reason(path: str, error: ImageError | None) -> str:
    return str(error).removeprefix(f"{printable(path)}: ")


def _ours(item: Found, out: Path) -> bool:
    """Whether a file that was found in a folder is a figure of an earlier run."""
    path = Path(item.path)
    return path.suffix == ".png" and path.parent.resolve() == out.resolve() and bool(figure.key_of(path))


def _targets(photos: Sequence[Path], out: Path) -> dict[Path, Path]:
    """Where each photo's figure goes; photos of one name in different places are told apart by where they lie."""
    alike, targets = Counter(photo.stem.casefold() for photo in photos), {}
    for photo in photos:
        stem = photo.stem
        if alike[stem.casefold()] > 1:
            stem += "-" + hashlib.sha256(os.fsencode(_real(photo))).hexdigest()[:6]
        targets[photo] = out / f"{stem}.png"
    return targets


def prepare(out: Path, targets: Any) -> None:
    """Make the folder, and refuse to write over what something else wrote."""
    try:
        (out / "maps").mkdir(parents=True, exist_ok=True)
        check_writable(out)
    except OSError as error:
        raise OptionError(f"{out}: cannot be written: {error.strerror}") from error
    foreign = [target for target in targets if figure.key_of(target) == ""]
    page = out / PAGE
    if page.exists() and f'content="{GENERATOR}"' not in page.read_text("utf-8", "replace")[:2000]:
        foreign.append(page)
    if foreign:
        raise OptionError(f"{foreign[0]}: is there and was not written by noref explain; choose another folder")


def _write_page(outcome: Outcome, entries: list[dict[str, Any]], page: Path, models: list[tuple[str, str]]) -> None:
    if not entries:
        outcome.no_page = "no photo could be explained"
        return
    try:
        template()
    except MissingExtraError as error:
        outcome.no_page = str(error)
        return
    try:
        write_text(page, render_page(entries, models))
    except OSError as error:
        raise OptionError(f"{page}: cannot be written: {error.strerror}") from error
    outcome.page = page


def progress(total: int) -> AbstractContextManager[Callable[[], None]]:
    """A bar on a terminal, nothing in a pipe; gives what to call after each of `total` steps."""
    if total < 2 or not sys.stderr.isatty():
        return nullcontext(lambda: None)
    from noref.scoring import terminal

    return terminal.progress(total, sys.stderr, rows_to_terminal=False)
