"""Features of images: from any run, ARNIQA encoder, exported file, or backbone by name."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

import numpy as np
import timm
import torch
from lightning_fabric import Fabric
from numpy.typing import NDArray
from torch import Tensor

from noref import images
from noref.card import Card, Preprocessing
from noref.data.loading import evaluation_crops
from noref.embed.exported_features import ExportedModel
from noref.embed.pyiqa_features import pyiqa_extractor
from noref.errors import OptionError
from noref.methods.arniqa_ridge import ENCODER, LEAST
from noref.models import arniqa, arniqa_regressor
from noref.models import network as networks
from noref.models import weights as files
from noref.models.arniqa import Encoder, EncoderPlan, build_encoder, load_encoder, settle_batch_norm
from noref.models.arniqa_regressor import ARNIQA
from noref.models.features import Features
from noref.models.heads import Head
from noref.models.network import QualityNet
from noref.scoring import hub, pyiqa_metric
from noref.scoring.network import MODELS
from noref.train.feature_cache import FeatureCache, fingerprint, of_images
from noref.train.run_folder import MODEL

EXPORTED = "model.onnx"
MAX_PIXELS = 500_000  # of an encoder that has no head; larger photos are shrunk


@dataclass(frozen=True)
class Backbone:
    """How a backbone of timm is built, and how images are cropped for it and for an encoder without a head."""

    weights: str = "timm"  # or "none", or a safetensors file
    pad_type: str = ""  # "same" for weights that come from TensorFlow
    mean: tuple[float, ...] | None = None  # of the pixels in [0, 1], red, green, blue; None: timm's
    std: tuple[float, ...] | None = None  # likewise
    crop: int = 224  # side of the five crops at two scales, in pixels; of an encoder too


@dataclass(frozen=True)
class FeatureExtractor:
    """A model that gives features of images."""

    name: str  # for titles and messages
    feature_names: tuple[str, ...]  # those that it has; the first is the default
    extract: Callable[[str, Path], Tensor]  # feature and image -> (crops, D)
    facts: tuple[object, ...]  # all that decides a feature besides the image; they name the model's part of the cache
    card: Card | None = None  # of a trained model; None for a plain backbone
    folder: Path | None = None  # of its run; None where there is none

    def check(self, feature: str) -> None:
        """Raises an OptionError that lists the model's features where this is none of them."""
        if feature not in self.feature_names:
            near = difflib.get_close_matches(feature, self.feature_names, n=1)
            hint = f"did you mean {near[0]}? " if near else ""
            raise OptionError(f"{self.name} has no feature {feature!r}: {hint}it has {', '.join(self.feature_names)}")

    def features(
        self, feature: str, paths: Sequence[Path], folder: Path, broken: dict[Path, str]
    ) -> dict[Path, NDArray[np.float32]]:
        """Image -> (D,), the mean over its crops, kept in a folder; unreadable images are put into `broken`.

        Raises:
            OptionError: as `check`.
        """
        self.check(feature)
        cache = FeatureCache(folder, feature, *self.facts)
        found = of_images(cache, paths, lambda path: self.extract(feature, path), broken=broken, words=feature)
        return {path: one.numpy().mean(axis=0) for path, one in found}


def load_extractor(model: str, backbone: Backbone | None = None) -> FeatureExtractor:
    """The model that a command line names.

    It is a run's folder, its `model.safetensors`, an ARNIQA run or encoder file, `default`, an exported `.onnx` file or
    one on the hub, a metric `pyiqa:NAME`, or a backbone of timm.

    Raises:
        OptionError: there is no such model, or it gives no features.
        ModelError: a broken file, or one of another kind of model.
    """
    path, how = Path(model), backbone or Backbone()
    if model.startswith(pyiqa_metric.PREFIX):
        return _of_pyiqa(model)
    if not path.exists():
        exported = model in MODELS or model.startswith(hub.PREFIX)
        return _of_exported(model) if exported else _of_encoder(_backbone_of_timm(model, how), model, how.crop)
    file = path
    if path.is_dir():
        made = [path / name for name in (MODEL, ENCODER, EXPORTED) if (path / name).exists()]
        if not made:
            raise OptionError(f"{model}: no trained model: there is no {path / MODEL}")
        file = made[0]
    if file.suffix == ".onnx":
        return _of_exported(file)
    if arniqa_regressor.is_arniqa(file):
        scorer, card = arniqa_regressor.load(file)
        return _of_arniqa(scorer, card.name, card.preprocessing, card, file.parent)
    if files.read_plan(file).get("kind") == arniqa.KIND:
        encoder, card = load_encoder(file)
        return _of_encoder(encoder, card.name if path.is_dir() else file.stem, how.crop, card, file.parent)
    network, card = networks.load(file)
    return _of_network(network, card, file.parent)


