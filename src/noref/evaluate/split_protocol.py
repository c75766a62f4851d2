"""Which images train and which test, over repeated splits."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from noref.data.records import Record
from noref.data.splits import Split, folds, groups, load_split, official_split, random_split
from noref.errors import OptionError


@dataclass(frozen=True)
class SplitProtocol:
    """How a data set is divided, again and again.

    Args:
        kind: "random", "folds" (every image tests once), "official" (the release's own), or "files".
        repeats: random splits, with seeds `seed`, `seed` + 1, ...; or folds.
        test: share of the groups that test; random splits only.
        validation: share that chooses settings; random splits only.
        fractions: shares of the training part that train, each in (0, 1]; the test part stays the same.
        seed: >= 0.
        files: saved splits, for "files".

    Raises:
        OptionError: a number that makes no sense.
    """

    kind: str = "random"
    repeats: int = 10
    test: float = 0.2
    validation: float = 0.0
    fractions: tuple[float, ...] = (1.0,)
    seed: int = 0
    files: tuple[Path, ...] = ()

    def __post_init__(self) -> None:
        least = {"random": 1, "folds": 2}.get(self.kind, 0)
        if self.repeats < least:
            what = "folds" if self.kind == "folds" else "random splits"
            raise OptionError(f"{self.repeats} {what}: at least {least}")
        if self.seed < 0:
            raise OptionError(f"seed {self.seed}: at least 0")
        if not self.fractions or not all(0 < fraction <= 1 for fraction in self.fractions):
            raise OptionError(f"fractions of the training part are in (0, 1], got {list(self.fractions)}")

    def __str__(self) -> str:
        shares = [100 * (1 - self.test - self.validation), 100 * self.validation, 100 * self.test]
        parts = "/".join(f"{share:g}" for share in shares if share)
        text = {
            "random": f"{self.repeats} random splits {parts}, seeds {self.seed}-{self.seed + self.repeats - 1}",
            "folds": f"{self.repeats} folds, every image tests once, seed {self.seed}",
            "official": "the official split",
            "files": f"{len(self.files)} split files",
        }[self.kind]
        used = ", ".join(f"{100 * fraction:g}" for fraction in self.fractions)
        return text if self.fractions == (1.0,) else f"{text}; {used} % of the training part"

    def splits(self, records: Sequence[Record]) -> list[Split]:
        """Every split, with the whole training part; `noref.data.splits.thinned` takes fractions of it.

        Raises:
            OptionError: shares that make no sense.
            DataError: too few images, no official split, or a file of other images.
        """
        if self.kind == "official":
            return [official_split(records)]
        if self.kind == "files":
            return [load_split(path, records) for path in self.files]
        together = groups(records)
        if self.kind == "folds":
            return folds(records, self.repeats, self.seed, together=together)
        return [
            random_split(records, test=self.test, validation=self.validation, seed=seed, together=together)
            for seed in range(self.seed, self.seed + self.repeats)
        ]


def parse_parts(text: str) -> tuple[float, float]:
    """The option `--parts`: `80/20` or `70/10/20` -> the shares (test, validation).

    Raises:
        OptionError: not two or three numbers that make 100.

    Example:
        >>> parse_parts("70/10/20")
        (0.2, 0.1)
    """
    try:
        numbers = [float(part) for part in text.split("/")]
    except ValueError:
        numbers = []
    if len(numbers) not in (2, 3) or not (min(numbers) > 0 and abs(sum(numbers) - 100) < 1e-9):
        raise OptionError(f"parts {text!r}: write 80/20, or 70/10/20 with a validation part in the middle")
    return numbers[-1] / 100, (numbers[1] / 100 if len(numbers) == 3 else 0.0)
