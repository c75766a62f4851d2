"""A small vision transformer for a CPU, whose patches are what a pre-trained MobileNetV2 makes of the image.

Mask attention needs a class token and a quality token, so a transformer; without pre-trained weights one learns little
from a thousand photos. Here the patch embedding is ImageNet's MobileNetV2 up to stride 16, which gives 14 x 14 places
of 224 pixels as a ViT's patches do; the four blocks behind it (192 wide, three heads, as DeiT-tiny's) start random.

    python experiments/csiqa/hybrid.py weights mobilenetv2_100_imagenet.safetensors hybrid.safetensors
    python experiments/csiqa/hybrid.py bench csiqa --data livec=FOLDER --weights hybrid.safetensors ...

Everything but `weights` is `noref`'s own command line, with the backbone `mobilenetv2_vit` known to it.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import timm
import torch
from safetensors.torch import load_file, save_file
from timm.models import register_model
from timm.models.vision_transformer import VisionTransformer
from torch import Tensor, nn

from noref.cli import main

SIDE, STRIDE = 224, 16


class Patches(nn.Module):
    """(B, 3, 224, 224) -> (B, 196, D): the stride-16 map of a MobileNetV2, each of its places brought to D channels.

    Args:
        embed_dim: D.
        options: what timm gives to every patch embedding; the sizes are fixed here.
    """

    strict_img_size = True

    def __init__(self, embed_dim: int, **options: Any) -> None:
        super().__init__()
        self.img_size, self.patch_size = (SIDE, SIDE), (STRIDE, STRIDE)
        self.grid_size = (SIDE // STRIDE, SIDE // STRIDE)
        self.num_patches = self.grid_size[0] * self.grid_size[1]
        whole: Any = timm.create_model("mobilenetv2_100", pad_type="same", num_classes=0)
        self.conv_stem, self.bn1, self.blocks = whole.conv_stem, whole.bn1, whole.blocks[:5]
        self.norm = nn.LayerNorm(96)
        self.proj = nn.Linear(96, embed_dim)

    def forward(self, images: Tensor) -> Tensor:
        """See the class."""
        maps: Tensor = self.blocks(self.bn1(self.conv_stem(images)))
        tokens: Tensor = self.proj(self.norm(maps.flatten(2).transpose(1, 2)))
        return tokens


class Hybrid(VisionTransformer):
    """Such a transformer; its first stage, for `--frozen 1`, is what came with weights."""

    def group_matcher(self, coarse: bool = False) -> dict[str, Any]:
        """As timm's, but that the projection and the tokens are no part of the stem, for they start random."""
        return {
            "stem": r"^patch_embed\.(?:conv_stem|bn1|blocks)",
            "blocks": [
                (r"^patch_embed\.(?:norm|proj)|^cls_token|^pos_embed", (0,)),
                (r"^blocks\.(\d+)", None),
                (r"^norm", (99999,)),
            ],
        }


@register_model
def mobilenetv2_vit(pretrained: bool = False, **options: Any) -> Hybrid:
    """Four blocks on a MobileNetV2's patches; timm has no weights for it."""
    options = {name: value for name, value in options.items() if name in ("num_classes",)}
    net = Hybrid(SIDE, STRIDE, embed_dim=192, depth=4, num_heads=3, embed_layer=Patches, **options)
    net.pretrained_cfg = {
        "mean": (0.5, 0.5, 0.5),
        "std": (0.5, 0.5, 0.5),
    }  # of the pixels, as the MobileNetV2 wants them
    return net


def write_weights(trained: Path, out: Path) -> None:
    """The network at its start: ImageNet's weights in the patch embedding, the rest random by a fixed seed."""
    torch.manual_seed(0)
    values = mobilenetv2_vit(num_classes=0).state_dict()
    known = {f"patch_embed.{name}": value for name, value in load_file(trained).items()}
    taken = {name: known[name] for name in values if name in known}
    save_file(values | taken, out)
    print(f"{out}: {len(taken)} of {len(values)} tensors from {trained.name}")


if __name__ == "__main__":
    if sys.argv[1:2] == ["weights"]:
        write_weights(Path(sys.argv[2]), Path(sys.argv[3]))
    else:
        main()
