"""Do a network's saliency maps lie on the subject? Three numbers about its maps, and a sheet of photos with windows.

python experiments/lml_iqa/windows.py --data livec=FOLDER --photos 60 --by activation --sheet FILE
    --backbone mobilenetv2_100 --weights FILE --pad-type same --mean 0.5,0.5,0.5 --std 0.5,0.5,0.5
python experiments/lml_iqa/windows.py --data livec=FOLDER --photos 60 --by attention --model RUN

peak: the highest cell of a map over its mean. share: of the map's sum in the window over the window's share of the
area. corners: windows that lie in a corner; by chance 4 of 49, or 5 of 60 photos.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import torch

from noref.card import Preprocessing
from noref.data.salient import GRID, SalientCrops
from noref.models.network import Plan, QualityNet, build, load
from noref.models.saliency import saliency, viewing_side
from noref.objectives.lml import salient_window
from noref.train.run_folder import read_data
from noref.train.saliency_windows import sheet


def triple(text: str) -> tuple[float, float, float]:
    """'0.5,0.5,0.5' -> three numbers."""
    one, two, three = (float(part) for part in text.split(","))
    return one, two, three


def network_of(given: argparse.Namespace) -> QualityNet:
    """A run's network, or a plain backbone, whose head is not used."""
    if given.model:
        return load(Path(given.model) / "model.safetensors")[0].eval()
    plan = Plan(given.backbone, head="pooled", pad_type=given.pad_type, mean=given.mean, std=given.std)
    return build(plan, weights=given.weights).eval()


@torch.inference_mode()
def main() -> None:
    """Print the numbers, draw the sheet."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", required=True)
    parser.add_argument("--photos", type=int, default=60, help="spread evenly over the set")
    parser.add_argument("--by", choices=("attention", "activation"), default="attention")
    parser.add_argument("--window", type=int, default=8)
    parser.add_argument("--model", help="a run")
    parser.add_argument("--backbone", default="mobilenetv2_100")
    parser.add_argument("--weights", default="timm")
    parser.add_argument("--pad-type", default="")
    parser.add_argument("--mean", type=triple)
    parser.add_argument("--std", type=triple)
    parser.add_argument("--sheet", type=Path)
    given = parser.parse_args()
    network, records = network_of(given), read_data(given.data).records
    chosen = [records[number * len(records) // given.photos] for number in range(given.photos)]
    crops = SalientCrops(chosen, size=224, crops=1, window=given.window, preprocessing=Preprocessing())
    views = crops.views(viewing_side(network, 224))
    maps = torch.cat([saliency(network, views[index].crops, by=given.by) for index in range(len(chosen))])
    rows, columns = salient_window(maps, given.window)
    peak = (maps.flatten(1).amax(dim=1) / maps.flatten(1).mean(dim=1)).median()
    held = maps.unfold(1, given.window, 1).unfold(2, given.window, 1).sum(dim=(3, 4)).flatten(1).amax(dim=1)
    share = (held / maps.sum(dim=(1, 2)) * GRID**2 / given.window**2).mean()
    ends = (0, GRID - given.window)
    corners = sum(int(row) in ends and int(column) in ends for row, column in zip(rows, columns, strict=True))
    print(f"peak {peak:.2f}  share {share:.2f}  corners {corners} of {len(chosen)}")
    if given.sheet:
        crops.places = torch.stack((rows, columns), dim=1).numpy()
        sheet(crops).save(given.sheet)


if __name__ == "__main__":
    main()
