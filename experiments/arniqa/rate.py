"""Do a frozen encoder's features predict human scores? Ridge within two data sets, ten splits, and across them.

python experiments/arniqa/rate.py --data livec=FOLDER --data csv=FILE --encoder before=imagenet:WEIGHTS
    --encoder after=RUN --cache FOLDER --json FILE

Splits 70/10/20, by reference where there is one; the penalty is chosen on the validation part. Across data sets: the
linear head of each of the ten splits scores the whole other set.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

import numpy as np
import torch
from manifold import find, machine

from noref.card import Preprocessing
from noref.data.splits import groups, random_split
from noref.evaluate.correlation import plcc, srcc
from noref.methods.arniqa_ridge import cached_features, choose, predict
from noref.models.arniqa import settle_batch_norm
from noref.models.arniqa_regressor import ARNIQA
from noref.train.run_folder import read_data


def summary(rows: list[tuple[float, float]]) -> dict[str, Any]:
    """Median and spread of (SRCC, PLCC) over the splits."""
    both = np.array(rows)
    return {
        "srcc median": float(np.median(both[:, 0])),
        "plcc median": float(np.median(both[:, 1])),
        "srcc spread": float(both[:, 0].std(ddof=1)),
        "plcc spread": float(both[:, 1].std(ddof=1)),
        "srcc": [round(float(value), 4) for value in both[:, 0]],
    }


def main() -> None:
    """Parse, measure, write."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--data", action="append", required=True, metavar="NAME=PATH")
    parser.add_argument("--encoder", action="append", required=True, metavar="NAME=WHICH")
    parser.add_argument("--cache", type=Path, required=True)
    parser.add_argument("--json", type=Path, required=True)
    parser.add_argument("--splits", type=int, default=10)
    parser.add_argument("--precision", choices=["float32", "bfloat16"], default="float32")
    options = parser.parse_args()
    sets = {text.partition("=")[0]: read_data(text).records for text in options.data}
    splits = {
        name: [
            random_split(records, test=0.2, validation=0.1, seed=seed, together=together)
            for seed in range(options.splits)
        ]
        for name, records in sets.items()
        for together in [groups(records)]
    }
    results: dict[str, Any] = {}
    for text in options.encoder:
        label, _, which = text.partition("=")
        network = ARNIQA(find(which)).eval()
        settle_batch_norm(network.encoder, "frozen", random=False)
        rule, folder = Preprocessing(max_pixels=250_000, min_side=8), options.cache / options.precision
        with torch.autocast("cpu", torch.bfloat16, enabled=options.precision == "bfloat16"):
            features = {name: cached_features(network, records, rule, folder) for name, records in sets.items()}
        quality = {name: np.array([record.quality for record in records]) for name, records in sets.items()}
        results[label] = {}
        for name in sets:
            rows: dict[str, list[tuple[float, float]]] = {other: [] for other in sets}
            for split in splits[name]:
                _, head = choose(features[name], quality[name], split)
                for other in sets:
                    scored = list(split.test) if other == name else list(range(len(sets[other])))
                    predicted, actual = predict(head, features[other][scored]), quality[other][scored]
                    rows[other].append((srcc(predicted, actual), plcc(predicted, actual)))
            for other, found in rows.items():
                key = name if other == name else f"{name} -> {other}"
                results[label][key] = summary(found)
                print(label, key, {k: v for k, v in results[label][key].items() if k != "srcc"}, flush=True)
    counts = {name: len(records) for name, records in sets.items()}
    words = {**machine(), "images": counts, "splits": options.splits, "precision": options.precision}
    options.json.write_text(json.dumps({**words, "encoders": results}, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
