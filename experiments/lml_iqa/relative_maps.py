"""LML-IQA with saliency maps divided by the mean map of all images: not in the paper.

A panel over a padded CNN always attends a little more to the corners; relative maps follow what is in an image instead.

    python experiments/lml_iqa/relative_maps.py bench lml_iqa --data livec=FOLDER --relative yes ...

is `noref`'s own command line, whose method `lml_iqa` has one more option here.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

from lightning_fabric import Fabric
from torch import Tensor

from noref.cli import main
from noref.data.records import Record
from noref.methods import METHODS, lml_iqa
from noref.models.frozen_stages import TailNet
from noref.models.network import QualityNet
from noref.train.config import Supervised
from noref.train.run_folder import DataSet, Run
from noref.train.saliency_windows import SaliencyWindows


@dataclass(frozen=True)
class Config(lml_iqa.Config):
    """LML-IQA's options and one more.

    Args:
        relative: divide each map by the mean map of all images before its window is chosen.
    """

    REMOVED: ClassVar[dict[str, tuple[str | None, str]]] = {
        name: words for name, words in Supervised.REMOVED.items() if name != "relative"
    }

    relative: bool = False


class RelativeWindows(SaliencyWindows):
    """Windows by relative maps."""

    def maps(self, teacher: QualityNet | TailNet) -> Tensor:
        """(M, 14, 14) saliency over the mean saliency of all images."""
        return relative(super().maps(teacher))


def relative(maps: Tensor) -> Tensor:
    """(M, S, S) maps over their mean, each of them with the same sum."""
    shares = maps / maps.sum(dim=(1, 2), keepdim=True)
    return shares / shares.mean(dim=0)


def train(
    config: Config, data: DataSet | Sequence[Record] | str, run: Run | Path | str, fabric: Fabric | None = None
) -> dict[str, Any]:
    """See `noref.methods.lml_iqa.train`."""
    windows = RelativeWindows if config.relative else SaliencyWindows
    return lml_iqa.train(config, data, run, fabric, windows=windows)


if __name__ == "__main__":
    METHODS["lml_iqa"] = "__main__"
    main()
