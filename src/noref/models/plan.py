"""What a network is built from, apart from its weights: numbers that the header of a model file holds."""

from __future__ import annotations

from dataclasses import dataclass, fields


@dataclass(frozen=True)
class EncoderPlan:
    """What a backbone and the normalisation in front of it are built from.

    Args:
        backbone: timm's name.
        pad_type: "same" for weights that come from TensorFlow.
        mean: of the pixels, red, green, blue, for values in [0, 1]; None: what timm says of the backbone.
        std: deviation of the pixels likewise.
        image_size: side in pixels of the images that a vision transformer is built for; None: the size that its
            weights were made for. Networks that take images of any size leave it out.
    """

    backbone: str
    pad_type: str = ""
    mean: tuple[float, ...] | None = None
    std: tuple[float, ...] | None = None
    image_size: int | None = None


@dataclass(frozen=True)
class Plan(EncoderPlan):
    """What a network with a head is built from.

    Args:
        head: a name in `noref.models.heads.HEADS`.
        width: of the head; None: a transformer's own, 192 for other networks.
        heads: attention heads of the head; must divide its width.
        queries: of the panel.
        mask: gives a vision transformer a quality token, from which each token is hidden with this probability in
            training; None: no such token.
        mask_from: so many blocks run before that token joins; for a network that is cut behind frozen blocks.
    """

    head: str = "panel"
    width: int | None = None
    heads: int = 6
    queries: int = 6
    mask: float | None = None
    mask_from: int = 0

    @property
    def encoder(self) -> EncoderPlan:
        """The part without a head: networks that share it see the same features behind the same frozen weights."""
        return EncoderPlan(**{field.name: getattr(self, field.name) for field in fields(EncoderPlan)})
