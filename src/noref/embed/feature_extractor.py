"""What a model sees in a picture: features of any run, ARNIQA encoder, or backbone by name."""

from __future__ import annotations

import dataclasses
import difflib
import hashlib
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import timm
import torch
from lightning_fabric import Fabric
from numpy.typing import NDArray
from torch import Tensor

from noref.card import Card, Preprocessing
from noref.data.loading import judged_crops
from noref.embed.exported_features import Exported
from noref.errors import ModelError, OptionError
from noref.methods.arniqa_ridge import ENCODER, LEAST, arniqa_features
from noref.models import arniqa
from noref.models import arniqa_regressor as raters
from noref.models import network as networks
from noref.models import weights as files
from noref.models.arniqa import Encoder, EncoderPlan, build_encoder, load_encoder, settle_batch_norm
from noref.models.arniqa_regressor import ARNIQA
from noref.models.features import Features
from noref.models.heads import Head
from noref.models.network import QualityNet
from noref.scoring.network import MODELS
from noref.train.feature_cache import FeatureCache, of_images
from noref.train.run_folder import MODEL

EXPORTED = "model.onnx"
Found = Mapping[Path, NDArray[np.float32]]  # image -> (crops, D)
MAX_PIXELS = 500_000  # of an encoder that has no head; larger photos are shrunk


@dataclass(frozen=True)
class Backbone:
    """How a plain backbone is to be built, and what it and an encoder without head see of a picture.

    Attributes:
        weights: "timm", "none", or a safetensors file.
        pad_type: "same" for weights that come from TensorFlow.
        mean: of the pixels in [0, 1]; None: timm's.
        std: likewise.
        crop: side of the five crops at two scales, of an encoder too.
    """

    weights: str = "timm"
    pad_type: str = ""
    mean: tuple[float, ...] | None = None
    std: tuple[float, ...] | None = None
    crop: int = 224


@dataclass(frozen=True)
class Looker:
    """A model that can be asked what it sees.

    Attributes:
        name: to call it by.
        kinds: the features that it has; the first is the usual one.
        look: kind, images, folder for the cache, a dictionary for broken ones -> image -> file with (crops, D).
        card: of a trained model; None for a plain backbone.
        folder: of its run; None where there is none.
    """

    name: str
    kinds: tuple[str, ...]
    look: Callable[[str, Sequence[Path], Path, dict[Path, str]], Mapping[Path, NDArray[np.float32]]]
    card: Card | None = None
    folder: Path | None = None

    def check(self, kind: str) -> None:
        """Whether the model has such a feature.

        Raises:
            OptionError: it has not; those that it has are listed.
        """
        if kind not in self.kinds:
            near = difflib.get_close_matches(kind, self.kinds, n=1)
            hint = f"did you mean {near[0]}? " if near else ""
            raise OptionError(f"{self.name} has no feature {kind!r}: {hint}it has {', '.join(self.kinds)}")

    def features(
        self, kind: str, paths: Sequence[Path], folder: Path, broken: dict[Path, str]
    ) -> dict[Path, NDArray[np.float32]]:
        """Image -> (D,), the mean over its crops; those that cannot be read are put into `broken`.

        Raises:
            OptionError: see `check`.
        """
        self.check(kind)
        found = self.look(kind, paths, folder, broken)
        return {path: values.mean(axis=0) for path, values in found.items()}


def find_looker(model: str, backbone: Backbone | None = None) -> Looker:
    """The model that a command line names.

    Args:
        model: a run's folder, its `model.safetensors`, an ARNIQA run or encoder file, `default` or an exported `.onnx`
            file, or a backbone of timm.
        backbone: how the last is to be built.

    Raises:
        OptionError: there is no such model, or one whose features cannot be had.
        ModelError: a file that cannot be used.
    """
    path, how = Path(model), backbone or Backbone()
    if not path.exists():
        return _plain(model, how)
    file = path
    if path.is_dir():
        made = [path / name for name in (MODEL, ENCODER, EXPORTED) if (path / name).exists()]
        if not made:
            raise OptionError(f"{model}: no trained model: there is no {path / MODEL}")
        file = made[0]
    if file.suffix == ".onnx":
        return _of_exported(file)
    if raters.is_arniqa(file):
        rater, card = raters.load(file)
        return _of_rater(rater, card.name, card.preprocessing, card=card, folder=file.parent)
    if _kind(file) == arniqa.KIND:
        encoder, card = load_encoder(file)
        return _of_encoder(encoder, card.name if path.is_dir() else file.stem, how.crop, card, file.parent)
    network, card = networks.load(file)
    return _of_network(network, card, file.parent)


