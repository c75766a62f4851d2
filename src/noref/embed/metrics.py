"""t-SNE of a feature space, and the metrics that say what such a plot alone does not show.

t-SNE draws clusters where there are none and hides others, and its distances have no meaning. So every metric here is
computed in the feature space itself, by the cosine, and is given together with its value by chance.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from sklearn.manifold import TSNE
from sklearn.metrics import silhouette_score

from noref.errors import DataError, OptionError
from noref.evaluate.correlation import srcc

Features = NDArray[np.floating]
Array = NDArray[np.float64]
Indices = NDArray[np.int64]
Labels = Sequence[int] | Indices
Scores = Sequence[float] | Array
NEIGHBOURS = 5
BLOCK = 512  # rows of the similarity matrix that are in memory at a time
LARGEST = 4000  # images for a silhouette, whose distance matrix is in memory as a whole


class Metric(NamedTuple):
    """One number about a feature space.

    Example:
        >>> print(Metric("silhouette by type", 0.25, -0.012, -0.02, -0.004))
        silhouette by type 0.250 (chance -0.012, -0.020 to -0.004)
    """

    name: str  # what is measured
    value: float  # higher is better for all metrics here
    chance: float  # mean over random draws, which know nothing of the features
    low: float  # 2.5 % of those draws lie below
    high: float  # and 2.5 % above

    def __str__(self) -> str:
        return f"{self.name} {self.value:z.3f} (chance {self.chance:z.3f}, {self.low:z.3f} to {self.high:z.3f})"


def unit(features: Features) -> Array:
    """(M, D) features, one row an image, at length 1.

    Raises:
        DataError: another shape, fewer than two images, all features the same, one of length 0 or not finite.
    """
    x = np.asarray(features, dtype=np.float64)
    if x.ndim != 2 or x.shape[1] < 2:
        raise DataError(f"features must be (images, numbers), two or more numbers each, got {x.shape}")
    if len(x) < 2:
        raise DataError("one image alone has no map and no neighbours: give two or more")
    lengths = np.linalg.norm(x, axis=1, keepdims=True)
    if not np.isfinite(lengths).all() or lengths.min() == 0:
        raise DataError("a feature is zero or not finite: it has no direction")
    if not np.ptp(x, axis=0).any():
        raise DataError("all features are the same: there is nothing to map")
    return np.asarray(x / lengths)


def check_perplexity(perplexity: float, images: int) -> None:
    """Raises an OptionError where t-SNE does not take this perplexity for so many images."""
    if not 0 < perplexity < images:
        fits = max(1, images // 3)
        raise OptionError(f"perplexity {perplexity:g} must lie between 0 and {images}, the images; {fits} would do")


def tsne(features: Features, *, perplexity: float = 30.0, seed: int = 0) -> Array:
    """t-SNE by the cosine, started from the first two principal components: (M, D) features -> (M, 2) places.

    The perplexity is about how many neighbours a point takes into account. The same seed gives the same plot.

    Raises:
        OptionError: a perplexity that is not below the number of images.
        DataError: as `unit`.

    Source:
        van der Maaten and Hinton 2008; scikit-learn's.
    """
    x = unit(features)
    check_perplexity(perplexity, len(x))
    model = TSNE(metric="cosine", init="pca", perplexity=perplexity, random_state=seed)
    return np.asarray(model.fit_transform(x.astype(np.float32)), dtype=np.float64)


def nearest(features: Features, groups: Labels, *, count: int = NEIGHBOURS) -> Indices:
    """Each image's neighbours by the cosine among the images of other groups, nearest first, ties in index order.

    (M, D) features of any length, (M,) groups, such as one for each reference, and a count k -> (M, k) indices.

    Raises:
        DataError: as `unit`, or an image with fewer than k images of other groups.

    Example:
        >>> nearest(np.array([[1.0, 0.0], [1.0, 0.1], [1.0, 0.2], [0.0, 1.0]]), [0, 0, 1, 2], count=1).ravel().tolist()
        [2, 2, 1, 2]
    """
    x, own = unit(features), np.asarray(groups)
    if own.shape != (len(x),):
        raise DataError(f"{len(x)} features need as many groups, got {own.shape}")
    others = len(x) - np.unique(own, return_counts=True)[1].max()
    if not 1 <= count <= others:
        raise DataError(f"{count} neighbours from other groups: an image has {others} of those")
    found = []
    for start in range(0, len(x), BLOCK):
        similarity = x[start : start + BLOCK] @ x.T
        similarity[own[start : start + BLOCK, None] == own] = -np.inf
        found.append(np.argsort(-similarity, axis=1, kind="stable")[:, :count])
    return np.concatenate(found)


def score_agreement(neighbours: Indices, scores: Scores, groups: Labels, *, draws: int = 200, seed: int = 0) -> Metric:
    """Spearman's correlation of an image's score with the mean score of its neighbours, in [-1, 1].

    Takes (M, k) neighbours of `nearest`, (M,) scores, and the groups as `nearest` does. Chance takes as many random
    images from the other groups, in so many draws. It lies below 0 where groups differ in score: the other images of a
    good group are worse.

    Raises:
        DataError: scores that are all the same.
    """
    values = np.asarray(scores, dtype=np.float64)

    def follows(places: Indices) -> float:
        return srcc(values[places].mean(axis=1), values)

    return _beside_chance("score of neighbours", follows, neighbours, groups, draws, seed)


def type_agreement(neighbours: Indices, types: Labels, groups: Labels, *, draws: int = 200, seed: int = 0) -> Metric:
    """The share of an image's neighbours that have its own type, in [0, 1]; arguments as for `score_agreement`."""
    own = np.asarray(types)

    def same(places: Indices) -> float:
        return float((own[places] == own[:, None]).mean())

    return _beside_chance("neighbours of the same type", same, neighbours, groups, draws, seed)


