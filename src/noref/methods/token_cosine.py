"""How alike CSIQA's class token and quality token are: Fig. 5 of the paper."""

from __future__ import annotations

import json

import torch.nn.functional as functional
from lightning_fabric import Fabric
from torch import Tensor, nn

from noref.card import Preprocessing
from noref.data.loading import Protocol
from noref.data.records import Record
from noref.data.splits import load_split
from noref.errors import OptionError
from noref.models import network as networks
from noref.models.network import QualityNet
from noref.train.evaluator import Evaluator
from noref.train.run_folder import MODEL, DataSet, Run


def add_token_cosine(protocol: Protocol, data: DataSet, run: Run, fabric: Fabric) -> dict[str, float]:
    """The mean cosine of class and quality token on the test part, written into the run's results: Fig. 5."""
    fabric.barrier()
    network, card = networks.load(run.file(MODEL))
    split = load_split(run.file("split.json"), data.records)
    tested = [data.records[index] for index in split.test]
    cosine = token_cosine(network.to(fabric.device), tested, card.preprocessing, protocol, fabric)
    if run.writes:
        results = json.loads(run.file("results.json").read_text(encoding="utf-8"))
        run.write_results({**results, "token_cosine": cosine})
    return {"token_cosine": cosine}


def token_cosine(
    network: QualityNet, records: list[Record], rule: Preprocessing, protocol: Protocol, fabric: Fabric
) -> float:
    """The mean cosine between class and quality token after the last norm, over all crops of all images.

    Returns:
        In [-1, 1]; near 1 the two tokens say the same.
    """
    evaluator = Evaluator(records, preprocessing=rule, protocol=protocol, fabric=fabric)
    return float(evaluator.scores(_TokenCosine(network)).mean())


class _TokenCosine(nn.Module):
    """(B, 3, S, S) -> (B,) cosine between class and quality token."""

    def __init__(self, network: QualityNet) -> None:
        super().__init__()
        self.network = network

    def forward(self, images: Tensor) -> Tensor:
        features = self.network.features(images)
        if features.quality is None:
            raise OptionError("this network has no quality token")
        return functional.cosine_similarity(features.pooled.float(), features.quality.float(), dim=1)
