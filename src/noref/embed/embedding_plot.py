"""Images with their places on one or more maps, and the table that keeps them."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from noref.data.records import Record
from noref.embed.colour_scale import Colouring
from noref.embed.metrics import Figure
from noref.images import printable
from noref.writing import write_text


@dataclass(frozen=True)
class Panel:
    """One map.

    Attributes:
        title: model and feature.
        places: (M, 2).
        figures: of the feature space, not of the map.
    """

    title: str
    places: NDArray[np.float64]
    figures: tuple[Figure, ...]


@dataclass(frozen=True)
class Cloud:
    """M images on the maps of one picture.

    Attributes:
        title: of the picture.
        records: the images.
        sets: (M,) name of each image's data set.
        names: (M,) each image's path below its data set.
        colouring: of the points.
        panels: the maps, side by side.
        notes: sentences that a reader must have.
    """

    title: str
    records: Sequence[Record]
    sets: Sequence[str]
    names: Sequence[str]
    colouring: Colouring
    panels: Sequence[Panel]
    notes: Sequence[str] = ()

    def words(self, place: int) -> str:
        """What there is to say of an image besides its name.

        Example: "livec, 63.1 of 0-100, higher is better, type jpeg, level 3".
        """
        record = self.records[place]
        said = f"{self.sets[place]}, {record.raw_score:.4g} of {record.scale}"
        if record.distortion:
            said += f", type {record.distortion}" + (f", level {record.level}" if record.level else "")
        return printable(said)


def figure_words(figure: Figure) -> str:
    """A figure beside its chance.

    Example:
        >>> figure_words(Figure("silhouette by type", 0.25, -0.012, -0.02, -0.004))
        'silhouette by type 0.250 (chance -0.012, -0.020 to -0.004)'
    """
    name, value, *chance = figure
    mean, low, high = (f"{number:z.3f}" for number in chance)
    return f"{name} {value:z.3f} (chance {mean}, {low} to {high})"


def write_points(cloud: Cloud, file: Path) -> None:
    """A row an image: what is known of it, and its place on each map as x1, y1, x2, y2..."""
    places = [f"{axis}{number}" for number in range(1, len(cloud.panels) + 1) for axis in "xy"]
    text = io.StringIO()
    table = csv.writer(text, lineterminator="\n")
    table.writerow(["data", "path", "score", "quality", "reference", "distortion", "level", *places])
    for at, record in enumerate(cloud.records):
        where = [f"{value:.4f}" for panel in cloud.panels for value in panel.places[at]]
        facts = [record.raw_score, f"{record.quality:.4f}", record.reference, record.distortion, record.level]
        known = ["" if fact is None else fact for fact in facts]
        table.writerow([cloud.sets[at], printable(cloud.names[at]), *known, *where])
    write_text(file, text.getvalue())
