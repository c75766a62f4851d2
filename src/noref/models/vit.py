"""A vision transformer over timm's weights, block by block: its tokens, and where the class token looks."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from noref.errors import OptionError
from noref.models.features import Embedding, Features, check_size
from noref.models.quality_token import quality_mask as quality_mask


class Vit(nn.Module):
    """timm's `VisionTransformer` as a backbone.

    The blocks run one by one here and not in timm's `forward`, because the methods look into them.

    Args:
        net: a timm `VisionTransformer` without a classifier. With no class token the mean of the patch tokens
            takes its place; further prefix tokens (registers) are left out of the features.

    Source:
        Dosovitskiy et al. 2021, https://arxiv.org/abs/2010.11929; weights as in DeiT III, Touvron et al. 2022,
        https://arxiv.org/abs/2204.07118.
    """

    normalised = True  # pooled and tokens have gone through the last layer norm

    def __init__(self, net: Any) -> None:
        super().__init__()
        self.net = net
        self.width: int = net.embed_dim

    @property
    def has_class_token(self) -> bool:
        """Whether there is a class token, whose attention can be read."""
        return self.net.cls_token is not None

    def forward(self, images: Tensor, *, layers: Embedding | None = None) -> Features:
        """Normalised images (B, 3, S, S) of the size the weights were made for -> features, D the embedding width.

        Args:
            images: see above.
            layers: also give an embedding for each block: its class token ("pooled"), or all its "tokens".

        Raises:
            OptionError: another size.
        """
        check_size(self.net, images)
        tokens, seen = self.embed(images), []
        for block in self.net.blocks:
            tokens = block(tokens)
            if layers is not None:
                seen.append(tokens.flatten(1) if layers == "tokens" else self.class_token(tokens))
        return self.read_out(tokens, images)._replace(layers=tuple(seen))

    def class_token(self, tokens: Tensor) -> Tensor:
        """(B, prefix + T, D) -> (B, D); the mean of the patches where there is no class token."""
        return tokens[:, 0] if self.has_class_token else tokens[:, self.net.num_prefix_tokens :].mean(dim=1)

    def with_class_attention(self, images: Tensor, *, blocks: int = 3) -> tuple[Features, Tensor]:
        """The same features, and how much the class token attends to each patch, mean over heads and last blocks.

        Attention that is not asked for is never a matrix: `forward` leaves it to torch's fused kernel. Here the last
        blocks take timm's explicit softmax, whose output differs by rounding.

        Args:
            images: as for `forward`.
            blocks: K, how many of the last blocks are averaged.

        Returns:
            features; (B, rows, columns) share of the class token's attention that a patch gets, >= 0. A map sums to
            less than 1: the class token and registers get the rest. With differential attention (timm's "diff") it is
            the difference of two such maps, and may be negative. No gradient flows into it.

        Raises:
            OptionError: no class token, `blocks` that are not there, or another size.

        Source:
            LML-IQA section 3.2.1, eq. 1, where the mean over heads is not written.
        """
        if not self.has_class_token:
            raise OptionError(f"{type(self.net).__name__} has no class token whose attention could be read")
        if not 0 < blocks <= len(self.net.blocks):
            raise OptionError(f"attention of the last {blocks} blocks: this network has 1 to {len(self.net.blocks)}")
        check_size(self.net, images)
        tokens, maps = self.embed(images), []
        first = len(self.net.blocks) - blocks
        for number, block in enumerate(self.net.blocks):
            if number < first:
                tokens = block(tokens)
                continue
            with attention_of(block) as seen:
                tokens = block(tokens)
            maps.append(torch.stack([weights[:, :, 0].mean(dim=1) for weights in seen]).mean(dim=0))
        features = self.read_out(tokens, images)
        start, (rows, columns) = self.net.num_prefix_tokens, features.grid
        patches = torch.stack(maps).mean(dim=0)[:, start : start + rows * columns]
        return features, patches.reshape(-1, rows, columns)

    def embed(self, images: Tensor) -> Tensor:
        """(B, 3, S, S) -> (B, prefix + T, D): patches with their positions, behind the class token."""
        net = self.net
        tokens: Tensor = net.norm_pre(net.patch_drop(net._pos_embed(net.patch_embed(images))))
        return tokens

    def read_out(self, tokens: Tensor, images: Tensor) -> Features:
        """The last norm, then class token and patches apart. `images` only gives the grid."""
        net = self.net
        tokens = net.fc_norm(net.norm(tokens))  # one of the two is the identity in every timm ViT
        patches = tokens[:, net.num_prefix_tokens :]
        pooled = self.class_token(tokens)
        rows, columns = net.patch_embed.patch_size
        return Features(pooled, patches, (images.shape[2] // rows, images.shape[3] // columns))


@contextmanager
def attention_of(block: nn.Module) -> Iterator[list[Tensor]]:
    """While this is open, the block computes its softmax where one can see it.

    Args:
        block: of a timm `VisionTransformer`, whatever its kind: one attention in it, or several side by side.

    Yields:
        A list that each of the block's attentions adds (B, heads, tokens, tokens) to when it runs, row: who looks.

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