def _kind(file: Path) -> object:
    with suppress(ModelError):
        return files.read_plan(file).get("kind")
    return None


def _plain(name: str, how: Backbone) -> Looker:
    if name in MODELS:
        return _of_exported(name)
    if not timm.is_model(name.partition(".")[0]):
        near = difflib.get_close_matches(name, timm.list_models(), n=3)
        hint = f": did you mean {' or '.join(near)}?" if near else ""
        raise OptionError(f"{name}: neither a run or model file nor a backbone of timm{hint}")
    encoder = build_encoder(EncoderPlan(name, how.pad_type, how.mean, how.std, how.crop), weights=how.weights)
    return _of_encoder(encoder, name, how.crop)


def _of_exported(model: str | Path) -> Looker:
    opened = Exported(model)

    def look(kind: str, paths: Sequence[Path], cache: Path, broken: dict[Path, str]) -> Found:
        own = cache / hashlib.sha256(repr((kind, opened.card.sha256)).encode()).hexdigest()[:16]
        found = of_images(
            FeatureCache(own), paths, lambda path: torch.from_numpy(opened.feature(path)), broken=broken, words=kind
        )
        return {path: one.numpy() for path, one in found}

    return Looker(opened.card.name, ("head",), look, opened.card)


def _of_encoder(encoder: Encoder, name: str, crop: int, card: Card | None = None, folder: Path | None = None) -> Looker:
    settle_batch_norm(encoder.eval(), "frozen", random=False)  # it does not learn here, and so it is quicker
    rule = Preprocessing(max_pixels=MAX_PIXELS, min_side=LEAST)
    return _of_rater(ARNIQA(encoder, crop=crop), name, rule, card=card, folder=folder)


def _of_rater(rater: ARNIQA, name: str, rule: Preprocessing, *, card: Card | None, folder: Path | None) -> Looker:
    rater = rater.to(Fabric(accelerator="auto", devices=1).device).eval()

    def look(kind: str, paths: Sequence[Path], cache: Path, broken: dict[Path, str]) -> Found:
        return dict(arniqa_features(rater, paths, rule, cache, broken=broken))

    return Looker(name, ("pooled",), look, card, folder)


def _of_network(network: QualityNet, card: Card, folder: Path) -> Looker:
    device = Fabric(accelerator="auto", devices=1).device
    network = network.to(device).eval()
    rule = card.preprocessing
    side = rule.crop or max(rule.min_side, 64)
    with torch.inference_mode():
        found = network.features(torch.zeros(1, 3, side, side, device=device), layers="pooled")
    kinds = ["pooled", *(["quality"] if found.quality is not None else []), "head"]
    kinds += [f"layer{place}" for place in range(1, len(found.layers) + 1)]

    def look(kind: str, paths: Sequence[Path], cache: Path, broken: dict[Path, str]) -> Found:
        facts = [kind, card.sha256, dataclasses.astuple(rule)]
        own = cache / hashlib.sha256(repr(facts).encode()).hexdigest()[:16]

        def see(path: Path) -> Tensor:
            crops = judged_crops(path, rule).transpose(0, 3, 1, 2)
            batch = torch.from_numpy(np.ascontiguousarray(crops)).to(device)
            with torch.inference_mode():
                seen = network.features(batch, layers="pooled" if kind.startswith("layer") else None)
                return feature_of(kind, seen, network.head).float().cpu()

        found = of_images(FeatureCache(own), paths, see, broken=broken, words=kind)
        return {path: one.numpy() for path, one in found}

    return Looker(card.name, tuple(kinds), look, card, folder)


def feature_of(kind: str, seen: Features, head: Head) -> Tensor:
    """(B, D) of one kind: "pooled", "quality", "layerN", or "head", what the head's last line sees.

    Raises:
        OptionError: "quality" of a network that has no quality token.
    """
    if kind.startswith("layer"):
        return seen.layers[int(kind.removeprefix("layer")) - 1]
    if kind == "head":
        return head.before_last_line(seen)
    if kind == "quality":
        if seen.quality is None:
            raise OptionError("this network has no quality token")
        return seen.quality
    return seen.pooled
