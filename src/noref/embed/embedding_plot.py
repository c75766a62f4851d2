"""An embedding plot: images with their places on one or more t-SNE maps; as a table and as a PNG."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from noref.data.records import Record
from noref.embed.colour_scale import ColourScale, ramp
from noref.embed.metrics import Metric
from noref.errors import MissingExtraError, printable
from noref.writing import SOFTWARE, write_text

SIDE, DPI = 6.0, 110  # of a map: inches, and pixels an inch


@dataclass(frozen=True)
class LabelledImage:
    """One point of an embedding plot."""

    record: Record  # the image with its score
    data_set: str  # name of its data set; two folders of one set have two names
    name: str  # its path below the data set

    @property
    def caption(self) -> str:
        """What is known of it, such as "livec, 63.1 of 0-100, higher is better, type jpeg, level 3"."""
        record = self.record
        text = f"{self.data_set}, {record.raw_score:.4g} of {record.scale}"
        if record.distortion:
            text += f", type {record.distortion}" + (f", level {record.level}" if record.level else "")
        return printable(text)


@dataclass(frozen=True)
class Panel:
    """One map."""

    title: str  # model and feature
    places: NDArray[np.float64]  # (M, 2)
    metrics: tuple[Metric, ...]  # of the feature space, not of the map


@dataclass(frozen=True)
class EmbeddingPlot:
    """M images on the maps of one figure."""

    title: str  # of the figure
    images: Sequence[LabelledImage]  # the points
    colours: ColourScale  # of the points
    panels: Sequence[Panel]  # the maps, side by side
    notes: Sequence[str] = ()  # how the plot was made, and what a reader must know
    broken: Mapping[Path, str] = field(default_factory=dict)  # images that could not be read -> reason; no points

    @property
    def captions(self) -> list[str]:
        """The notes, and that of the colour scale."""
        return [printable(note) for note in (*self.notes, self.colours.note) if note]


def write_points(plot: EmbeddingPlot, file: Path) -> None:
    """A row an image: what is known of it, and its place on each map as x1, y1, x2, y2..."""
    places = [f"{axis}{number}" for number in range(1, len(plot.panels) + 1) for axis in "xy"]
    text = io.StringIO()
    table = csv.writer(text, lineterminator="\n")
    table.writerow(["data", "path", "score", "quality", "reference", "distortion", "level", *places])
    for at, image in enumerate(plot.images):
        record = image.record
        facts = (record.raw_score, f"{record.quality:.4f}", record.reference, record.distortion, record.level)
        where = [f"{value:.4f}" for panel in plot.panels for value in panel.places[at]]
        table.writerow([image.data_set, printable(image.name), *facts, *where])  # None is an empty cell
    write_text(file, text.getvalue())


def is_points(head: bytes) -> bool:
    """Whether a file that begins with `head` was written by `write_points`."""
    return head.startswith(b"data,path,score,quality,reference,distortion,level,x1,")


def draw(plot: EmbeddingPlot, file: Path) -> None:
    """Write a PNG: the maps side by side, the metrics of each below it.

    Raises:
        MissingExtraError: matplotlib is not installed.
        OSError: the file cannot be written.
    """
    try:
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.colors import to_rgba_array
        from matplotlib.figure import Figure
    except ImportError as error:
        raise MissingExtraError("report", "a picture of features") from error
    count, scale = len(plot.panels), plot.colours
    lines = max(len(panel.metrics) for panel in plot.panels)
    rows = 3 if scale.ramp else -(-len(scale.legend) // (4 * count))
    below = 0.35 + 0.24 * lines + 0.25 * rows + 0.2 * len(plot.notes)
    height = SIDE + 0.7 + below
    figure = Figure(figsize=(SIDE * count, height), dpi=DPI)
    FigureCanvasAgg(figure)
    size = float(np.clip(9000 / len(plot.images), 5, 60))
    colours = to_rgba_array(scale.colours, scale.opacity)
    for at, panel in enumerate(plot.panels):
        axis = figure.add_axes(((at + 0.02) / count, below / height, 0.96 / count, SIDE / height))
        axis.scatter(panel.places[:, 0], panel.places[:, 1], s=size, c=colours, linewidths=0)
        axis.set(xticks=[], yticks=[])
        axis.set_aspect("equal", adjustable="datalim")
        axis.set_title(printable(panel.title), fontsize=12)
        metrics = "\n".join(map(str, panel.metrics))
        axis.text(0, -0.015, metrics, transform=axis.transAxes, fontsize=9, va="top", linespacing=1.35)
    figure.text(0.5, 1 - 0.12 / height, printable(plot.title), ha="center", va="top", fontsize=13)
    _draw_legend(figure, plot, height)
    figure.savefig(file, format="png", metadata={"Software": SOFTWARE})


def _draw_legend(figure: Any, plot: EmbeddingPlot, height: float) -> None:
    """Legend or colour ramp, and the notes, at the lower border."""
    from matplotlib.colors import to_rgba_array
    from matplotlib.lines import Line2D

    scale, notes = plot.colours, plot.captions
    figure.text(0.5, 0.06 / height, "\n".join(notes), ha="center", va="bottom", fontsize=8)
    above = (0.12 + 0.17 * len(notes)) / height
    if scale.ramp is not None:
        axis = figure.add_axes((0.3, above + 0.28 / height, 0.4, 0.14 / height))
        shades = to_rgba_array([ramp(share) for share in np.linspace(0, 1, 256)])
        axis.imshow(shades[None], aspect="auto", extent=(*scale.ramp, 0, 1))
        axis.set_yticks([])
        axis.tick_params(labelsize=8)
        axis.set_title("quality, higher is better", fontsize=8, pad=3)
        return
    marks = [
        Line2D([], [], marker="o", linestyle="", color=colour, label=printable(name))
        for name, colour in scale.legend.items()
    ]
    columns = min(len(marks), 4 * len(plot.panels))
    place = {"loc": "lower center", "bbox_to_anchor": (0.5, above)}
    figure.legend(handles=marks, ncol=columns, fontsize=8, frameon=False, **place)
