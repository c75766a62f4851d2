"""Maps as numbers in a file beside their figure: for a run that goes on, and for other programs."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from noref.explain.figure import ModelMaps
from noref.explain.map_types import Map
from noref.writing import replacing

FORMAT = 2


def save(path: Path, key: str, models: tuple[ModelMaps, ...]) -> None:
    """Write the maps of one photo, in one step.

    Args:
        path: `*.npz`; holds `key`, `models`, `scores` (0-100, higher is better), `reasons` (in words), `kinds` (the map
            types), and for model i and map type j `map_i_j`, (h, w) float32 in the unit of the type, and `window_i_j`
            where there is one.
        key: of what the maps were made from.
    """
    arrays: dict[str, Any] = {
        "key": np.array(key),
        "models": np.array([one.model for one in models]),
        "scores": np.array([one.score for one in models]),
        "reasons": np.array([one.reasons for one in models]),
        "kinds": np.array([one.type for one in models[0].maps]),
    }
    for i, model in enumerate(models):
        for j, one in enumerate(model.maps):
            arrays[f"map_{i}_{j}"] = one.values.astype(np.float32)
            if one.window is not None:
                arrays[f"window_{i}_{j}"] = np.array(one.window)
    with replacing(path) as partial, partial.open("wb") as file:
        np.savez_compressed(file, **arrays)


def beside(figure: Path) -> Path:
    """Where the maps of a figure lie."""
    return figure.parent / "maps" / f"{figure.stem}.npz"


def is_maps(head: bytes) -> bool:
    """Whether a file that begins with `head` was written by `save`."""
    return head.startswith(b"PK") and b"key.npy" in head[:64]


def load(path: Path, key: str) -> tuple[ModelMaps, ...] | None:
    """What `save` wrote; None where there is nothing, or it was made from something else. Nothing is unpickled."""
    try:
        with np.load(path, allow_pickle=False) as kept:
            if str(kept["key"]) != key:
                return None
            models = []
            for i, (model, score) in enumerate(zip(kept["models"], kept["scores"], strict=True)):
                maps = []
                for j, name in enumerate(kept["kinds"]):
                    box = kept.get(f"window_{i}_{j}")
                    window = None if box is None else tuple(float(side) for side in box)
                    maps.append(Map(str(name), kept[f"map_{i}_{j}"].astype(np.float64), window))  # type: ignore[arg-type]
                models.append(ModelMaps(str(model), float(score), tuple(maps), str(kept["reasons"][i])))
            return tuple(models)
    except Exception:  # missing, cut short or foreign: it is made again
        return None
