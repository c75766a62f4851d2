"""A cloud as a PNG: its maps side by side, the figures of each below it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from noref.embed.colour_scale import ramp
from noref.embed.embedding_plot import Cloud, figure_words
from noref.errors import MissingExtraError
from noref.images import printable

SIDE = 6.0  # inches of a map
DPI = 110


def draw(cloud: Cloud, file: Path) -> None:
    """Write the picture.

    Raises:
        MissingExtraError: matplotlib is not installed.
        OSError: the file cannot be written.
    """
    try:
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure
    except ImportError as error:
        raise MissingExtraError("report", "a picture of features") from error
    lines = max(len(panel.figures) for panel in cloud.panels)
    rows = -(-len(cloud.colouring.legend) // (4 * len(cloud.panels)))
    below = 0.35 + 0.24 * lines + 0.25 * max(rows, 3 * (cloud.colouring.ramp is not None)) + 0.2 * len(cloud.notes)
    width, height = SIDE * len(cloud.panels), SIDE + 0.7 + below
    figure = Figure(figsize=(width, height), dpi=DPI)
    FigureCanvasAgg(figure)
    size = float(np.clip(9000 / len(cloud.records), 5, 60))
    for at, panel in enumerate(cloud.panels):
        axis = figure.add_axes(
            ((at + 0.02) / len(cloud.panels), below / height, 0.96 / len(cloud.panels), SIDE / height)
        )
        shades = rgba(cloud.colouring.colours, cloud.colouring.opacity)
        axis.scatter(panel.places[:, 0], panel.places[:, 1], s=size, c=shades, linewidths=0)
        axis.set(xticks=[], yticks=[])
        axis.set_aspect("equal", adjustable="datalim")
        axis.set_title(printable(panel.title), fontsize=12)
        said = "\n".join(figure_words(one) for one in panel.figures)
        axis.text(0, -0.015, said, transform=axis.transAxes, fontsize=9, va="top", linespacing=1.35)
    figure.text(0.5, 1 - 0.12 / height, printable(cloud.title), ha="center", va="top", fontsize=13)
    _explain(figure, cloud, height)
    figure.savefig(file, format="png", metadata={"Software": None})


def rgba(colours: Sequence[str], opacity: Sequence[float]) -> NDArray[np.float64]:
    """(M, 4) in [0, 1] from #rrggbb and opacities.

    Example:
        >>> rgba(["#ff0033"], [0.5]).tolist()
        [[1.0, 0.0, 0.2, 0.5]]
    """
    shades = [[int(colour[at : at + 2], 16) / 255 for at in (1, 3, 5)] for colour in colours]
    return np.column_stack([shades, opacity])


def _explain(figure: Any, cloud: Cloud, height: float) -> None:
    """Legend or ramp, and the notes, at the lower border."""
    notes = [*cloud.notes, *([cloud.colouring.words] if cloud.colouring.words else [])]
    figure.text(0.5, 0.06 / height, "\n".join(map(printable, notes)), ha="center", va="bottom", fontsize=8)
    above = (0.12 + 0.17 * len(notes)) / height
    if cloud.colouring.ramp is not None:
        axis = figure.add_axes((0.3, above + 0.28 / height, 0.4, 0.14 / height))
        shades = [[int(ramp(share)[at : at + 2], 16) for at in (1, 3, 5)] for share in np.linspace(0, 1, 256)]
        low, high = cloud.colouring.ramp
        axis.imshow(np.array([shades], dtype=np.uint8), aspect="auto", extent=(low, high, 0, 1))
        axis.set_yticks([])
        axis.tick_params(labelsize=8)
        axis.set_title("quality, higher is better", fontsize=8, pad=3)
        return
    from matplotlib.lines import Line2D

    marks = [Line2D([], [], marker="o", linestyle="", color=colour) for colour in cloud.colouring.legend.values()]
    figure.legend(
        marks,
        [printable(name) for name in cloud.colouring.legend],
        loc="lower center",
        bbox_to_anchor=(0.5, above),
        ncol=min(len(marks), 4 * len(cloud.panels)),
        fontsize=8,
        frameon=False,
    )
