"""Maps as numbers in a file beside their figure: for a run that goes on, and for other programs."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from noref.explain.figure import Column
from noref.explain.map_types import Map
from noref.writing import replacing

FORMAT = 1


def save(path: Path, key: str, columns: tuple[Column, ...]) -> None:
    """Write what models say of one photo, in one step.

    Args:
        path: `*.npz`; holds `key`, `models`, `scores` (0-100, higher is better), `kinds`, and for model i and kind j
            `map_i_j`, (h, w) float32 in the kind's unit, and `window_i_j` where there is one.
        key: of what the maps were made from.
        columns: one a model.
    """
    arrays: dict[str, Any] = {
        "key": np.array(key),
        "models": np.array([column.model for column in columns]),
        "scores": np.array([column.score for column in columns]),
        "kinds": np.array([one.kind for one in columns[0].maps]),
    }
    for i, column in enumerate(columns):
        for j, one in enumerate(column.maps):
            arrays[f"map_{i}_{j}"] = one.values.astype(np.float32)
            if one.window is not None:
                arrays[f"window_{i}_{j}"] = np.array(one.window)
    with replacing(path) as partial, partial.open("wb") as file:
        np.savez_compressed(file, **arrays)


def load(path: Path, key: str) -> tuple[Column, ...] | None:
    """What `save` wrote; None where there is nothing, or it was made from something else. Nothing is unpickled."""
    try:
        with np.load(path, allow_pickle=False) as kept:
            if str(kept["key"]) != key:
                return None
            columns = []
            for i, (model, score) in enumerate(zip(kept["models"], kept["scores"], strict=True)):
                maps = []
                for j, kind in enumerate(kept["kinds"]):
                    box = kept.get(f"window_{i}_{j}")
                    window = None if box is None else tuple(float(side) for side in box)
                    maps.append(Map(str(kind), kept[f"map_{i}_{j}"].astype(np.float64), window))  # type: ignore[arg-type]
                columns.append(Column(str(model), float(score), tuple(maps)))
            return tuple(columns)
    except Exception:  # missing, cut short or foreign: it is made again
        return None
