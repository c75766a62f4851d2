"""Any timm backbone by name, with its weights from timm's pages or from a file; batch norms that stay as they are."""

from __future__ import annotations

import dataclasses
import types
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypeVar

import huggingface_hub
import timm
import torch
from timm.data import IMAGENET_DEFAULT_MEAN, IMAGENET_DEFAULT_STD
from timm.models import group_parameters
from timm.models.vision_transformer import VisionTransformer
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from noref.errors import ModelError, OptionError, unknown
from noref.models import weights as files
from noref.models.features import Embedding, Features, Normalize, check_size, of_maps
from noref.models.plan import EncoderPlan
from noref.models.vit import Vit

Planned = TypeVar("Planned", bound=EncoderPlan)


class Cnn(nn.Module):
    """A network of stages as a backbone: the positions of its last feature map are the tokens.

    Args:
        net: any timm network whose `forward_features` gives a map, or the tokens of one behind prefix tokens, without a
            classifier.
    """

    normalised = False
    gives_tokens = False  # its layers give maps
    has_class_token = False
    mask = None  # no quality token
    image_size = None  # any
    side_to_try = 64

    def __init__(self, net: Any) -> None:
        super().__init__()
        self.net = net
        self.width: int = net.num_features
        info = getattr(net, "feature_info", None) or []
        strides = [int(stage["reduction"]) for stage in getattr(info, "info", info)]  # of timm's stages
        self._stride = strides[-1] if strides else None
        last = {stride: stage for stage, stride in enumerate(strides)} if hasattr(net, "forward_intermediates") else {}
        self._embedded = [
            last[stride] for stride in (8, 16) if stride in last
        ]  # stages, besides the last, for `layers`

    def forward(self, images: Tensor, *, layers: Embedding | None = None, stages: int = 0) -> Features:
        """Normalised images (B, 3, H, W) -> features, D the channels of the last stage, pooled by the mean.

        Args:
            images: see above; with `stages`, the output of `first_stages`.
            layers: also give an embedding for each of the last stages: the maps at strides 8 and 16 and the last
                one, "pooled" by the mean, or all their "tokens". Shallower stages see too few pixels for a contrast.
            stages: so many have run already; only the last of them can still have an embedding.

        Raises:
            OptionError: a size that this network cannot take.
            ModelError: features that are neither a map nor the tokens of one.
        """
        if stages:
            return self._last_stages(images, stages, layers)
        check_size(self.net, images)
        if layers and self._embedded:
            last, maps = self.net.forward_intermediates(images, indices=self._embedded)
        else:
            last, maps = self.net.forward_features(images), []
        if last.ndim == 4 and getattr(self.net, "output_fmt", "NCHW") == "NHWC":
            last = last.permute(0, 3, 1, 2)
        if last.ndim == 3 and self._stride:
            rows, columns = (-(-side // self._stride) for side in images.shape[2:])
            if last.shape[1] >= rows * columns:
                last = last[:, -rows * columns :].transpose(1, 2).unflatten(2, (rows, columns))
        if last.ndim != 4 or last.shape[1] != self.width:
            kind, shape = type(self.net).__name__, tuple(last.shape)
            raise ModelError(f"{kind}: its features {shape} are no map of {self.width} channels")
        return of_maps(last, maps, layers)

    @property
    def stage_count(self) -> int:
        """How many stages can be run one by one; an `OptionError` for other networks than `_row` knows."""
        return len(self._row())

    def first_stages(self, images: Tensor, count: int) -> Tensor:
        """Normalised images (B, 3, H, W) -> (B, C, h, w) behind so many stages; errors as `stage_count`."""
        maps = images.contiguous(memory_format=torch.channels_last)
        for stage in self._row()[:count]:
            maps = stage(maps)
        return maps

    def _last_stages(self, maps: Tensor, first: int, layers: Embedding | None) -> Features:
        names = [str(self.net.feature_info[stage]["module"]) for stage in self._embedded if layers]
        asked = [int(name[-1]) + name.startswith("blocks.") for name in names]  # blocks.0 and layer1 follow the stem, 0
        maps = maps.contiguous(memory_format=torch.channels_last)
        seen = [maps] if first - 1 in asked else []
        for number, stage in enumerate(self._row()[first:], start=first):
            maps = stage(maps)
            if number in asked:
                seen.append(maps)
        return of_maps(maps, seen, layers)

    def _row(self) -> list[Callable[[Tensor], Tensor]]:
        """The stages of timm's EfficientNet family (MobileNets too) or ResNets, one after the other."""
        net: Any = self.net
        if all(hasattr(net, name) for name in ("conv_stem", "bn1", "blocks", "conv_head", "bn2")):
            *blocks, last = net.blocks
            return [lambda x: net.bn1(net.conv_stem(x)), *blocks, lambda x: net.bn2(net.conv_head(last(x)))]
        if all(hasattr(net, name) for name in ("conv1", "bn1", "act1", "maxpool", "layer1", "layer4")):
            stem: Callable[[Tensor], Tensor] = lambda x: net.maxpool(net.act1(net.bn1(net.conv1(x))))  # noqa: E731
            return [stem, net.layer1, net.layer2, net.layer3, net.layer4]
        kind = type(net).__name__
        raise OptionError(f"{kind} cannot be cut: only transformers, the EfficientNet family and ResNets can")

    def add_quality_token(self, mask: float, first: int = 0) -> None:
        """As `Vit.add_quality_token`: always an `OptionError`."""
        advice = "for other networks give --mask none --head panel"
        raise OptionError(f"mask: only a vision transformer can have a quality token; {advice}")

    def set_image_size(self, side: int) -> None:
        """As `Vit.set_image_size`: nothing to do, for stages take images of any size."""

    def check_weights(self, tensors: Mapping[str, Tensor], *, source: Path) -> None:
        """As `Vit.check_weights`: nothing that the names and shapes of tensors do not say."""

    def class_attention(self, images: Tensor, *, blocks: int = 3, stages: int = 0) -> tuple[Features, Tensor]:
        """As `Vit.class_attention`: always an `OptionError`, for there is no class token."""
        raise OptionError(f"{type(self.net).__name__} has no class token whose attention could be read")


Backbone = Cnn | Vit


def build_backbone(plan: Planned, *, weights: str = "timm") -> tuple[Normalize, Backbone, Planned]:
    """The first two parts of every network, normalisation and backbone; arguments and errors as `load_backbone`.

    Also the plan with mean and deviation filled in, and `image_size` left out where it changes nothing.
    """
    backbone = load_backbone(plan.backbone, weights=weights, pad_type=plan.pad_type, image_size=plan.image_size)
    mean, std = tuple(plan.mean or normalisation(backbone)[0]), tuple(plan.std or normalisation(backbone)[1])
    plan = dataclasses.replace(plan, mean=mean, std=std, image_size=backbone.image_size)
    return Normalize(mean, std), backbone, plan


def load_backbone(name: str, *, weights: str = "timm", pad_type: str = "", image_size: int | None = None) -> Backbone:
    """A timm network by name, with weights, as a module that gives `Features`.

    Args:
        name: a timm name such as "mobilenetv2_100" or "deit3_small_patch16_224.fb_in1k".
        weights: "timm": the safetensors file of timm's model page, downloaded once. "none": random.
            Anything else: a local safetensors file with timm's tensor names, whose classifier is left out, or an
            ARNIQA encoder, which has learnt without scores. Other models of noref's are not taken: what they were
            rated on might be what this one is tested on. Half precision becomes float32.
        pad_type: "same" for TensorFlow's padding, as weights that come from there need; "": the network's own.
        image_size: side of the images that a vision transformer will see; see `Vit.set_image_size`.

    Raises:
        OptionError: no such network, one that takes no `pad_type`, or an image size that its patches do not divide.
        ModelError: weights that are missing, fail to download, or do not fit; the first wrong tensor is named.

    Example:
        >>> load_backbone("test_resnet", weights="none").width
        96
    """
    net = _create(name, pad_type)
    backbone: Backbone = Vit(net) if isinstance(net, VisionTransformer) else Cnn(net)
    if weights != "none":
        _read_weights(backbone, _download(name, net) if weights == "timm" else Path(weights))
    if image_size is not None:
        backbone.set_image_size(image_size)
    return backbone


def _read_weights(backbone: Backbone, path: Path) -> None:
    """Fill a backbone from a file of timm's, or from an ARNIQA encoder, whose header says for which image size."""
    tensors, header = files.read(path)
    plan = files.plan_in(header)
    if plan.get("kind") == files.ENCODER:
        tensors = {name.removeprefix("backbone.net."): value for name, value in tensors.items()}
        if plan.get("image_size"):
            backbone.set_image_size(plan["image_size"])
    backbone.check_weights(tensors, source=path)
    heads = backbone.net.pretrained_cfg.get("classifier") or ()
    skip = (heads,) if isinstance(heads, str) else tuple(heads)
    files.fill(backbone.net, tensors, source=path, skip=tuple(f"{head}." for head in skip))


def _create(name: str, pad_type: str) -> Any:
    base = name.partition(".")[0]
    if not timm.is_model(base):
        raise unknown("backbone", name, timm.list_models())
    options: dict[str, Any] = {"pad_type": pad_type} if pad_type else {}
    try:
        return timm.create_model(name, pretrained=False, num_classes=0, **options)
    except (TypeError, RuntimeError, KeyError, NotImplementedError) as error:
        raise OptionError(f"backbone {name!r} with {options or 'its defaults'}: {error}") from error


def _download(name: str, net: Any) -> Path:
    repository = net.pretrained_cfg.get("hf_hub_id")
    if not repository:
        raise ModelError(f"timm has no weights for {name!r}: give a safetensors file, or none")
    try:
        return Path(huggingface_hub.hf_hub_download(repository, "model.safetensors"))
    except Exception as error:  # no network, no such file, a full disk: many kinds, one answer
        reason = f"{type(error).__name__}: {error}".splitlines()[0]
        problem = f"{repository}: its weights cannot be downloaded ({reason})"
        raise ModelError(f"{problem}; give a safetensors file") from error


def normalisation(backbone: Backbone) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Mean and deviation of the pixels that timm's weights of this network expect, for values in [0, 1]."""
    config = backbone.net.pretrained_cfg
    return tuple(config.get("mean") or IMAGENET_DEFAULT_MEAN), tuple(config.get("std") or IMAGENET_DEFAULT_STD)


def layer_depths(backbone: Backbone, *, stages: bool = False) -> dict[str, int]:
    """Parameter name in the backbone -> its depth, by timm's own count: 0 is the stem, then block by block.

    With `stages`, stages are counted where the network has them, not their blocks.

    Raises:
        OptionError: timm does not say how this network is layered.
    """
    matcher = getattr(backbone.net, "group_matcher", None)
    if matcher is None:
        kind = type(backbone.net).__name__
        raise OptionError(f"timm does not say how {kind} is layered: none of its layers can be frozen or slowed")
    groups = group_parameters(backbone.net, matcher(coarse=stages), reverse=True)
    return {f"net.{name}": int(depth) for name, depth in groups.items()}


def freeze_stages(backbone: Backbone, count: int) -> None:
    """Stop the first stages from learning, 1 is the stem alone; an `OptionError` if there are not so many."""
    if count == 0:
        return
    depths = layer_depths(backbone, stages=True)
    most = max(depths.values()) + 1
    if not 0 < count <= most:
        raise OptionError(f"frozen must be 0 to {most} for this backbone, got {count}")
    for name, parameter in backbone.named_parameters():
        if depths.get(name, count) < count:
            parameter.requires_grad_(False)


def freeze_batch_norm(module: nn.Module) -> int:
    """Keep every batch norm in `module` in evaluation mode, whatever `train()` says; how many there are.

    The running statistics then never change; weight and bias still learn. Weights whose batch norms were folded into
    the convolutions have statistics of 0 and 1 that are no statistics at all: one step in training mode would
    normalise with the batch's own and destroy the network.
    """
    norms = [layer for layer in module.modules() if isinstance(layer, _BatchNorm)]
    for norm in norms:
        norm.eval()
        norm.train = types.MethodType(_stay, norm)  # type: ignore[method-assign]
    return len(norms)


def _stay(module: nn.Module, mode: bool = True) -> nn.Module:
    return module
