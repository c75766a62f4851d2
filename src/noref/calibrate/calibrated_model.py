"""The file of a calibrated model, and its card."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from noref.calibrate.onnx_graph import with_line
from noref.calibrate.ridge import Fit
from noref.calibrate.tradeoff import Threshold
from noref.card import Card, Scale, read_model
from noref.data.perceptual_hash import hash_images, learnt_hashes, matches, pack
from noref.scoring.network import Network
from noref.writing import write_bytes


@dataclass(frozen=True)
class LabelledPictures:
    """What a model was calibrated on."""

    table: str
    paths: list[Path]
    scenes: int
    scale: Scale  # of the raw labels
    yes_no: bool
    spreads: NDArray[np.float64]  # (N,) how uncertain the model is of each, relatively


def write(
    network: Network,
    out: Path,
    found: Fit,
    pictures: LabelledPictures,
    measured: Mapping[str, Mapping[str, float]],
    residuals: NDArray[np.float64],
    threshold: Threshold | None,
) -> tuple[Card, list[str]]:
    """Write the calibrated model with its card.

    Args:
        network: the model that was calibrated.
        out: the file to write.
        found: what was learnt.
        pictures: from what.
        measured: figures on held-out folds, of the model alone and calibrated.
        residuals: (N,) absolute, of held-out folds, in points; for intervals.
        threshold: of yes and no.

    Returns:
        The card, and what makes the figures too good or little worth.
    """
    card, own = network.card, hash_images(pictures.paths)
    learnt = learnt_hashes(card)
    hashes = own if learnt is None else np.concatenate([learnt, own])
    count = len(pictures.paths)
    facts: dict[str, Any] = {
        "table": pictures.table,
        "pictures": count,
        "scenes": pictures.scenes,
        "labels": "yes and no" if pictures.yes_no else str(pictures.scale),
        "model": {"name": card.name, "sha256": card.sha256},
        "share of the features that counts": round(found.share, 3),
    }
    if threshold:
        facts["threshold"] = {name: round(value, 4) for name, value in dataclasses.asdict(threshold).items()}
    protocol = f"5 held-out folds of {count} pictures, {pictures.scenes} scenes kept together"
    results = [
        {"data": pictures.table, "protocol": f"{which}; {protocol}", "metric": name, "value": round(value, 4)}
        for which, each in measured.items()
        for name, value in each.items()
        if np.isfinite(value)
    ]
    outputs = {name: each for name, each in card.outputs.items() if name != "interval"}
    if not pictures.yes_no:  # a word has no distance from a score
        outputs["interval"] = {"residuals": np.sort(residuals / pictures.spreads).round(3).tolist()}
    new = dataclasses.replace(
        card,
        outputs=outputs,
        name=out.stem,
        method=f"{card.method}; calibrated to labels by ridge regression on its features",
        scale=pictures.scale,
        training=card.training | {"calibrated on": facts, "image_hashes": pack(hashes)},
        results=results,
        limits=[f"Calibrated on {count} pictures: what it says of others is a guess.", *card.limits],
    )
    write_bytes(out, with_line(read_model(network.path), found.line, network.path))
    return new.write(out), _cautions(card, pictures, 0 if learnt is None else int(matches(own, learnt).sum()))


def _cautions(card: Card, pictures: LabelledPictures, learnt: int) -> list[str]:
    found, count = [], len(pictures.paths)
    if learnt:
        found.append(
            f"{card.name} learnt from {learnt} of these {count} pictures, or from copies of them: it knows their "
            "scores, so the figures are too good and the labels teach too little"
        )
    if pictures.scenes < 3:
        found.append(f"all pictures are of {pictures.scenes} scene(s): the figures say little of other scenes")
    return found
