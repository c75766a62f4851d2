"""`ImageQuality`: the scores of a loop's images as a torchmetrics metric (extra `metric`)."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

from noref.errors import MissingExtraError, OptionError
from noref.scoring.scorer import Scorer

try:
    import torch
    from torch import Tensor
    from torchmetrics import Metric
    from torchmetrics.utilities import dim_zero_cat
except ImportError as error:
    raise MissingExtraError("metric", "noref.metric") from error

REDUCTIONS = ("mean", "none")


class ImageQuality(Metric):
    """How good images look: the same numbers as `noref.score`, in [0, 100], higher is better.

    Images are brought to the model's size as `noref.score` does it, and rounded to 8 bits; so there is no gradient:
    `noref.load_torch` has one. Under distributed training each process adds its own images, none is counted twice, and
    processes may have different numbers of them, none included. With `none`, the scores of process 0 come first.

    Args:
        model: as in `noref.Scorer`, and so `threads`, and `device`, on which the network runs wherever the images are.
        reduction: what `compute` gives: the `mean` over all images (NaN for none), or each image's score with `none`.
        **options: of torchmetrics' `Metric`, such as `sync_on_compute`.

    Raises:
        OptionError: another reduction; also as `noref.Scorer`.

    Example:
        >>> import torch
        >>> metric = ImageQuality(reduction="none")
        >>> metric.update(torch.full((2, 3, 64, 64), 0.5))
        >>> metric.compute().shape
        torch.Size([2])
    """

    is_differentiable = False
    higher_is_better = True
    full_state_update = False
    plot_lower_bound = 0.0
    plot_upper_bound = 100.0
    scores: list[Tensor]

    def __init__(
        self,
        model: str | Path = "default",
        *,
        reduction: Literal["mean", "none"] = "mean",
        threads: int | None = None,
        device: str = "cpu",
        **options: Any,
    ) -> None:
        if reduction not in REDUCTIONS:
            raise OptionError(f"reduction must be mean or none, got {reduction!r}")
        super().__init__(**options)
        self.reduction = reduction
        self.scorer = Scorer(model, threads=threads, device=device)
        self.add_state("scores", default=[], dist_reduce_fx="cat")

    def update(self, images: Tensor | Sequence[Tensor]) -> None:
        """Score images: (B, C, H, W) or a list of (C, H, W), RGB or grey, uint8 or floats in [0, 1].

        Raises:
            ImageError: an image that has no score, such as one with values outside [0, 1]; then none of these counts.
        """
        batch = images.detach().cpu() if isinstance(images, Tensor) else images
        found = [score.value for score in self.scorer.score_many(list(batch))]
        self.scores.append(torch.tensor(found, device=self.device))

    def compute(self) -> Tensor:
        """The mean score (), or (N,) scores in the order of the images; torchmetrics makes of a single one ()."""
        scores = dim_zero_cat(self.scores) if len(self.scores) else torch.tensor([], device=self.device)
        return scores if self.reduction == "none" else scores.mean()
