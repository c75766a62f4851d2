"""Whether maps find the degraded half of a photo.

    python benchmarks/explain.py --photos FOLDER [--model default] [--model RUN] [--count 108] [--json FILE]

One half of each photo, left, right, top or bottom as a seeded generator says, is degraded by noref's own model:
gaussian_blur (sigma 2 px), white_noise (variance 0.005) and jpeg (quality 7), level 4 of 5, in turn. The photo is
brought to the size that the model judges first, so what is degraded is what is seen; the seam is hard, one pixel wide,
in the middle. A hit: the map's worst point, of equal ones the first in row-major order, lies in the degraded half. For
local quality that is its minimum; for Grad-CAM the minimum of what lifts less what lowers. Attention and activation
have no direction: counted is their maximum, and of a window its centre. Chance is 50 % for all of them.

The first 36 photos of the shuffled list chose the size and the overlap of the crops and are left out. Rows are kept in
ROWS as they come, and not drawn again.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import sys
from pathlib import Path
from typing import Any

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

from noref.degrade.pipeline import apply
from noref.explain.load import Explainable, open_model
from noref.explain.map_types import MAP_TYPES, Map
from noref.images import Pixels, read

DISTORTIONS = ("gaussian_blur", "white_noise", "jpeg")
SIDES = ("left", "right", "top", "bottom")
LEVEL, CHOSEN_ON, SHUFFLE = 4, 36, 7


def half(height: int, width: int, side: str) -> NDArray[np.bool_]:
    """(H, W): which pixels are degraded."""
    inside = np.zeros((height, width), dtype=np.bool_)
    rows = {"top": slice(0, height // 2), "bottom": slice(height - height // 2, height)}
    columns = {"left": slice(0, width // 2), "right": slice(width - width // 2, width)}
    inside[rows.get(side, slice(None)), columns.get(side, slice(None))] = True
    return inside


def worst(found: list[Map]) -> dict[str, tuple[float, float]]:
    """Name of a map -> its worst, or strongest, point as shares of the photo's sides."""
    planes = {one.type: one.values for one in found}
    points = {}
    if "gradcam-up" in planes:
        planes["gradcam"] = planes.pop("gradcam-up") - planes.pop("gradcam-down")
    for name, plane in planes.items():
        strongest = name in MAP_TYPES and MAP_TYPES[name].colormap == "attention"
        row, column = np.unravel_index((plane.argmax if strongest else plane.argmin)(), plane.shape)
        points[name] = ((int(row) + 0.5) / plane.shape[0], (int(column) + 0.5) / plane.shape[1])
    for one in found:
        if one.window is not None:
            top, left, bottom, right = one.window
            points["window"] = ((top + bottom) / 2, (left + right) / 2)
    return points


def hits(model: Explainable, pixels: Pixels, name: str, side: str, rng: Generator) -> dict[str, bool]:
    """Name of a map -> whether its worst point lies in the degraded half."""
    inside = half(len(pixels), pixels.shape[1], side)
    spoilt = np.where(inside[:, :, None], apply(pixels, name, LEVEL, rng), pixels)
    found = {}
    for one, (down, across) in worst(model.maps(spoilt, model.map_types)).items():
        found[one] = {"top": down < 0.5, "bottom": down > 0.5, "left": across < 0.5, "right": across > 0.5}[side]
    return found


def shares(rows: list[dict[str, Any]]) -> dict[str, Any]:
    """Share of hits, by model and map, over all photos and for each distortion."""
    found: dict[str, Any] = {}
    for model in dict.fromkeys(row["model"] for row in rows):
        own = [row for row in rows if row["model"] == model]
        for map_name in own[0]["hits"]:
            one = {"photos": len(own), "hits": float(np.mean([row["hits"][map_name] for row in own]))}
            for name in DISTORTIONS:
                one[name] = float(np.mean([row["hits"][map_name] for row in own if row["distortion"] == name]))
            found[f"{model} {map_name}"] = one
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--photos", type=Path, required=True)
    parser.add_argument("--model", action="append")
    parser.add_argument("--count", type=int, default=108)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--rows", type=Path, default=Path("explain_rows.jsonl"))
    parser.add_argument("--json", type=Path)
    chosen = parser.parse_args()
    files = sorted(path for path in chosen.photos.iterdir() if path.is_file())
    order = np.random.default_rng(SHUFFLE).permutation(len(files))[CHOSEN_ON : CHOSEN_ON + chosen.count]
    rows = [json.loads(line) for line in chosen.rows.read_text().splitlines()] if chosen.rows.exists() else []
    done = {(row["model"], row["photo"], row["seed"]) for row in rows}
    with chosen.rows.open("a") as out:
        for text in chosen.model or ["default"]:
            model = open_model(text)
            for number, index in enumerate(order):
                rng, photo = np.random.default_rng([chosen.seed, number]), files[index].name
                side, name = SIDES[int(rng.integers(4))], DISTORTIONS[number % len(DISTORTIONS)]
                if (model.card.name, photo, chosen.seed) in done:
                    continue
                pixels = read(files[index], preprocessing=model.card.preprocessing)
                found = hits(model, pixels, name, side, rng)
                row = {"model": model.card.name, "photo": photo, "seed": chosen.seed}
                rows.append({**row, "distortion": name, "side": side, "hits": {k: bool(v) for k, v in found.items()}})
                print(json.dumps(rows[-1]), file=out, flush=True)
                print(f"\r{number + 1} of {len(order)}", end="", file=sys.stderr, flush=True)
    result = shares([row for row in rows if row["seed"] == chosen.seed])
    for key, found in result.items():
        print(key, *(f"{name} {value:.3g}" for name, value in found.items()), sep="\t")
    if chosen.json:
        machine = {"machine": platform.machine(), "cores": os.cpu_count(), "python": platform.python_version()}
        chosen.json.write_text(json.dumps({**result, **machine, "level": LEVEL}, indent=2) + "\n")


if __name__ == "__main__":
    main()
