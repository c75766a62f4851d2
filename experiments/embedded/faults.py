"""How well a model names faults: python experiments/embedded/faults.py --photos FOLDER [--model FILE] [--out FOLDER]

On the photos that nothing was learnt from (a seventh of the folder): each untouched; each type at a level of 3 to 5,
for every second photo also at level 1 or 2; five pairs of types of different groups at levels 3 to 5. `Score.reasons`
is compared with what was done. Prints the figures; --out gets them as faults.json, and the confusion of the types as
faults.png (extra `report`). Ten minutes on a quiet core.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.stats import spearmanr

from noref import Scorer, images
from noref.data.readers import photos as read_photos
from noref.default_model.config import PREPROCESSING
from noref.default_model.distorted_views import held_out
from noref.default_model.fault_views import NAMES, draw_steps
from noref.degrade.pipeline import DISTORTIONS, GROUPS, apply_composition
from noref.scoring.reasons import LEAST, SHOWN

Steps = list[tuple[str, int]]


class Case(NamedTuple):
    """What was done to a photo, and the severities that the model saw."""

    steps: Steps
    severities: dict[str, float]

    def named(self, count: int) -> list[str]:
        """The strongest types, at most `count`."""
        return sorted(self.severities, key=lambda name: -self.severities[name])[:count]

    def group(self, group: str) -> float:
        """The severity of a group: that of its strongest type."""
        return max((self.severities.get(name, 0.0) for name in GROUPS[group]), default=0.0)


def things_done(number: int, rng: np.random.Generator) -> Iterator[Steps]:
    """What is done to the number-th photo of the folder."""
    yield []
    for name in NAMES:
        yield [(name, int(rng.integers(3, 6)))]
        if number % 2:
            yield [(name, int(rng.integers(1, 3)))]
    for _ in range(5):
        yield [(name, int(rng.integers(3, 6))) for name, _ in draw_steps(rng, 2)]


def cases(scorer: Scorer, folder: Path) -> Iterator[Case]:
    """All photos that are kept apart, each with all that is done to it."""
    for number, path in enumerate(read_photos(folder)):
        if held_out(path.name):
            photo, rng = images.read(path, preprocessing=PREPROCESSING), np.random.default_rng([23, number])
            for steps in things_done(number, rng):
                found = scorer.score(apply_composition(photo, steps, rng)).reasons
                yield Case(steps, {reason.name: reason.severity for reason in found})


def group_of(name: str) -> str:
    """The group of a type."""
    return DISTORTIONS[name].group


def figures(found: Sequence[Case]) -> dict[str, object]:
    """The figures of docs/why.md."""
    clean = [case for case in found if not case.steps]
    ones = [case for case in found if len(case.steps) == 1]
    strong = [case for case in ones if case.steps[0][1] >= 3]
    pairs = [case for case in found if len(case.steps) == 2]
    truth = [case.steps[0][0] for case in strong]
    first = [(case.named(1) or ["none"])[0] for case in strong]

    def share(values: Iterator[bool]) -> float:
        return round(float(np.mean(list(values))), 4)

    def both(case: Case, least: float, count: int) -> bool:
        groups = sorted((group for group in GROUPS if case.group(group) >= least), key=lambda group: -case.group(group))
        return {group_of(name) for name, _ in case.steps} <= set(groups[:count])

    return {
        "views": {"untouched": len(clean), "one, level 3 to 5": len(strong), "pairs": len(pairs)},
        "group": share(name in DISTORTIONS and group_of(name) == group_of(true) for name, true in _pairs(first, truth)),
        "type": share(name == true for name, true in _pairs(first, truth)),
        "type among three": share(case.steps[0][0] in case.named(3) for case in strong),
        "pair: both groups are the two strongest": share(both(case, 0.0, 2) for case in pairs),
        "pair: both groups among the reasons": share(both(case, LEAST, 7) for case in pairs),
        "pair: both groups in the words": share(both(case, SHOWN, 3) for case in pairs),
        "untouched with a fault of 0.4 or more": share(max([*case.severities.values(), 0]) >= 0.4 for case in clean),
        "untouched with a fault in words": share(max([*case.severities.values(), 0]) >= SHOWN for case in clean),
        "SRCC of severity with level, group": {
            group: order([c for c in ones if group_of(c.steps[0][0]) == group]) for group in GROUPS
        },
        "SRCC of severity with level, type": {
            name: order([case for case in ones if case.steps[0][0] == name]) for name in NAMES
        },
    }


def _pairs(first: Sequence[str], second: Sequence[str]) -> Iterator[tuple[str, str]]:
    return zip(first, second, strict=True)


def order(found: Sequence[Case]) -> float:
    """SRCC between the level and the severity of the group."""
    seen = [case.group(group_of(case.steps[0][0])) for case in found]
    return round(float(spearmanr(seen, [case.steps[0][1] for case in found])[0]), 3)


def confusion(found: Sequence[Case]) -> NDArray[np.float64]:
    """(24, 25) shares: row what was done at level 3 to 5, column the strongest reason, the last one none."""
    counts = np.zeros((len(NAMES), len(NAMES) + 1))
    for case in found:
        if len(case.steps) == 1 and case.steps[0][1] >= 3:
            named = case.named(1)
            counts[NAMES.index(case.steps[0][0]), NAMES.index(named[0]) if named else len(NAMES)] += 1
    return counts / counts.sum(1, keepdims=True)


def draw(shares: NDArray[np.float64], out: Path) -> None:
    """The confusion as a picture; lines part the groups."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(figsize=(11, 10))
    axes.imshow(shares, cmap="Blues", vmin=0, vmax=1)
    for row, column in np.argwhere(shares >= 0.05):
        colour = "white" if shares[row, column] > 0.5 else "black"
        axes.text(column, row, f"{100 * shares[row, column]:.0f}", ha="center", va="center", fontsize=8, color=colour)
    words = [name.replace("_", " ") for name in NAMES]
    axes.set_xticks(range(len(NAMES) + 1), [*words, "nothing"], rotation=60, ha="right", fontsize=8)
    axes.set_yticks(range(len(NAMES)), words, fontsize=8)
    for edge in np.cumsum([len(names) for names in GROUPS.values()]) - 0.5:
        axes.axhline(edge, color="grey", linewidth=0.7)
        axes.axvline(edge, color="grey", linewidth=0.7)
    axes.set_xlabel("the strongest reason")
    axes.set_ylabel("what was done, level 3 to 5")
    axes.set_title("Of 100 photos with one fault, how many get which reason first")
    figure.tight_layout()
    figure.savefig(out, dpi=110)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--photos", type=Path, required=True)
    parser.add_argument("--model", default="default")
    parser.add_argument("--out", type=Path)
    given = parser.parse_args()
    found = list(cases(Scorer(given.model), given.photos))
    text = json.dumps(figures(found), indent=2)
    print(text)
    if given.out:
        given.out.mkdir(parents=True, exist_ok=True)
        (given.out / "faults.json").write_text(text + "\n")
        draw(confusion(found), given.out / "faults.png")


if __name__ == "__main__":
    main()
