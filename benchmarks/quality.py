"""What a model's scores are worth beyond its own data set: python benchmarks/quality.py [--model FILE] [--out FILE]

series      photographs without distorted views (`held_out`), degraded step by step: share of steps that lower the score
cross       re-created stimuli of TID2013 with published human scores: SRCC on the exact ones
size        rated photographs of a run's test part scored at other sizes, and as large and small copies
worst       a sheet of the twenty worst predictions of several runs' test parts

`size` and `worst` need --run FOLDER (more than one for `worst`), as `noref train embedded` writes it, and
--livec FOLDER in the official layout. The others read --data, ../shared/data by default.
"""

from __future__ import annotations

import argparse
import csv
import dataclasses
import itertools
import json
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageDraw

from noref import Scorer, images
from noref.card import Preprocessing
from noref.default_model.config import PREPROCESSING
from noref.default_model.distorted_views import distort, held_out
from noref.evaluate.correlation import plcc, srcc
from noref.scoring.network import Network

STEPS = {"blur": (1.5, 3.0, 6.0), "noise": (12.0, 25.0, 50.0), "jpeg": (30.0, 12.0, 5.0)}
Row = dict[str, Any]


def severity_series(scorer: Scorer, data: Path) -> list[Row]:
    """Share of steps in which the score falls, a row a kind."""
    photos = [path for path in sorted((data / "photos" / "images").iterdir()) if held_out(path.name)]
    fallen: dict[str, list[bool]] = {kind: [] for kind in STEPS}
    for number, path in enumerate(photos):
        photo = images.read(path)
        rng = np.random.default_rng([5, number])
        versions = [photo, *(distort(photo, kind, a, rng) for kind, amounts in STEPS.items() for a in amounts)]
        scores = [score.quality for score in scorer.score_many(versions)]
        for place, kind in enumerate(STEPS):
            found = [scores[0], *scores[1 + 3 * place : 4 + 3 * place]]
            fallen[kind] += [after < before for before, after in itertools.pairwise(found)]
    return [{"kind": kind, "photos": len(photos), "falls": float(np.mean(all_))} for kind, all_ in fallen.items()]


def cross(scorer: Scorer, data: Path) -> list[Row]:
    """SRCC with TID2013's published scores: over the exact stimuli, over all, by distortion type, within a scene."""
    with tempfile.TemporaryDirectory() as folder:
        maker = data / "tid_like" / "make.py"
        subprocess.run([sys.executable, maker, folder], check=True, capture_output=True)
        with (Path(folder) / "scores.csv").open(newline="") as file:
            rows = list(csv.DictReader(file))
        scores = scorer.score_many([Path(folder) / "images" / row["filename"] for row in rows])
    found, wanted = np.array([s.quality for s in scores]), np.array([float(row["mos"]) for row in rows])
    exact = np.array([row["trust"] == "exact" for row in rows])
    kinds = np.array([row["type"] for row in rows])
    parts = {"exact": exact, "all": np.ones(len(rows), bool)} | {f"type {k}": kinds == k for k in sorted(set(kinds))}
    scenes = np.array([row["reference"] for row in rows])
    within = [srcc(found[p], wanted[p]) for p in (exact & (scenes == scene) for scene in sorted(set(scenes)))]
    return [
        *({"part": n, "images": int(p.sum()), "srcc": srcc(found[p], wanted[p])} for n, p in parts.items()),
        {"part": "exact, mean within a scene", "images": int(exact.sum()), "srcc": float(np.mean(within))},
    ]


def tested(run: Path, livec: Path) -> Iterator[tuple[Path, float, float]]:
    """The test part of a run: photograph, predicted and human score in [0, 100]."""
    with (run / "predictions.csv").open(newline="") as file:
        for row in csv.DictReader(file):
            yield livec / "Images" / Path(row["path"]).name, float(row["predicted"]), float(row["score"])


