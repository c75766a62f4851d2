"""Give an exported model its further outputs, in place: python -m noref.default_model.outputs MODEL.onnx

For a new default, whatever its backbone: run this once, behind `noref export` or `publish.py`. `features` is the input
of the last linear layer; the card says which layers it is made of. `quality` stays the same to the last bit, which is
checked; the card gets the new checksum.
"""

from __future__ import annotations

import argparse
import dataclasses
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
from numpy.typing import NDArray

from noref.card import Card, read_card, read_model
from noref.errors import ModelError
from noref.scoring.graph_outputs import add_features, feature_layers
from noref.scoring.network import FEATURES, QUALITY, open_session
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


def main() -> None:
    """Add what the model can have, write file and card."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", type=Path)
    given = parser.parse_args()
    card = read_card(given.model)
    model = parse(read_model(given.model), given.model)
    add_features(model, given.model)
    if layers := feature_layers(model):
        card = dataclasses.replace(card, outputs=card.outputs | {FEATURES: {"layers": layers}})
    card = rewrite(model, given.model, card)
    print(f"{given.model}: {', '.join(output.name for output in model.graph.output)}; sha256 {card.sha256[:12]}...")


if __name__ == "__main__":
    main()
