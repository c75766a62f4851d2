"""Does the encoder sort photos by what was done to them? Retrieval of the distortion type, silhouette, t-SNE.

python experiments/arniqa/manifold.py --photos FOLDER --held-out RUN/held_out.csv --encoder before=imagenet:WEIGHTS
    --encoder after=RUN --json FILE [--picture FILE]

Photos that were kept from training (held_out.csv), one crop of 224 px of each under each of the 24 distortions at each
level, drawn by a seed of its own. A query's neighbours are crops of OTHER photos, nearest by cosine; levels 3 to 5.
"""

from __future__ import annotations

import argparse
import csv
import json
import os
import platform
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from noref import images
from noref.card import Preprocessing
from noref.checkout import commit
from noref.data.pairs import random_crop
from noref.degrade.pipeline import DISTORTIONS, GROUPS, LEVELS, apply
from noref.embed.metrics import nearest, silhouette, tsne
from noref.models.arniqa import Encoder, EncoderPlan, build_encoder, load_encoder, settle_batch_norm

SIDE, SEED, NEIGHBOURS, BATCH = 224, 2024, 5, 32
Array = NDArray[np.float32]


def degraded(photos: list[Path]) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    """(N, 3, S, S) crops, and (N, 3) photo, type, level of each."""
    crops, facts = [], []
    for number, path in enumerate(photos):
        rng = np.random.default_rng([SEED, number])
        image = images.read(path, preprocessing=Preprocessing(max_pixels=None, min_side=1))
        for kind, name in enumerate(DISTORTIONS):
            for level in range(1, LEVELS + 1):
                crop = random_crop(image, rng, size=SIDE)
                crops.append(apply(crop, name, level, rng).transpose(2, 0, 1))
                facts.append((number, kind, level))
    return np.stack(crops), np.array(facts)


def find(text: str) -> Encoder:
    """`imagenet:WEIGHTS` or an encoder's file or run."""
    if text.startswith("imagenet:"):
        plan = EncoderPlan("mobilenetv2_100", "same", (0.5, 0.5, 0.5), (0.5, 0.5, 0.5))
        return build_encoder(plan, weights=text.partition(":")[2])
    path = Path(text)
    return load_encoder(path / "encoder.safetensors" if path.is_dir() else path)[0]


@torch.inference_mode()
def features(encoder: Encoder, crops: NDArray[np.uint8]) -> Array:
    """(N, 3, S, S) -> (N, D) of length 1."""
    settle_batch_norm(encoder.eval(), "frozen", random=False)
    parts = [encoder(torch.from_numpy(crops[at : at + BATCH])) for at in range(0, len(crops), BATCH)]
    return torch.cat(parts).numpy()


def right_by_vote(neighbours: NDArray[np.int64], kinds: NDArray[np.int64]) -> NDArray[np.bool_]:
    """(M,) whether the majority of the (M, k) neighbours has an image's kind; the nearest of them decides a tie."""
    votes = np.stack([np.bincount(kinds[row], minlength=kinds.max() + 1) for row in neighbours])
    votes = votes + 0.5 * (np.arange(kinds.max() + 1) == kinds[neighbours[:, :1]])
    return np.asarray(votes.argmax(axis=1) == kinds)


def retrieval(found: Array, facts: NDArray[np.int64]) -> dict[str, Any]:
    """Metrics of the crops at levels 3 to 5: neighbours with the query's distortion, and silhouette."""
    strong = facts[:, 2] >= 3
    found, photo, kind = found[strong], facts[strong, 0], facts[strong, 1]
    neighbours = nearest(found, photo, count=NEIGHBOURS)
    right = kind[neighbours] == kind[:, None]
    return {
        "queries": len(kind),
        "neighbours of the right type": float(right.mean()),
        "right by vote": float(right_by_vote(neighbours, kind).mean()),
        "standard error over photos": float(
            np.std([right[photo == p].mean() for p in np.unique(photo)], ddof=1) / np.sqrt(len(np.unique(photo)))
        ),
        "silhouette by type": silhouette(found, kind, "type", draws=1).value,
        "by type": {name: float(right[kind == i].mean()) for i, name in enumerate(DISTORTIONS)},
    }


def draw(views: dict[str, Array], facts: NDArray[np.int64], results: dict[str, Any], file: Path) -> None:
    """t-SNE of each encoder's features side by side: type is colour, level is opacity."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    few = facts[:, 0] < 20
    kinds = facts[few, 1]
    maps = ("Blues", "Oranges", "Purples", "Greens", "Wistia", "Reds", "Greys")
    colours = []
    for names, palette in zip(GROUPS.values(), maps, strict=True):
        shades = np.linspace(0.45, 0.95, len(names))
        colours += [plt.get_cmap(palette)(shade)[:3] for shade in shades]
    figure, axes = plt.subplots(1, len(views), figsize=(8 * len(views), 9))
    for axis, (name, found) in zip(np.atleast_1d(axes), views.items(), strict=True):
        place = tsne(found[few])
        opacity = facts[few, 2] / LEVELS
        rgba = [(*colours[kind], share) for kind, share in zip(kinds, opacity, strict=True)]
        axis.scatter(*place.T, s=14, c=rgba, linewidths=0)
        share = results[name]["neighbours of the right type"]
        axis.set_title(f"{name}: {100 * share:.0f} % of 5 neighbours have the query's distortion", fontsize=13)
        axis.set_xticks([])
        axis.set_yticks([])
    marks = [plt.Line2D([], [], marker="o", linestyle="", color=colour) for colour in colours]
    figure.legend(marks, list(DISTORTIONS), loc="lower center", ncol=8, fontsize=9, frameon=False)
    figure.subplots_adjust(left=0.01, right=0.99, top=0.95, bottom=0.11, wspace=0.02)
    figure.savefig(file, dpi=90)


def machine() -> dict[str, str | None]:
    """What this ran on, and from which commit."""
    return {"hardware": f"{platform.machine()}, {os.cpu_count()} cores, CPU", "commit": commit()}


def main() -> None:
    """Parse, measure, write."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--photos", type=Path, required=True)
    parser.add_argument("--held-out", type=Path, required=True)
    parser.add_argument("--encoder", action="append", required=True, metavar="NAME=WHICH")
    parser.add_argument("--json", type=Path, required=True)
    parser.add_argument("--picture", type=Path)
    parser.add_argument("--precision", choices=["float32", "bfloat16"], default="float32")
    options = parser.parse_args()
    with options.held_out.open(newline="", encoding="utf-8") as file:
        photos = [options.photos / row["path"] for row in csv.DictReader(file)]
    crops, facts = degraded(photos)
    views, results = {}, {}
    for text in options.encoder:
        name, _, which = text.partition("=")
        with torch.autocast("cpu", torch.bfloat16, enabled=options.precision == "bfloat16"):
            views[name] = features(find(which), crops)
        results[name] = retrieval(views[name], facts)
        print(name, {key: value for key, value in results[name].items() if key != "by type"}, flush=True)
    about = {"photos": len(photos), "levels": "3 to 5", "precision": options.precision}
    words = {**machine(), **about, "encoders": results}
    options.json.write_text(json.dumps(words, indent=2) + "\n", encoding="utf-8")
    if options.picture:
        draw(views, facts, results, options.picture)


if __name__ == "__main__":
    main()