def silhouette(features: Features, labels: Labels, label_name: str, *, draws: int = 20, seed: int = 0) -> Metric:
    """How much nearer images lie to their own label than to the next one, by the cosine, in [-1, 1].

    Takes (M, D) features and (M,) labels. Chance shuffles the labels, in so many draws. With more than 4000 images,
    4000 of them, drawn by the seed, stand for all.

    Raises:
        DataError: as `unit`, or there are not two different labels or more, and fewer than images.

    Source:
        Rousseeuw 1987; scikit-learn's.
    """
    x, label = unit(features), np.asarray(labels)
    rng = np.random.default_rng([7, seed])
    if len(x) > LARGEST:
        some = np.sort(rng.choice(len(x), LARGEST, replace=False))
        x, label = x[some], label[some]
    if not 2 <= len(np.unique(label)) < len(x):
        raise DataError(f"{len(np.unique(label))} labels on {len(x)} images have no silhouette")
    distance = np.clip(1 - x @ x.T, 0, None)
    np.fill_diagonal(distance, 0)
    value = float(silhouette_score(distance, label, metric="precomputed"))
    by_chance = [silhouette_score(distance, rng.permutation(label), metric="precomputed") for _ in range(draws)]
    return Metric(f"silhouette by {label_name}", value, *_spread(by_chance))


def thirds(scores: Scores, bounds: tuple[float, float] | None = None) -> Indices:
    """0 for low, 1 for middle, 2 for high of (M,) scores, higher is better.

    The bounds say where the middle begins and ends; a score on a bound belongs above it. None: parts of equal count,
    the lower ones larger where M is no multiple of 3, ties in index order.

    Raises:
        OptionError: bounds that do not rise.

    Example:
        >>> thirds([10, 90, 50, 60]).tolist(), thirds([10, 35, 69, 70], (35, 70)).tolist()
        ([0, 2, 0, 1], [0, 1, 1, 2])
    """
    values = np.asarray(scores, dtype=np.float64)
    if bounds is not None:
        if not bounds[0] < bounds[1]:
            raise OptionError(f"the middle begins at {bounds[0]:g} and ends at {bounds[1]:g}: it must rise")
        return np.digitize(values, bounds).astype(np.int64)
    found = np.empty(len(values), dtype=np.int64)
    for part, members in enumerate(np.array_split(np.argsort(values, kind="stable"), 3)):
        found[members] = part
    return found


def _beside_chance(
    name: str, measure: Callable[[Indices], float], neighbours: Indices, groups: Labels, draws: int, seed: int
) -> Metric:
    """The measure of these neighbours, and of neighbours that are drawn at random from the other groups."""
    own, rng = np.asarray(groups), np.random.default_rng([5, seed])
    order = np.argsort(own, kind="stable")  # sorted by group, so the images of other groups follow each other
    _, which, size = np.unique(own, return_inverse=True, return_counts=True)
    members, after = size[which][:, None], np.cumsum(size)[which][:, None]
    by_chance = []
    for _ in range(draws):
        step = rng.integers(0, len(own) - members, size=neighbours.shape)
        by_chance.append(measure(order[(after + step) % len(own)]))
    return Metric(name, measure(neighbours), *_spread(by_chance))


def _spread(values: Sequence[float]) -> tuple[float, float, float]:
    """Mean, and the percentiles 2.5 and 97.5."""
    low, high = np.quantile(values, [0.025, 0.975])
    return float(np.mean(values)), float(low), float(high)
