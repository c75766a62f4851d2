"""Write into a model's card which images it learnt from: python experiments/embedded/image_hashes.py NAME=PATH

The card gets `training["image_hashes"]`, the perceptual hashes of the data set's images, so that `noref evaluate` can
say how many images of a data set the model has learnt from, whatever the set is called. This is for a model whose
training did not write them, as that of the default:

    python experiments/embedded/image_hashes.py livec=ChallengeDB_release
"""

from __future__ import annotations

import argparse
import dataclasses
from pathlib import Path

from noref.card import read_card
from noref.data.perceptual_hash import training_hashes
from noref.scoring.network import DEFAULT
from noref.train.run_folder import read_data


def main() -> None:
    """Add the hashes and write the card."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", help="NAME=PATH of the images that the model learnt from")
    parser.add_argument("--model", type=Path, default=DEFAULT)
    given = parser.parse_args()
    card, records = read_card(given.model), read_data(given.data).records
    training = {**card.training, "image_hashes": training_hashes(records)}
    dataclasses.replace(card, training=training).write(given.model)
    print(f"{given.model}: hashes of {len(records)} images")


if __name__ == "__main__":
    main()
