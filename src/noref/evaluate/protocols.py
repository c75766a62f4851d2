"""Which images train and which test, over repeats: the protocols under which figures are published."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from noref.data.records import Record
from noref.data.splits import Split, folds, groups, load_split, official_split, random_split
from noref.errors import OptionError


@dataclass(frozen=True)
class Protocol:
    """How a data set is divided, again and again.

    Args:
        kind: "random", "folds" (every image tests once), "official" (the release's own), or "files".
        repeats: random splits, with seeds `seed`, `seed` + 1, ...; or folds.
        test: share of the groups that test; of random splits.
        validation: share that chooses settings; of random splits.
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
        if self.repeats < least or self.seed < 0:
            raise OptionError(f"no protocol of {self.repeats} {self.kind}, seed {self.seed}")
        if not self.fractions or not all(0 < fraction <= 1 for fraction in self.fractions):
            raise OptionError(f"fractions of the training part are in (0, 1], got {list(self.fractions)}")

    def __str__(self) -> str:
        shares = [100 * (1 - self.test - self.validation), 100 * self.validation, 100 * self.test]
        parts = "/".join(f"{share:g}" for share in shares if share)
        words = {
            "random": f"{self.repeats} random splits {parts}, seeds {self.seed}-{self.seed + self.repeats - 1}",
            "folds": f"{self.repeats} folds, every image tests once, seed {self.seed}",
            "official": "the official split",
            "files": f"{len(self.files)} split files",
        }[self.kind]
        return words if self.fractions == (1.0,) else f"{words}; {percents(self.fractions)} of the training part"


def percents(fractions: Sequence[float]) -> str:
    """Shares as people write them.

    Example:
        >>> percents([0.2, 1.0])
        '20, 100 %'
    """
    return ", ".join(f"{100 * fraction:g}" for fraction in fractions) + " %"


def shares(text: str) -> tuple[float, float]:
    """`80/20` or `70/10/20` -> shares that test and validate.

    Raises:
        OptionError: not two or three numbers that make 100.

    Example:
        >>> shares("70/10/20")
        (0.2, 0.1)
    """
    try:
        numbers = [float(part) for part in text.split("/")]
    except ValueError:
        numbers = []
    if len(numbers) not in (2, 3) or not (min(numbers) > 0 and abs(sum(numbers) - 100) < 1e-9):
        raise OptionError(f"parts {text!r}: write 80/20, or 70/10/20 with a validation part in the middle")
    return numbers[-1] / 100, (numbers[1] / 100 if len(numbers) == 3 else 0.0)


def splits_of(records: Sequence[Record], protocol: Protocol) -> list[Split]:
    """Every split of a protocol, with the whole training part; `noref.data.splits.thinned` takes fractions of it.

    Raises:
        OptionError: shares that make no sense.
        DataError: too few images, no official split, or a file of other images.
    """
    if protocol.kind == "official":
        return [official_split(records)]
    if protocol.kind == "files":
        return [load_split(path, records) for path in protocol.files]
    together = groups(records)
    if protocol.kind == "folds":
        return folds(records, protocol.repeats, protocol.seed, together=together)
    return [
        random_split(records, test=protocol.test, validation=protocol.validation, seed=seed, together=together)
        for seed in range(protocol.seed, protocol.seed + protocol.repeats)
    ]
