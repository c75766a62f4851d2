"""A vision transformer over timm's weights, block by block: class token and patch tokens after the last norm."""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn

from noref.models.features import Features, check_size


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

    def forward(self, images: Tensor) -> Features:
        """Normalised images (B, 3, S, S) of the size the weights were made for -> features, D the embedding width.

        Raises:
            OptionError: another size.
        """
        check_size(self.net, images)
        tokens = self.embed(images)
        for block in self.net.blocks:
            tokens = block(tokens)
        return self.read_out(tokens, images)

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
        pooled = patches.mean(dim=1) if net.cls_token is None else tokens[:, 0]
        rows, columns = net.patch_embed.patch_size
        return Features(pooled, patches, (images.shape[2] // rows, images.shape[3] // columns))