def _backbone_of_timm(name: str, how: Backbone) -> Encoder:
    if not timm.is_model(name.partition(".")[0]):
        near = difflib.get_close_matches(name, timm.list_models(), n=3)
        hint = f": did you mean {' or '.join(near)}?" if near else ""
        raise OptionError(f"{name}: neither a run or model file nor a backbone of timm{hint}")
    return build_encoder(EncoderPlan(name, how.pad_type, how.mean, how.std, how.crop), weights=how.weights)


def _of_exported(model: str | Path) -> FeatureExtractor:
    exported = ExportedModel(model)
    card = exported.card

    def extract(_: str, path: Path) -> Tensor:
        return torch.from_numpy(exported.extract(path))

    return FeatureExtractor(card.name, ("head",), extract, (card.sha256, card.preprocessing), card)


def _of_pyiqa(source: str) -> FeatureExtractor:
    return FeatureExtractor(source, ("head",), pyiqa_extractor(source), (source, version("pyiqa")))


def _of_encoder(
    encoder: Encoder, name: str, crop: int, card: Card | None = None, folder: Path | None = None
) -> FeatureExtractor:
    settle_batch_norm(encoder.eval(), "frozen", random=False)  # it does not learn here, so this is faster
    rule = Preprocessing(max_pixels=MAX_PIXELS, min_side=LEAST)
    return _of_arniqa(ARNIQA(encoder, crop=crop), name, rule, card, folder)


def _of_arniqa(
    network: ARNIQA, name: str, rule: Preprocessing, card: Card | None = None, folder: Path | None = None
) -> FeatureExtractor:
    device = Fabric(accelerator="auto", devices=1).device
    network = network.to(device).eval()

    @torch.inference_mode()
    def extract(_: str, path: Path) -> Tensor:
        pixels = torch.from_numpy(images.read(path, preprocessing=rule)).permute(2, 0, 1)[None]
        return network.features(pixels.to(device))[0].float()

    facts = (network.crop, network.pad, rule, network.encoder.plan, fingerprint(network.encoder))
    return FeatureExtractor(name, ("pooled",), extract, facts, card, folder)


def _of_network(network: QualityNet, card: Card, folder: Path) -> FeatureExtractor:
    device = Fabric(accelerator="auto", devices=1).device
    network = network.to(device).eval()
    rule = card.preprocessing
    side = rule.crop or max(rule.min_side, 64)
    with torch.inference_mode():
        probe = network.features(torch.zeros(1, 3, side, side, device=device), layers="pooled")
    layers = (f"layer{number}" for number in range(1, len(probe.layers) + 1))
    names = ("pooled", *(() if probe.quality is None else ("quality",)), "head", *layers)

    @torch.inference_mode()
    def extract(feature: str, path: Path) -> Tensor:
        crops = evaluation_crops(path, rule).transpose(0, 3, 1, 2)
        batch = torch.from_numpy(np.ascontiguousarray(crops)).to(device)
        features = network.features(batch, layers="pooled" if feature.startswith("layer") else None)
        return feature_of(feature, features, network.head).float()

    return FeatureExtractor(card.name, names, extract, (card.sha256, rule), card, folder)


def feature_of(feature: str, features: Features, head: Head) -> Tensor:
    """(B, D): "pooled", "quality", "layerN", or "head", the input of the head's last linear layer.

    Raises:
        OptionError: "quality" of a network that has no quality token.
    """
    if feature.startswith("layer"):
        return features.layers[int(feature.removeprefix("layer")) - 1]
    if feature == "head":
        return head.read(features)[0]
    if feature == "quality":
        if features.quality is None:
            raise OptionError("this network has no quality token")
        return features.quality
    return features.pooled
