"""A vision transformer over timm's weights, block by block: its tokens, and the attention of its class token.

It may have CSIQA's quality token, from which `quality_mask` hides a part of the others.
"""

from __future__ import annotations

import inspect
import math
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext
from pathlib import Path
from typing import Any

import torch
from torch import Generator, Tensor, nn

from noref.errors import ModelError, OptionError
from noref.models.features import Embedding, Features, check_size


class Vit(nn.Module):
    """timm's `VisionTransformer` as a backbone.

    The blocks run one by one here and not in timm's `forward`, because the methods need what is inside.

    Args:
        net: a timm `VisionTransformer` without a classifier. With no class token the mean of the patch tokens
            takes its place; further prefix tokens (registers) are left out of the features.

    Source:
        Dosovitskiy et al. 2021, https://arxiv.org/abs/2010.11929; weights as in DeiT III, Touvron et al. 2022,
        https://arxiv.org/abs/2204.07118.
    """

    normalised = True  # pooled and tokens have gone through the last layer norm
    gives_tokens = True  # as the output of its layers

    def __init__(self, net: Any) -> None:
        super().__init__()
        self.net = net
        self.width: int = net.embed_dim
        self.image_size: int | None = None  # side that `set_image_size` has set
        self.mask: float | None = None  # no quality token
        self.mask_from = 0

    def add_quality_token(self, mask: float, first: int = 0) -> None:
        """Give the network CSIQA's quality token, a learnt one at the end of the sequence, random at first.

        In each layer it attends to itself and, in training, to a random part of the other tokens, another one for every
        image and layer; to all of them otherwise. No other token attends to it, so class token and patches are what
        they are without it. It has no position embedding.

        Args:
            mask: probability that a token is hidden from it in training.
            first: so many blocks run before it joins: behind a cut there are class token and patches alone.

        Raises:
            OptionError: the mask is not in [0, 1], no such block, or the network's blocks take no mask.

        Source:
            Li et al. 2024 (CSIQA), sections 3.2 and B.1. The logits are scaled by 1/sqrt(d), which eq. 3 leaves out.
        """
        blocks = self.net.blocks
        if not 0 <= mask <= 1:
            raise OptionError(f"mask must be a probability, got {mask}")
        if not 0 <= first < len(blocks):
            raise OptionError(f"mask_from must be 0 to {len(blocks) - 1}, got {first}")
        if "attn_mask" not in inspect.signature(blocks[0].forward).parameters:
            raise OptionError(f"blocks of {type(blocks[0]).__name__} take no attention mask: no quality token")
        self.mask, self.mask_from = mask, first
        self.quality_token = nn.Parameter(torch.empty(self.width))  # one axis: not decayed, as the class token
        nn.init.trunc_normal_(self.quality_token, std=0.02)

    def set_image_size(self, side: int) -> None:
        """Take images of another size than the weights were made for: position embeddings are interpolated once.

        They are then those of the new size, learn as such, and cost nothing in a step or an exported graph; timm's
        `dynamic_img_size` would interpolate in each. A network that takes any size is left as it is.

        Raises:
            OptionError: the patches do not divide the side.

        Source:
            timm's `resample_abs_pos_embed`: bicubic, antialiased; class token and registers keep theirs.
        """
        patches = self.net.patch_embed
        patch = max(patches.patch_size)
        if side < patch or any(side % length for length in patches.patch_size):
            near = f"{side // patch * patch} or {-(-side // patch) * patch}"
            raise OptionError(f"crop {side} does not divide into this backbone's patches of {patch} px: take {near}")
        fixed = getattr(patches, "strict_img_size", False) and hasattr(patches, "set_input_size")
        if fixed and tuple(patches.img_size) != (side, side):
            self.net.set_input_size((side, side))
            self.image_size = side

    def check_weights(self, tensors: Mapping[str, Tensor], *, source: Path) -> None:
        """Raise a `ModelError` that says so where timm's `tensors` are of another width, patch size or image size."""
        own = self.net.state_dict()
        shapes = {name: (tuple(tensors[name].shape), tuple(own[name].shape)) for name in tensors if name in own}
        given, needed = shapes.get("patch_embed.proj.weight", ((), ()))
        if given != needed:
            widths = [f"{shape[0]} wide with patches of {shape[-1]} px" for shape in (given, needed)]
            raise ModelError(f"{source}: weights {widths[0]}; this backbone is {widths[1]}")
        given, needed = shapes.get("pos_embed", ((), ()))
        if given != needed:
            size = " x ".join(str(side) for side in self.net.patch_embed.img_size)
            needs = f"this backbone needs {needed[1]}, for {size} px"
            raise ModelError(f"{source}: position embeddings of {given[1]} tokens; {needs}")

    @property
    def has_class_token(self) -> bool:
        """Whether there is a class token, whose attention can be read."""
        return self.net.cls_token is not None

    @property
    def stage_count(self) -> int:
        """The patch embedding and the blocks, as `noref.models.backbones.freeze_stages` counts."""
        return 1 + len(self.net.blocks)

    @property
    def side_to_try(self) -> int:
        """The side of an image that the network takes."""
        return int(self.net.patch_embed.img_size[0])

    def first_stages(self, images: Tensor, count: int) -> Tensor:
        """Normalised images -> (B, prefix + T, D), tokens behind the patch embedding and `count` - 1 blocks.

        Raises:
            OptionError: another size, or a quality token in one of those blocks: it is not kept.
        """
        if self.mask is not None and self.mask_from < count - 1:
            place = f"block {self.mask_from + 1}, which is cut off"
            raise OptionError(f"the quality token is in {place}: mask_from {count - 1}")
        tokens = self.embed(images)
        for block in self.net.blocks[: count - 1]:
            tokens = block(tokens)
        return tokens

    def forward(self, images: Tensor, *, layers: Embedding | None = None, stages: int = 0) -> Features:
        """Normalised images (B, 3, S, S) of the size the network is built for -> features, D the embedding width.

        Args:
            images: see above; with `stages`, the output of `first_stages` for square ones.
            layers: also give an embedding for each block: "pooled": its class token, with the quality token beside it
                where there is one, (B, D) or (B, 2 D); "tokens": all of them, (B, count x D).
            stages: so many have run already; their blocks get no embedding.

        Raises:
            OptionError: images of another size.
        """
        return self._run(images, stages, layers=layers)[0]

    def class_attention(self, images: Tensor, *, blocks: int = 3, stages: int = 0) -> tuple[Features, Tensor]:
        """As `forward`, and how much the class token attends to each patch, mean over heads and the last `blocks`.

        `forward` leaves attention to torch's fused kernel. Here the last blocks take timm's explicit softmax, whose
        output differs by rounding.

        Returns:
            features; (B, rows, columns) share of the class token's attention that a patch gets, >= 0. A map sums to
            less than 1: the class token and registers get the rest. With differential attention (timm's "diff") it is
            the difference of two such maps, and may be negative. No gradient flows into it.

        Raises:
            OptionError: no class token, `blocks` that are not there, or images of another size.

        Source:
            LML-IQA section 3.2.1, eq. 1, where the mean over heads is not written.
        """
        if not self.has_class_token:
            raise OptionError(f"{type(self.net).__name__} has no class token whose attention could be read")
        there = min(len(self.net.blocks), self.stage_count - stages)
        if not 0 < blocks <= there:
            raise OptionError(f"attention of the last {blocks} blocks: this network has 1 to {there}")
        features, maps = self._run(images, stages, attention=blocks)
        return features, torch.stack(maps).mean(dim=0)

    def embed(self, images: Tensor) -> Tensor:
        """(B, 3, S, S) -> (B, prefix + T, D): patches with their positions, behind the class token."""
        check_size(self.net, images)
        net = self.net
        tokens: Tensor = net.norm_pre(net.patch_drop(net._pos_embed(net.patch_embed(images))))
        return tokens

    def _run(
        self, images: Tensor, stages: int, *, layers: Embedding | None = None, attention: int = 0
    ) -> tuple[Features, list[Tensor]]:
        """The blocks behind so many stages, and the last norm: features, and maps of the last blocks' attention."""
        start, (height, width) = self.net.num_prefix_tokens, self.net.patch_embed.patch_size
        if stages:
            tokens, side = images, math.isqrt(images.shape[1] - start)
            grid = side, side
        else:
            tokens, grid = self.embed(images), (images.shape[2] // height, images.shape[3] // width)
        (batch, count), places, blocks = tokens.shape[:2], grid[0] * grid[1], self.net.blocks
        seen, maps, masks = list[Tensor](), list[Tensor](), dict[str, Tensor]()
        for number, block in enumerate(blocks[max(0, stages - 1) :], start=max(0, stages - 1)):
            if self.mask is not None and number == self.mask_from:
                tokens = torch.cat([tokens, self.quality_token.expand(batch, 1, -1)], dim=1)
            if self.mask is not None and number >= self.mask_from and (self.training or not masks):
                drawn = (batch, count, self.mask) if self.training else (1, count, 0.0)
                masks = {"attn_mask": quality_masks(*drawn, device=tokens.device).to(tokens.dtype)}
            reads = number >= len(blocks) - attention
            watched: AbstractContextManager[list[Tensor]] = attention_of(block) if reads else nullcontext([])
            with watched as found:
                tokens = block(tokens, **masks)
            if reads:
                rows = torch.stack([weights[:, :, 0].mean(dim=1) for weights in found]).mean(dim=0)
                maps.append(rows[:, start : start + places].reshape(-1, *grid))
            if layers == "tokens":
                seen.append(tokens.flatten(1))
            elif layers == "pooled":
                seen.append(torch.cat([self._pooled(tokens[:, :count]), *tokens[:, count:].unbind(1)], dim=1))
        tokens = self.net.fc_norm(self.net.norm(tokens))  # one of the two is the identity in every timm ViT
        quality = None if self.mask is None else tokens[:, -1]
        pooled, patches = self._pooled(tokens[:, :count]), tokens[:, start:count]
        return Features(pooled, patches, grid, quality=quality, layers=tuple(seen)), maps

    def _pooled(self, tokens: Tensor) -> Tensor:
        """(B, prefix + T, D) -> (B, D): the class token, or the mean of the patches where there is none."""
        return tokens[:, 0] if self.has_class_token else tokens[:, self.net.num_prefix_tokens :].mean(dim=1)


def quality_mask(n_tokens: int, probability: float, generator: Generator | None) -> Tensor:
    """The mask of one image in one layer, to be added to the attention logits.

    Args:
        n_tokens: N, the class token and the patches; any of them may be hidden from the quality token.
        probability: that a token is hidden.
        generator: of random numbers; None: torch's own, which checkpoints keep.

    Returns:
        (N + 1, N + 1): 0 where the token of the row attends to the token of the column, -inf where it does not. The
        quality token is the last. It always attends to itself; no other token attends to it.

    Raises:
        ValueError: no token, or a probability that is not in [0, 1].

    Source:
        CSIQA section 3.2, eq. 1-2; the logarithm of M.

    Example:
        >>> quality_mask(2, 0.0, None)
        tensor([[0., 0., -inf],
                [0., 0., -inf],
                [0., 0., 0.]])
    """
    return quality_masks(1, n_tokens, probability, generator)[0, 0]


def quality_masks(
    images: int,
    n_tokens: int,
    probability: float,
    generator: Generator | None = None,
    *,
    device: torch.device | None = None,
) -> Tensor:
    """The masks of B images in one layer: (B, 1, N + 1, N + 1), the second place for the heads; see `quality_mask`."""
    if n_tokens < 1 or not 0 <= probability <= 1:
        raise ValueError(f"no mask of {n_tokens} tokens with probability {probability}")
    masks = torch.zeros(images, 1, n_tokens + 1, n_tokens + 1, device=device)
    masks[:, :, :-1, -1] = float("-inf")
    if probability > 0:  # no chance in what is exported
        hidden = torch.rand(images, n_tokens, generator=generator, device=device) < probability
        masks[:, 0, -1, :-1].masked_fill_(hidden, float("-inf"))
    return masks


@contextmanager
def attention_of(block: nn.Module) -> Iterator[list[Tensor]]:
    """While this is open, a block of a timm `VisionTransformer` computes its softmax explicitly, and it is collected.

    Yields:
        A list that each of the block's attentions adds (B, heads, tokens, tokens) to when it runs; a row is a query.

    Raises:
        OptionError: there is no attention of timm's in it.
    """
    layers: list[Any] = [part for part in block.modules() if hasattr(part, "fused_attn") and hasattr(part, "attn_drop")]
    if not layers:
        raise OptionError(f"{type(block).__name__} has no attention that can be read")
    seen: list[Tensor] = []
    with ExitStack() as stack:
        for layer in layers:
            stack.callback(setattr, layer, "fused_attn", layer.fused_attn)
            layer.fused_attn = False

            def keep(dropout: nn.Module, given: tuple[Tensor, ...], layer: Any = layer) -> None:
                seen.append(_combined(layer, given[0].detach()))

            stack.callback(layer.attn_drop.register_forward_pre_hook(keep).remove)
        yield seen


def _combined(layer: Any, weights: Tensor) -> Tensor:
    """Differential attention (Ye et al. 2024, https://arxiv.org/abs/2410.05258): a softmax minus a share of another."""
    if not hasattr(layer, "lambda_init"):
        return weights
    pairs = weights.reshape(len(weights), -1, 2, *weights.shape[2:])
    difference: Tensor = pairs[:, :, 0] - layer._compute_lambda().detach().type_as(weights) * pairs[:, :, 1]
    return difference
