"""Make a run the model inside the package.

python experiments/embedded/publish.py RUN --splits RUN... --chosen TEXT [--facts FILE]

RUN was trained on all images (`--test 0`). Its metrics are those of the recipe: the runs behind --splits, same
options, each with a test part. TEXT goes on the card beside the metrics and says on which images the options were
chosen: they should be inner folds (`contrast.py --inner`). FILE is what benchmarks/quality.py wrote with --out. The
model goes to src/noref/scoring/default/ with its card.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import shutil
import statistics
from pathlib import Path
from typing import Any

from noref.card import read_card
from noref.default_model.config import PREPROCESSING

DEFAULT = Path(__file__).parents[2] / "src" / "noref" / "scoring" / "default" / "model.onnx"
INITIALISED = {
    "weights": "MobileNetV2 1.0 trained on ImageNet-1k by Google (Sandler et al., CVPR 2018), de-quantised from an "
    "8-bit release, batch norms folded",
    "licence": "Apache-2.0",
}
TRAINED = [
    {
        "data": "LIVE In the Wild Image Quality Challenge Database, 931 of its 1162 photographs with human scores",
        "licence": "use, copy, modify and distribute for any purpose, with notice and citation",
        "citation": "D. Ghadiyaram and A.C. Bovik, Massive Online Crowdsourced Study of Subjective and Objective "
        "Picture Quality, IEEE Transactions on Image Processing, 2016; and LIVE In the Wild Image Quality Challenge "
        "Database, http://live.ece.utexas.edu/research/ChallengeDB/index.html, 2015",
    },
    {
        "data": "degraded versions of photographs from CID22 (CC BY-SA 4.0), CLIC 2025 (Unsplash License), a clothing "
        "set (CC0) and LIRE's sports cars (CC BY / CC BY-SA); no human scores of their own",
        "licence": "per photograph",
        "citation": "",
    },
    {
        "data": "mean ratings by distortion and level from the score table of KADID-10k; none of its images",
        "licence": "facts",
        "citation": "H. Lin, V. Hosu and D. Saupe, KADID-10k: A Large-scale Artificially Distorted IQA Database, "
        "QoMEX 2019",
    },
]
POLICY = [
    "Resolution: judged at up to 250 000 pixels (500 x 500, 577 x 433), the size at which people rated the training "
    "pictures; a 12-megapixel photo at 577 x 433, a 4K frame at 667 x 375, a thumbnail enlarged to a short side of "
    "384 pixels. What another choice changes is measured in docs/embedded.md."
]
LIMITS = Path(__file__).parent / "limits.txt"


def recipe_results(runs: list[Path], chosen: str) -> list[dict[str, Any]]:
    """Median and range over the runs' own test parts, a row a metric."""
    found = [json.loads((run / "results.json").read_text()) for run in runs]
    rows = []
    for metric in ("srcc", "plcc", "plcc_logistic4", "krcc", "rmse"):
        values = [result[metric] for result in found]
        rows.append(
            {
                "data": "livec",
                "protocol": f"the recipe on {len(runs)} random 80/20 splits of the 931 photographs, last epoch; "
                f"this model then trained on all of them; {chosen}",
                "metric": metric,
                "median": round(statistics.median(values), 4),
                "each": [round(value, 4) for value in values],
            }
        )
    return rows


def fact_results(path: Path) -> list[dict[str, Any]]:
    """The rows of benchmarks/quality.py that describe this very model."""
    found = json.loads(path.read_text())
    rows = [
        {
            "data": f"{row['photos']} photographs that no distorted view was made of",
            "protocol": "each photograph and three steps of Pillow's Gaussian blur (radius 1.5, 3, 6), noise (sigma "
            "12, 25, 50) or JPEG (quality 30, 12, 5)",
            "metric": f"share of {row['kind']} steps in which the score falls",
            "value": round(row["falls"], 4),
        }
        for row in found.get("series", found.get("ladder", []))
    ]
    rows += [
        {
            "data": f"re-created stimuli of TID2013, never trained on: {row['part']}, {row['images']} images",
            "protocol": "published human scores",
            "metric": "srcc",
            "value": round(row["srcc"], 4),
        }
        for row in found.get("cross", [])
        if not row["part"].startswith("type")
    ]
    return rows


def main() -> None:
    """Copy the model and write its card."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path)
    parser.add_argument("--splits", type=Path, nargs="+", required=True)
    parser.add_argument("--chosen", required=True)
    parser.add_argument("--facts", type=Path)
    given = parser.parse_args()
    card = read_card(given.run / "model.onnx")
    training = {"initialised from": INITIALISED, "trained on": TRAINED, "run": card.training}
    results = recipe_results(given.splits, given.chosen) + (fact_results(given.facts) if given.facts else [])
    limits = [line for line in LIMITS.read_text(encoding="utf-8").splitlines() if line]
    DEFAULT.parent.mkdir(exist_ok=True)
    shutil.copyfile(given.run / "model.onnx", DEFAULT)
    method = f"noref's recipe `embedded`: {card.method}"
    dataclasses.replace(
        card,
        name="default",
        method=method,
        preprocessing=PREPROCESSING,
        training=training,
        results=results,
        limits=limits + POLICY,
    ).write(DEFAULT)
    print(DEFAULT, f"{DEFAULT.stat().st_size / 1e6:.1f} MB")


if __name__ == "__main__":
    main()
