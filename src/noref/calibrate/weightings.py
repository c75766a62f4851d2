"""How much each feature of a model may count."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from noref.card import Card
from noref.errors import ModelError

SHALLOW = 0.6  # of the network's depth


def weightings(card: Card, size: int) -> list[NDArray[np.float64]]:
    """(D,) each: the layers of the first 60 % of the network's depth, each counting the same; and all features.

    What early layers see, such as noise, edges and colour, holds from one scene to the next; the last layers, which
    have most of the features, know more of what photographs show. Where the card does not say which feature is of
    which layer, there is the second one alone.

    Raises:
        ModelError: the card describes another number of features.
    """
    layers = card.outputs.get("features", {}).get("layers")
    if not layers:
        return [np.ones(size)]
    counts, depths = [int(count) for count, _ in layers], [float(depth) for _, depth in layers]
    if sum(counts) != size:
        raise ModelError(f"{card.name}: its card describes {sum(counts)} features, the file has {size}")
    shallow = np.repeat([depth <= SHALLOW for depth in depths], counts)
    if not shallow.any():
        return [np.ones(size)]
    return [np.where(shallow, np.repeat(1.0 / np.sqrt(counts), counts), 0.0), np.ones(size)]
