"""How large is the contrast's gradient, and where does it point? Beside the score loss's, in the layers that learn.

python experiments/lml_iqa/gradients.py --data livec=FOLDER --model start --model baseline=RUN --model lml=RUN
    --weights mobilenetv2_100_imagenet.safetensors --frozen 4 [--batches 12] [--alpha 0.1] [--temperature 0.3]
    [--contrast quality-context]: CSIQA's, easy pairs, summed over its layers that learn, with a as its weight l2

Batches of 16 training images, 2 random crops and the salient one each, windows by the activation of the network at its
start. norms: of (1 - a) times the score loss (on the data set's scale) and of a times the contrast. cosine: between
the two. agrees: mean cosine of one loss's gradients between two batches; what differs from batch to batch is noise.
contrast: its mean. within, between: mean cosine of features of crops of one image, and of two images.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from statistics import fmean
from typing import NamedTuple

import torch
from torch import Tensor
from torch.autograd import grad
from torch.nn.functional import cosine_similarity

from noref.card import Preprocessing
from noref.data.loading import make_loader
from noref.data.records import Record
from noref.data.salient import SalientCrops
from noref.data.splits import load_split
from noref.models.backbones import freeze_stages
from noref.models.network import Plan, QualityNet, build, load
from noref.models.saliency import saliency, viewing_side
from noref.objectives.csiqa import quality_context_loss, select_pairs
from noref.objectives.lml import local_manifold_loss, salient_window
from noref.train.run_folder import read_data

IMAGES, CROPS, WINDOW, SEED = 16, 2, 8, 2024


def start(weights: str) -> QualityNet:
    """The network before training: ImageNet's backbone, a random panel."""
    torch.manual_seed(SEED)
    half = (0.5, 0.5, 0.5)
    return build(Plan("mobilenetv2_100", pad_type="same", mean=half, std=half), weights=weights).eval()


def batches_of(records: Sequence[Record], teacher: QualityNet, count: int) -> list[tuple[Tensor, Tensor]]:
    """(N, H + 1, 3, S, S) crops, the last one salient, and (N,) quality; the same for every model."""
    chosen = [records[int(at)] for at in torch.randperm(len(records))[: count * IMAGES]]
    crops = SalientCrops(chosen, size=224, crops=CROPS, window=WINDOW, seed=SEED, preprocessing=Preprocessing())
    views = crops.views(viewing_side(teacher, 224))
    with torch.inference_mode():
        maps = [
            saliency(teacher, batch.crops[:, 0], by="activation")
            for batch in make_loader(views, batch_images=8, shuffle=False)
        ]
    crops.places = torch.stack(salient_window(torch.cat(maps), WINDOW), dim=1).numpy()
    loader = make_loader(crops, batch_images=IMAGES, shuffle=False)
    return [(batch.crops, batch.quality) for batch in loader]


class Found(NamedTuple):
    """Of one batch: both gradients, as vectors over the layers of the backbone that learn, and three numbers."""

    score: Tensor
    contrast: Tensor
    value: float
    within: float
    between: float


def gradients(
    network: QualityNet, crops: Tensor, quality: Tensor, span: float, temperature: float, contrast_of: str
) -> Found:
    """The gradients of both losses of a batch in the backbone, and what `Found` has besides."""
    learning = [parameter for parameter in network.backbone.parameters() if parameter.requires_grad]
    random, salient = crops[:, :CROPS].flatten(0, 1), crops[:, CROPS]
    scores, features = network(torch.cat([random, salient]), features=True, layers="pooled")
    score = (scores[: len(random)] - quality.repeat_interleave(CROPS)).abs().mean() * span
    own = features.pooled[: len(random)].unflatten(0, (len(crops), CROPS))
    if contrast_of == "local":
        contrast = local_manifold_loss(own, features.pooled[len(random) :], temperature=temperature)
    else:
        layers = [layer[: len(random) : CROPS] for layer in features.layers if layer.requires_grad]
        pairs = select_pairs(quality)
        contrast = torch.stack([quality_context_loss(x, *pairs, temperature=temperature) for x in layers]).sum()
    both = [
        torch.cat([part.flatten() for part in grad(loss, learning, retain_graph=True, materialize_grads=True)])
        for loss in (score, contrast)
    ]
    unit = torch.nn.functional.normalize(own.detach(), dim=-1)
    within = float((unit[:, 0] * unit[:, 1]).sum(dim=-1).mean())
    means = unit[:, 0] @ unit[:, 1].T
    between = float((means.sum() - means.trace()) / (len(crops) * (len(crops) - 1)))
    return Found(both[0], both[1], contrast.item(), within, between)


def agreement(vectors: list[Tensor]) -> float:
    """Mean cosine between two of them."""
    whole = torch.nn.functional.normalize(torch.stack(vectors), dim=1)
    count = len(vectors)
    return float((whole.sum(dim=0).square().sum() - count) / (count * (count - 1)))


def main() -> None:
    """Print a line a model."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", required=True)
    parser.add_argument("--model", action="append", required=True, metavar="start|NAME=RUN")
    parser.add_argument("--weights", default="timm", help="of the network at its start")
    parser.add_argument("--frozen", type=int, default=4)
    parser.add_argument("--batches", type=int, default=12)
    parser.add_argument("--contrast", choices=("local", "quality-context"), default="local")
    parser.add_argument("--alpha", type=float, default=0.1)
    parser.add_argument("--temperature", type=float, default=0.3)
    given = parser.parse_args()
    if given.batches < 2:
        parser.error("--batches: two batches at least, whose gradients are compared")
    records = read_data(given.data).records
    span = records[0].scale.high - records[0].scale.low
    runs = [Path(text.partition("=")[2]) for text in given.model if "=" in text]
    if runs:
        records = [records[at] for at in load_split(runs[0] / "split.json", records).train]
    batches = batches_of(records, start(given.weights), given.batches)
    print("model\tscore norm\tcontrast norm\tcosine\tscore agrees\tcontrast agrees\tcontrast\twithin\tbetween")
    for text in given.model:
        name, _, run = text.partition("=")
        network = load(Path(run) / "model.safetensors")[0].eval() if run else start(given.weights)
        freeze_stages(network.backbone, given.frozen)
        found = [gradients(network, *batch, span, given.temperature, given.contrast) for batch in batches]
        scores, contrasts = [one.score for one in found], [one.contrast for one in found]
        norms = [
            share * fmean(float(vector.norm()) for vector in vectors)
            for share, vectors in ((1 - given.alpha * (given.contrast == "local"), scores), (given.alpha, contrasts))
        ]
        cosine = fmean(float(cosine_similarity(one.score, one.contrast, dim=0)) for one in found)
        rest = [cosine, agreement(scores), agreement(contrasts)]
        rest += [fmean(getattr(one, name) for one in found) for name in ("value", "within", "between")]
        print("\t".join([name, *(f"{norm:.3g}" for norm in norms), *(f"{value:.3f}" for value in rest)]))


if __name__ == "__main__":
    main()
