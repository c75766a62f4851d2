"""Does local manifold learning keep the manifold? Distances of crops within and between images, model beside model.

python experiments/lml_iqa/crop_distances.py --data livec=FOLDER --model baseline=RUN --model lml=RUN --json FILE
    [--picture FILE] [--crops 10]

Random crops of each run's own test part, the same for runs of one split. Several runs of one name (folds) are put
together. The picture needs matplotlib.
"""

from __future__ import annotations

import argparse
import json
from collections import defaultdict
from pathlib import Path
from typing import Any

import numpy as np
import torch
from manifold import spread
from numpy.typing import NDArray

from noref.data.loading import Crops, make_loader
from noref.data.splits import load_split
from noref.models.network import load
from noref.train.run_folder import read_data

SEED = 2024


@torch.inference_mode()
def features(run: Path, data: str, crops: int) -> NDArray[np.float64]:
    """(N, H, D) pooled features of H random crops of each image of a run's test part."""
    network, card = load(run / "model.safetensors")
    records = read_data(data).records
    tested = [records[index] for index in load_split(run / "split.json", records).test]
    rule = card.preprocessing
    images = Crops(tested, size=rule.crop, crops=crops, seed=SEED, preprocessing=rule)
    found = []
    for batch in make_loader(images, batch_images=1, shuffle=False):
        found.append(network.features(batch.crops.flatten(0, 1)).pooled.double().numpy())
    return np.stack(found)


def draw(values: dict[str, NDArray[np.float64]], path: Path) -> None:
    """One histogram a model: how far the crops of an image lie apart, image by image."""
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(figsize=(7, 4), layout="constrained")
    bins = np.linspace(0, max(float(v.max()) for v in values.values()), 40)
    for name, distances in values.items():
        axes.hist(distances, bins, histtype="step", linewidth=2, label=f"{name}, mean {distances.mean():.3f}")
    axes.set(xlabel="mean distance of an image's crops, 1 - cosine", ylabel="images")
    axes.legend(frameon=False)
    figure.savefig(path, dpi=150)


def main() -> None:
    """Measure every model; print, write JSON, draw."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", required=True)
    parser.add_argument("--model", action="append", required=True, metavar="NAME=RUN")
    parser.add_argument("--crops", type=int, default=10)
    parser.add_argument("--json", type=Path)
    parser.add_argument("--picture", type=Path)
    given = parser.parse_args()
    runs: dict[str, list[Path]] = defaultdict(list)
    for text in given.model:
        name, _, run = text.partition("=")
        runs[name].append(Path(run))
    table: dict[str, Any] = {}
    images: dict[str, NDArray[np.float64]] = {}
    for name, folders in runs.items():
        found = [spread(features(run, given.data, given.crops)) for run in folders]
        images[name] = np.concatenate([one.images for one in found])
        within, between = (float(np.mean([getattr(one, key) for one in found])) for key in ("within", "between"))
        table[name] = {"runs": len(found), "images": len(images[name]), "within": within, "between": between}
        print(f"{name}\twithin {within:.4f}\tbetween {between:.4f}\tratio {within / between:.3f}")
    if given.json:
        given.json.write_text(json.dumps(table, indent=2) + "\n", encoding="utf-8")
    if given.picture:
        draw(images, given.picture)


if __name__ == "__main__":
    main()