def size(run: Path, livec: Path) -> list[Row]:
    """What another resolution policy changes, on photographs that the model was not trained on."""
    scorer = Scorer(run / "model.onnx")
    part = list(tested(run, livec))
    human = [score for _, _, score in part]
    plain = np.array([s.value for s in scorer.score_many([path for path, _, _ in part])])
    policy = PREPROCESSING

    def scored(rule: Preprocessing, factor: float = 1.0) -> np.ndarray[Any, np.dtype[np.float64]]:
        network = Network(run / "model.onnx")
        found = []
        for path, _, _ in part:
            photo = Image.open(path).convert("RGB")
            if factor != 1.0:
                shape = (round(photo.width * factor), round(photo.height * factor))
                photo = photo.resize(shape, Image.Resampling.LANCZOS)
            found.append(100 * network.quality(images.read(np.asarray(photo), preprocessing=rule)))
        return np.array(found)

    cases = {
        "as shipped": (policy, 1.0),
        "scored at 125 000 pixels": (dataclasses.replace(policy, max_pixels=125_000), 1.0),
        "scored at 62 500 pixels": (dataclasses.replace(policy, max_pixels=62_500), 1.0),
        "4-megapixel copy, as shipped": (policy, 4.0),
        "4-megapixel copy, scored at 1 megapixel": (dataclasses.replace(policy, max_pixels=1_000_000), 4.0),
        "200 px thumbnail, as shipped": (policy, 0.4),
        "200 px thumbnail, scored at 200 px": (dataclasses.replace(policy, min_side=32), 0.4),
        "200 px thumbnail, enlarged to 224 px": (dataclasses.replace(policy, min_side=224), 0.4),
        "200 px thumbnail, enlarged to 500 px": (dataclasses.replace(policy, min_side=500), 0.4),
    }
    rows = []
    for name, (rule, factor) in cases.items():
        found = scored(rule, factor)
        change = float(np.median(found - plain))
        row = {"case": name, "srcc": srcc(found, human), "plcc": plcc(found, human), "median change": change}
        rows.append(row)
        print(row, flush=True)
    return rows


def worst(runs: list[Path], livec: Path, sheet: Path) -> list[Row]:
    """Draw the twenty worst predictions of several runs; the rows say which and by how much."""
    part = {path.name: (path, ours, theirs) for run in runs for path, ours, theirs in tested(run, livec)}
    found = sorted(part.values(), key=lambda row: -abs(row[1] - row[2]))[:20]
    canvas = Image.new("RGB", (5 * 260, 4 * 290), "white")
    draw = ImageDraw.Draw(canvas)
    for place, (path, ours, theirs) in enumerate(found):
        photo = Image.open(path).convert("RGB")
        photo.thumbnail((250, 250))
        left, top = place % 5 * 260, place // 5 * 290
        canvas.paste(photo, (left + 5, top + 5))
        draw.text((left + 5, top + 260), f"{path.name}: {ours:.0f}, people {theirs:.0f}", fill="black")
    canvas.save(sheet)
    return [{"photo": path.name, "predicted": ours, "human": theirs} for path, ours, theirs in found]


def main() -> None:
    """Parse, run the parts asked for, print a row a line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("parts", nargs="*", default=["series", "cross"], help="series, cross, size, worst")
    parser.add_argument("--model", default="default")
    parser.add_argument("--data", type=Path, default=Path(__file__).parents[2] / "shared" / "data")
    parser.add_argument("--run", type=Path, action="append", default=[])
    parser.add_argument("--livec", type=Path, help="LIVE In the Wild in the official layout")
    parser.add_argument("--sheet", type=Path, default=Path("worst.png"), help="picture that `worst` draws")
    parser.add_argument("--out", type=Path, help="write everything there as JSON")
    given = parser.parse_args()
    found: dict[str, list[Row]] = {}
    for part in given.parts:
        if part in ("series", "cross"):
            found[part] = {"series": severity_series, "cross": cross}[part](Scorer(given.model), given.data)
        elif part in ("size", "worst") and given.run and given.livec:
            found[part] = (
                size(given.run[0], given.livec) if part == "size" else worst(given.run, given.livec, given.sheet)
            )
        else:
            parser.error(f"{part} is no part, or needs --run and --livec")
        for row in found[part]:
            print(part, *(f"{k} {v:.4g}" if isinstance(v, float) else f"{k} {v}" for k, v in row.items()), sep="  ")
    if given.out:
        given.out.write_text(json.dumps(found, indent=2) + "\n")


if __name__ == "__main__":
    main()
