"""What calibration gains and what it may lose: the table of docs/calibrate.md.

python experiments/calibrate/table.py --tid FOLDER --livec FOLDER --half RUN --cache FOLDER [--draws 20] [--labels N]

--tid    re-created stimuli of TID2013, `images/` and `scores.csv` (filename, mos, reference, trust); the exact ones are
         calibrated with the default, which has not learnt from them. Labels are of some references, the test part are
         all stimuli of the others.
--livec  LIVE In the Wild in the official layout. It trained the default, so
--half   a run of the recipe `embedded` on one half of it (`noref train embedded --test 0.5 ...`) stands for it. Labels
         and test part are of the other half.
--cache  quality and features of every picture are kept there.

Each row is over --draws draws of labels: median SRCC of the model alone and calibrated, the median and worst change.
`noise` has random numbers for labels. Two cores: 10 minutes for the features, 5 for the table.
"""

from __future__ import annotations

import argparse
import csv
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from noref import images
from noref.calibrate.figures import figures
from noref.calibrate.ridge import Labelled, fit
from noref.calibrate.weightings import weightings
from noref.card import Card
from noref.data.named import read_data
from noref.data.splits import load_split
from noref.scoring.network import FEATURES, Network


class Pictures(NamedTuple):
    """Pictures with human scores, measured by a model that has not learnt from them."""

    card: Card
    data: Labelled


def measured(model: str, paths: list[Path], labels: list[float], groups: list[str], cache: Path) -> Pictures:
    """Quality and features of each picture, computed once."""
    network = Network(model)
    network.ready()
    if not cache.is_file():
        rows = [network.quality_and(images.read(p, preprocessing=network.card.preprocessing), FEATURES) for p in paths]
        quality, features = zip(*((quality, further[FEATURES]) for quality, further in rows), strict=True)
        np.savez(cache, quality=np.array(quality), features=np.array(features, np.float32), sha256=network.card.sha256)
    with np.load(cache) as kept:
        if str(kept["sha256"]) != network.card.sha256 or len(kept["quality"]) != len(paths):
            raise SystemExit(f"{cache}: of another model or other pictures; delete it")
        numbers = np.unique(groups, return_inverse=True)[1].astype(np.int64)
        return Pictures(network.card, Labelled(kept["quality"], kept["features"], np.array(labels), numbers))


def tid(folder: Path, cache: Path) -> Pictures:
    """The exact stimuli, quality in [0, 1]."""
    with (folder / "scores.csv").open(newline="") as file:
        rows = [row for row in csv.DictReader(file) if row["trust"] == "exact"]
    paths, labels = [folder / "images" / row["filename"] for row in rows], [float(row["mos"]) / 9 for row in rows]
    return measured("default", paths, labels, [row["reference"] for row in rows], cache / "tid.npz")


def livec(folder: Path, run: Path, cache: Path) -> Pictures:
    """The half that the run was not trained on."""
    records = read_data(f"livec={folder}").records
    rest = [records[index] for index in load_split(run / "split.json", records).test]
    paths, labels = [record.path for record in rest], [record.quality for record in rest]
    return measured(str(run / "model.onnx"), paths, labels, [str(path) for path in paths], cache / "livec.npz")


Draw = tuple[NDArray[np.int64], NDArray[np.int64]]  # rows with labels, rows of the test part


def draws(data: Labelled, labels: int, references: int | None, count: int) -> Iterator[Draw]:
    """Labels at random, of so many references or of any picture; the test part are the other references or pictures."""
    for seed in range(count):
        rng = np.random.default_rng(seed)
        if references is None:
            rows = rng.choice(len(data), labels, replace=False)
            yield rows, np.setdiff1d(np.arange(len(data)), rows)
            continue
        mine = np.isin(data.groups, rng.choice(np.unique(data.groups), references, replace=False))
        rows = np.flatnonzero(mine)
        yield np.sort(rng.choice(rows, min(labels, len(rows)), replace=False)), np.flatnonzero(~mine)


def row(name: str, pictures: Pictures, labels: int, references: int | None, count: int, *, noise: bool = False) -> str:
    """A row of the table."""
    data, alone, calibrated, used = pictures.data, list[float](), list[float](), 0
    ways = weightings(pictures.card, data.features.shape[1])
    for seed, (mine, rest) in enumerate(draws(data, labels, references, count)):
        own, test = (data.part(np.isin(np.arange(len(data)), rows)) for rows in (mine, rest))
        if noise:
            own = Labelled(own.quality, own.features, np.random.default_rng([1, seed]).random(len(own)), own.groups)
        found = fit(own, ways, seed=seed)
        used += found.share > 0
        alone.append(figures(test.quality, test.labels)["srcc"])
        calibrated.append(figures(found.line(test.quality, test.features), test.labels)["srcc"])
    change = np.array(calibrated) - np.array(alone)
    numbers = [np.median(alone), np.median(calibrated)]
    cells = [name, *(f"{value:.3f}" for value in numbers), f"{np.median(change):+.3f}", f"{change.min():+.3f}"]
    return "| " + " | ".join([*cells, f"{used} of {count}"]) + " |"


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name in ("tid", "livec", "half"):
        parser.add_argument(f"--{name}", type=Path)
    parser.add_argument("--cache", type=Path, required=True)
    parser.add_argument("--draws", type=int, default=20)
    given = parser.parse_args()
    cases: list[tuple[str, Any, int, int | None, bool]] = []
    if given.tid:
        stimuli = tid(given.tid, given.cache)
        cases += [
            ("TID2013's stimuli, 60 labels of two references", stimuli, 60, 2, False),
            ("TID2013's stimuli, 200 labels of seven references", stimuli, 200, 7, False),
            ("TID2013's stimuli, noise, 20 labels of two references", stimuli, 20, 2, True),
            ("TID2013's stimuli, noise, 60 labels of two references", stimuli, 60, 2, True),
        ]
    if given.livec and given.half:
        photos = livec(given.livec, given.half, given.cache)
        cases += [(f"LIVE In the Wild, {labels} labels", photos, labels, None, False) for labels in (20, 50, 100, 300)]
        cases += [(f"LIVE In the Wild, noise, {labels} labels", photos, labels, None, True) for labels in (20, 50, 300)]
    print("| labels | model alone | calibrated | median change | worst change | draws that use features |")
    print("|---|---|---|---|---|---|")
    for name, pictures, labels, references, noise in cases:
        print(row(name, pictures, labels, references, given.draws, noise=noise), flush=True)


if __name__ == "__main__":
    main()
