"""Give an exported model its further outputs, in place:

python -m noref.default_model.outputs MODEL.onnx --photos FOLDER --cache FOLDER --heldout RUN...

For a new default, whatever its backbone: run this once, behind `noref export` or `publish.py`. What is not asked for is
kept as it is, `features` is always there:

features    the input of the last linear layer; the card says which layers it is made of
faults      with --photos: a head on the features, learnt from views of photographs with known faults
interval    with --heldout: runs of the same recipe, whose test parts together are the held-out predictions; each is a
            folder of `noref train`. Their residuals go to the card.

`quality` stays the same to the last bit, which is checked; the card gets the new checksum. Views cost about 0.1 s each
on a quiet core, 8 a photo and pass; --cache keeps them, so that a second call goes on.
"""

from __future__ import annotations

import argparse
import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
from numpy.typing import NDArray

from noref.card import Card, read_card, read_model
from noref.default_model.interval_fit import coverage_figures, held_out_scores, is_worth_it, residuals, spread_of
from noref.degrade.pipeline import DISTORTIONS
from noref.errors import ModelError, NorefError
from noref.scoring.fault_outputs import add_faults, add_spread, drop_output
from noref.scoring.graph_outputs import add_features, feature_layers
from noref.scoring.network import FAULTS, FEATURES, QUALITY, SPREAD, open_session
from noref.scoring.onnx_file import parse
from noref.writing import write_bytes

SIZES = [(384, 384), (385, 512), (433, 577)]  # odd ones too


def rewrite(model: onnx.ModelProto, path: Path, card: Card) -> Card:
    """Write a graph that has more outputs over the model's file, with its card; the card as written.

    Raises:
        ModelError: the graph does not run, or gives another quality; nothing is written.
    """
    content = model.SerializeToString()
    crop = card.preprocessing.crop
    rng = np.random.default_rng(0)
    for height, width in SIZES if crop is None else [(crop, crop)]:
        images = rng.integers(0, 256, (2, height, width, 3), dtype=np.uint8)
        before, after = (_quality(path, text, images) for text in (read_model(path), content))
        if not np.array_equal(before, after, equal_nan=True):
            raise ModelError(f"{path}: with more outputs its quality at {width} x {height} pixels is another")
    write_bytes(path, content)
    return card.write(path)


def _quality(path: Path, content: bytes, images: NDArray[np.uint8]) -> NDArray[np.float32]:
    session = open_session(onnxruntime, path, content, 1)
    found: NDArray[np.float32] = session.run([QUALITY], {session.get_inputs()[0].name: images})[0]
    return found


def learn_faults(model: onnx.ModelProto, path: Path, photos: Path, cache: Path | None, passes: int) -> dict[str, str]:
    """Add `faults` to a graph with features, learnt from views of the photos; gives the types with their groups."""
    from noref.default_model import fault_head
    from noref.default_model.fault_features import view_features

    views = view_features(model, path, photos, cache, passes)
    head = fault_head.learn(*views)
    add_faults(model, fault_head.graph_numbers(head), fault_head.SIZES)
    return {name: entry.group for name, entry in DISTORTIONS.items()}


def learn_interval(model: onnx.ModelProto, runs: Sequence[Path]) -> dict[str, Any]:
    """What the card keeps for intervals; adds `spread` to the graph where it is worth it."""
    scores = held_out_scores(runs)
    spread = spread_of(scores)
    figures = {"constant width": coverage_figures(scores, None), "width by quality": coverage_figures(scores, spread)}
    varies = is_worth_it(figures["constant width"], figures["width by quality"])
    if varies:
        add_spread(model, spread)
    else:
        drop_output(model, SPREAD)
    said = f"{len(scores)} pictures, predicted by runs of the recipe that had not seen them; runs: {len(runs)}"
    return {"held out": said, "ten random halves": figures, "residuals": residuals(scores, spread if varies else None)}


def main() -> None:
    """Add what is asked for, write file and card."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", type=Path)
    parser.add_argument("--photos", type=Path)
    parser.add_argument("--cache", type=Path)
    parser.add_argument("--passes", type=int, default=4)
    parser.add_argument("--heldout", type=Path, nargs="+")
    given = parser.parse_args()
    try:
        print(_make(given))
    except NorefError as error:
        parser.error(str(error))


def _make(given: argparse.Namespace) -> str:
    card, path = read_card(given.model), given.model
    model, outputs = parse(read_model(path), path), dict(card.outputs)
    add_features(model, path)
    if layers := feature_layers(model):
        outputs[FEATURES] = {"layers": layers}
    if given.photos:
        outputs[FAULTS] = learn_faults(model, path, given.photos, given.cache, given.passes)
    if given.heldout:
        outputs["interval"] = learn_interval(model, given.heldout)
    card = rewrite(model, path, dataclasses.replace(card, outputs=outputs))
    return f"{path}: {', '.join(output.name for output in model.graph.output)}; sha256 {card.sha256[:12]}..."


if __name__ == "__main__":
    main()
